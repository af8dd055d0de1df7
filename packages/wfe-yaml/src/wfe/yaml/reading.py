"""Read the values of a tree as what a key wants, and say what is wrong with the others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

from wfe.core.lean import frozen
from wfe.yaml.diagnostics import Problems, nearest
from wfe.yaml.pieces import Expression, Unclosed, has_pieces, split
from wfe.yaml.scalars import kind_of, meant_duration, parse_duration, resolve
from wfe.yaml.tree import Entry, ListNode, MapNode, Node, Scalar

__all__ = ["DURATION_HINT", "ENV_NAME", "ID", "NAME", "OUTPUT_NAME", "Reader"]

DURATION_HINT: Final = (
    "write 500ms, 30s, 5m, 2h, 1d or 1h30m (units d h m s ms, largest first, no fractions)"
)

NAME: Final = re.compile(r"\S(?:[^\x00-\x1f\x7f]{0,118}\S)?")
ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
OUTPUT_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,199}")
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")


def _kind(node: Node) -> str:
    match node:
        case Scalar():
            return kind_of(resolve(node.value) if node.style is None else node.value)
        case ListNode():
            return "a list"
        case MapNode():
            return "a map"


@frozen
class Reader:
    """Reads values; every method returns ``None`` after it recorded what is wrong."""

    problems: Problems

    def mapping(self, node: Node, what: str, hint: str | None = None) -> MapNode | None:
        """Read a map."""
        if isinstance(node, MapNode):
            return node
        self.problems.error("WFE011", node.span, f"{what} is a map, not {_kind(node)}", hint)
        return None

    def sequence(self, node: Node, what: str, hint: str | None = None) -> ListNode | None:
        """Read a list that is not empty."""
        if not isinstance(node, ListNode):
            self.problems.error("WFE011", node.span, f"{what} is a list, not {_kind(node)}", hint)
            return None
        if not node.items:
            self.problems.error("WFE013", node.span, f"{what} is empty", hint)
            return None
        return node

    def keys(
        self, node: MapNode, what: str, known: Collection[str], others: Collection[str] = ()
    ) -> Iterator[tuple[str, Entry]]:
        """Yield the known keys; unknown ones are errors, which may have been meant as *others*."""
        for name, entry in node.entries.items():
            if name in known:
                yield name, entry
            else:
                self.unknown_key(entry.key, what, known, others)

    def unknown_key(
        self, key: Scalar, what: str, known: Collection[str], others: Collection[str] = ()
    ) -> None:
        """Record that *key* is not known in *what*."""
        near = nearest(key.value, known) or nearest(key.value, others)
        listed = ", ".join(known)
        hint = f"did you mean `{near}`?" if near else f"known here: {listed}"
        self.problems.error("WFE012", key.span, f"{what} has no key `{key.value}`", hint)

    def missing(self, node: Node, what: str, key: str, hint: str | None = None) -> None:
        """Record that *node* lacks *key*."""
        self.problems.error("WFE013", node.span, f"{what} needs `{key}`", hint)

    def constant(self, node: Node, what: str) -> Scalar | None:
        """Read a scalar without expressions."""
        if not isinstance(node, Scalar):
            self.problems.error("WFE011", node.span, f"{what} is a single value, not {_kind(node)}")
            return None
        if has_pieces(node.value):
            for piece in split(node.value, node.fixed):
                if isinstance(piece, Expression | Unclosed):
                    offset = piece.start if isinstance(piece, Expression) else piece.offset
                    message = f"{what} cannot contain an expression, it is read before the run"
                    hint = "use a load-time variable: `((name))`"
                    self.problems.error("WFE036", node.locate(offset, 3), message, hint)
                    return None
        return node

    def text(self, node: Node, what: str) -> str | None:
        """Read a text; a plain number or boolean is an error that offers quotes."""
        scalar = self.constant(node, what)
        if scalar is None:
            return None
        value = resolve(scalar.value) if scalar.style is None else scalar.value
        if isinstance(value, str):
            return value
        hint = f'quote it: "{scalar.value}"' if scalar.value else "write a text, or remove the key"
        self.problems.error("WFE011", scalar.span, f"{what} is a text, not {kind_of(value)}", hint)
        return None

    def source_text(self, node: Node, what: str) -> str | None:
        """Read a scalar as it is written, whatever it would be."""
        scalar = self.constant(node, what)
        return None if scalar is None else scalar.value

    def named(self, node: Node, what: str, pattern: re.Pattern[str], allowed: str) -> str | None:
        """Read a name of the form *pattern*, which *allowed* describes; a number is a text here."""
        text = self.source_text(node, what)
        if text is None:
            return None
        if pattern.fullmatch(text):
            return text
        message = f"{what} cannot be `{text[:60]}`" if text else f"{what} is empty"
        self.problems.error("WFE020", node.span, message, f"use {allowed}")
        return None

    def output_name(self, node: Node, what: str) -> str | None:
        """Read the name of an input or output."""
        name = self.named(node, what, OUTPUT_NAME, "letters, digits, `_` and `-`")
        if name in _TAKEN and what == "an output":
            message = f"{what} cannot be called `{name}`, the data of a run has that name already"
            self.problems.error("WFE020", node.span, message, "choose another name")
            return None
        return name

    def integer(self, node: Node, what: str, least: int) -> int | None:
        """Read an integer of at least *least*."""
        scalar = self.constant(node, what)
        if scalar is None:
            return None
        value = resolve(scalar.value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.problems.error("WFE011", scalar.span, f"{what} is an integer, not {_kind(scalar)}")
            return None
        if value < least:
            self.problems.error("WFE015", scalar.span, f"{what} is at least {least}, not {value}")
            return None
        return value

    def number(
        self, node: Node, what: str, least: float, most: float | None = None
    ) -> float | None:
        """Read a number from *least* to *most*."""
        scalar = self.constant(node, what)
        if scalar is None:
            return None
        value = resolve(scalar.value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
            self.problems.error("WFE011", scalar.span, f"{what} is a number, not {_kind(scalar)}")
            return None
        if value < least or (most is not None and value > most):
            bounds = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"
            self.problems.error("WFE015", scalar.span, f"{what} is {bounds}, not {scalar.value}")
            return None
        return float(value)

    def boolean(self, node: Node, what: str) -> bool | None:
        """Read true or false."""
        scalar = self.constant(node, what)
        if scalar is None:
            return None
        value = resolve(scalar.value) if scalar.style is None else scalar.value
        if isinstance(value, bool):
            return value
        hint = "YAML 1.2 has `true` and `false` only" if scalar.value.lower() in _OLD else None
        hint = hint or ("remove the quotes" if scalar.value in {"true", "false"} else None)
        self.problems.error(
            "WFE011", scalar.span, f"{what} is true or false, not {_kind(scalar)}", hint
        )
        return None

    def duration(self, node: Node, what: str) -> int | None:
        """Read a duration in µs; a bare integer is milliseconds, with a warning."""
        if not isinstance(node, Scalar):
            message = f"{what} is a duration, not {_kind(node)}"
            self.problems.error("WFE011", node.span, message, DURATION_HINT)
            return None
        scalar = self.constant(node, what)
        if scalar is None:
            return None
        micros = parse_duration(scalar.value)
        if micros is not None:
            return micros
        value = resolve(scalar.value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            message = f"{what} has no unit, so it is {value} milliseconds"
            self.problems.warning(
                "WFE051", scalar.span, message, f"write `{value}ms`, or `{value}s` for seconds"
            )
            return value * 1000
        message = f"{what} is a duration, not `{scalar.value[:40]}`"
        near = meant_duration(scalar.value)
        hint = f"did you mean `{near}`?" if near else DURATION_HINT
        self.problems.error("WFE016", scalar.span, message, hint)
        return None

    def choice(self, node: Node, what: str, choices: Collection[str]) -> str | None:
        """Read one of some words."""
        text = self.source_text(node, what)
        if text is None or text in choices:
            return text
        near = nearest(text, choices)
        listed = ", ".join(choices)
        hint = f"did you mean `{near}`?" if near else f"write one of {listed}"
        self.problems.error("WFE015", node.span, f"{what} cannot be `{text[:40]}`", hint)
        return None

    def names(self, node: Node, what: str) -> list[Scalar]:
        """Read a list of names, or one name."""
        if isinstance(node, Scalar):
            scalar = self.constant(node, what)
            return [scalar] if scalar else []
        listed = self.sequence(node, what)
        found = (
            [self.constant(item, f"an item of {what}") for item in listed.items] if listed else []
        )
        return [scalar for scalar in found if scalar is not None]


_TAKEN: Final = ("inputs", "outputs")
_OLD: Final = {"yes", "no", "on", "off", "y", "n"}
