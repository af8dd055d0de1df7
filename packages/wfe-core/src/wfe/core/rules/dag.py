"""Nodes that depend on one another: what begins when, what is skipped.

What became of a node, in its container's ``st``: ``r`` begun, ``d`` done, ``c`` failed and
passed over, ``s`` skipped, ``f`` failed, ``x`` can never begin because something failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wfe.core.definition import Node
from wfe.core.rules import flow
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer

__all__ = ["node_over", "open_dag", "spared"]

_ENDED: Final = frozenset("dcsfx")
_FAILED: Final = frozenset("cfx")
_LOST: Final = frozenset("fx")
_WAITING: Final = ""


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
    ready = [n for n in node.blocks[0].nodes if n.name not in states and _fate(n, states) == "r"]
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
            fate = _WAITING if inner.name in states else _fate(inner, states)
            if fate in ("s", "x"):
                draft.note("step_skipped", inner.name)
                pointer = draft.entry(pointer, "st", inner.name, fate)
                found = True
    return pointer


def _fate(node: Node, states: Mapping[str, str]) -> str:
    """Return ``r`` when *node* may begin, ``s`` or ``x`` when it never can, else nothing."""
    first = _TRIGGERS[node.trigger](node, states) if node.needs else "r"
    if not node.needs_any:
        return first
    return _both(first, _any([states.get(name, _WAITING) for name in node.needs_any]))


def _both(first: str, second: str) -> str:
    """Combine two conditions that must both hold."""
    for never in ("x", "s", _WAITING):
        if never in (first, second):
            return never
    return "r"


def _seen(node: Node, states: Mapping[str, str]) -> list[str]:
    """Return what became of each need: a skipped one counts as done unless its edge says no."""
    propagates = node.config.get("propagates", ())
    found = [(name, states.get(name, _WAITING)) for name in node.needs]
    return ["d" if state == "s" and name not in propagates else state for name, state in found]


def _all(node: Node, states: Mapping[str, str]) -> str:
    needs = _seen(node, states)
    if any(state in _LOST for state in needs):
        return "x"
    if "s" in needs:
        return "s"
    return "r" if _ended(needs) else _WAITING


def _any_need(node: Node, states: Mapping[str, str]) -> str:
    return _any(_seen(node, states))


def _any(needs: list[str]) -> str:
    if any(state in "dc" and state for state in needs):
        return "r"
    if not _ended(needs):
        return _WAITING
    return "x" if any(state in _LOST for state in needs) else "s"


def _all_done(node: Node, states: Mapping[str, str]) -> str:
    return "r" if _ended(_seen(node, states)) else _WAITING


def _any_failed(node: Node, states: Mapping[str, str]) -> str:
    needs = _seen(node, states)
    if any(state in _FAILED for state in needs):
        return "r"
    return "s" if _ended(needs) else _WAITING


def _none_failed(node: Node, states: Mapping[str, str]) -> str:
    needs = _seen(node, states)
    if any(state in _FAILED for state in needs):
        return "x"
    return "r" if _ended(needs) else _WAITING


def _ended(needs: list[str]) -> bool:
    return all(state in _ENDED for state in needs)


_TRIGGERS: Final = {
    "all": _all,
    "any": _any_need,
    "all_done": _all_done,
    "any_failed": _any_failed,
    "none_failed": _none_failed,
}


def spared(node: Node, name: str) -> bool:
    """Whether something in the DAG *node* is there for a failure of *name*.

    Then a failure does not cancel the others: who waits for all to end, or for a failure, must
    see it.
    """
    reached = {name}
    for _ in node.blocks[0].nodes:
        for inner in node.blocks[0].nodes:
            if inner.name in reached or not reached & {*inner.needs, *inner.needs_any}:
                continue
            if inner.trigger in ("all_done", "any_failed"):
                return True
            reached.add(inner.name)
    return False
