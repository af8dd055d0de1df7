"""Nodes that depend on one another: beginning them, and skipping those that never can begin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wfe.core.definition import Node
from wfe.core.rules import flow
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer
from wfe.core.rules.triggers import verdict

__all__ = ["node_over", "open_dag"]

_NEVER: Final[Mapping[str, str]] = {"skip": "s", "lost": "x"}
_SAID: Final[Mapping[str, str]] = {
    "f": "failed",
    "x": "could not run",
    "c": "failed",
    "s": "was skipped",
}


def open_dag(draft: Draft, pointer: Pointer, node: Node) -> None:
    """Begin the nodes of a DAG that wait for nothing."""
    nodes = node.blocks[0].nodes
    ready = [inner for inner in nodes if not inner.needs and not inner.needs_any]
    pointer = draft.extra(pointer, live=len(ready), st={inner.name: "r" for inner in ready})
    if not ready:
        flow.finish(draft, pointer)
    for inner in ready:
        flow.enter(draft, inner, pointer.id, flow.carried(pointer))


def node_over(draft: Draft, pointer: Pointer, node: Node, name: str, state: str) -> None:
    """Node *name* of a DAG ended: begin what waited for it, skip what never can."""
    pointer = draft.entry(pointer, "st", name, state)
    pointer = _skip(draft, pointer, node)
    states = pointer.extra["st"]
    waiting = (inner for inner in node.blocks[0].nodes if inner.name not in states)
    ready = [inner for inner in waiting if verdict(inner, states) == "run"]
    for inner in ready:
        pointer = draft.entry(pointer, "st", inner.name, "r")
    if ready:
        pointer = draft.extra(pointer, live=pointer.extra["live"] + len(ready))
    for inner in ready:
        flow.enter(draft, inner, pointer.id, flow.carried(pointer))
    if not ready and pointer.extra["live"] == 0:
        flow.container_done(draft, pointer)


def _skip(draft: Draft, pointer: Pointer, node: Node) -> Pointer:
    """Mark what can never begin, and what can never begin because of that."""
    found = True
    while found:
        found = False
        for inner in node.blocks[0].nodes:
            states = pointer.extra["st"]
            fate = None if inner.name in states else _NEVER.get(verdict(inner, states))
            if fate is not None:
                draft.note("step_skipped", inner.name, _reason(inner, states))
                pointer = draft.entry(pointer, "st", inner.name, fate)
                found = True
    return pointer


def _reason(node: Node, states: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return why *node* never begins, by what it needs and did not get."""
    for state, said in _SAID.items():
        found = next((n for n in (*node.needs, *node.needs_any) if states.get(n) == state), None)
        if found is not None:
            return {"why": f"need {found!r} {said}"}
    return None
