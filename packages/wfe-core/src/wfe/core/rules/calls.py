"""The calls of durable functions: what each leaves in the journal, and what ends it.

A call that is done at once is one row of the function's pointer and nothing else.  A call that
lasts (a pause, a wait, a child, the pause before another attempt) is a pointer below the
function's, with the extra ``call``: its key.  Results stand in rows only, as ``info``:

============ ===============================================================================
``call``     the key: name, which use of it, and the strand of the function that made it
``n``        number of the call in its strand
``hash``     of its arguments
``site``     where it was made
``result``   what it gave, in stored form
``error``    why it failed
``again``    of a ``step_failed`` row: the run was suspended, and ``resume`` tries the call again
============ ===============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.policies import Continue, Retry, Suspend, Terminate
from wfe.core.providers import ActivityStart, Subscription
from wfe.core.rules import closing, failing, leaving
from wfe.core.rules.called import (
    CallDone,
    CallFailed,
    CallOffers,
    CallsCancelled,
    CallSleeps,
    CallStarts,
    CallWaits,
    CallWaitsSignal,
    FunctionBroken,
    FunctionFailed,
)
from wfe.core.rules.draft import Draft
from wfe.core.rules.inputs import NO_WRITES, Due, Received
from wfe.core.rules.state import Pointer

__all__ = ["CALLS", "happened", "received"]

_SLEEPING: Final = PointerStatus.SLEEPING.value
_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value
_FAILED: Final = PointerStatus.FAILED.value
_LASTING: Final = Node(name="(call)", kind=Kind.CALL)


# -- what the function does -----------------------------------------------------------------------


def _row(
    draft: Draft,
    kind: str,
    function: Pointer,
    name: str,
    info: Mapping[str, Any] | None,
    attempt: int = 0,
) -> None:
    """Begin a row about a call: the function's pointer, the call's name."""
    draft.row(kind, Pointer(function.id, name, None, "", attempt, None, {}), info)


def _lasts(draft: Draft, function: Pointer, name: str, extra: Mapping[str, Any]) -> Pointer:
    return draft.put(attrs.evolve(_LASTING, name=name), function.id, _WAITING, extra)


def _last(draft: Draft, key: int | None) -> Pointer | None:
    return None if key is None else draft.pointer(key)


def _done(draft: Draft, function: Pointer, each: CallDone) -> None:
    last = _last(draft, each.last)
    if each.last is not None and last is None:
        return  # it was cancelled, or skipped, meanwhile
    _row(draft, each.kind, function, each.name, each.info, last.attempt if last else 0)
    if each.writes is not NO_WRITES:
        draft.write(each.writes)
    if last is not None:
        draft.drop(last)
    if each.start is not None:
        draft.start(each.start)
    if each.undone is not None:
        _row(draft, "step_compensated", function, each.undone, None)


def _failed(draft: Draft, function: Pointer, each: CallFailed) -> None:
    last = _last(draft, each.last)
    if each.last is not None and last is None:
        return
    tried = last.attempt if last else 0
    policy, info = each.policy, {**each.info, "error": each.error}
    if isinstance(policy, Retry):
        used = tried - (last.extra.get("since", 0) if last else 0)
        if each.retryable and (policy.max_retries is None or used < policy.max_retries):
            wake = draft.now + policy.delay(used, each.spread)
            _row(draft, "step_retrying", function, each.name, {**info, "wake": wake}, tried)
            last = last or _lasts(draft, function, each.name, {"call": each.info["call"]})
            draft.turn(last, _SLEEPING, attempt=tried + 1, wake=wake)
            return
        policy = policy.then
    if isinstance(policy, Suspend):
        _row(draft, "step_failed", function, each.name, {**info, "again": True}, tried)
        last = last or _lasts(draft, function, each.name, {"call": each.info["call"]})
        draft.turn(last, _FAILED, attempt=tried, wake=None)
        _suspend(draft, each.error)
        return
    at = draft.seq
    if isinstance(policy, Continue):
        info["result"] = None
    _row(draft, "step_failed", function, each.name, info, tried)
    if last is not None:
        draft.drop(last)
    if isinstance(policy, Terminate):
        leaving.stop(draft, WorkflowStatus.TERMINATED, {**each.error, "at": at, "by": function.id})


def _suspend(draft: Draft, error: Mapping[str, Any]) -> None:
    draft.row("workflow_suspended", None, {"error": error, "reason": error["message"]})
    draft.become(WorkflowStatus.SUSPENDED, error)


def _sleeps(draft: Draft, function: Pointer, each: CallSleeps) -> None:
    info = {**each.info, "wake": each.until}
    _row(draft, "step_sleeping", function, each.name, info)
    last = _lasts(draft, function, each.name, {"call": each.info["call"], "slept": True})
    draft.turn(last, _SLEEPING, wake=each.until)


def _waits(draft: Draft, function: Pointer, each: CallWaits) -> None:
    info = {**each.info, "event": each.event, "key": each.key}
    _row(draft, "step_waiting", function, each.name, info)
    extra = {"call": each.info["call"], "wait": [each.event, each.key]}
    last = _lasts(draft, function, each.name, extra)
    if each.until is not None:
        draft.turn(last, _WAITING, wake=each.until)
    draft.wait(
        Subscription(
            pointer=last.id,
            name=each.event,
            key=each.key,
            as_of=each.as_of,
            after_at=each.after[0],
            after_e=each.after[1],
            past=tuple(each.after[2:]),
        )
    )


def _waits_signal(draft: Draft, function: Pointer, each: CallWaitsSignal) -> None:
    if draft.signals(each.signal):
        _row(draft, "step_completed", function, each.name, None)
        result = draft.take_signal(each.signal)
        draft.rows[-1][5] = {**each.info, "signal": each.signal, "result": result}
        return
    _row(draft, "step_waiting", function, each.name, {**each.info, "signal": each.signal})
    extra = {"call": each.info["call"], "signal": each.signal}
    last = _lasts(draft, function, each.name, extra)
    if each.until is not None:
        draft.turn(last, _WAITING, wake=each.until)


def _starts(draft: Draft, function: Pointer, each: CallStarts) -> None:
    header = each.start.new
    if header is None:  # pragma: no cover - the shell always builds one
        return
    _row(draft, "step_waiting", function, each.name, {**each.info, "child": header.id})
    extra = {"call": each.info["call"], "child": header.n, "child_id": header.id}
    if each.select is not None:
        extra["select"] = each.select
    last = _lasts(draft, function, each.name, extra)
    if each.until is not None:
        draft.turn(last, _WAITING, wake=each.until)
    draft.start(attrs.evolve(each.start, new=attrs.evolve(header, parent_pointer=last.id)))


def _offers(draft: Draft, function: Pointer, each: CallOffers) -> None:
    _row(draft, "step_waiting", function, each.name, {**each.info, "activity": each.activity})
    extra = {"call": each.info["call"], "activity": each.activity}
    last = _lasts(draft, function, each.name, extra)
    if each.until is not None:
        draft.turn(last, _WAITING, wake=each.until)
    draft.offer(
        ActivityStart(pointer=last.id, attempt=0, name=each.activity, parameters=each.parameters)
    )


def _cancelled(draft: Draft, function: Pointer, each: CallsCancelled) -> None:
    _row(draft, "strands_cancelled", function, each.name, each.info)
    lasting = {
        pointer.extra["call"]: pointer
        for pointer in draft.live()
        if pointer.parent == function.id and "call" in pointer.extra
    }
    for name, key in each.calls:
        _row(draft, "step_cancelled", function, name, None)
        last = lasting.get(key)
        if last is not None:
            draft.drop(last)
            closing.end_child(draft, last)


def _function_failed(draft: Draft, function: Pointer, each: FunctionFailed) -> None:
    info: dict[str, Any] = {"started": each.started} if each.started else {}
    if each.call is not None:
        info["failed_call"] = each.call
    closing.drop_calls(draft, function)
    failing.fail(draft, function, each.error, retryable=False, info=info)


def _function_broken(draft: Draft, function: Pointer, each: FunctionBroken) -> None:
    _row(draft, "step_failed", function, function.step, {"error": each.error}, function.attempt)
    draft.turn(function, _FAILED, wake=None)
    _suspend(draft, each.error)


CALLS: Final[Mapping[type, Callable[[Draft, Pointer, Any], None]]] = {
    CallDone: _done,
    CallFailed: _failed,
    CallSleeps: _sleeps,
    CallWaits: _waits,
    CallWaitsSignal: _waits_signal,
    CallStarts: _starts,
    CallOffers: _offers,
    CallsCancelled: _cancelled,
    FunctionFailed: _function_failed,
    FunctionBroken: _function_broken,
}
"""Inputs about a function's pointer."""


