"""Clearing a container out: what in it is cancelled at once, and what must be waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.lean import define
from wfe.core.models import PointerStatus
from wfe.core.providers import GENTLY, Message
from wfe.core.rules.draft import Draft
from wfe.core.rules.plan import CONTAINERS
from wfe.core.rules.state import Pointer

__all__ = [
    "CANCELLED",
    "Clearing",
    "clear_out",
    "drop_calls",
    "end_child",
    "may_run",
    "must_wait",
]

CANCELLED: Final = PointerStatus.CANCELLED.value
_PENDING: Final = PointerStatus.PENDING.value
_RUNNING: Final = PointerStatus.RUNNING.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_MAY_RUN: Final = frozenset({_PENDING, CANCELLED})


@define(kw_only=True)
class Clearing:
    """One container being cleared out.

    Attributes:
        draft: The transition.
        undo: Whether sagas inside are undone.
        left: Containers that a branch went out of, so that they are not undone.
        word: The outcome of what is cancelled.
        children: Live pointers by container, what was opened last first.
        ripe: Pointers in which nothing is left to wait for: they can be ended.
    """

    draft: Draft
    undo: bool
    left: frozenset[int]
    word: str
    children: Mapping[int, list[Pointer]]
    ripe: list[int] = attrs.field(factory=list[int])


def clear_out(
    draft: Draft, pointer: Pointer, left: frozenset[int], *, undo: bool
) -> tuple[int, list[int]]:
    """Cancel what is inside of *pointer*.

    Returns:
        How many branches in it must be waited for, and which of these can be ended now.
    """
    word = "cancelled" if undo else "aborted"
    clearing = Clearing(draft=draft, undo=undo, left=left, word=word, children=_children(draft))
    waiting = _clear(clearing, pointer.id, pointer.id)
    draft.extra(pointer, live=waiting)
    return waiting, clearing.ripe


def _children(draft: Draft) -> dict[int, list[Pointer]]:
    children: dict[int, list[Pointer]] = {}
    for pointer in draft.live():
        if pointer.parent is not None:
            children.setdefault(pointer.parent, []).append(pointer)
    for inside in children.values():
        inside.sort(key=lambda pointer: -pointer.id)
    return children


def _clear(clearing: Clearing, container: int, home: int) -> int:
    """End what stands in *container*; what is waited for moves to *home*; return how many."""
    waiting = 0
    for inner in clearing.children.get(container, ()):
        if "live" in inner.extra:
            waiting += _clear_container(clearing, inner, home)
        else:
            waiting += _clear_leaf(clearing, inner, home)
    return waiting


def _clear_container(clearing: Clearing, inner: Pointer, home: int) -> int:
    draft, extra = clearing.draft, inner.extra
    node = draft.place(inner).node
    if "hooks" in extra:  # they clean up: they run to their end
        leaving = extra["leaving"]
        done = leaving[0] == "done" or (leaving[0] in ("cancelled", "aborted") and leaving[1])
        _take(clearing, inner, home, {**extra, "leaving": [clearing.word, done]})
        return 1
    if "undoing" in extra and clearing.undo:
        _take(clearing, inner, home, {**extra, "undoing": ["cancelled", False]})
        return 1
    saga = node.kind is Kind.SAGA and (clearing.undo or inner.id in clearing.left)
    if not (saga or cleans_up(node)):
        waiting = _clear(clearing, inner.id, home)
        draft.drop(inner)  # not before: what moves out of it takes along what it sees of it
        return waiting
    outcome = ["left"] if inner.id in clearing.left else [clearing.word, False]
    kept = {key: value for key, value in extra.items() if key not in ("undoing", "own", "error")}
    moved = _take(clearing, inner, home, {**kept, "closing": outcome})
    waiting = _clear(clearing, inner.id, inner.id)
    draft.extra(moved, live=waiting)
    if not waiting:
        clearing.ripe.append(inner.id)
    return 1


def _take(clearing: Clearing, inner: Pointer, home: int, extra: Mapping[str, Any]) -> Pointer:
    """Move a pointer to *home* with what it sees of the for-each steps around it."""
    if inner.parent == home:
        return clearing.draft.move(inner, home, inner.status, extra)
    seen = {"rounds": clearing.draft.rounds(inner)}
    return clearing.draft.move(inner, home, inner.status, {**extra, **seen})


def _clear_leaf(clearing: Clearing, inner: Pointer, home: int) -> int:
    draft = clearing.draft
    node = draft.place(inner).node
    if may_run(draft, inner):
        if node.kind in CONTAINERS and inner.status == _PENDING:
            return _clear_waiting(
                clearing, inner, home, begun="turns" in inner.extra or inner.attempt > 0
            )
        for call in clearing.children.get(inner.id, ()):
            cancel(draft, call)
        told = cleans_up(node) or draft.place(inner).looped
        extra = {"rounds": draft.rounds(inner)} if told else {}
        if "joined" in inner.extra:
            extra["joined"] = inner.extra["joined"]
        ending = {} if clearing.undo else {"ending": ["aborted", False]}
        draft.let_go(inner)
        draft.move(inner, home, CANCELLED, {**extra, **ending})
        return 1
    return _clear_waiting(clearing, inner, home, begun=True)


def _clear_waiting(clearing: Clearing, inner: Pointer, home: int, *, begun: bool) -> int:
    """End a pointer in which nothing runs; its hooks run if it had *begun*."""
    draft = clearing.draft
    if not begun or not cleans_up(draft.place(inner).node):
        cancel(draft, inner)
        return 0
    end_child(draft, inner)
    _take(clearing, inner, home, {**inner.extra, "closing": [clearing.word, False]})
    clearing.ripe.append(inner.id)
    return 1


def cleans_up(node: Node) -> bool:
    """Whether something runs when *node* is cancelled."""
    return bool(node.hooks) and any(n in ("on_abort", "ensure") and b.nodes for n, b in node.hooks)


def may_run(draft: Draft, pointer: Pointer) -> bool:
    """Whether the body of *pointer* may be running somewhere."""
    if pointer.status in _MAY_RUN:
        return True
    wake = pointer.wake
    return pointer.status == _SLEEPING and wake is not None and wake <= draft.now


def cancel(draft: Draft, pointer: Pointer) -> None:
    """Drop a pointer that has no body running."""
    draft.row("step_cancelled", pointer)
    draft.drop(pointer)
    end_child(draft, pointer)


def drop_calls(draft: Draft, pointer: Pointer) -> None:
    """Drop the calls of a durable function that ends."""
    for call in [each for each in draft.live() if each.parent == pointer.id]:
        cancel(draft, call)


def end_child(draft: Draft, pointer: Pointer) -> None:
    """Terminate the sub-workflow that *pointer* waits for, unless it is to be left alone."""
    child = pointer.extra.get("child")
    if child is not None and "abandon" not in pointer.extra:
        reason = "its parent cancelled it"
        draft.send(Message(target=child, kind="terminate", payload=GENTLY, reason=reason))


def must_wait(draft: Draft, left: frozenset[int], *, undo: bool) -> bool:
    """Whether hooks or undos must run before the run can end."""
    for pointer in draft.live():
        if undo and "joined" in pointer.extra and draft.frame(pointer) is not None:
            return True  # it is done, so the saga around it undoes it
        place = draft.place(pointer)
        if place.bare:
            continue
        if cleans_up(place.node) or "hooks" in pointer.extra:
            return True
        if undo and "undoing" in pointer.extra:
            return True
        saga = place.node.kind is Kind.SAGA and pointer.id not in left
        if undo and (saga and draft.log(pointer.id) is not None):
            return True
    return False
