"""The rules: (plan, state, what happened, now) to a decision, without any effect.

Nothing here awaits, reads a clock or calls user code; the state stays as it is.  What happened
is a batch: everything that arrived while the last decision was being committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.providers import Message, Subscription
from wfe.core.rounds import round_field
from wfe.core.rules.draft import Draft
from wfe.core.rules.failing import fail, resume_failed
from wfe.core.rules.flow import (
    PENDING,
    STRUCTURE,
    branch_over,
    close,
    enter,
    finalize,
    finish,
    leave_to,
    open_blocks,
    open_items,
    open_structure,
)
from wfe.core.rules.inputs import (
    Branched,
    Completed,
    Decision,
    Due,
    Expired,
    Failed,
    Input,
    Items,
    Received,
    Recovered,
    Skipped,
    Slept,
    StartsChild,
    Stopped,
    Waits,
)
from wfe.core.rules.plan import Plan
from wfe.core.rules.state import Pointer, State

__all__ = ["begin", "decide"]

_CANCELLED: Final = PointerStatus.CANCELLED.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value


def begin(plan: Plan, data: Mapping[str, Any], now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first rows of a run with *data* (stored form); *info* goes to the history."""
    draft = Draft(plan, State(), now)
    draft.row("workflow_started", None, info)
    for name, value in data.items():
        draft.store(name, value)
    first = plan.definition.root.nodes
    if first:
        enter(draft, first[0], None, {})
    else:
        finalize(draft, WorkflowStatus.COMPLETE)
    return draft.decision()


def decide(plan: Plan, state: State, inputs: Sequence[Input], now: int) -> Decision:
    """Return what *inputs*, in their order, make of *state* at *now* (µs)."""
    draft = Draft(plan, state, now)
    if len(inputs) > 1:
        inputs = sorted(inputs, key=_terminate_first)
    for each in inputs:
        if isinstance(each, Received):
            _received(draft, each)
        elif not draft.final:
            _happened(draft, each)
    return draft.decision()


def _terminate_first(each: Input) -> bool:
    return not (isinstance(each, Received) and each.kind == "terminate")


def _happened(draft: Draft, each: Any) -> None:
    kind = cast("type[object]", type(each))
    if kind in _WHOLE:
        _WHOLE[kind](draft, each)
        return
    pointer = draft.pointer(each.pointer)
    if pointer is None or getattr(each, "attempt", pointer.attempt) != pointer.attempt:
        return  # a late result of something that was cancelled: already recorded as such
    if pointer.status == _CANCELLED:
        draft.row("step_cancelled", pointer)
        draft.drop(pointer)
        if pointer.parent is not None:
            branch_over(draft, pointer.parent)
        return
    _OUTCOMES[kind](draft, pointer, each)


def _expired(draft: Draft, _each: Expired) -> None:
    error = _error("StepTimeoutError", "the run took longer than its definition's timeout")
    finalize(draft, WorkflowStatus.FAILED, error)


def _recovered(draft: Draft, each: Recovered) -> None:
    for key in each.pointers:
        draft.row("step_interrupted", draft.pointer(key))


def _completed(draft: Draft, pointer: Pointer, each: Completed) -> None:
    node = draft.place(pointer).node
    if node.kind is Kind.GOTO:
        draft.row("step_completed", pointer)
        leave_to(draft, pointer, node.config["target"])
        return
    info: dict[str, Any] = {"started": each.started} if each.started else {}
    if each.outcome is not None:
        info["outcome"] = each.outcome
    draft.row("step_completed", pointer, info or None)
    conflicts = draft.write(each.writes)
    if conflicts:
        draft.row("data_conflict", pointer, {"fields": conflicts})
    if node.kind is Kind.END:
        draft.drop(pointer)
        finalize(draft, WorkflowStatus.COMPLETE)
    elif node.kind is Kind.STEP and node.blocks:
        open_blocks(draft, pointer, _matching(node, each.outcome))
    else:
        finish(draft, pointer)


def _matching(node: Node, outcome: Any) -> tuple[int, ...]:
    """Return the ``when`` blocks that *outcome* selects; ``otherwise`` when none does."""
    blocks = [i for i, b in enumerate(node.blocks) if not b.default and _same(b.label, outcome)]
    return tuple(blocks or [i for i, b in enumerate(node.blocks) if b.default])


