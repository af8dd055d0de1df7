"""What the rules make of whatever happens, decided on a draft of the next state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.rules import calls, waiting
from wfe.core.rules.draft import Draft
from wfe.core.rules.failing import fail
from wfe.core.rules.flow import (
    STRUCTURE,
    enter,
    finish,
    open_blocks,
    open_items,
    open_structure,
    proceed,
)
from wfe.core.rules.inputs import (
    AsksPerson,
    AsksPlaces,
    Branched,
    Completed,
    Decision,
    Due,
    Exceeded,
    Expired,
    Failed,
    Input,
    Items,
    Joined,
    Offers,
    Received,
    Recovered,
    Restored,
    Skipped,
    Slept,
    StartsChild,
    Stopped,
    Unwanted,
    Waits,
    WaitsSignal,
)
from wfe.core.rules.leaving import close, complete, end_pointer, leave, leave_to, remember, stop
from wfe.core.rules.messages import MESSAGES
from wfe.core.rules.plan import Plan
from wfe.core.rules.reviving import go_on_from
from wfe.core.rules.state import Pointer, State
from wfe.core.rules.waiting import error_of, matching

__all__ = ["begin", "begin_from", "by_draft"]

_CANCELLED: Final = PointerStatus.CANCELLED.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value


def begin(plan: Plan, data: Mapping[str, Any], now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first rows of a run with *data* (stored form); *info* goes to the history."""
    draft = Draft(plan, State(), now)
    draft.row("workflow_started", None, info)
    for name, value in data.items():
        draft.store(name, value)
    first = plan.root.nodes
    if first:
        enter(draft, first[0], None, {})
    else:
        complete(draft)
    return draft.decision()


def begin_from(plan: Plan, found: Restored, now: int, info: Mapping[str, Any]) -> Decision:
    """Return the first row of a run that goes on from an earlier state of another."""
    draft = Draft(plan, State(), now)
    draft.row("workflow_forked", None, info)
    go_on_from(draft, found)
    return draft.decision()


def by_draft(plan: Plan, state: State, inputs: Sequence[Input], now: int) -> Decision:
    """Return what *inputs*, in their order, make of *state* at *now* (µs)."""
    draft = Draft(plan, state, now)
    if len(inputs) > 1:
        inputs = sorted(inputs, key=_terminate_first)
    for each in inputs:
        draft.next_input()
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
        if "joined" in pointer.extra:  # what it did is committed: whoever undoes it undoes it
            draft.row("step_completed", pointer)
            pointer = draft.extra(pointer, joined=None)
            remember(draft, pointer)
        else:
            draft.row("step_cancelled", pointer)
        leave(draft, pointer, pointer.extra.get("ending", ["cancelled", False]))
        return
    if "live" in pointer.extra and kind in _OF_BODY:
        return  # a late result, too: its hooks run already, or it was opened anew
    if "call" in pointer.extra:
        calls.happened(draft, pointer, each)
    else:
        _OUTCOMES[kind](draft, pointer, each)


def _expired(draft: Draft, _each: Expired) -> None:
    error = error_of("StepTimeoutError", "the run took longer than its definition's timeout")
    stop(draft, WorkflowStatus.FAILED, error)


def _exceeded(draft: Draft, each: Exceeded) -> None:
    stop(draft, WorkflowStatus.FAILED, error_of("LimitExceededError", each.message))


def _unwanted(draft: Draft, each: Unwanted) -> None:
    pointer = draft.pointer(each.pointer)
    if pointer is None or pointer.status == _CANCELLED:
        return
    if any(key in pointer.extra for key in ("closing", "hooks", "undoing")):
        return
    proceed = bool(draft.place(pointer).node.config.get("proceed"))
    draft.row("step_cancelled", pointer, {"reason": "its cancel_when condition holds"})
    end_pointer(draft, pointer, ["given_up", proceed])


def _recovered(draft: Draft, each: Recovered) -> None:
    for key in each.pointers:
        draft.row("step_interrupted", draft.pointer(key))


def _completed(draft: Draft, pointer: Pointer, each: Completed) -> None:
    node = draft.place(pointer).node
    if node.kind is Kind.END and draft.status == WorkflowStatus.SUSPENDED:
        return  # it does nothing but end the run, and that waits for resume: it runs again then
    if node.kind is Kind.GOTO:
        draft.row("step_completed", pointer)
        leave_to(draft, pointer, node.config["target"])
        return
    info: dict[str, Any] = {"started": each.started} if each.started else {}
    if each.outcome is not None:
        info["outcome"] = each.outcome
    if each.notes is not None:
        info.update(each.notes)
    draft.row("step_completed", pointer, info or None)
    if "joined" in pointer.extra:
        pointer = draft.extra(pointer, joined=None)
    conflicts = draft.write(each.writes)
    # The rounds of a file's loop share their flat fields, and what they give is kept by round.
    if conflicts and not draft.place(pointer).looped:
        draft.row("data_conflict", pointer, {"fields": conflicts})
    if node.kind is Kind.END:
        _end(draft, pointer)
    elif node.kind is Kind.STEP and node.blocks:
        open_blocks(draft, pointer, matching(node, each.outcome))
    else:
        finish(draft, pointer)


