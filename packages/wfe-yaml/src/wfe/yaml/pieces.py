"""Split a text into literal parts, ``((variables))`` and ``${{ expressions }}``, in one pass."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from wfe.core.lean import frozen

__all__ = ["Expression", "Literal", "Piece", "Unclosed", "Variable", "has_pieces", "split"]


@frozen
class Literal:
    """Text that stays as it is; escapes are undone."""

    text: str
    offset: int = 0


@frozen
class Variable:
    """``((name))`` or ``((name|default))``; *text* is all of it."""

    name: str
    default: str | None
    offset: int
    text: str


@frozen
class Expression:
    """``${{ text }}``: *offset* is where the text begins, *start* where the ``$`` stands."""

    text: str
    offset: int
    start: int
    end: int


@frozen
class Unclosed:
    """A ``${{`` without its ``}}``."""

    offset: int


Piece: TypeAlias = Literal | Variable | Expression | Unclosed

NAME: Final = r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
_TOKEN: Final = re.compile(
    r"(?P<escaped>\$\$\{\{|\\\(\()"
    r"|(?P<open>\$\{\{)"
    # After `$` it is shell arithmetic, and `(((` is never a variable.
    rf"|(?<![$(])\(\((?P<name>{NAME})(?:\|(?P<default>[^()\n]*))?\)\)(?!\))"
)
_BRACE: Final = re.compile(r"'''|\"\"\"|['\"]|\}\}|[{}]")
_REST: Final = {
    "'": re.compile(r"(?:\\.|[^'\\])*'", re.DOTALL),
    '"': re.compile(r"(?:\\.|[^\"\\])*\"", re.DOTALL),
}


def has_pieces(text: str) -> bool:
    """Whether *text* may hold anything but literal text; quick, and sometimes wrongly true."""
    return "((" in text or "${{" in text


def split(text: str, fixed: Sequence[tuple[int, int]] = ()) -> tuple[Piece, ...]:
    """Split *text*; nothing that begins in one of the ranges *fixed*, in order, is read."""
    return tuple(_split(text, fixed))


def _split(text: str, fixed: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    at = search = 0
    starts = [begin for begin, _ in fixed]
    unclosed: set[str] = set()
    while (found := _TOKEN.search(text, search)) is not None:
        start = found.start()
        before = bisect_right(starts, start) - 1
        if before >= 0 and start < fixed[before][1]:
            search = fixed[before][1]
            continue
        if found["escaped"]:
            # The escaping character goes, what it escapes stays.
            if start > at:
                yield Literal(text[at:start], at)
            yield Literal(found[0][1:], start + 1)
            at = search = found.end()
            continue
        if start > at:
            yield Literal(text[at:start], at)
        if found["name"]:
            yield Variable(found["name"], found["default"], start, found[0])
            at = search = found.end()
            continue
        end = _closing(text, found.end(), unclosed)
        if end is None:
            yield Unclosed(start)
            yield Literal(text[start:], start)
            return
        inner = text[found.end() : end]
        lead = len(inner) - len(inner.lstrip())
        yield Expression(inner.strip(), found.end() + lead, start, end + 2)
        at = search = end + 2
    if at < len(text):
        yield Literal(text[at:], at)


def _closing(text: str, at: int, unclosed: set[str]) -> int | None:
    """Return where the ``}}`` of an expression stands; maps and strings in it are skipped.

    Args:
        text: All of it.
        at: Where the expression begins.
        unclosed: Quotes that nothing closes from some place on, and so nothing behind it either:
            no second look is taken.
    """
    depth = 0
    while (found := _BRACE.search(text, at)) is not None:
        match found[0]:
            case "{":
                depth += 1
            case "}":
                depth -= 1
            case "}}" if depth <= 0:
                return found.start()
            case "}}":
                # One of the two closes a map: look at the second again.
                depth -= 1
                at = found.start() + 1
                continue
            case "'" | '"' as quote if quote not in unclosed:
                rest = _REST[quote].match(text, found.end())
                if rest is not None:
                    at = rest.end()
                    continue
                unclosed.add(quote)
            case _:
                pass
        at = found.end()
    return None
