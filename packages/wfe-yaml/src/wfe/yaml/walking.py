"""Walk over the steps of a workflow as they are written, containers before what they contain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wfe.core.lean import frozen
from wfe.yaml.tree import ListNode, MapNode, Node, Scalar

__all__ = ["Written", "is_container", "label", "lists_of", "texts", "walk"]

_LISTS: Final = ("parallel", "do", "then", "else", "try", "saga", "default", "cases")
_HOOKS: Final = ("on_success", "on_failure", "on_error", "on_abort", "ensure", "compensate")


@frozen
class Written:
    """A step where it stands.

    Attributes:
        around: The steps that contain it, or whose hook it is, outermost first.
    """

    step: MapNode
    around: tuple[MapNode, ...] = ()


def walk(steps: Node | None, around: tuple[MapNode, ...] = ()) -> Iterator[Written]:
    """Yield every step in a list (or in one step), at any depth."""
    for step in _steps(steps):
        yield Written(step, around)
        for key in (*_LISTS, *_HOOKS):
            for inner in _inner(step, key):
                yield from walk(inner, (*around, step))


def is_container(step: MapNode) -> bool:
    """Whether other steps stand in it; hooks do not count."""
    return any(key in step.entries for key in _LISTS)


def lists_of(steps: Node | None) -> Iterator[tuple[MapNode, ...]]:
    """Yield every list of steps that follow each other, at any depth."""
    yield _steps(steps)
    for step in _steps(steps):
        for key in (*_LISTS, *_HOOKS):
            for inner in _inner(step, key):
                yield from lists_of(inner)


def _inner(step: MapNode, key: str) -> Iterator[Node]:
    found = step.get(key)
    if key == "cases" and isinstance(found, MapNode):
        yield from (entry.value for entry in found.entries.values())
    elif key == "saga" and isinstance(found, MapNode):
        steps = found.get("steps")
        if steps is not None:
            yield steps
    elif found is not None:
        yield found


def _steps(node: Node | None) -> tuple[MapNode, ...]:
    if isinstance(node, MapNode):
        return (node,)
    items = node.items if isinstance(node, ListNode) else []
    return tuple(item for item in items if isinstance(item, MapNode))


def label(step: MapNode) -> str | None:
    """Return the id or name by which expressions read a step."""
    for key in ("id", "name"):
        node = step.get(key)
        if isinstance(node, Scalar):
            return node.value
    return None


def texts(node: Node | None, without: frozenset[int] = frozenset()) -> Iterator[str]:
    """Yield every text in *node*, keys too, but for the nodes whose ``id()`` is in *without*."""
    stack = [node]
    while stack:
        at = stack.pop()
        if at is None or id(at) in without:
            continue
        match at:
            case Scalar():
                yield (at.original or at).value
            case ListNode():
                stack += at.items
            case MapNode():
                yield from at.entries
                stack += [entry.value for entry in at.entries.values()]