def _joined(draft: Draft, pointer: Pointer, each: Joined) -> None:
    """Only this, so that the body's transaction takes no locks beyond the run's own rows."""
    started = each.completed.started
    draft.row("step_committed", pointer, {"started": started} if started else None)
    draft.extra(pointer, joined=each.stored())


def _end(draft: Draft, pointer: Pointer) -> None:
    """End the run here: what this branch stands in is left, everything else is cancelled."""
    around: set[int] = {pointer.id}
    key = pointer.parent
    while key is not None and (container := draft.pointer(key)) is not None:
        around.add(key)
        key = container.parent
    draft.drop(pointer)
    stop(draft, WorkflowStatus.COMPLETE, left=frozenset(around))


def _branched(draft: Draft, pointer: Pointer, each: Branched) -> None:
    node = draft.place(pointer).node
    draft.row("step_branched" if each.blocks else "step_completed", pointer)
    if node.kind in STRUCTURE:
        open_structure(draft, draft.turn(pointer, "running"), node)
    elif node.kind is Kind.WHILE and each.blocks and _worn_out(node, pointer):
        most = node.config["max_iterations"]
        error = error_of("StepFailedError", f"max_iterations ({most}) reached", node.name)
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


def _failed(draft: Draft, pointer: Pointer, each: Failed) -> None:
    info = {"started": each.started} if each.started else None
    error = error_of(each.type, each.message, pointer.step)
    if each.errored:
        error["errored"] = True
    if each.labels:
        error["labels"] = list(each.labels)
    fail(draft, pointer, error, retryable=each.retryable, spread=each.spread, info=info)


def _skipped(draft: Draft, pointer: Pointer, _each: Skipped) -> None:
    draft.row("step_skipped", pointer)
    # Nothing of it ran, so nothing has to be cleaned up.
    draft.drop(pointer)
    proceed(draft, pointer, "s")


def _due(draft: Draft, pointer: Pointer, _each: Due) -> None:
    if pointer.wake is None or pointer.wake > draft.now:
        return
    if pointer.status == _WAITING:
        waiting.given_up(draft, pointer)
    elif "live" in pointer.extra:
        if not any(key in pointer.extra for key in ("closing", "hooks", "undoing")):
            message = "took longer than its timeout"
            error = error_of("StepTimeoutError", message, pointer.step)
            # A retry of the run goes on with what was open in it.
            error |= {"at": draft.seq, "by": pointer.id}
            draft.row("step_timed_out", pointer)
            close(draft, pointer, ["fail", error])
    elif "slept" in pointer.extra:
        draft.row("step_completed", pointer)
        finish(draft, pointer)


_WHOLE: Final[Mapping[type, Callable[[Draft, Any], None]]] = {
    Exceeded: _exceeded,
    Expired: _expired,
    Recovered: _recovered,
    Unwanted: _unwanted,
}
"""What concerns the run, not one pointer."""

_OUTCOMES: Final[Mapping[type, Callable[[Draft, Pointer, Any], None]]] = {
    Completed: _completed,
    Joined: _joined,
    Branched: _branched,
    Items: _items,
    Slept: _slept,
    Waits: waiting.waits,
    WaitsSignal: waiting.waits_signal,
    StartsChild: waiting.starts_child,
    Offers: waiting.offers,
    AsksPerson: waiting.asks_person,
    AsksPlaces: waiting.asks_places,
    Failed: _failed,
    Skipped: _skipped,
    Due: _due,
    Stopped: lambda _draft, _pointer, _each: None,
    **calls.CALLS,
}


_OF_BODY: Final = frozenset(
    {Completed, Joined, Branched, Items, Slept, Waits, WaitsSignal, StartsChild, Failed, Skipped}
)
"""Outcomes of a body or a condition: nothing that is open already has one."""


# -- messages -------------------------------------------------------------------------------------


def _received(draft: Draft, message: Received) -> None:
    draft.consume(message.i)
    who = {
        key: value
        for key, value in (("actor", message.actor), ("reason", message.reason))
        if value is not None
    }
    if not draft.final and calls.received(draft, message, who):
        return
    take = MESSAGES[message.kind]
    if (draft.final and message.kind != "retry") or not take(draft, message, who):
        info = {"message": message.kind, **who}
        draft.row("message_ignored", None, info)
