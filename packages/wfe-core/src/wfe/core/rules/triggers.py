"""When the steps of a DAG begin, and what becomes of those that never can.

States of steps, as a DAG's pointer keeps them in ``st``: ``r`` begun, ``d`` done, ``s`` skipped,
``c`` failed and passed over (``Continue()``), ``f`` failed, ``x`` never begun because of a failure.
For ``all``, ``any`` and ``depends_on_any`` a step is done when it is ``d``, ``c`` or, unless the
edge propagates skips, ``s``; for the others ``c``, ``f`` and ``x`` have failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from wfe.core.definition import Node

__all__ = ["Verdict", "handled", "verdict"]

Verdict: TypeAlias = Literal["run", "wait", "skip", "lost"]
"""``skip`` and ``lost``: it never begins; ``lost``: because of a failure (states ``s``, ``x``)."""

_HANDLERS: Final = ("all_done", "any_failed")
_FAILED: Final = frozenset("cfx")
_LOST: Final = frozenset("fx")
_ENDED: Final = frozenset("dscfx")


def verdict(node: Node, states: Mapping[str, str]) -> Verdict:
    """Return what is to be done with a step that has not begun.

    It depends only on what became of each step that it needs, never on the order in which they
    ended.
    """
    found = {_of_needs(node, states)}
    if node.needs_any:
        found.add(_any(_seen(node, node.needs_any, states)))
    for each in ("lost", "wait", "skip"):
        if each in found:
            return each
    return "run"


def handled(nodes: Iterable[Node]) -> frozenset[str]:
    """Return the steps whose failure does not cancel the others even when failing fast.

    These are the ones that a step with the trigger ``all_done`` or ``any_failed`` needs, itself or
    by way of others.
    """
    needs = {n.name: (*n.needs, *n.needs_any) for n in nodes}
    open_ = [name for n in nodes if n.trigger in _HANDLERS for name in n.needs]
    found: set[str] = set()
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_.extend(needs.get(name, ()))
    return frozenset(found)


def _seen(node: Node, needs: Sequence[str], states: Mapping[str, str]) -> list[str]:
    """Return the states of *needs* with ``p`` for skips that propagate, ``""`` before the end."""
    propagates = node.config.get("propagates", ())
    found: list[str] = []
    for name in needs:
        state = states.get(name, "r")
        state = state if state in _ENDED else ""
        found.append("p" if state == "s" and name in propagates else state)
    return found


def _of_needs(node: Node, states: Mapping[str, str]) -> Verdict:
    seen = _seen(node, node.needs, states)
    if not seen:
        return "run"
    match node.trigger:
        case "any":
            return _any(seen)
        case "all_done":
            return "run" if all(seen) else "wait"
        case "any_failed":
            return _any_failed(seen)
        case "none_failed":
            return _all(seen, _FAILED)
        case _:
            return _all(seen, _LOST)


def _all(seen: Sequence[str], failures: frozenset[str]) -> Verdict:
    if not failures.isdisjoint(seen):
        return "lost"
    if not all(seen):
        return "wait"
    return "skip" if "p" in seen else "run"


def _any(seen: Sequence[str]) -> Verdict:
    if any(state in ("d", "c", "s") for state in seen):
        return "run"
    if not all(seen):
        return "wait"
    return "skip" if _LOST.isdisjoint(seen) else "lost"


def _any_failed(seen: Sequence[str]) -> Verdict:
    if not _FAILED.isdisjoint(seen):
        return "run"
    return "skip" if all(seen) else "wait"
