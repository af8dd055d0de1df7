"""How nodes and runs end by the pure rules: hooks, undo, time, conditions, loops, snapshots."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import orjson
import pytest
from rules_run import Run, block, both, hooked, saga, step, undone

from wfe.core.definition import Kind
from wfe.core.errors import DefinitionError
from wfe.core.policies import Compensate, Continue, Retry, Suspend, Terminate
from wfe.core.providers import GENTLY
from wfe.core.rules.inputs import (
    Completed,
    Exceeded,
    Expired,
    Failed,
    Items,
    Recovered,
    Skipped,
    Stopped,
    Unwanted,
    Waits,
)
from wfe.core.rules.state import state_from_json, state_to_json

PENDING = "pending"


# -- the run as a whole


@pytest.mark.parametrize(
    ("each", "kind"), [(Expired(), "StepTimeoutError"), (Exceeded("big"), "LimitExceededError")]
)
def test_a_run_that_grows_too_old_or_too_big_fails(each: Any, kind: str) -> None:
    run = Run(step("a"))
    run.feed(each)
    assert run.status == "failed"
    assert (run.state.error or {})["type"] == kind


def test_it_ends_once() -> None:
    run = Run(hooked("a", "on_abort"))
    run.message("terminate")
    run.feed(Expired())
    assert run.kinds == []
    run.message("terminate")
    assert run.kinds == ["message_ignored"]
    run.stop("a")
    run.done("a-on_abort")
    assert run.status == "terminated"


def test_an_end_that_is_stuck_in_a_suspended_run_ends_without_its_hooks() -> None:
    run = Run(hooked("a", "on_abort"))
    run.message("terminate")
    run.message("suspend")
    run.message("terminate")
    assert run.status == "terminated"


def test_what_no_person_sends_lets_the_hooks_of_a_suspended_run_go_on() -> None:
    run = Run(hooked("a", "on_abort"))
    run.message("terminate")
    run.message("suspend")
    run.message("terminate", orjson.loads(GENTLY), actor="concurrency")
    assert (run.status, run.live) == ("runnable", {"a": "cancelled"})
    run.stop("a")
    run.done("a-on_abort")
    assert run.status == "terminated"


def test_it_waits_for_no_hook_that_failed() -> None:
    run = Run(step("a", hooks=(("on_abort", block(step("h", on_error=Suspend()))),)))
    run.message("terminate")
    run.stop("a")
    run.fail("h")
    assert run.status == "suspended"
    run.message("terminate", orjson.loads(GENTLY), actor="concurrency")
    assert run.status == "terminated"


def test_terminate_is_stronger_than_a_suspension() -> None:
    run = Run(step("seq", Kind.SEQUENCE, blocks=(block(hooked("a", on_error=Suspend())),)))
    run.fail("a")
    run.message("terminate")
    assert (run.status, run.live) == ("runnable", {"a-ensure": PENDING})
    run.done("a-ensure")
    assert run.status == "terminated"


def test_a_run_that_expires_while_its_hooks_run_ends_after_them() -> None:
    run = Run(hooked("a"), step("b"))
    run.done("a")
    run.feed(Expired())
    run.done("a-ensure")
    assert run.status == "failed"


def test_a_run_that_expires_while_it_is_undone_goes_on_undoing() -> None:
    run = Run(saga(undone("a"), undone("b"), step("c"), on_error=Compensate()))
    run.done("a")
    run.done("b")
    run.fail("c")
    run.feed(Expired())
    assert run.live == {"undo-b": PENDING}
    run.done("undo-b")
    run.done("undo-a")
    assert run.status == "failed"


def test_terminating_a_run_leaves_off_its_undo() -> None:
    run = Run(saga(undone("a"), step("b"), hooks=(("ensure", block(step("tidy"))),)))
    run.done("a")
    run.fail("b")
    run.message("terminate")
    assert run.live == {"undo-a": "cancelled"}
    run.stop("undo-a")
    run.done("tidy")
    assert run.status == "terminated"


def test_a_step_that_is_undone_alone_is_undone_before_the_run_expires() -> None:
    run = Run(step("a", undo=block(step("undo-a")), on_error=Compensate()))
    run.fail("a")
    run.feed(Expired())
    assert run.live == {"undo-a": PENDING}
    run.done("undo-a")
    assert run.status == "failed"


def test_an_undo_that_terminates_runs_the_hooks_around_it() -> None:
    tidy = (("on_failure", block(step("tidy"))),)
    nodes = (undone("a", on_error=Terminate()), step("b"))
    run = Run(saga(*nodes, hooks=tidy, on_error=Compensate()), step("next"))
    run.done("a")
    run.fail("b")
    run.fail("undo-a")
    assert run.live == {"tidy": PENDING}
    run.done("tidy")
    assert run.status == "terminated"


def test_an_undo_that_terminates_ends_the_run_although_its_saga_only_lost_a_race() -> None:
    slow = saga(undone("a", on_error=Terminate()), step("slow"))
    run = Run(both(slow, step("fast"), config={"join": "any"}), step("next"))
    run.done("a")
    run.done("fast")
    run.stop("slow")
    run.fail("undo-a")
    assert run.status == "terminated"


def test_an_undo_that_terminates_changes_nothing_of_a_run_that_ends() -> None:
    inner = saga(undone("a", on_error=Terminate()), step("slow"))
    run = Run(both(inner, step("b")))
    run.done("a")
    run.feed(Expired())
    run.stop("slow")
    run.fail("undo-a")
    run.stop("b")
    assert run.status == "failed"


def test_an_undo_without_a_step_is_done_at_once() -> None:
    run = Run(saga(step("a", undo=block()), step("b")))
    run.done("a")
    run.fail("b")
    assert run.kinds == [
        "step_failed",
        "saga_compensating",
        "step_compensated",
        "step_failed",
        "workflow_failed",
    ]


def test_what_completed_last_is_undone_first_also_over_two_sagas() -> None:
    inner = step("inner", Kind.SAGA, blocks=(block(undone("a"), step("more")),))
    run = Run(saga(both(inner, undone("b")), step("boom")))
    run.done("a")
    run.done("b")
    run.done("more")
    run.fail("boom")
    assert run.live == {"undo-b": PENDING}
    run.done("undo-b")
    assert run.live == {"undo-a": PENDING}


def test_a_container_that_is_closing_does_not_time_out() -> None:
    run = Run(both(step("a"), step("boom"), timeout=5))
    run.fail("boom")
    run.due("both", 9)
    assert run.kinds == []


@pytest.mark.parametrize("policy", [Retry(max_retries=1, then=Continue()), Continue()])
def test_an_undo_may_be_passed_over(policy: Any) -> None:
    run = Run(saga(undone("a", on_error=policy), step("b")))
    run.done("a")
    run.fail("b")
    run.fail("undo-a", retryable=False)
    assert run.status == "failed"


def test_what_may_have_been_interrupted_is_told() -> None:
    run = Run(both(step("a"), step("b")))
    run.feed(Recovered((2, 3)))
    assert run.kinds == ["step_interrupted", "step_interrupted"]


# -- conditions


@pytest.mark.parametrize("proceed", [True, False])
def test_what_is_not_wanted_any_more_is_stopped(proceed: bool) -> None:
    run = Run(step("a", config={"proceed": proceed}), step("next"))
    run.feed(Unwanted(1))
    assert run.live == {"a": "cancelled"}
    run.feed(Unwanted(1))
    assert run.kinds == []
    run.stop("a")
    assert (run.live, run.status) == (
        ({"next": PENDING}, "runnable") if proceed else ({}, "complete")
    )


def test_what_is_not_wanted_in_a_branch_ends_the_branch() -> None:
    run = Run(both(step("a"), step("b")))
    run.feed(Unwanted(2))
    run.stop("a")
    run.done("b")
    assert run.status == "complete"


@pytest.mark.parametrize("pointer", [1, 99])
def test_what_ends_already_is_not_cancelled_by_its_condition(pointer: int) -> None:
    run = Run(hooked("a"))
    run.done("a")
    run.feed(Unwanted(pointer))
    assert run.kinds == []


def test_a_saga_that_is_not_wanted_any_more_is_undone() -> None:
    run = Run(saga(undone("a"), step("b"), config={"proceed": True}), step("next"))
    run.done("a")
    run.feed(Unwanted(run.at("saga").id))
    run.stop("b")
    run.done("undo-a")
    assert run.live == {"next": PENDING}


# -- loops, gotos


def test_a_loop_turns_at_most_so_often() -> None:
    loop = step("loop", Kind.WHILE, blocks=(block(step("a")),), config={"max_iterations": 1})
    run = Run(loop)
    run.branch("loop", 0)
    run.done("a")
    run.branch("loop", 0)
    assert run.status == "failed"
    assert (run.state.error or {})["message"] == "max_iterations (1) reached"


def test_a_loop_that_ends_in_time_is_done() -> None:
    loop = step("loop", Kind.WHILE, blocks=(block(step("a")),), config={"max_iterations": 1})
    run = Run(loop)
    run.branch("loop", 0)
    run.done("a")
    run.branch("loop")
    assert run.status == "complete"


def test_a_recurring_step_sleeps_and_turns() -> None:
    from_rules = step("recur", Kind.RECUR, blocks=(block(step("a")),))
    run = Run(from_rules)
    run.branch("recur", 0)
    run.done("a")
    assert run.live == {"recur": PENDING}
    assert run.at("recur").extra == {"turns": 1}
    run.branch("recur")
    assert run.status == "complete"


def test_a_goto_in_its_own_block() -> None:
    run = Run(step("a"), step("again", Kind.GOTO, config={"target": "a"}))
    run.done("a")
    run.done("again")
    assert run.live == {"a": PENDING}


def test_a_goto_to_where_it_does_not_stand_fails() -> None:
    other = step("other", Kind.SEQUENCE, blocks=(block(step("a")),))
    run = Run(step("away", Kind.GOTO, config={"target": "a"}), other)
    run.done("away")
    assert run.status == "failed"
    assert (run.state.error or {})["type"] == "DefinitionError"


def test_hooks_of_what_is_cancelled_in_a_loop_see_their_item() -> None:
    wait = step("w", Kind.WAIT_FOR, hooks=(("on_abort", block(step("tidy"))),))
    loop = step("loop", Kind.FOR_EACH, blocks=(block(wait),))
    run = Run(both(loop, step("boom")))
    run.feed(Items(run.at("loop").id, 0, ["x", "y"]))
    for pointer in [p for p in run.state.pointers.values() if p.step == "w"]:
        run.feed(Waits(pointer=pointer.id, attempt=0, name="e", key="k", as_of=0))
    run.fail("boom")
    moved = [p.extra["rounds"][0] for p in run.state.pointers.values() if p.step == "w"]
    assert [each[:2] for each in moved] == [[0, "x"], [1, "y"]]


def test_a_step_that_was_cancelled_in_its_hooks_twice_is_still_undone() -> None:
    tidy = (("ensure", block(step("tidy"))),)
    inner = both(step("slow", undo=block(step("undo")), hooks=tidy), name="inner")
    run = Run(saga(both(step("in", Kind.SEQUENCE, blocks=(block(inner),)), step("boom"))))
    run.done("slow")
    run.fail("boom")
    run.feed(Expired())
    run.done("tidy")
    assert run.live == {"undo": PENDING}


def test_a_terminated_run_does_not_fail_because_its_time_is_up() -> None:
    run = Run(hooked("a", "on_abort"))
    run.message("terminate")
    run.feed(Expired())
    run.stop("a")
    run.done("a-on_abort")
    assert run.status == "terminated"


def test_a_loop_that_is_tried_again_is_tidied_up_when_it_is_cancelled() -> None:
    tidy = (("ensure", block(step("tidy"))),)
    again = Retry(max_retries=1, interval=timedelta(0))
    loop = step("loop", Kind.WHILE, blocks=(block(step("a")),), hooks=tidy, on_error=again)
    run = Run(both(loop, step("boom")))
    run.fail("loop")
    run.fail("boom")
    run.stop("loop")
    assert run.live == {"tidy": PENDING}


def test_a_saga_whose_own_hook_failed_is_undone_and_tidied_up_once() -> None:
    hooks = (("on_success", block(step("told"))), ("ensure", block(step("tidy"))))
    run = Run(both(saga(undone("a"), hooks=hooks), step("boom")))
    run.done("a")
    run.fail("told")
    run.done("tidy")
    assert run.live["undo-a"] == PENDING
    run.fail("boom")
    run.done("undo-a")
    assert run.status == "failed"


def test_hooks_that_ran_do_not_run_again_when_the_undo_after_them_is_terminated() -> None:
    hooks = (("on_success", block(step("told"))), ("ensure", block(step("tidy"))))
    run = Run(saga(undone("a"), hooks=hooks))
    run.done("a")
    run.fail("told")
    run.done("tidy")
    assert run.live["undo-a"] == PENDING
    run.message("terminate")
    if "undo-a" in run.live:
        run.stop("undo-a")
    assert "tidy" not in run.live
    assert run.status == "terminated"


def test_a_saga_whose_own_hook_failed_fails_when_it_is_undone() -> None:
    hooks = (("on_success", block(step("told"))),)
    run = Run(saga(undone("a"), hooks=hooks), step("next"))
    run.done("a")
    run.fail("told")
    run.done("undo-a")
    assert run.status == "failed"
    assert (run.state.error or {})["step"] == "told"


def test_a_second_result_of_a_step_whose_hooks_run_is_dropped() -> None:
    run = Run(hooked("a"))
    run.done("a")
    run.done("a")
    assert run.kinds == []


def test_a_saga_that_was_left_and_is_cancelled_then_is_undone() -> None:
    away = step("away", Kind.GOTO, config={"target": "saga"})
    tidy = (("ensure", block(step("tidy"))),)
    run = Run(both(saga(undone("a"), away, hooks=tidy), step("boom")))
    run.done("a")
    run.done("away")
    run.fail("boom")
    run.done("tidy")
    assert run.live == {"undo-a": PENDING}


def test_a_loop_without_a_step_is_refused() -> None:
    forth = [step(f"s{i}", Kind.SEQUENCE, blocks=(block(),)) for i in range(5)]
    assert Run(*forth).status == "complete"
    draft = sys.modules["wfe.core.rules.draft"]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "_MAX_PUTS", 3)
        with pytest.raises(DefinitionError, match="more than 3 steps opened at once"):
            Run(*forth)


@pytest.mark.parametrize("join", ["any", 1])
def test_branches_without_a_step_may_be_enough(join: Any) -> None:
    branches = (block(), block(step("a")))
    node = step("p", Kind.PARALLEL, blocks=branches, config={"join": join})
    run = Run(node, step("next"))
    assert run.live == {"next": PENDING}


def test_containers_without_a_step_are_done_at_once() -> None:
    for kind in (Kind.PARALLEL, Kind.DAG, Kind.SEQUENCE, Kind.SAGA):
        blocks = () if kind is Kind.PARALLEL else (block(),)
        assert Run(step("c", kind, blocks=blocks)).status == "complete"


def test_a_late_outcome_is_dropped() -> None:
    run = Run(step("a", on_error=Retry(max_retries=1)))
    run.fail("a")
    run.feed(Completed(1, 0))
    assert run.kinds == []
    run.feed(Completed(9, 0), Skipped(9, 0), Stopped(9))
    assert run.kinds == []


# -- retries


def test_the_time_of_all_attempts_together_is_bounded() -> None:
    policy = Retry(max_retries=9, interval=timedelta(seconds=1), max_time=timedelta(seconds=2))
    run = Run(step("a", on_error=policy))
    for second in range(2):
        run.feed(Failed(**run.place("a"), type="E", message="no"), now=second * 1_000_000)
        assert run.live == {"a": "sleeping"}
    run.feed(Failed(**run.place("a"), type="E", message="no"), now=2_000_000)
    assert run.status == "failed"


# -- snapshots


def test_a_snapshot_keeps_everything() -> None:
    run = Run(both(saga(undone("a"), step("b")), step("w", Kind.WAIT_FOR)), data={"x": 1})
    run.done("a")
    run.message("signal", {"name": "s", "data": 1})
    stored = state_to_json(run.state)
    again = state_from_json(stored, run.state.data)
    assert again == run.state
    old = {k: v for k, v in stored.items() if k not in ("logs", "signals", "origin", "since")}
    assert state_from_json(old, {}).logs == {}
