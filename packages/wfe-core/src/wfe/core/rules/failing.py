"""What a failure leads to: another attempt, an undo, a suspension, the failure of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wfe.core.definition import Kind
from wfe.core.models import PointerStatus, WorkflowStatus, to_micros
from wfe.core.policies import (
    Compensate,
    CompensateThenSuspend,
    Continue,
    ErrorPolicy,
    Fail,
    Retry,
    Suspend,
    Terminate,
)
from wfe.core.rules import flow, leaving, recording, undoing
from wfe.core.rules.draft import Draft
from wfe.core.rules.state import Pointer
from wfe.core.rules.triggers import handled

__all__ = [
    "FAILED",
    "KEPT",
    "again",
    "fail",
    "give_up",
    "outwards",
    "reset",
    "resume_failed",
    "suspend",
]

_SLEEPING: Final = PointerStatus.SLEEPING.value
FAILED: Final = PointerStatus.FAILED.value

KEPT: Final = frozenset({"index", "cur", "since", "memory", "rounds", "call", "began", "joined"})
"""Extras that outlive an attempt."""

_OWN: Final = frozenset({Kind.STEP, Kind.FUNCTION, Kind.ACTIVITY, Kind.CALL})
"""Kinds whose failures were looked at when the exception was there."""

_THEN: Final[Mapping[type, str]] = {
    Fail: "fail",
    Terminate: "terminate",
    Continue: "continue",
    Compensate: "compensate",
}


def fail(
    draft: Draft,
    pointer: Pointer,
    error: Mapping[str, Any],
    *,
    retryable: bool = True,
    spread: float = 0.0,
    info: Mapping[str, Any] | None = None,
    policy: ErrorPolicy | None = None,
) -> None:
    """Decide what follows when a step, or a container because of a branch, failed.

    Args:
        draft: The transition.
        pointer: What failed; a container has no live branch any more.
        error: ``type``, ``message``, ``step``; ``stop``: the run is to be terminated.
        retryable: Whether another attempt makes sense.
        spread: -1 to 1, where in the jitter's range a pause falls.
        info: More for the history.
        policy: Instead of the node's own.
    """
    policy = policy or draft.place(pointer).policy
    if error.get("stop"):
        policy = Terminate()
    elif error.get("recovers") == pointer.id and draft.place(pointer).node.on_error is None:
        policy = Compensate()  # a step in this saga asked for it, and the saga says nothing else
    shown = {"error": error, **(info or {})}
    undoes = isinstance(policy, Retry) and policy.compensate
    if isinstance(policy, Retry):
        used = pointer.attempt - pointer.extra.get("since", 0)
        delay = policy.delay(used, spread)
        left = policy.max_retries is None or used < policy.max_retries
        wanted = draft.place(pointer).node.kind in _OWN or _wants(policy, error)
        if retryable and wanted and left and _in_time(draft, pointer, policy, delay):
            if not _undone_first(draft, pointer, ["retry", delay, shown], undoes, error):
                again(draft, pointer, draft.now + delay, shown)
            return
        policy = policy.then
    if isinstance(policy, Suspend | CompensateThenSuspend):
        undoes = undoes or isinstance(policy, CompensateThenSuspend)
        if not _undone_first(draft, pointer, ["suspend", error, shown], undoes, error):
            suspend(draft, pointer, error, shown)
        return
    _finally(draft, pointer, policy, error, shown, undoes=undoes)


def _wants(policy: Retry, error: Mapping[str, Any]) -> bool:
    return policy.wants_named(error["type"], error.get("labels", ()))


def _in_time(draft: Draft, pointer: Pointer, policy: Retry, delay: int) -> bool:
    """Whether another attempt would begin early enough after the first one."""
    if policy.max_time is None or "began" not in pointer.extra:
        return True
    began: int = pointer.extra["began"]
    return draft.now + delay - began <= to_micros(policy.max_time)


def _finally(
    draft: Draft,
    pointer: Pointer,
    policy: ErrorPolicy,
    error: Mapping[str, Any],
    shown: Mapping[str, Any],
    *,
    undoes: bool,
) -> None:
    """The last attempt failed."""
    then = _THEN[type(policy)]
    saga = draft.place(pointer).node.kind is Kind.SAGA
    around = None if saga else draft.frame(pointer)
    if then == "compensate":
        undoes = True
        if around is not None:  # inside a saga it starts the undo of that
            then = "fail"
            error = {**error, "recovers": around.id}
    if around is not None and then in ("fail", "terminate"):
        give_up(draft, pointer, then, error, shown, frame=around)
    elif not _undone_first(draft, pointer, ["failed", then, error], undoes, error):
        give_up(draft, pointer, then, error, shown)


def _undone_first(
    draft: Draft, pointer: Pointer, after: list[Any], undoes: bool, error: Mapping[str, Any]
) -> bool:
    """Begin the undo that comes before *after*; ``False``: there is nothing to undo."""
    node = draft.place(pointer).node
    if node.kind is not Kind.SAGA:
        if not undoes or node.undo is None:
            return False
    elif draft.log(pointer.id) is None and node.undo is None:
        return False
    undoing.begin(draft, pointer, after, error)
    return True


def give_up(
    draft: Draft,
    pointer: Pointer,
    then: str,
    error: Mapping[str, Any],
    shown: Mapping[str, Any],
    *,
    frame: Pointer | None = None,
) -> None:
    """A node has failed for good, and whatever was to be undone in it is undone.

    Args:
        draft: The transition.
        pointer: The node.
        then: ``fail``, ``continue``, ``compensate`` or ``terminate``.
        error: Its error.
        shown: For the history.
        frame: The saga around it, which undoes it: it may have had half its effect.
    """
    node = draft.place(pointer).node
    # A container that went on after a failure is tried again with what ended since.
    settled = pointer.extra.get("live") == 0 and "lost" in pointer.extra
    if "at" not in error or settled:
        error = {**error, "at": draft.seq, "by": pointer.id}
    draft.row("step_failed", pointer, {**shown, "error": error})
    if then in ("continue", "compensate"):
        recording.passed_over(draft, pointer)
    if frame is not None and node.undo is not None:
        draft.push(frame.id, pointer)
    leaving.leave(draft, pointer, ["failed", then, error])


def again(draft: Draft, pointer: Pointer, wake: int, info: Mapping[str, Any]) -> None:
    """Try *pointer* again at *wake* (µs)."""
    draft.row("step_retrying", pointer, {**info, "wake": wake})
    pointer = reset(draft, pointer)
    policy = draft.place(pointer).policy
    if isinstance(policy, Retry) and policy.max_time is not None and "began" not in pointer.extra:
        pointer = draft.extra(pointer, began=info.get("started") or draft.now)
    draft.turn(pointer, _SLEEPING, attempt=pointer.attempt + 1, wake=wake)


def reset(draft: Draft, pointer: Pointer) -> Pointer:
    """Forget what the failed attempt left: a container that tries again begins anew."""
    draft.let_go(pointer)
    gone = {key: None for key in pointer.extra if key not in KEPT}
    return draft.extra(pointer, **gone) if gone else pointer


def suspend(
    draft: Draft, pointer: Pointer, error: Mapping[str, Any], info: Mapping[str, Any]
) -> None:
    """Suspend the run; ``resume`` tries *pointer* again."""
    draft.row("step_failed", pointer, info)
    pointer = reset(draft, pointer)
    draft.turn(pointer, FAILED, wake=None)
    draft.row("workflow_suspended", None, {"error": error, "reason": error["message"]})
    draft.become(WorkflowStatus.SUSPENDED, error)


def resume_failed(draft: Draft) -> None:
    """Make the steps that suspended the run pending again, with all their retries."""
    for pointer in list(draft.live()):
        if pointer.status == FAILED:
            draft.extra(pointer, since=pointer.attempt + 1, began=None)
            draft.turn(pointer, flow.PENDING, attempt=pointer.attempt + 1)


def outwards(draft: Draft, pointer: Pointer, error: Mapping[str, Any]) -> None:
    """Hand the failure of a branch, whose pointer is dropped, to its container."""
    if pointer.parent is None:
        status = WorkflowStatus.TERMINATED if error.get("stop") else WorkflowStatus.FAILED
        leaving.finalize(draft, status, error)
        return
    container = draft.pointer(pointer.parent)
    if container is None:  # pragma: no cover - no branch outlives its container
        return
    if "undoing" in container.extra and error.get("stop"):
        container = draft.extra(container, undoing=None, own=None, live=None)
        leaving.leave(draft, container, ["failed", "terminate", error])
    elif "hooks" in container.extra:
        leaving.hook_over(draft, container, error)
    elif "closing" in container.extra or "undoing" in container.extra:
        if error.get("stop") and container.extra.get("closing", ["end"])[0] != "end":
            container = draft.extra(container, closing=["fail", dict(error)])
        flow.branch_over(draft, container.id, pointer, state="f")
    elif not error.get("stop") and _goes_on(draft, container, pointer.step):
        _note_lost(draft, container, pointer, error)
        flow.branch_over(draft, container.id, pointer, state="f")
    elif container.extra["live"] > 1:
        container = draft.extra(container, live=container.extra["live"] - 1)
        leaving.close(draft, container, ["fail", _first(container, error)])
    else:
        if "lost" in container.extra:  # a retry begins with all that was lost, this one too
            _note_lost(draft, container, pointer, error)
        fail(draft, draft.extra(container, live=0), _first(container, error))


def _first(container: Pointer, error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what failed first: a failure that a DAG went on after, else *error*."""
    if error.get("stop"):
        return error
    found: Mapping[str, Any] | None = container.extra.get("error")
    return error if found is None else {**found, "at": error["at"], "by": error["by"]}


def _note_lost(draft: Draft, container: Pointer, branch: Pointer, error: Mapping[str, Any]) -> None:
    """Keep the error of a branch that the others go on after, and where a retry begins it."""
    if "lost" not in container.extra:  # runs that began before it was kept have the error alone
        container = draft.extra(
            container, error=container.extra.get("error") or dict(error), lost={}
        )
    draft.entry(container, "lost", str(branch.id), [error["at"], error["by"]])


def _goes_on(draft: Draft, container: Pointer, failed: str) -> bool:
    """Whether the other branches of *container* go on although one failed."""
    node = draft.place(container).node
    if node.config.get("fail_fast", True) is False:
        return True
    return node.kind is Kind.DAG and failed in handled(node.blocks[0].nodes)
