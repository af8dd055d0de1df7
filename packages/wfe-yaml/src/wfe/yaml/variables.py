"""Load-time variables: where they come from, and how ``((name))`` takes their values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import attrs

from wfe.core.errors import DefinitionError
from wfe.core.lean import define, frozen
from wfe.yaml.diagnostics import Problems, Span, nearest
from wfe.yaml.parsing import parse
from wfe.yaml.pieces import Expression, Literal, Piece, Unclosed, Variable, split
from wfe.yaml.scalars import resolve
from wfe.yaml.tree import Entry, Limits, ListNode, MapNode, Node, Scalar

__all__ = ["MISSING", "Variables", "expand", "merge_variables", "parse_assignments", "render_value"]

Json: TypeAlias = Any

MISSING: Final = object()
"""What :meth:`Variables.find` returns for a name that has no value."""


@frozen
class Variables:
    """Values by name; a dotted name walks into nested maps.

    Attributes:
        values: Text whose name is in *plain* is read as a YAML 1.2 scalar; others keep their type.
        plain: Names that were given as bare text (``-v n=3`` is a number, as in a file).
    """

    values: Mapping[str, Json] = attrs.field(factory=dict[str, Json])
    plain: frozenset[str] = frozenset()

    def find(self, name: str) -> Json:
        """Return the value of *name*, or :data:`MISSING`."""
        if name in self.values:
            value: Json = self.values[name]
            return resolve(value) if name in self.plain else value
        found: Json = self.values
        for part in name.split("."):
            found = _field(found, part)
        return found

    def find_text(self, name: str) -> str | None:
        """Return the value of *name* as it stands inside a text, ``None`` when it has none."""
        if name in self.plain:
            return str(self.values[name])
        value = self.find(name)
        return None if value is MISSING else render_value(value)


def _field(value: Json, name: str) -> Json:
    if not isinstance(value, Mapping):
        return MISSING
    return cast("Mapping[str, Json]", value).get(name, MISSING)


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Return the values of ``name=value`` texts, as they stand on a command line.

    Raises:
        DefinitionError: One has no ``=`` or no name.
    """
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            raise DefinitionError(f"`{assignment}` is no variable", None, "write it as name=value")
        values[name.strip()] = value
    return values


def merge_variables(
    *,
    assignments: Mapping[str, Json] | None = None,
    files: Sequence[str | Path] = (),
    environment: Mapping[str, str] | None = None,
    config: Mapping[str, Json] | None = None,
) -> Variables:
    """Return variables from all sources; what comes first in this list wins.

    Args:
        assignments: Of ``-v``: texts, read as YAML scalars.
        files: Of ``--vars-file``: YAML or JSON maps; the last one that names a variable counts.
        environment: Whose ``WFE_CONFIG`` is a JSON object, as in WFE.
        config: Of the configuration file.

    Raises:
        DefinitionError: A file cannot be read or is no map, or ``WFE_CONFIG`` is no JSON object.
    """
    values: dict[str, Json] = dict(config or {})
    values.update(_from_environment(environment or {}))
    for path in files:
        values.update(_from_file(Path(path)))
    given = dict(assignments or {})
    values.update(given)
    return Variables(
        values, frozenset(name for name, value in given.items() if isinstance(value, str))
    )


