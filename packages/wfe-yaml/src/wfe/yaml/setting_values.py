"""Read a value of ``config`` as its setting wants it, with the place of whatever is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from wfe.core.definition import Expr, ListOf, Record, Value
from wfe.core.lean import frozen
from wfe.yaml.context import Context
from wfe.yaml.diagnostics import nearest
from wfe.yaml.scalars import duration_text, kind_of
from wfe.yaml.scope import Scope
from wfe.yaml.settings import SettingType
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar
from wfe.yaml.value_types import UnfitValueError, described
from wfe.yaml.variables import render_value

__all__ = ["Values"]


@frozen
class Values:
    """Reads values; ``None`` means that something is wrong and was recorded.

    Attributes:
        constant: Whether no expression may stand in them.
    """

    context: Context
    scope: Scope
    constant: bool = attrs.field(kw_only=True)

    def read(
        self, node: Node, kind: SettingType, what: str, *, as_written: bool = False
    ) -> Expr | None:
        """Read *node* as *kind*.

        Args:
            node: The value.
            kind: What is wanted.
            what: What messages call it.
            as_written: Whether a number where a text is wanted is taken as it is written.
        """
        match node:
            case Scalar():
                return self._scalar(node, kind, what, as_written=as_written)
            case ListNode():
                return self._list(node, kind, what, as_written=as_written)
            case MapNode():
                return self._map(node, kind, what)

    def _scalar(
        self, node: Scalar, kind: SettingType, what: str, *, as_written: bool
    ) -> Expr | None:
        if self.constant and self.context.reader.constant(node, what) is None:
            return None
        found = self.context.expressions.value(node, self.scope.for_secrets())
        if found is None:
            return None
        expr, given = found
        if isinstance(expr, Value):
            return self._constant(node, expr.value, kind, what, as_written=as_written)
        if not kind.takes(given):
            message = f"{what} is {kind.wanted}, this gives {described(given)}"
            hint = "write `string(...)` around it" if kind.kind == "string" else None
            self.context.problems.error("WFE035", node.span, message, hint)
            return None
        return expr

    def _constant(
        self, node: Scalar, value: object, kind: SettingType, what: str, *, as_written: bool
    ) -> Expr | None:
        reader = self.context.reader
        if value is None and kind.optional:
            return Value(None)
        match kind.kind:
            case "duration":
                micros = reader.duration(node, what)
                return None if micros is None else Value(duration_text(micros))
            case "boolean":
                truth = reader.boolean(node, what)
                return None if truth is None else Value(truth)
            case "string" if as_written and not isinstance(value, str):
                return Value(node.value if node.style is None else render_value(value))
            case _:
                return Value(value) if self._fits(node, value, kind, what) else None

    def _fits(self, node: Scalar, value: object, kind: SettingType, what: str) -> bool:
        try:
            kind.convert(value)
        except UnfitValueError:
            if kind.kind == "choice":
                self._no_choice(node, kind, what)
                return False
            hint = None
            if "a text" in kind.wanted and not isinstance(value, str) and node.value:
                hint = f'quote it: "{node.value}"'
            elif isinstance(value, str) and node.style in {"'", '"'} and kind.kind != "path":
                hint = "remove the quotes"
            elif isinstance(value, str) and "a list" in kind.wanted and node.value.isprintable():
                hint = f"write `[{node.value}]`"
            message = f"{what} is {kind.wanted}, not {kind_of(value)}"
            self.context.problems.error("WFE011", node.span, message, hint)
            return False
        return True

    def _no_choice(self, node: Scalar, kind: SettingType, what: str) -> None:
        words = [str(choice) for choice in kind.choices]
        near = nearest(node.value, words)
        hint = f"did you mean `{near}`?" if near else f"write one of {', '.join(words)}"
        message = f"{what} cannot be `{node.value[:40]}`"
        self.context.problems.error("WFE015", node.span, message, hint)

    def _list(
        self, node: ListNode, kind: SettingType, what: str, *, as_written: bool
    ) -> Expr | None:
        wanted = _option(kind, ("list", "any"))
        if wanted is None:
            self._unfit(node, kind, what, "a list")
            return None
        item = wanted.item or SettingType(kind="any", optional=True)
        found = [
            self.read(each, item, f"item {i} of {what}", as_written=as_written)
            for i, each in enumerate(node.items, 1)
        ]
        parts = [part for part in found if part is not None]
        return _list_of(parts) if len(parts) == len(found) else None

    def _map(self, node: MapNode, kind: SettingType, what: str) -> Expr | None:
        wanted = _option(kind, ("record", "map", "any"))
        if wanted is None:
            self._unfit(node, kind, what, "a map")
            return None
        if wanted.kind == "record":
            return self._record(node, wanted, what)
        item = wanted.item or SettingType(kind="any", optional=True)
        fields = {
            name: self.read(entry.value, item, f"`{name}` of {what}")
            for name, entry in node.entries.items()
        }
        return _map_of(fields)

    def _record(self, node: MapNode, kind: SettingType, what: str) -> Expr | None:
        known = dict(self.context.reader.keys(node, what, tuple(kind.fields)))
        fields: dict[str, Expr | None] = {
            name: self.read(entry.value, kind.fields[name][0], f"`{name}` of {what}")
            for name, entry in known.items()
        }
        right = len(known) == len(node.entries)
        for name, (_, required) in kind.fields.items():
            if required and name not in node.entries:
                self.context.reader.missing(node, what, name)
                right = False
        return _map_of(fields) if right else None

    def _unfit(self, node: Node, kind: SettingType, what: str, given: str) -> None:
        message = f"{what} is {kind.wanted}, not {given}"
        self.context.problems.error("WFE011", node.span, message)


def _option(kind: SettingType, kinds: Sequence[str]) -> SettingType | None:
    for option in kind.options or (kind,):
        if option.kind in kinds:
            return option
    return None


def _list_of(parts: Sequence[Expr]) -> Expr:
    constants = [part.value for part in parts if isinstance(part, Value)]
    return Value(constants) if len(constants) == len(parts) else ListOf(tuple(parts))


def _map_of(fields: Mapping[str, Expr | None]) -> Expr | None:
    parts = {name: part for name, part in fields.items() if part is not None}
    if len(parts) != len(fields):
        return None
    constants = {name: part.value for name, part in parts.items() if isinstance(part, Value)}
    return Value(constants) if len(constants) == len(parts) else Record(tuple(parts.items()))
