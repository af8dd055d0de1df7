"""Undoing what completed: one step after the other, the last one first.

A frame is the pointer of a saga, or of a step that is undone alone.  While it is undone its
extra ``undoing`` says what follows: ``["retry", delay µs, info]``, ``["suspend", error, info]``,
``["failed", then, error]``, ``["ended", outcome]`` when its hooks have run already, or another
outcome of ``wfe.core.rules.leaving``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfe.core.definition import Kind
from wfe.core.rules import failing, flow, leaving
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer

__all__ = ["begin", "undoable", "undone_one"]


def undoable(draft: Draft, pointer: Pointer) -> bool:
    """Whether *pointer* is a saga in which something completed that can be undone."""
    return draft.place(pointer).node.kind is Kind.SAGA and draft.log(pointer.id) is not None


def begin(
    draft: Draft, pointer: Pointer, after: list[Any], error: Mapping[str, Any] | None = None
) -> None:
    """Undo what the frame *pointer* has in its log; no branch in it is live any more."""
    draft.row("saga_compensating", pointer, {"error": error} if error else None)
    if draft.place(pointer).node.kind is not Kind.SAGA:  # alone: it is all that is undone
        draft.push(pointer.id, pointer)
    pointer = failing.reset(draft, pointer)
    pointer = draft.extra(pointer, undoing=after, live=1)
    _next(draft, draft.turn(pointer, flow.RUNNING, wake=None))


def _next(draft: Draft, pointer: Pointer) -> None:
    node = draft.place(pointer).node
    log = draft.log(pointer.id)
    if log is None and node.kind is Kind.SAGA and node.undo and "own" not in pointer.extra:
        pointer = draft.extra(pointer, own=True)
        draft.push(pointer.id, pointer)
        log = draft.log(pointer.id)
    if log is None:
        _over(draft, pointer)
        return
    entry = log[0]
    undo = draft.plan.places[entry.step].node.undo
    if undo is None or not undo.nodes:
        undone_one(draft, pointer)
        return
    flow.enter(draft, undo.nodes[0], pointer.id, {"rounds": entry.rounds, **flow.carried(pointer)})


def undone_one(draft: Draft, pointer: Pointer) -> None:
    """The step on top of the log is undone."""
    log = draft.log(pointer.id)
    if log is None:  # pragma: no cover - what is being undone is on top of the log
        return
    undone = Pointer(log[0].pointer, log[0].step, None, "", 0, None, {})
    draft.row("step_compensated", undone)
    draft.pop(pointer.id)
    _next(draft, pointer)


def _over(draft: Draft, pointer: Pointer) -> None:
    after: list[Any] = pointer.extra["undoing"]
    pointer = draft.extra(pointer, undoing=None, own=None, live=None)
    match after:
        case ["retry", delay, info]:
            failing.again(draft, pointer, draft.now + delay, info)
        case ["suspend", error, info]:
            failing.suspend(draft, pointer, error, info)
        case ["failed", then, error]:
            # What was undone is not there to go on from: a retry of the run begins it anew.
            error = {**error, "at": draft.seq, "by": pointer.id}
            failing.give_up(draft, pointer, then, error, {"error": error})
        case ["ended", outcome]:
            leaving.end(draft, pointer, outcome)
        case _:
            leaving.leave(draft, pointer, after)
