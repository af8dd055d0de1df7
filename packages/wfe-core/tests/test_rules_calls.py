"""The calls of durable functions by the pure rules."""

from __future__ import annotations

from typing import Any

import pytest
from rules_run import Run, block, child, step

from wfe.core.definition import Kind, Node
from wfe.core.policies import Continue, ErrorPolicy, Exhausted, Fail, Retry, Suspend, Terminate
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
from wfe.core.rules.inputs import Completed, Due, Writes
from wfe.core.rules.reviving import as_of, restored

ERROR = {"type": "E", "message": "no", "step": "c"}
AT: Any = {"pointer": 1, "attempt": 0, "name": "c", "info": {"call": "c"}}


def function(**parts: Any) -> Node:
    return step("f", Kind.FUNCTION, **parts)


def begun() -> Run:
    return Run(function())


def lasting(run: Run) -> int:
    """Return the pointer of the call that lasts."""
    (found,) = (p.id for p in run.state.pointers.values() if "call" in p.extra)
    return found


def failed(run: Run, policy: ErrorPolicy, last: int | None = None, **parts: Any) -> None:
    run.feed(CallFailed(**AT, last=last, error=ERROR, policy=policy, **parts))


def waits(until: int | None = None) -> CallWaits:
    return CallWaits(**AT, event="e", key="k", as_of=0, after=(-1, -1), until=until)


def listens(until: int | None = None) -> CallWaitsSignal:
    return CallWaitsSignal(**AT, signal="s", until=until)


def starts(until: int | None = None, select: str | None = None) -> CallStarts:
    return CallStarts(**AT, start=child(), select=select, until=until)


def offers(until: int | None = None) -> CallOffers:
    return CallOffers(**AT, activity="a", parameters="{}", until=until)


def test_a_call_that_is_done_at_once_is_one_row() -> None:
    run = begun()
    writes = Writes({"x": 1})
    run.feed(CallDone(**AT, writes=writes, start=child(), undone="b"))
    assert run.kinds == ["step_completed", "step_compensated"]
    assert run.state.data == {"x": 1}
    assert len(run.last.starts) == 1
    assert set(run.state.pointers) == {1}


def test_a_call_that_failed_sleeps_and_is_done_in_the_end() -> None:
    run = begun()
    failed(run, Retry(max_retries=2))
    last = lasting(run)
    assert run.live["c"] == "sleeping"
    failed(run, Retry(max_retries=2), last)
    assert run.at("c").attempt == 2
    run.feed(CallDone(**AT, last=last))
    assert set(run.state.pointers) == {1}


@pytest.mark.parametrize("last", [None, 2])
@pytest.mark.parametrize(
    ("policy", "status"),
    [(Fail(), "runnable"), (Continue(), "runnable"), (Terminate(), "terminated")],
)
def test_a_call_that_failed_for_good(policy: Exhausted, status: str, last: int | None) -> None:
    run = begun()
    if last is not None:
        failed(run, Retry())
    failed(run, Retry(max_retries=0, then=policy), last)
    assert run.status == status
    info = run.info("step_failed")
    assert ("result" in info) == isinstance(policy, Continue)


@pytest.mark.parametrize("last", [None, 2])
def test_a_call_that_suspends_the_run_is_tried_again(last: int | None) -> None:
    run = begun()
    if last is not None:
        failed(run, Retry())
    failed(run, Suspend(), last)
    assert (run.status, run.live["c"]) == ("suspended", "failed")
    run.message("resume")
    assert run.live["c"] == "pending"
    failed(run, Retry(max_retries=1), lasting(run))
    assert run.live["c"] == "sleeping"


def test_what_was_skipped_meanwhile_is_neither_done_nor_failed() -> None:
    run = begun()
    run.feed(CallDone(**AT, last=9))
    assert run.kinds == []
    failed(run, Fail(), 9)
    assert run.kinds == []
    failed(run, Retry(), retryable=False)
    assert run.kinds == ["step_failed"]


def test_a_pause_is_over_when_it_is_due() -> None:
    run = begun()
    run.feed(CallSleeps(**AT, until=5))
    last = lasting(run)
    run.feed(Due(last), now=4)
    run.feed(Completed(last, 0))
    assert run.kinds == []
    run.feed(Due(last), now=5)
    assert run.kinds == ["step_completed"]
    assert set(run.state.pointers) == {1}


def test_a_pause_before_another_attempt_ends_by_the_shell() -> None:
    run = begun()
    failed(run, Retry())
    run.feed(Due(lasting(run)), now=2_000_000)
    assert run.kinds == []


@pytest.mark.parametrize("until", [None, 5])
def test_an_event_ends_a_call(until: int | None) -> None:
    run = begun()
    (subscription,) = run.feed(waits(until)).subscribe
    assert subscription.pointer == lasting(run)
    run.event("c", 3)
    assert run.info("step_completed")["result"] == 3


@pytest.mark.parametrize(
    ("each", "words"),
    [
        (waits(5), "no event 'e' with key 'k' came in time"),
        (listens(5), "no signal 's' came in time"),
        (starts(5), "sub-workflow run child-7 took longer than its timeout"),
        (offers(5), "activity 'a' was not done in time"),
    ],
)
def test_calls_time_out(each: Any, words: str) -> None:
    run = begun()
    run.feed(each)
    run.feed(Due(lasting(run)), now=5)
    assert run.info("step_failed")["error"]["message"] == words
    assert set(run.state.pointers) == {1}


