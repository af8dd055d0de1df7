"""Turns what is stored into what users see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from wfe.core.codec import decode
from wfe.core.data import DataModel
from wfe.core.engine.ids import shown_name
from wfe.core.models import (
    ErrorInfo,
    ExecutionPointer,
    HistoryEntry,
    PointerStatus,
    WorkflowInstance,
    WorkflowStatus,
    from_micros,
)
from wfe.core.providers import Loaded, Row, StoredInstance
from wfe.core.rules.state import Pointer, State, apply, state_from_json
from wfe.core.steps import InstanceRef
from wfe.core.texts import plain

__all__ = ["entry_of", "instance_of", "questions_in", "state_of"]


def state_of(loaded: Loaded) -> tuple[State, int, int]:
    """Fold what was loaded; return (state, bytes of its snapshot, bytes of its tail)."""
    snapshot = loaded.snapshot
    if snapshot is None:
        state = State()
        size = 0
    else:
        state = state_from_json(plain(snapshot.state), plain(snapshot.data))
        size = len(snapshot.state) + len(snapshot.data)
    tail = 0
    for row in loaded.tail:
        apply(state, plain(row.event))
        tail += len(row.event)
    _set_aside(state, loaded.header)
    return state, size, tail


def questions_in(loaded: Loaded) -> tuple[Mapping[int, Pointer], list[Pointer]]:
    """Return all pointers, and those that wait for an approval that nobody has given.

    An answer that the run has not taken yet is an answer.
    """
    pointers = state_of(loaded)[0].pointers
    answers = [orjson.loads(row.payload) for row in loaded.inbox if row.kind == "approve"]
    answered = {answer["pointer"] for answer in answers}
    asking = [each for each in pointers.values() if "approval" in each.extra]
    return pointers, [each for each in asking if each.id not in answered]


def _set_aside(state: State, header: StoredInstance) -> None:
    """Take over a suspension that only the header has: nothing of such a run could be folded."""
    aside = header.status == WorkflowStatus.SUSPENDED and header.error is not None
    if aside and state.status == WorkflowStatus.RUNNABLE:
        state.status, state.error = header.status, orjson.loads(header.error or "null")


def instance_of(
    ref: InstanceRef | StoredInstance,
    state: State,
    model: DataModel | None,
    created_at: int,
    completed_at: int | None,
) -> WorkflowInstance[Any]:
    """Return the public view of a run; *model* ``None``: data as a plain dict."""
    return WorkflowInstance(
        id=ref.id,
        name=_name(ref),
        definition=ref.definition,
        version=ref.version,
        status=WorkflowStatus(state.status),
        data=decode(state.data) if model is None else model.load(state.data),
        reference=ref.reference,
        error=_error(state.error),
        pointers=tuple(_pointer(pointer) for pointer in state.pointers.values()),
        created_at=from_micros(created_at),
        completed_at=None if completed_at is None else from_micros(completed_at),
        parent_id=ref.parent_id,
        root_id=ref.root_id,
    )


def _name(ref: InstanceRef | StoredInstance) -> str:
    if isinstance(ref, InstanceRef):
        return ref.name
    return shown_name(ref.name, ref.definition, ref.n)


def _pointer(pointer: Pointer) -> ExecutionPointer:
    return ExecutionPointer(
        id=pointer.id,
        step=pointer.step,
        status=PointerStatus(pointer.status),
        attempt=pointer.attempt,
        parent=pointer.parent,
        index=pointer.extra.get("index"),
        wake_at=None if pointer.wake is None else from_micros(pointer.wake),
        waits_for=_waits_for(pointer.extra),
    )


def _waits_for(extra: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if "wait" in extra:
        name, key = extra["wait"]
        return {"event": name, "key": key}
    if "approval" in extra:
        asked = extra["approval"]
        return {"approval": asked["prompt"], "options": tuple(asked["options"])}
    if "child" in extra:
        return {"child": extra["child_id"]}
    if "gate" in extra:
        return {"limits": list(extra["gate"])}
    found = {name: extra[name] for name in ("signal", "activity") if name in extra}
    return found or None


def _error(error: Mapping[str, Any] | None) -> ErrorInfo | None:
    if error is None:
        return None
    return ErrorInfo(error["type"], error["message"], error.get("step"))


def entry_of(row: Row) -> HistoryEntry:
    """Return a journal row as a history entry."""
    _, kind, pointer, step, attempt, info, ops = plain(row.event)
    shown = dict(info or {})
    changed = {name: value for op in ops if op[0] == "s" for name, value in op[1].items()}
    if changed:
        shown["changed"] = decode(changed)
    return HistoryEntry(
        seq=row.seq,
        at=from_micros(row.at),
        kind=kind,
        step=step,
        pointer=pointer,
        attempt=attempt,
        error=_error(shown.pop("error", None)),
        actor=shown.pop("actor", None),
        reason=shown.pop("reason", None),
        data=shown or None,
    )