# -- what ends a call that lasts ------------------------------------------------------------------


def happened(draft: Draft, pointer: Pointer, each: Any) -> None:
    """Something happened to a call that lasts: its time has come."""
    if not isinstance(each, Due) or pointer.wake is None or pointer.wake > draft.now:
        return
    if "slept" in pointer.extra:
        _resolve(draft, pointer, {})
        return
    if pointer.status == _WAITING:
        closing.end_child(draft, pointer)
        _refuse(draft, pointer, "StepTimeoutError", _overdue(pointer))


def _overdue(pointer: Pointer) -> str:
    extra = pointer.extra
    if "wait" in extra:
        name, key = extra["wait"]
        return f"no event {name!r} with key {key!r} came in time"
    if "signal" in extra:
        return f"no signal {extra['signal']!r} came in time"
    if "child" in extra:
        return f"sub-workflow run {extra['child_id']} took longer than its timeout"
    return f"activity {extra['activity']!r} was not done in time"


def _resolve(draft: Draft, pointer: Pointer, info: Mapping[str, Any]) -> None:
    """A call that lasted is done."""
    shown = Pointer(pointer.parent or 0, pointer.step, None, "", pointer.attempt, None, {})
    draft.row("step_completed", shown, {"call": pointer.extra["call"], **info})
    draft.drop(pointer)


