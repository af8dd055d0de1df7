"""Compares two definitions, and says whether a running instance could go from one to the other.

Definitions are compared as stored: of callables only the names are known, never what they do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import orjson

from wfe.core.definition import Block, Json, Kind, Node, WorkflowDefinition
from wfe.core.lean import frozen

__all__ = ["Change", "DefinitionDiff", "Moved", "Spot", "StepDiff", "compare", "outline"]

_NAMED: Final = frozenset({"inputs", "outputs", "exprs"})
_WITHIN: Final = frozenset({"name", "blocks", "undo", "hooks"})
_IDENTITY: Final = frozenset({"format", "id", "version", "root"})


@frozen
class Change:
    """One thing that differs, in stored form; ``None``: it is not there.

    Attributes:
        what: For example ``timeout``, ``inputs.amount`` or ``config.limit``.
    """

    what: str
    old: Json
    new: Json


@frozen
class StepDiff:
    """A step that is in both definitions and differs."""

    name: str
    changes: tuple[Change, ...]


@frozen
class Moved:
    """A step that stands elsewhere.

    Attributes:
        old: Containers around it, outermost first, each with the part of it (``ship/then``).
        new: The same in the new definition; equal to *old*: only the order differs.
    """

    name: str
    old: tuple[str, ...]
    new: tuple[str, ...]


@frozen(kw_only=True)
class DefinitionDiff:
    """How *new* differs from *old*, by the names of the steps.

    Attributes:
        settings: Of the whole definition.
    """

    old: WorkflowDefinition
    new: WorkflowDefinition
    added: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[Moved, ...]
    changed: tuple[StepDiff, ...]
    settings: tuple[Change, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs but perhaps id and version."""
        return not (self.added or self.removed or self.moved or self.changed or self.settings)


@frozen(kw_only=True)
class Spot:
    """Where a node stands.

    Attributes:
        containers: Name and part of each container around it, outermost first.
        before: Names that come before it in its block; none in a ``dag``.
        dag: Whether its block is a ``dag``'s.
    """

    node: Node
    containers: tuple[str, ...]
    before: tuple[str, ...]
    dag: bool


def outline(definition: WorkflowDefinition) -> dict[str, Spot]:
    """Return where each node of *definition* stands, by name, containers first."""
    return {spot.node.name: spot for spot in _spots(definition.root, (), dag=False)}


def _spots(block: Block, containers: tuple[str, ...], *, dag: bool) -> Iterator[Spot]:
    before: tuple[str, ...] = ()
    for node in block.nodes:
        yield Spot(
            node=node,
            containers=containers,
            before=() if dag else before,
            dag=dag,
        )
        before = (*before, node.name)
        for part, inner in _parts(node):
            place = f"{node.name}/{part}" if part else node.name
            within = node.kind is Kind.DAG and not part
            yield from _spots(inner, (*containers, place), dag=within)


def _parts(node: Node) -> Iterator[tuple[str, Block]]:
    """Yield each block of a node with what it is called."""
    for number, block in enumerate(node.blocks):
        yield _part(node, number, block), block
    if node.undo is not None:
        yield "undo", node.undo
    yield from node.hooks


def _part(node: Node, number: int, block: Block) -> str:
    if block.default:
        return "otherwise"
    match node.kind:
        case Kind.IF:
            return ("then", "else")[number]
        case Kind.PARALLEL:
            return f"branch {number + 1}"
        case Kind.DECIDE | Kind.STEP | Kind.APPROVAL:
            return f"when {orjson.dumps(block.label).decode()}"
        case _:
            return "" if number == 0 else str(number)


# -- comparing


def compare(old: WorkflowDefinition, new: WorkflowDefinition) -> DefinitionDiff:
    """Return how *new* differs from *old*; steps are the same when their names are."""
    before, after = outline(old), outline(new)
    forms = _forms(old.to_json()), _forms(new.to_json())
    common = [name for name in before if name in after]
    changed = ((name, _changes(forms[0][name], forms[1][name])) for name in common)
    return DefinitionDiff(
        old=old,
        new=new,
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        moved=tuple(_moved(before, after)),
        changed=tuple(StepDiff(name, changes) for name, changes in changed if changes),
        settings=tuple(_differing(_settings(old), _settings(new))),
    )


def _settings(definition: WorkflowDefinition) -> dict[str, Json]:
    stored = definition.to_json()
    found = {key: value for key, value in stored.items() if key not in _IDENTITY}
    meta: Mapping[str, Json] = found.pop("meta", {})
    return {**found, **{f"meta.{key}": value for key, value in meta.items()}}


def _forms(stored: Json) -> dict[str, dict[str, Json]]:
    """Return the stored form of each node by name, without what it contains."""
    found: dict[str, dict[str, Json]] = {}
    waiting: list[Json] = [stored["root"]]
    while waiting:
        for node in waiting.pop()["nodes"]:
            found[node["name"]] = _form(node)
            waiting.extend(node.get("blocks", ()))
            waiting.extend([node["undo"]] if "undo" in node else [])
            waiting.extend(block for _, block in node.get("hooks", ()))
    return found


def _form(node: Mapping[str, Json]) -> dict[str, Json]:
    form: dict[str, Json] = {}
    for key, value in node.items():
        if key == "config":
            form.update({f"config.{name}": each for name, each in value.items()})
        elif key in _NAMED:
            prefix = "" if key == "exprs" else f"{key}."
            form.update({f"{prefix}{name}": each for name, each in value})
        elif key not in _WITHIN:
            form[key] = value
    cases = [(block.get("label"), block.get("default", False)) for block in node.get("blocks", ())]
    if cases:
        form["blocks"] = [["otherwise"] if default else label for label, default in cases]
    if "undo" in node:
        form["undo"] = True
    if node.get("hooks"):
        form["hooks"] = [name for name, _ in node["hooks"]]
    return form


def _changes(old: Mapping[str, Json], new: Mapping[str, Json]) -> tuple[Change, ...]:
    return tuple(_differing(old, new))


def _differing(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Change]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if orjson.dumps(before) != orjson.dumps(after):  # True is not 1 here
            yield Change(key, before, after)


def _moved(before: Mapping[str, Spot], after: Mapping[str, Spot]) -> Iterator[Moved]:
    common = [name for name in before if name in after]
    stayed: dict[tuple[str, ...], list[str]] = {}
    for name in common:
        here, there = before[name].containers, after[name].containers
        if here != there:
            yield Moved(name, here, there)
        elif not after[name].dag:
            stayed.setdefault(here, []).append(name)
    for containers, names in stayed.items():
        places = [len(after[name].before) for name in names]
        kept = _longest_rising(places)
        for number, name in enumerate(names):
            if number not in kept:
                yield Moved(name, containers, containers)


def _longest_rising(values: Sequence[int]) -> set[int]:
    """Return the positions of a longest rising subsequence: what kept its order.

    Source: patience sorting, as in Fredman, "On computing the length of longest increasing
    subsequences" (1975).
    """
    tops: list[int] = []  # position of the smallest last value of a sequence of each length
    previous: list[int | None] = []
    for position, value in enumerate(values):
        length = bisect_left([values[top] for top in tops], value)
        previous.append(tops[length - 1] if length else None)
        tops[length : length + 1] = [position]
    kept: set[int] = set()
    position_or_none = tops[-1] if tops else None
    while position_or_none is not None:
        kept.add(position_or_none)
        position_or_none = previous[position_or_none]
    return kept
