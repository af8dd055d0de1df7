"""What messages from outside make of a run: control, signals, answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.rules import failing, leaving, waiting
from wfe.core.rules.draft import Draft
from wfe.core.rules.inputs import Answered, Received, Restored
from wfe.core.rules.reviving import go_on_from

__all__ = ["MESSAGES", "MessageRule"]

_CANCELLED: Final = PointerStatus.CANCELLED.value

MessageRule = Callable[[Draft, Received, Mapping[str, Any]], bool]
"""Takes a message and who sent it why; ``False``: it came too late to mean anything."""


def _suspend(draft: Draft, _message: Received, who: Mapping[str, Any]) -> bool:
    if draft.status == WorkflowStatus.SUSPENDED:
        return False
    draft.row("workflow_suspended", None, who or None)
    draft.become(WorkflowStatus.SUSPENDED)
    return True


def _resume(draft: Draft, _message: Received, who: Mapping[str, Any]) -> bool:
    if draft.status != WorkflowStatus.SUSPENDED:
        return False
    draft.row("workflow_resumed", None, who or None)
    _resumed(draft)
    return True


def _resumed(draft: Draft) -> None:
    _goes_on(draft)
    failing.resume_failed(draft)


def _goes_on(draft: Draft) -> None:
    draft.become(WorkflowStatus.RUNNABLE)
    if not any(True for _ in draft.live()):  # all was done while it was suspended
        leaving.complete(draft)


def _terminate(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    error = None
    if message.reason:
        error = waiting.error_of("WorkflowTerminatedError", message.reason)
    gently = bool(message.payload and message.payload.get("gently"))
    return leaving.stop(draft, WorkflowStatus.TERMINATED, error, who, gently=gently)


def _skip(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    pointer = draft.pointer(message.payload["pointer"])
    if pointer is None or pointer.status == _CANCELLED:
        return False
    if any(key in pointer.extra for key in ("closing", "hooks", "undoing")):
        return False  # it is ending already
    draft.row("step_skipped", pointer, who or None)
    leaving.end_pointer(draft, pointer, ["skipped"])
    if draft.status == WorkflowStatus.SUSPENDED:
        _resumed(draft)
    return True


def _patch(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    fields: Mapping[str, Any] = message.payload["fields"]
    draft.row("data_patched", None, {"fields": sorted(fields), **who})
    for name, value in fields.items():
        draft.overwrite(name, value)
    return True


def _retry(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    again = message.payload.get("from_step") or message.payload.get("to_step")
    if draft.status == WorkflowStatus.COMPLETE or (not draft.final and again is None):
        return False  # it completed meanwhile, or goes on already
    rewound = message.payload.get("to_step") is not None  # a failed run, by `rewind`
    return _restored(draft, "workflow_rewound" if rewound else "workflow_retried", message, who)


def _rewind(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    return _restored(draft, "workflow_rewound", message, who)


def _restored(draft: Draft, kind: str, message: Received, who: Mapping[str, Any]) -> bool:
    if not isinstance(message.found, Restored):
        return False
    step = message.payload.get("from_step") or message.payload.get("to_step")
    draft.row(kind, None, {**({"from": step} if step else {}), **who} or None)
    for pointer in draft.remaining():
        draft.let_go(pointer)
    go_on_from(draft, message.found)
    _goes_on(draft)
    return True


def _update(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    content = message.payload
    asked = {"update": content["id"], "name": content["name"], **who}
    said = message.found
    if not isinstance(said, Answered):
        return False
    if said.error is not None:
        draft.row("update_rejected", None, {**asked, "error": said.error})
        return True
    draft.row("update_completed", None, {**asked, "result": said.result})
    draft.write(said.writes)
    return True


MESSAGES: Final[Mapping[str, MessageRule]] = {
    "suspend": _suspend,
    "resume": _resume,
    "terminate": _terminate,
    "skip": _skip,
    "patch": _patch,
    "retry": _retry,
    "rewind": _rewind,
    "update": _update,
    "event": waiting.event,
    "signal": waiting.signal,
    "approve": waiting.approved,
    "activity_done": waiting.activity_done,
    "granted": waiting.granted,
    "child_done": waiting.child_done,
}
