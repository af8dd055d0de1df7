"""Waits by the pure rules: events, signals, people, workers, children, places, time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rules_run import SECOND, Run, block, step

from wfe.core.definition import Block, Kind, Limit, Node
from wfe.core.policies import Continue, Retry
from wfe.core.rules.inputs import (
    AsksPlaces,
    Completed,
    Due,
    Failed,
    Items,
    Offers,
    Slept,
    Stopped,
    Waits,
    WaitsSignal,
    Writes,
)

PENDING, WAITING, BLOCKED = "pending", "waiting_for_event", "pending_predecessor"
AT_ONCE = Retry(max_retries=1, interval=timedelta(0))


def waiting(name: str = "w", **config: Any) -> Node:
    return step(name, Kind.WAIT_FOR, config={"output": "got", **config})


# -- events


def test_an_event_ends_a_wait_and_its_payload_is_kept() -> None:
    run = Run(waiting(), step("next"))
    (subscription,) = run.wait("w").subscribe
    assert (subscription.name, subscription.key, subscription.after_at) == ("e", "k", -1)
    run.event("w", {"a": 1})
    assert run.state.data == {"got": {"a": 1}}
    assert run.live == {"next": PENDING}


def test_the_next_wait_of_the_branch_does_not_see_the_event_again() -> None:
    run = Run(waiting("w"), waiting("v"))
    run.wait("w")
    run.event("w", at=5, e=9)
    (subscription,) = run.wait("v").subscribe
    assert (subscription.after_at, subscription.after_e) == (5, 9)


def test_what_a_branch_saw_is_known_after_the_join() -> None:
    branches = (block(waiting("w")), block(waiting("v")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches), waiting("after"))
    run.wait("w")
    run.wait("v")
    run.event("w", at=5, e=9)
    run.event("v", at=4, e=2)
    (subscription,) = run.wait("after").subscribe
    assert (subscription.after_at, subscription.after_e) == (5, 9)


def test_an_event_wakes_a_body_that_waits() -> None:
    run = Run(step("body"))
    run.wait("body")
    run.event("body", 3)
    assert run.live == {"body": PENDING}
    assert run.at("body").extra["event"] == {"name": "e", "key": "k", "id": "i", "data": 3}
    assert run.kinds == ["event_received"]


@pytest.mark.parametrize("pointer", [1, 99])
def test_an_event_that_nobody_waits_for_any_more_is_ignored(pointer: int) -> None:
    run = Run(waiting())
    run.message("event", {"pointer": pointer, "at": 1, "e": 1, "id": "i", "payload": None})
    assert run.kinds == ["message_ignored"]
    assert run.last.consumed == (1,)


def test_an_event_for_a_pointer_that_waits_for_something_else_is_ignored() -> None:
    run = Run(step("ask", Kind.APPROVAL))
    run.ask("ask")
    run.event("ask")
    assert run.kinds == ["message_ignored"]


def test_a_wait_that_began_and_ended_in_one_decision_subscribes_to_nothing() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(waiting()), block(step("boom")))))
    wait = run.plan.places["w"]
    assert wait.node.kind is Kind.WAIT_FOR

    run.feed(
        Waits(**run.place("w"), name="e", key="k", as_of=0),
        Failed(**run.place("boom"), type="E", message="no"),
    )
    assert run.last.subscribe == ()
    assert run.status == "failed"


# -- signals


def signalled(name: str = "w") -> Node:
    return step(name, Kind.WAIT_FOR, config={"scope": "run", "output": "got"})


def signal(run: Run, data: Any) -> None:
    run.message("signal", {"name": "s", "data": data}, actor="ann")


def test_signals_that_come_early_are_kept_in_order() -> None:
    run = Run(signalled("w"), signalled("v"), signalled("u"))
    signal(run, 1)
    signal(run, 2)
    assert run.kinds == ["signal_received"]
    run.listen("w")
    assert run.state.data == {"got": 1}
    run.listen("v")
    assert run.state.data == {"got": 2}
    assert run.state.signals == {}
    run.listen("u")
    assert run.live == {"u": WAITING}
    signal(run, 3)
    assert (run.state.data, run.status) == ({"got": 3}, "complete")
    assert run.info("step_completed") == {"signal": "s", "actor": "ann"}


def test_the_pointer_that_waits_longest_gets_the_signal() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(signalled("a")), block(signalled("b")))))
    run.listen("b")
    run.listen("a")
    signal(run, 1)
    assert run.live == {"b": WAITING}


def test_two_waits_of_one_decision_get_a_signal_each() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(signalled("a")), block(signalled("b")))))
    signal(run, 1)
    signal(run, 2)
    run.feed(*(WaitsSignal(**run.place(name), name="s") for name in "ab"))
    assert (run.status, run.state.data) == ("complete", {"got": 2})


# -- people


def approval(**parts: Any) -> Node:
    return step("ask", Kind.APPROVAL, config={"output": "answer"}, **parts)


@pytest.mark.parametrize(("answer", "follows"), [("yes", "a"), ("no", "b")])
def test_an_answer_selects_the_branch(answer: str, follows: str) -> None:
    blocks = (Block((step("a"),), label="yes"), Block((step("b"),), default=True))
    run = Run(approval(blocks=blocks))
    run.ask("ask")
    said = {"pointer": 1, "answer": answer, "comment": "fine"}
    run.message("approve", said, actor="ann")
    assert run.live == {follows: PENDING}
    assert run.state.data == {"answer": answer}
    assert run.info("step_completed") == {"outcome": answer, "comment": "fine", "actor": "ann"}


@pytest.mark.parametrize("said", [{"answer": "maybe"}, {"pointer": 9}])
def test_an_answer_that_does_not_fit_is_ignored(said: dict[str, Any]) -> None:
    run = Run(approval())
    run.ask("ask")
    run.message("approve", {"pointer": 1, "answer": "yes", **said})
    assert run.kinds == ["message_ignored"]


def test_an_answer_before_the_question_is_ignored() -> None:
    run = Run(approval())
    run.message("approve", {"pointer": 1, "answer": "yes"})
    assert run.kinds == ["message_ignored"]


# -- workers


def activity(**parts: Any) -> Node:
    return step("act", Kind.ACTIVITY, config={"output": "got"}, **parts)


def finished(run: Run, **answer: Any) -> None:
    run.message("activity_done", {"pointer": 1, "attempt": 0, **answer})


def test_a_worker_completes_an_activity() -> None:
    run = Run(activity())
    (offered,) = run.offer("act").activities
    assert (offered.pointer, offered.attempt, offered.name) == (1, 0, "a")
    finished(run, result=5, worker="w1")
    assert (run.status, run.state.data) == ("complete", {"got": 5})
    assert run.info("step_completed") == {"worker": "w1"}


def test_a_failed_activity_is_offered_again_under_its_next_attempt() -> None:
    run = Run(activity(on_error=AT_ONCE))
    run.offer("act")
    finished(run, error={"type": "E", "message": "no"})
    assert run.live == {"act": "sleeping"}
    (offered,) = run.offer("act").activities
    assert offered.attempt == 1
    finished(run, result=1)
    assert run.kinds == ["message_ignored"], "the result of the first attempt"


def test_a_failure_that_is_not_retryable_is_final() -> None:
    run = Run(activity(on_error=AT_ONCE))
    run.offer("act")
    finished(run, error={"type": "E", "message": "no"}, retryable=False)
    assert run.status == "failed"


@pytest.mark.parametrize("pointer", [1, 9])
def test_a_result_that_nobody_waits_for_is_ignored(pointer: int) -> None:
    run = Run(activity())
    run.message("activity_done", {"pointer": pointer, "attempt": 0, "result": 1})
    assert run.kinds == ["message_ignored"]


def test_a_cancelled_activity_is_withdrawn() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(activity()), block(step("boom")))))
    run.offer("act")
    assert run.fail("boom").end_activities == (2,)
    assert run.status == "failed"


def test_an_activity_that_was_offered_and_withdrawn_in_one_decision_is_not_offered() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(activity()), block(step("boom")))))

    run.feed(
        Offers(**run.place("act"), name="a", parameters="{}"),
        Failed(**run.place("boom"), type="E", message="no"),
    )
    assert run.last.activities == ()


# -- children


def sub(**config: Any) -> Node:
    return step("sub", Kind.SUB_WORKFLOW, config=config)


@pytest.mark.parametrize(
    ("config", "data"),
    [
        ({"output": "o"}, {"o": {"x": 1, "y": {"z": 2}}}),
        ({"output": "o", "select": "x"}, {"o": 1}),
        ({"output": "o", "select": "y", "wrap": "in"}, {"o": {"in": {"z": 2}}}),
        ({"select": "y", "flatten": True}, {"z": 2}),
        ({"select": "x", "flatten": True}, {}),
        ({}, {}),
    ],
)
def test_the_data_of_a_child(config: dict[str, Any], data: dict[str, Any]) -> None:
    run = Run(sub(**config))
    assert len(run.begin_child("sub").starts) == 1
    run.child_over("sub", data={"x": 1, "y": {"z": 2}})
    assert (run.status, run.state.data) == ("complete", data)


def test_the_data_of_a_child_by_round() -> None:
    loop = step("loop", Kind.FOR_EACH, blocks=(block(sub(output="steps.sub")),))
    run = Run(loop, meta={"records": True})
    run.feed(Items(1, 0, ["a"]))
    run.begin_child("sub")
    run.child_over("sub", data={"x": 1})
    assert run.state.data == {"steps.sub[0]": {"x": 1}}


def test_a_wait_stores_by_round_and_rounds_that_are_over_go() -> None:
    inner = waiting(output="steps.w")
    loop = step("loop", Kind.FOR_EACH, blocks=(block(inner),), config={"sequential": True})
    run = Run(loop, meta={"records": True})
    run.feed(Items(1, 0, ["a", "b"]))
    run.wait("w")
    run.event("w", 1)
    assert run.state.data == {}
    run.wait("w")
    run.event("w", 2)
    assert run.state.data == {"steps.w[1]": 2}


def test_a_round_that_recorded_nothing_leaves_nothing_to_forget() -> None:
    loop = step("loop", Kind.FOR_EACH, blocks=(block(step("a")),))
    run = Run(loop, meta={"records": True})
    run.feed(Items(1, 0, ["a", "b"]))
    run.feed(Stopped(99))
    pointers = sorted(run.state.pointers)[1:]

    run.feed(*(Completed(key, 0) for key in pointers))
    assert run.status == "complete"


@pytest.mark.parametrize("error", [None, {"type": "E", "message": "no", "step": "s"}])
def test_a_failed_child_fails_its_step(error: Any) -> None:
    run = Run(sub())
    run.begin_child("sub")
    run.child_over("sub", "failed", error=error)
    assert run.state.error is not None
    reason = "no" if error else "failed"
    assert run.state.error["message"] == f"sub-workflow 'c' (run child-7) failed: {reason}"


def test_a_detached_child_is_not_waited_for() -> None:
    run = Run(sub(output="o"))
    decision = run.begin_child("sub", detached=True)
    assert (run.status, run.state.data) == ("complete", {"o": "child-7"})
    assert len(decision.starts) == 1


@pytest.mark.parametrize(("abandon", "told"), [(False, [7]), (True, [])])
def test_a_child_ends_with_its_parent_unless_it_is_abandoned(
    abandon: bool, told: list[int]
) -> None:
    run = Run(sub())
    run.begin_child("sub", abandon=abandon)
    run.message("terminate")
    assert [message.target for message in run.last.messages] == told


@pytest.mark.parametrize(("pointer", "n"), [(1, 8), (9, 7)])
def test_a_child_that_nobody_waits_for_is_ignored(pointer: int, n: int) -> None:
    run = Run(sub())
    run.begin_child("sub")
    run.message("child_done", {"pointer": pointer, "n": n})
    assert run.kinds == ["message_ignored"]


# -- time


def test_every_wait_times_out_with_its_own_words() -> None:
    cases: list[tuple[Node, Any, str]] = [
        (waiting("w"), Run.wait, "no event 'e' with key 'k' came in time"),
        (signalled("w"), Run.listen, "no signal 's' came in time"),
        (step("w", Kind.APPROVAL), Run.ask, "nobody answered 'ok?' in time"),
        (step("w", Kind.ACTIVITY), Run.offer, "no worker completed activity 'a' in time"),
    ]
    for node, begins, message in cases:
        run = Run(node)
        begins(run, "w", until=5)
        run.due("w", 4)
        assert run.kinds == [], "not yet"
        run.due("w", 5)
        assert run.state.error is not None
        found = (run.state.error["type"], run.state.error["message"])
        assert found == ("StepTimeoutError", message)


def test_a_child_times_out_and_is_terminated() -> None:
    run = Run(step("sub", Kind.SUB_WORKFLOW, timeout=5))
    run.begin_child("sub")
    run.due("sub", 5)
    assert [message.kind for message in run.last.messages] == ["terminate"]
    assert run.state.error is not None
    assert "child-7 took longer" in run.state.error["message"]


def test_a_time_out_of_a_wait_is_not_retried_but_its_policy_holds() -> None:
    run = Run(
        step("w", Kind.WAIT_FOR, on_error=Retry(max_retries=9, then=Continue())), step("next")
    )
    run.wait("w", until=5)
    run.due("w", 5)
    assert run.live == {"next": PENDING}
    assert run.last.unsubscribe == (1,)


def test_a_body_that_sleeps_keeps_its_memory() -> None:
    run = Run(step("body"))
    run.feed(Slept(1, 0, 5, memory={"n": 1}))
    assert run.at("body").extra == {"memory": {"n": 1}}
    run.due("body", 5)
    assert run.kinds == [], "the shell runs the body again"
    run.feed(Slept(1, 0, 9))
    assert run.at("body").extra == {}
    run.feed(Slept(1, 0, 10))
    run.feed(Due(1), now=3)
    assert run.live == {"body": "sleeping"}


def test_a_body_that_branches_is_done_when_its_items_are() -> None:
    run = Run(step("body", blocks=(block(step("a")),)))
    run.feed(Items(1, 0, [1, 2], Writes({"x": 1})))
    assert run.state.data == {"x": 1}
    for _ in range(2):
        key = min(p.id for p in run.state.pointers.values() if p.step == "a")

        run.feed(Completed(key, 0))
    assert run.status == "complete"


# -- places


def test_a_step_begins_when_it_has_all_its_places() -> None:
    run = Run(step("a"))
    asked = run.places("a", ("x", 1, None), ("y", 2, None)).hold
    assert [(hold.key, hold.limit) for hold in asked] == [("x", 1), ("y", 2)]
    run.grant("a", "x")
    assert run.live == {"a": BLOCKED}
    run.grant("a", "y")
    assert run.live == {"a": PENDING}
    assert run.at("a").extra == {"held": {"x": [1, None], "y": [2, None]}}
    assert run.done("a").unhold == (1,)


@pytest.mark.parametrize("wrong", [{"pointer": 9}, {"attempt": 3}, {"key": "z"}])
def test_a_place_that_nobody_waits_for_is_ignored(wrong: dict[str, Any]) -> None:
    run = Run(step("a"))
    run.places("a", ("x", 1, None))
    run.message("granted", {"pointer": 1, "attempt": 0, "key": "x", "at": 0, **wrong})
    assert run.kinds == ["message_ignored"]


def test_a_place_for_a_step_that_asked_for_none_is_ignored() -> None:
    run = Run(step("a"))
    run.grant("a", "x")
    assert run.kinds == ["message_ignored"]


def test_a_place_under_a_rate_may_be_for_later() -> None:
    run = Run(step("a"))
    run.places("a", ("r", 1, SECOND), ("x", 1, None))
    run.grant("a", "r", at=500)
    assert run.at("a").wake == 500
    run.grant("a", "x")
    assert (run.live, run.at("a").wake) == ({"a": "sleeping"}, 500)
    assert run.at("a").extra == {"held": {"x": [1, None]}}


def test_a_retry_gives_its_places_back_and_asks_anew() -> None:
    run = Run(step("a", on_error=AT_ONCE))
    run.places("a", ("x", 1, None))
    run.grant("a", "x")
    assert run.fail("a").unhold == (1,)
    (hold,) = run.places("a", ("x", 1, None)).hold
    assert hold.attempt == 1


def test_places_that_were_asked_for_and_given_up_in_one_decision_are_not_asked_for() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(step("a")), block(step("boom")))))

    run.feed(
        AsksPlaces(**run.place("a"), places=(("x", 1, None),)),
        Failed(**run.place("boom"), type="E", message="no"),
    )
    assert run.last.hold == ()


def test_a_container_with_limits_opens_when_it_has_its_places() -> None:

    inner = step("s", Kind.SEQUENCE, blocks=(block(step("a")),), limits=(Limit(None, 1),))
    run = Run(inner)
    assert run.live == {"s": PENDING}
    run.places("s", ("x", 1, None))
    run.grant("s", "x")
    run.branch("s", 0)
    assert run.live == {"a": PENDING}
    assert run.done("a").unhold == (1,)