@pytest.mark.parametrize("early", [True, False])
def test_a_signal_ends_a_call(early: bool) -> None:
    run = begun()
    if early:
        run.message("signal", {"name": "s", "data": 4})
        run.feed(listens())
    else:
        run.feed(listens())
        run.message("signal", {"name": "s", "data": 4})
    assert run.info("step_completed")["result"] == 4
    assert run.state.signals == {}


@pytest.mark.parametrize(("select", "result"), [(None, {"x": 1}), ("x", 1)])
def test_a_child_ends_a_call(select: str | None, result: Any) -> None:
    run = begun()
    (item,) = run.feed(starts(select=select)).starts
    assert item.new is not None
    assert item.new.parent_pointer == lasting(run)
    run.child_over("c", data={"x": 1})
    assert run.info("step_completed")["result"] == result


@pytest.mark.parametrize("error", [None, {"message": "no"}])
def test_a_failed_child_fails_a_call(error: Any) -> None:
    run = begun()
    run.feed(starts())
    run.child_over("c", "failed", n=8)
    assert run.kinds == ["message_ignored"]
    run.child_over("c", "failed", error=error)
    assert "child-7" in run.info("step_failed")["error"]["message"]


@pytest.mark.parametrize("worker", [None, "w"])
def test_a_worker_ends_a_call(worker: str | None) -> None:
    run = begun()
    (offered,) = run.feed(offers()).activities
    answer = {"pointer": offered.pointer, "attempt": 0, "worker": worker, "result": 2}
    run.message("activity_done", {**answer, "attempt": 1})
    assert run.kinds == ["message_ignored"]
    run.message("activity_done", answer)
    assert run.info("step_completed")["result"] == 2


def test_a_worker_fails_a_call() -> None:
    run = begun()
    run.feed(offers())
    content = {"pointer": lasting(run), "attempt": 0, "error": {"type": "E", "message": "no"}}
    run.message("activity_done", content)
    assert run.info("step_failed")["error"] == {"type": "E", "message": "no", "step": "c"}


def test_an_event_for_a_call_that_waits_for_something_else_is_ignored() -> None:
    run = begun()
    run.feed(offers())
    run.event("c")
    assert run.kinds == ["message_ignored"]


@pytest.mark.parametrize("suspended", [True, False])
def test_a_call_is_skipped(suspended: bool) -> None:
    run = begun()
    if suspended:
        failed(run, Suspend())
    else:
        run.feed(starts())
    run.message("skip", {"pointer": lasting(run)})
    assert run.info("step_skipped") == {"call": "c"}
    assert run.status == "runnable"
    assert len(run.last.messages) == (0 if suspended else 1)


def test_cancelled_strands_let_go_of_what_they_waited_for() -> None:
    run = begun()
    run.feed(starts())
    run.feed(CallsCancelled(**AT, calls=(("c", "c"), ("d", "done already"))))
    assert run.kinds == ["strands_cancelled", "step_cancelled", "step_cancelled"]
    assert [message.target for message in run.last.messages] == [7]


@pytest.mark.parametrize("call", [None, "c"])
def test_a_function_that_raises_fails_and_its_calls_end(call: str | None) -> None:
    run = begun()
    run.feed(waits())
    error = {"type": "E", "message": "no", "step": "f"}
    run.feed(FunctionFailed(pointer=1, attempt=0, error=error, started=3, call=call))
    assert run.status == "failed"
    assert run.last.unsubscribe


def test_a_function_that_does_not_repeat_itself_suspends_the_run() -> None:
    run = begun()
    run.feed(FunctionBroken(pointer=1, attempt=0, error=ERROR))
    assert (run.status, run.live) == ("suspended", {"f": "failed"})


def test_a_cancelled_function_lets_its_calls_go() -> None:
    branches = (block(function()), block(step("boom")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches))
    pointer = run.at("f").id
    run.feed(CallSleeps(pointer=pointer, attempt=0, name="c", info={"call": "c"}, until=9))
    run.fail("boom")
    assert run.live == {"f": "cancelled"}
    run.stop("f")
    assert run.status == "failed"


def test_a_skipped_function_lets_its_calls_go() -> None:
    run = begun()
    run.feed(waits())
    run.message("skip", {"pointer": 1})
    assert run.live == {"f": "cancelled"}
    run.stop("f")
    assert run.status == "complete"


def retried(run: Run) -> None:
    run.message("terminate")
    assert run.state.origin is not None
    seq, pointer = run.state.origin
    failed = frozenset(() if pointer is None else (pointer,))
    run.back("retry", restored(as_of(run.rows, seq), None, failed))
    assert run.at("f").attempt == 1


def test_a_call_that_waited_is_made_anew_when_its_run_is_retried() -> None:
    run = begun()
    run.feed(offers())
    retried(run)
    assert run.live == {"f": "pending"}


def test_a_call_that_suspended_its_run_is_tried_again_when_that_is_retried() -> None:
    run = begun()
    failed(run, Suspend())
    retried(run)
    assert run.live == {"f": "pending", "c": "pending"}
    assert run.at("c").attempt == 1