def _refuse(draft: Draft, pointer: Pointer, kind: str, message: str) -> None:
    """A call that lasted failed."""
    shown = Pointer(pointer.parent or 0, pointer.step, None, "", pointer.attempt, None, {})
    error = {"type": kind, "message": message, "step": pointer.step}
    draft.row("step_failed", shown, {"call": pointer.extra["call"], "error": error})
    draft.drop(pointer)


def received(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    """Take a message that is for a call that lasts; ``False``: it is not."""
    take = _ANSWERS.get(message.kind)
    if take is None:
        return False
    content = message.payload
    if message.kind == "signal":
        pointer = _listening(draft, content["name"])
    else:
        pointer = draft.pointer(content["pointer"])
    if pointer is None or "call" not in pointer.extra:
        return False
    return take(draft, pointer, content, who)


def _listening(draft: Draft, signal: str) -> Pointer | None:
    """Return the call that waits longest for a signal."""
    found = [p for p in draft.live() if "call" in p.extra and p.extra.get("signal") == signal]
    return min(found, key=lambda pointer: pointer.id, default=None)


def _event(
    draft: Draft, pointer: Pointer, content: Mapping[str, Any], _who: Mapping[str, Any]
) -> bool:
    if "wait" not in pointer.extra:
        return False
    name, key = pointer.extra["wait"]
    at = [content["at"], content["e"], *content.get("past", ())]
    info = {"event": name, "key": key, "id": content["id"], "at": at}
    _resolve(draft, pointer, {**info, "result": content["payload"]})
    return True


def _child_done(
    draft: Draft, pointer: Pointer, child: Mapping[str, Any], _who: Mapping[str, Any]
) -> bool:
    if pointer.extra.get("child") != child["n"]:
        return False
    if child["status"] == WorkflowStatus.COMPLETE:
        select = pointer.extra.get("select")
        data = child["data"]
        result = data if select is None else data.get(select)
        _resolve(draft, pointer, {"child": child["id"], "result": result})
        return True
    error: Mapping[str, Any] = child["error"] or {}
    reason = error.get("message", child["status"])
    text = f"sub-workflow {child['definition']!r} (run {child['id']}) {child['status']}: {reason}"
    _refuse(draft, pointer, "StepFailedError", text)
    return True


def _activity_done(
    draft: Draft, pointer: Pointer, answer: Mapping[str, Any], _who: Mapping[str, Any]
) -> bool:
    if "activity" not in pointer.extra or pointer.attempt != answer["attempt"]:
        return False
    error = answer.get("error")
    if error is not None:
        _refuse(draft, pointer, error["type"], error["message"])
    else:
        worker = {"worker": answer["worker"]} if answer.get("worker") else {}
        _resolve(draft, pointer, {**worker, "result": answer.get("result")})
    return True


def _signal(
    draft: Draft, pointer: Pointer, signal: Mapping[str, Any], who: Mapping[str, Any]
) -> bool:
    info = {"signal": signal["name"], "result": signal.get("data"), **who}
    _resolve(draft, pointer, info)
    return True


def _skip(
    draft: Draft, pointer: Pointer, _content: Mapping[str, Any], who: Mapping[str, Any]
) -> bool:
    shown = Pointer(pointer.parent or 0, pointer.step, None, "", pointer.attempt, None, {})
    draft.row("step_skipped", shown, {"call": pointer.extra["call"], **who})
    draft.drop(pointer)
    closing.end_child(draft, pointer)
    if draft.status == WorkflowStatus.SUSPENDED:
        draft.become(WorkflowStatus.RUNNABLE)
        failing.resume_failed(draft)
    return True


_Answer: TypeAlias = Callable[[Draft, Pointer, Mapping[str, Any], Mapping[str, Any]], bool]

_ANSWERS: Final[Mapping[str, _Answer]] = {
    "event": _event,
    "child_done": _child_done,
    "activity_done": _activity_done,
    "signal": _signal,
    "skip": _skip,
}
"""Messages for calls that last."""