def _from_environment(environment: Mapping[str, str]) -> Mapping[str, Json]:
    text = environment.get("WFE_CONFIG", "").strip()
    if not text:
        return {}
    try:
        value: Json = json.loads(text)
    except ValueError as error:
        raise DefinitionError(f"environment variable WFE_CONFIG is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise DefinitionError("the environment variable WFE_CONFIG is not a JSON object")
    return cast("dict[str, Json]", value)


def _from_file(path: Path) -> Mapping[str, Json]:
    from wfe.yaml.files import read_source  # noqa: PLC0415 - only with --vars-file

    problems = Problems()
    source = read_source(path, problems, Limits())
    node = parse(source, problems, Limits()) if source else None
    if problems.failed:
        first = problems.in_order()[0]
        where = f"{first.file}:{first.line}:{first.column}"
        raise DefinitionError(first.message, where, first.hint)
    if not isinstance(node, MapNode):
        raise DefinitionError(
            "a file of variables holds a map", str(path), "write `name: value` lines"
        )
    return {name: to_plain(entry.value) for name, entry in node.entries.items()}


def to_plain(node: Node) -> Json:
    """Return *node* as plain data."""
    match node:
        case Scalar():
            return resolve(node.value) if node.style is None else node.value
        case ListNode():
            return [to_plain(item) for item in node.items]
        case MapNode():
            return {name: to_plain(entry.value) for name, entry in node.entries.items()}


def render_value(value: object) -> str:
    """Return *value* as it appears inside a text: JSON for lists and maps, nothing for null."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e16:
            return str(int(value))
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def expand(root: Node, variables: Variables, problems: Problems) -> Node:
    """Return the tree with every ``((name))`` replaced; missing ones go to *problems*.

    Values are put in as they are: nothing in them is read as a variable, an expression or YAML.
    """
    expander = _Expander(variables)
    result = expander.node(root)
    for name, spans in expander.missing.items():
        known = [key for key in variables.values if not isinstance(variables.values[key], Mapping)]
        near = nearest(name, known)
        others = sorted({span.line for span in spans[1:]} - {spans[0].line})
        used = f", used also in line {', '.join(map(str, others))}" if others else ""
        hint = (
            f"did you mean `(({near}))`?"
            if near
            else f"set it with `-v {name}=...` or write `(({name}|default))`"
        )
        problems.error("WFE021", spans[0], f"the variable `{name}` has no value{used}", hint)
    return result


_PLACES: Final = 20  # of a missing variable that are told


@define
class _Expander:
    variables: Variables
    missing: dict[str, list[Span]] = attrs.field(factory=dict[str, list[Span]])
    done: dict[int, Node] = attrs.field(factory=dict[int, "Node"])

    def node(self, node: Node) -> Node:
        if isinstance(node, Scalar):
            return self._scalar(node) if "((" in node.value else node
        # What stands under an anchor is expanded once, and shared again.
        if id(node) not in self.done:
            self.done[id(node)] = self._container(node)
        return self.done[id(node)]

    def _container(self, node: MapNode | ListNode) -> Node:
        if isinstance(node, ListNode):
            node.items = [self.node(item) for item in node.items]
            return node
        for name, entry in node.entries.items():
            value = self.node(entry.value)
            if value is not entry.value:
                node.entries[name] = Entry(key=entry.key, value=value, merged=entry.merged)
        return node

    def _scalar(self, node: Scalar) -> Node:
        pieces = split(node.value)
        match pieces:
            case (Variable() as only,):
                return self._whole(node, only)
            case _:
                return self._partly(node, pieces)

    def _text(self, node: Scalar, piece: Variable) -> str:
        text = self.variables.find_text(piece.name)
        if text is None and piece.default is not None:
            return piece.default.strip()
        if text is None:
            places = self.missing.setdefault(piece.name, [])
            if len(places) < _PLACES:
                places.append(node.locate(piece.offset, len(piece.text)))
            return piece.text
        return text

    def _whole(self, node: Scalar, piece: Variable) -> Node:
        value = self.variables.find(piece.name)
        if value is not MISSING and piece.name not in self.variables.plain:
            return _as_node(value, node)
        text = self._text(node, piece)
        if text == piece.text:
            return node
        return attrs.evolve(node, value=text, style=None, fixed=((0, len(text)),), original=node)

    def _partly(self, node: Scalar, pieces: Sequence[Piece]) -> Scalar:
        text = ""
        fixed: list[tuple[int, int]] = []
        for piece in pieces:
            match piece:
                case Variable():
                    shown = self._text(node, piece)
                    fixed.append((len(text), len(text) + len(shown)))
                    text += shown
                case Expression():
                    text += node.value[piece.start : piece.end]
                case Literal("${{") if node.value[piece.offset - 1 : piece.offset] == "$":
                    # This escape is for the pass that reads expressions.
                    text += "$${{"
                case Literal("((") if node.value[piece.offset - 1 : piece.offset] == "\\":
                    fixed.append((len(text), len(text) + 2))
                    text += "(("
                case Literal():
                    text += piece.text
                case Unclosed():
                    pass
        if text == node.value and not fixed:
            return node
        return attrs.evolve(node, value=text, fixed=tuple(fixed), original=node)


def _as_node(value: Json, at: Scalar) -> Node:
    match value:
        case Mapping():
            entries: dict[str, Entry] = {}
            for name, item in cast("Mapping[str, Json]", value).items():
                key = attrs.evolve(at, value=name, style="'", original=at)
                entries[name] = Entry(key=key, value=_as_node(item, at))
            return MapNode(entries=entries, source=at.source, line=at.line, column=at.column)
        case list() | tuple():
            items = [_as_node(item, at) for item in cast("list[Json]", value)]
            return ListNode(items=items, source=at.source, line=at.line, column=at.column)
        case str():
            return attrs.evolve(at, value=value, style="'", fixed=((0, len(value)),), original=at)
        case _:
            text = repr(value) if isinstance(value, float) else render_value(value) or "null"
            return attrs.evolve(at, value=text, style=None, fixed=((0, len(text)),), original=at)