def _same(label: Any, outcome: Any) -> bool:
    return bool(label == outcome) and isinstance(label, bool) == isinstance(outcome, bool)


def _branched(draft: Draft, pointer: Pointer, each: Branched) -> None:
    node = draft.place(pointer).node
    draft.row("step_branched" if each.blocks else "step_completed", pointer)
    if node.kind in STRUCTURE:
        open_structure(draft, draft.turn(pointer, "running"), node)
    elif node.kind is Kind.WHILE and each.blocks and _worn_out(node, pointer):
        most = node.config["max_iterations"]
        error = _error("StepFailedError", f"max_iterations ({most}) reached", node.name)
        fail(draft, pointer, error, retryable=False)
    else:
        open_blocks(draft, pointer, each.blocks)


def _worn_out(node: Node, pointer: Pointer) -> bool:
    most = node.config.get("max_iterations")
    return most is not None and pointer.extra.get("turns", 0) >= most


def _items(draft: Draft, pointer: Pointer, each: Items) -> None:
    draft.row("step_branched" if each.items else "step_completed", pointer)
    draft.write(each.writes)
    open_items(draft, pointer, each.items)


def _slept(draft: Draft, pointer: Pointer, each: Slept) -> None:
    draft.row("step_sleeping", pointer, {"wake": each.until})
    draft.write(each.writes)
    if draft.place(pointer).node.kind is Kind.DELAY:
        draft.extra(pointer, slept=True)
    elif each.memory is not None or "memory" in pointer.extra:
        draft.extra(pointer, memory=each.memory, event=None)
    draft.turn(pointer, _SLEEPING, wake=each.until)


def _waits(draft: Draft, pointer: Pointer, each: Waits) -> None:
    draft.row("step_waiting", pointer, {"event": each.name, "key": each.key})
    draft.write(each.writes)
    after = pointer.extra.get("cur", {}).get(_topic(each.name, each.key), [-1, -1])
    draft.extra(pointer, wait=[each.name, each.key], event=None)
    draft.turn(pointer, _WAITING, wake=each.until)
    draft.wait(
        Subscription(
            pointer=pointer.id,
            name=each.name,
            key=each.key,
            as_of=each.as_of,
            after_at=after[0],
            after_e=after[1],
        )
    )


def _topic(name: str, key: str) -> str:
    return f"{name}\n{key}"


def _starts_child(draft: Draft, pointer: Pointer, each: StartsChild) -> None:
    header = each.start.new
    if header is None:  # pragma: no cover - the shell always builds one
        return
    draft.row("step_waiting", pointer, {"child": header.id})
    draft.extra(pointer, child=header.n, child_id=header.id)
    timeout = draft.place(pointer).node.timeout
    draft.turn(pointer, _WAITING, wake=None if timeout is None else draft.now + timeout)
    draft.start(each.start)


def _failed(draft: Draft, pointer: Pointer, each: Failed) -> None:
    info = {"started": each.started} if each.started else None
    error = _error(each.type, each.message, pointer.step)
    fail(draft, pointer, error, retryable=each.retryable, spread=each.spread, info=info)


def _skipped(draft: Draft, pointer: Pointer, _each: Skipped) -> None:
    draft.row("step_skipped", pointer)
    finish(draft, pointer)


def _due(draft: Draft, pointer: Pointer, _each: Due) -> None:
    if pointer.wake is None or pointer.wake > draft.now:
        return
    if pointer.status == _WAITING:
        _given_up(draft, pointer)
    elif "live" in pointer.extra:
        if "closing" not in pointer.extra:
            message = "took longer than its timeout"
            error = _error("StepTimeoutError", message, pointer.step)
            draft.row("step_timed_out", pointer)
            close(draft, pointer, ["fail", error])
    elif "slept" in pointer.extra:
        draft.row("step_completed", pointer)
        finish(draft, pointer)


