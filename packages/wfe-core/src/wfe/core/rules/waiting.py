"""Waits: for events, signals, people, external workers, children, places; and what ends them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.models import PointerStatus, WorkflowStatus
from wfe.core.providers import ActivityStart, Hold, Subscription
from wfe.core.rounds import round_field
from wfe.core.rules import closing, failing, flow, leaving, recording
from wfe.core.rules.draft import Draft
from wfe.core.rules.inputs import (
    AsksPerson,
    AsksPlaces,
    Offers,
    Received,
    StartsChild,
    Waits,
    WaitsSignal,
)
from wfe.core.rules.plan import WHOLE
from wfe.core.rules.positions import FIRST
from wfe.core.rules.state import Pointer

__all__ = [
    "activity_done",
    "approved",
    "asks_person",
    "asks_places",
    "child_done",
    "error_of",
    "event",
    "given_up",
    "granted",
    "matching",
    "offers",
    "signal",
    "starts_child",
    "waits",
    "waits_signal",
]

_WAITING: Final = PointerStatus.WAITING_FOR_EVENT.value
_BLOCKED: Final = PointerStatus.PENDING_PREDECESSOR.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_NONE: Final[Mapping[str, str]] = {}


def error_of(kind: str, message: str, step: str | None = None) -> dict[str, Any]:
    """Return an error as it is stored."""
    return {"type": kind, "message": message, "step": step}


def matching(node: Node, outcome: Any) -> tuple[int, ...]:
    """Return the ``when`` blocks that *outcome* selects; ``otherwise`` when none does."""
    blocks = [i for i, b in enumerate(node.blocks) if not b.default and _same(b.label, outcome)]
    return tuple(blocks or [i for i, b in enumerate(node.blocks) if b.default])


def _same(label: Any, outcome: Any) -> bool:
    return bool(label == outcome) and isinstance(label, bool) == isinstance(outcome, bool)


# -- events ---------------------------------------------------------------------------------------


def waits(draft: Draft, pointer: Pointer, each: Waits) -> None:
    """Begin the wait for an event."""
    draft.row("step_waiting", pointer, {"event": each.name, "key": each.key})
    draft.write(each.writes)
    after = pointer.extra.get("cur", {}).get(_topic(each.name, each.key), FIRST)
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
            past=tuple(after[2:]),
        )
    )


def _topic(name: str, key: str) -> str:
    return f"{name}\n{key}"


def event(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    """An event that a pointer waited for has come."""
    content = message.payload
    pointer = draft.pointer(content["pointer"])
    if pointer is None or pointer.status != _WAITING or "wait" not in pointer.extra:
        return False
    node = draft.place(pointer).node
    name, key = pointer.extra["wait"]
    position = [content["at"], content["e"], *content.get("past", ())]
    cursors = {**pointer.extra.get("cur", {}), _topic(name, key): position}
    info = {"event": name, "key": key, "id": content["id"]}
    payload = content["payload"]
    if node.kind is Kind.WAIT_FOR:
        draft.row("step_completed", pointer, info)
        _keep(draft, pointer, node, payload)
        flow.finish(draft, draft.extra(pointer, cur=cursors, wait=None))
    else:
        draft.row("event_received", pointer, info)
        woken = {"name": name, "key": key, "id": content["id"], "data": payload}
        draft.extra(pointer, cur=cursors, wait=None, event=woken)
        draft.turn(pointer, flow.PENDING, wake=None)
    return True


def _keep(draft: Draft, pointer: Pointer, node: Node, value: Any) -> None:
    """Store what a wait brought in the data field that the node names."""
    field = node.config.get("output")
    if field is not None:
        name = round_field(field, draft.path(pointer)) if draft.plan.rounds else field
        draft.store(name, value)
    recording.answered(draft, pointer, value)


# -- signals --------------------------------------------------------------------------------------


def waits_signal(draft: Draft, pointer: Pointer, each: WaitsSignal) -> None:
    """Take the first signal of a name that came already, or wait for one."""
    if draft.signals(each.name):
        draft.row("step_completed", pointer, {"signal": each.name})
        _signalled(draft, pointer, draft.take_signal(each.name))
        return
    draft.row("step_waiting", pointer, {"signal": each.name})
    draft.extra(pointer, signal=each.name)
    draft.turn(pointer, _WAITING, wake=each.until)


def signal(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    """A signal came: the pointer that waits longest gets it, else it is kept."""
    name, data = message.payload["name"], message.payload["data"]
    waiting = [p for p in draft.live() if p.extra.get("signal") == name and "call" not in p.extra]
    if not waiting:
        draft.row("signal_received", None, {"signal": name, **who})
        draft.queue_signal(name, data)
        return True
    pointer = min(waiting, key=lambda p: p.id)
    draft.row("step_completed", pointer, {"signal": name, **who})
    _signalled(draft, pointer, data)
    return True


def _signalled(draft: Draft, pointer: Pointer, payload: Any) -> None:
    _keep(draft, pointer, draft.place(pointer).node, payload)
    flow.finish(draft, pointer)


# -- people and external workers ------------------------------------------------------------------


def asks_person(draft: Draft, pointer: Pointer, each: AsksPerson) -> None:
    """Ask for an approval."""
    asked = {"prompt": each.prompt, "options": list(each.options)}
    draft.row("step_waiting", pointer, {"approval": each.prompt, "options": asked["options"]})
    draft.extra(pointer, approval={**asked, "since": draft.now})
    draft.turn(pointer, _WAITING, wake=each.until)


def approved(draft: Draft, message: Received, who: Mapping[str, Any]) -> bool:
    """Somebody answered an approval."""
    pointer = draft.pointer(message.payload["pointer"])
    answer = message.payload["answer"]
    asked = None if pointer is None else pointer.extra.get("approval")
    if pointer is None or asked is None or answer not in asked["options"]:
        return False
    comment = message.payload.get("comment")
    said = {} if comment is None else {"comment": comment}
    told = {"outcome": answer, **said, **who}
    if answer in draft.place(pointer).node.config.get("fails", ()):
        by = f" by {who['actor']}" if "actor" in who else ""
        text = f"answered {answer!r}{by}{f': {comment}' if comment else ''}"
        error = error_of("RejectedError", text, pointer.step)
        failing.fail(draft, pointer, error, retryable=False, info=told)
        return True
    draft.row("step_completed", pointer, told)
    _answered(draft, draft.extra(pointer, approval=None), answer)
    return True


def _answered(draft: Draft, pointer: Pointer, value: Any) -> None:
    """A wait brought *value*: store it, and go on by way of the branches that it selects."""
    node = draft.place(pointer).node
    _keep(draft, pointer, node, value)
    if node.blocks:
        flow.open_blocks(draft, pointer, matching(node, value))
    else:
        flow.finish(draft, pointer)


def offers(draft: Draft, pointer: Pointer, each: Offers) -> None:
    """Offer an activity to external workers."""
    draft.row("step_waiting", pointer, {"activity": each.name})
    draft.extra(pointer, activity=each.name)
    draft.turn(pointer, _WAITING, wake=each.until)
    draft.offer(
        ActivityStart(
            pointer=pointer.id,
            attempt=pointer.attempt,
            name=each.name,
            parameters=each.parameters,
        )
    )


def activity_done(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    """An external worker completed or failed an activity."""
    content = message.payload
    pointer = draft.pointer(content["pointer"])
    if pointer is None or "activity" not in pointer.extra:
        return False
    if pointer.attempt != content["attempt"]:
        return False
    info = {"worker": content["worker"]} if content.get("worker") else {}
    error = content.get("error")
    if error is not None:
        shown = error_of(error["type"], error["message"], pointer.step)
        retryable = content.get("retryable", True)
        failing.fail(draft, pointer, shown, retryable=retryable, info=info)
        return True
    draft.row("step_completed", pointer, info or None)
    _answered(draft, draft.extra(pointer, activity=None), content.get("result"))
    return True


# -- children -------------------------------------------------------------------------------------


def starts_child(draft: Draft, pointer: Pointer, each: StartsChild) -> None:
    """Begin a sub-workflow, and wait for it unless it is detached."""
    header = each.start.new
    if header is None:  # pragma: no cover - the shell always builds one
        return
    if each.detached:
        draft.row("step_completed", pointer, {"child": header.id})
        draft.start(each.start)
        _answered(draft, pointer, header.id)
        return
    draft.row("step_waiting", pointer, {"child": header.id})
    abandon = {"abandon": True} if each.abandon else {}
    draft.extra(pointer, child=header.n, child_id=header.id, **abandon)
    timeout = draft.place(pointer).node.timeout
    draft.turn(pointer, _WAITING, wake=None if timeout is None else draft.now + timeout)
    draft.start(each.start)


def child_done(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    """A sub-workflow has ended."""
    child = message.payload
    pointer = draft.pointer(child["pointer"])
    if pointer is None or pointer.extra.get("child") != child["n"]:
        return False
    if child["status"] == WorkflowStatus.COMPLETE:
        draft.row("step_completed", pointer, {"child": child["id"]})
        pointer = draft.extra(pointer, child=None, abandon=None)
        _child_result(draft, pointer, child["data"])
        flow.finish(draft, pointer)
        return True
    error: Mapping[str, Any] = child["error"] or {}
    reason = error.get("message", child["status"])
    text = f"sub-workflow {child['definition']!r} (run {child['id']}) {child['status']}: {reason}"
    failed = error_of("StepFailedError", text, pointer.step)
    failed.update((key, error[key]) for key in ("errored", "labels") if error.get(key))
    failing.fail(draft, pointer, failed)
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
        status = {"status": "complete"} if draft.plan.rounds else {}
        draft.store(field, {config["wrap"]: value, **status} if "wrap" in config else value)


# -- places under limits --------------------------------------------------------------------------


def asks_places(draft: Draft, pointer: Pointer, each: AsksPlaces) -> None:
    """Wait for a place under every limit of a node."""
    draft.row("step_waiting", pointer, {"limits": [key for key, _, _ in each.places]})
    gate = {key: [limit, per] for key, limit, per in each.places}
    wait_for_places(draft, pointer, gate, each.conflicts)
    draft.turn(pointer, _BLOCKED)


def wait_for_places(
    draft: Draft, pointer: Pointer, gate: Mapping[str, Any], conflicts: Mapping[str, str] = _NONE
) -> Pointer:
    """Ask for places: *gate* is limit and time (µs, ``None``: none) by key.

    *conflicts* says what is done where there is none; what is not in it waits.
    """
    for key, (limit, per) in gate.items():
        hold = Hold(pointer=pointer.id, attempt=pointer.attempt, key=key, limit=limit, per=per)
        if key in conflicts:
            hold = attrs.evolve(hold, on_conflict=conflicts[key])
        draft.ask_place(hold)
    return draft.extra(pointer, gate=dict(gate), held={})


def granted(draft: Draft, message: Received, _who: Mapping[str, Any]) -> bool:
    """A place became free for a pointer."""
    content = message.payload
    pointer = draft.pointer(content["pointer"])
    gate = None if pointer is None else pointer.extra.get("gate")
    if pointer is None or gate is None or pointer.attempt != content["attempt"]:
        return False
    key = content["key"]
    if key not in gate:
        return False
    if content.get("taken"):
        _turned_away(draft, pointer, key, gate[key][0])
        return True
    rest = {k: v for k, v in gate.items() if k != key}
    limit, per = gate[key]
    held = {**pointer.extra["held"], **({} if per else {key: [limit, per]})}
    wake = max(pointer.wake or 0, content["at"] if per else 0)
    draft.row("places_granted", pointer, {"limit": key})
    pointer = draft.extra(pointer, gate=rest or None, held=held)
    if rest:
        draft.turn(pointer, pointer.status, wake=wake or None)
    elif "live" in pointer.extra:
        _unblock(draft, pointer)
    elif wake > draft.now:
        draft.turn(pointer, _SLEEPING, wake=wake)
    else:
        draft.turn(pointer, flow.PENDING, wake=None)
    return True


def _turned_away(draft: Draft, pointer: Pointer, key: str, limit: int) -> None:
    """There is no place: the step is skipped, and a run that has not begun ends."""
    why = f"the limit {key!r} ({limit} at a time) is taken"
    if pointer.step == WHOLE:
        error = error_of("LimitTakenError", f"not started: {why}")
        leaving.finalize(draft, WorkflowStatus.TERMINATED, error)
        return
    draft.row("step_skipped", pointer, {"why": why})
    draft.drop(pointer)
    flow.proceed(draft, pointer, "s")


def _unblock(draft: Draft, container: Pointer) -> None:
    """What stands in a container that got its places again may go on."""
    draft.turn(container, flow.RUNNING, wake=container.extra.get("until"))
    for pointer in list(draft.live()):
        behind = pointer.extra.get("behind")
        if behind is not None and behind[0] == container.id:
            draft.extra(pointer, behind=None)
            draft.turn(pointer, behind[1], wake=behind[2])


# -- time-outs ------------------------------------------------------------------------------------


def given_up(draft: Draft, pointer: Pointer) -> None:
    """A wait took too long."""
    extra = pointer.extra
    again = True
    if "child" in extra:
        message = f"sub-workflow run {extra['child_id']} took longer than its timeout"
        closing.end_child(draft, pointer)
    elif "activity" in extra:
        message = f"no worker completed activity {extra['activity']!r} in time"
    elif "approval" in extra:
        message, again = f"nobody answered {extra['approval']['prompt']!r} in time", False
    elif "signal" in extra:
        message, again = f"no signal {extra['signal']!r} came in time", False
    else:
        name, key = extra["wait"]
        message, again = f"no event {name!r} with key {key!r} came in time", False
    error = error_of("StepTimeoutError", message, pointer.step)
    failing.fail(draft, pointer, error, retryable=again)
