"""What a failure leads to: another attempt, a suspension, or the failure of what is around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.policies import Continue, Fail, Retry, Suspend, Terminate
from wfe.core.rules.draft import Draft
from wfe.core.rules.flow import PENDING, branch_over, close, finalize, proceed
from wfe.core.rules.state import Pointer

__all__ = ["fail", "resume_failed"]

_SLEEPING: Final = PointerStatus.SLEEPING.value
_FAILED: Final = PointerStatus.FAILED.value

_KEPT: Final = frozenset({"index", "cur", "since", "memory"})
"""Extras that outlive an attempt."""


def fail(
    draft: Draft,
    pointer: Pointer,
    error: Mapping[str, Any],
    *,
    retryable: bool = True,
    spread: float = 0.0,
    info: Mapping[str, Any] | None = None,
) -> None:
    """Decide what follows when a step, or a container because of a branch, failed.

    Args:
        draft: The transition.
        pointer: What failed; a container has no live branch any more.
        error: ``type``, ``message``, ``step``.
        retryable: Whether another attempt makes sense.
        spread: -1 to 1, where in the jitter's range a pause falls.
        info: More for the history.
    """
    policy = draft.place(pointer).policy
    shown = {"error": error, **(info or {})}
    if isinstance(policy, Retry):
        used = pointer.attempt - pointer.extra.get("since", 0)
        if retryable and (policy.max_retries is None or used < policy.max_retries):
            _again(draft, pointer, draft.now + policy.delay(used, spread), shown)
            return
        policy = policy.then
    if isinstance(policy, Suspend):
        _suspend(draft, pointer, error, shown)
        return
    draft.row("step_failed", pointer, shown)
    draft.drop(pointer)
    match policy:
        case Continue():
            proceed(draft, pointer)
        case Terminate():
            finalize(draft, WorkflowStatus.TERMINATED, error)
        case Fail():
            _outwards(draft, pointer, error)


def _again(draft: Draft, pointer: Pointer, wake: int, info: Mapping[str, Any]) -> None:
    draft.row("step_retrying", pointer, {**info, "wake": wake})
    _reset(draft, pointer)
    if "wait" in pointer.extra:
        draft.end_wait(pointer)
    draft.turn(pointer, _SLEEPING, attempt=pointer.attempt + 1, wake=wake)


def _reset(draft: Draft, pointer: Pointer) -> None:
    """Forget what the failed attempt left: a container that tries again begins anew."""
    gone = {key: None for key in pointer.extra if key not in _KEPT}
    if gone:
        draft.extra(pointer, **gone)


def _suspend(
    draft: Draft, pointer: Pointer, error: Mapping[str, Any], info: Mapping[str, Any]
) -> None:
    draft.row("step_failed", pointer, info)
    _reset(draft, pointer)
    if "wait" in pointer.extra:
        draft.end_wait(pointer)
    draft.turn(pointer, _FAILED, wake=None)
    draft.row("workflow_suspended", None, {"error": error, "reason": error["message"]})
    draft.become(WorkflowStatus.SUSPENDED, error)


def resume_failed(draft: Draft) -> None:
    """Make the steps that suspended the run pending again, with all their retries."""
    for pointer in list(draft.live()):
        if pointer.status == _FAILED:
            draft.extra(pointer, since=pointer.attempt + 1)
            draft.turn(pointer, PENDING, attempt=pointer.attempt + 1)


def _outwards(draft: Draft, pointer: Pointer, error: Mapping[str, Any]) -> None:
    """Hand the failure of a branch to its container."""
    if pointer.parent is None:
        finalize(draft, WorkflowStatus.FAILED, error)
        return
    container = draft.pointer(pointer.parent)
    if container is None:
        return
    node = draft.place(container).node
    if "closing" in container.extra:
        branch_over(draft, container.id, pointer, state="f")
    elif node.config.get("fail_fast", True) is False:
        if "error" not in container.extra:
            draft.extra(container, error=dict(error))
        branch_over(draft, container.id, pointer, state="f")
    elif container.extra["live"] > 1:
        close(draft, draft.extra(container, live=container.extra["live"] - 1), ["fail", error])
    else:
        container = draft.extra(container, live=0)
        fail(draft, container, error)