def _given_up(draft: Draft, pointer: Pointer) -> None:
    """A wait, or a sub-workflow, took too long."""
    child = pointer.extra.get("child")
    if child is None:
        name, key = pointer.extra["wait"]
        message = f"no event {name!r} with key {key!r} came in time"
    else:
        message = f"sub-workflow run {pointer.extra['child_id']} took longer than its timeout"
        reason = "its parent timed out"
        draft.send(Message(target=child, kind="terminate", reason=reason))
    error = _error("StepTimeoutError", message, pointer.step)
    fail(draft, pointer, error, retryable=child is not None)


_WHOLE: Final[Mapping[type, Callable[[Draft, Any], None]]] = {
    Expired: _expired,
    Recovered: _recovered,
}
"""What concerns the run, not one pointer."""

_OUTCOMES: Final[Mapping[type, Callable[[Draft, Pointer, Any], None]]] = {
    Completed: _completed,
    Branched: _branched,
    Items: _items,
    Slept: _slept,
    Waits: _waits,
    StartsChild: _starts_child,
    Failed: _failed,
    Skipped: _skipped,
    Due: _due,
    Stopped: lambda _draft, _pointer, _each: None,
}


def _error(kind: str, message: str, step: str | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "step": step}


# -- messages -------------------------------------------------------------------------------------


def _received(draft: Draft, message: Received) -> None:
    draft.consume(message.i)
    who = {
        key: value
        for key, value in (("actor", message.actor), ("reason", message.reason))
        if value is not None
    }
    if draft.final or not _MESSAGES[message.kind](draft, message, who):
        info = {"message": message.kind, **who}
        draft.row("message_ignored", None, info)


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
    draft.become(WorkflowStatus.RUNNABLE)
    resume_failed(draft)
    if not any(True for _ in draft.live()):
        finalize(draft, WorkflowStatus.COMPLETE)
    return True


def _terminate(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    error = _error("WorkflowTerminatedError", message.reason) if message.reason else None
    finalize(draft, WorkflowStatus.TERMINATED, error, who)
    return True


def _event(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    content = message.payload
    pointer = draft.pointer(content["pointer"])
    if pointer is None or pointer.status != _WAITING or "wait" not in pointer.extra:
        return False
    node = draft.place(pointer).node
    name, key = pointer.extra["wait"]
    position = [content["at"], content["e"]]
    cursors = {**pointer.extra.get("cur", {}), _topic(name, key): position}
    info = {"event": name, "key": key, "id": content["id"]}
    payload = content["payload"]
    if node.kind is Kind.WAIT_FOR:
        draft.row("step_completed", pointer, info)
        field = node.config.get("output")
        if field is not None:
            draft.store(field, payload)
        finish(draft, draft.extra(pointer, cur=cursors, wait=None))
    else:
        draft.row("event_received", pointer, info)
        event = {"name": name, "key": key, "id": content["id"], "data": payload}
        draft.extra(pointer, cur=cursors, wait=None, event=event)
        draft.turn(pointer, PENDING, wake=None)
    return True


def _child_done(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    child = message.payload
    pointer = draft.pointer(child["pointer"])
    if pointer is None or pointer.extra.get("child") != child["n"]:
        return False
    if child["status"] == WorkflowStatus.COMPLETE:
        draft.row("step_completed", pointer, {"child": child["id"]})
        _child_result(draft, pointer, child["data"])
        finish(draft, pointer)
        return True
    error: Mapping[str, Any] = child["error"] or {}
    reason = error.get("message", child["status"])
    text = f"sub-workflow {child['definition']!r} (run {child['id']}) {child['status']}: {reason}"
    fail(draft, pointer, _error("StepFailedError", text, pointer.step))
    return True


def _child_result(draft: Draft, pointer: Pointer, data: Mapping[str, Any]) -> None:
    config = draft.place(pointer).node.config
    value: Any = data.get(config["select"]) if "select" in config else data
    if config.get("flatten") and isinstance(value, dict):
        for name, part in cast("dict[str, Any]", value).items():
            draft.store(name, part)
    if config.get("output") is not None:
        field = config["output"]
        if draft.plan.rounds:
            field = round_field(field, draft.path(pointer))
        draft.store(field, {config["wrap"]: value} if "wrap" in config else value)


_MESSAGES: Final[Mapping[str, Callable[[Draft, Received, Mapping[str, Any]], bool]]] = {
    "suspend": _suspend,
    "resume": _resume,
    "terminate": _terminate,
    "event": _event,
    "child_done": _child_done,
}
