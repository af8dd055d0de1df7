"""Going on from an earlier state: retry, rewind, fork."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from wfe.core.models import PointerStatus
from wfe.core.providers import Message
from wfe.core.rules import failing, waiting
from wfe.core.rules.draft import Draft
from wfe.core.rules.inputs import Restored
from wfe.core.rules.state import (
    Pointer,
    State,
    apply,
    folded,
    log_to_json,
    pointers_to_json,
)

__all__ = ["as_of", "before_step", "go_on_from", "restored"]

_BEGUN_ANEW: Final = frozenset({"workflow_retried", "workflow_rewound", "workflow_forked"})
_PENDING: Final = PointerStatus.PENDING.value
_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_CANCELLED: Final = PointerStatus.CANCELLED.value
_BLOCKED: Final = PointerStatus.PENDING_PREDECESSOR.value
_RETRY: Final = '{"from_step":null}'


def go_on_from(draft: Draft, found: Restored) -> None:
    """Put an earlier state in place of the present one, inside the row that is being written.

    What waited for something outside waits anew, and what may have run runs again, as another
    attempt: nothing that is still under way elsewhere can be taken for its result.
    """
    if found.data is not None:
        draft.keep_only(found.data)
        for name, value in found.data.items():
            draft.overwrite(name, value)
    pointers = [pointer for pointer in map(_pointer, found.pointers) if not _asks_anew(pointer)]
    gates = {p.id: p.extra["held"] for p in pointers if "live" in p.extra and p.extra.get("held")}
    inside = {p.id: p.parent for p in pointers}
    revived = [
        _waiting(draft, pointer)
        if pointer.id in found.children
        else _revived(draft, pointer, found.failed)
        for pointer in pointers
    ]
    stored = [_behind(pointer, inside, gates) for pointer in revived]
    draft.restore(pointers_to_json(stored), found.logs, found.next)
    for key, gate in gates.items():
        container = draft.pointer(key)
        if container is not None:  # pragma: no branch - it was just put there
            waiting.wait_for_places(draft, container, gate)
    for pointer in pointers:
        if pointer.id in found.children:
            child: int = pointer.extra["child"]
            message = Message(
                target=child, kind="retry", payload=_RETRY, strict=True, allow_final=True
            )
            draft.send(message)


def _pointer(row: list[Any]) -> Pointer:
    return Pointer(*row)


def _asks_anew(pointer: Pointer) -> bool:
    """Whether a durable function makes this call again, for what it waited for is gone."""
    return "call" in pointer.extra and pointer.status == _WAITING


def _waiting(draft: Draft, pointer: Pointer) -> Pointer:
    """Return a pointer that waits for the sub-workflow that it has, with its whole time."""
    timeout = draft.place(pointer).node.timeout
    wake = None if timeout is None else draft.now + timeout
    extra = {**pointer.extra, "since": pointer.attempt}
    return _with(pointer, _WAITING, pointer.attempt, wake, extra)


def _revived(draft: Draft, pointer: Pointer, failed: Collection[int]) -> Pointer:
    extra = pointer.extra
    if pointer.status == _CANCELLED or _sleeps_on(draft, pointer, failed):
        return pointer
    if "live" in extra:
        until = None
        if "until" in extra:
            until = draft.now + (draft.place(pointer).node.timeout or 0)
            extra = {**extra, "until": until}
        return _with(pointer, pointer.status, pointer.attempt, until, extra)
    kept = {key: value for key, value in extra.items() if key in failing.KEPT}
    attempt = pointer.attempt + 1
    return _with(pointer, _PENDING, attempt, None, {**kept, "since": attempt})


def _sleeps_on(draft: Draft, pointer: Pointer, failed: Collection[int]) -> bool:
    """Whether a pointer sleeps, and no body of it can have begun since."""
    if pointer.status != _SLEEPING or "held" in pointer.extra or pointer.id in failed:
        return False
    return "slept" in pointer.extra or (pointer.wake or 0) > draft.now


def _behind(
    pointer: Pointer, inside: Mapping[int, int | None], gates: Mapping[int, Any]
) -> Pointer:
    """Hold a pointer back until the container around it has its places again."""
    if pointer.id in gates:
        extra = {key: value for key, value in pointer.extra.items() if key != "held"}
        return _with(pointer, _BLOCKED, pointer.attempt, None, extra)
    key = pointer.parent
    while key is not None and key not in gates:
        key = inside.get(key)
    if key is None or pointer.status not in (_PENDING, _SLEEPING):
        return pointer
    extra = {**pointer.extra, "behind": [key, pointer.status, pointer.wake]}
    return _with(pointer, _BLOCKED, pointer.attempt, None, extra)


def _with(
    pointer: Pointer, status: str, attempt: int, wake: int | None, extra: Mapping[str, Any]
) -> Pointer:
    return Pointer(pointer.id, pointer.step, pointer.parent, status, attempt, wake, extra)


def as_of(rows: Iterable[list[Any]], seq: int) -> State:
    """Return the state of a run after row *seq*; *rows* begin with row 0."""
    state = State()
    for row in rows:
        if state.seq >= seq:
            break
        apply(state, row)
    return state


def before_step(rows: Iterable[list[Any]], step: str) -> State | None:
    """Return the state in which *step* was about to begin last, ``None`` when it never was."""
    state = State()
    found: State | None = None
    for row in rows:
        known = state.next_pointer
        apply(state, row)
        began = any(op[0] == "p" and op[2] == step and op[1] >= known for op in row[6])
        info: Mapping[str, Any] = row[5] or {}
        if began or (row[1] in _BEGUN_ANEW and info.get("from") == step):
            found = folded(state, ())
    return found


def restored(
    state: State,
    data: Mapping[str, Any] | None,
    failed: frozenset[int] = frozenset(),
    children: frozenset[int] = frozenset(),
) -> Restored:
    """Return *state* as something to go on from.

    Args:
        state: An earlier one.
        data: What the data becomes; ``None``: it stays as it is now.
        failed: The pointers whose failure is tried again.
        children: Those whose sub-workflow, which failed or was terminated, goes on.
    """
    return Restored(
        pointers=pointers_to_json(state.pointers.values()),
        logs={str(frame): log_to_json(log) for frame, log in state.logs.items() if log},
        next=state.next_pointer,
        data=data,
        failed=failed,
        children=children,
    )
