"""Messages, limits of a run, and what is written: the pure rules, case by case."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest

from rules_run import Run, block, step
from wfe.core.definition import Kind, Node
from wfe.core.errors import DefinitionError
from wfe.core.policies import Compensate, Continue, Retry, Suspend, Terminate
from wfe.core.rules.inputs import (
    Answered,
    Completed,
    Exceeded,
    Expired,
    Failed,
    Received,
    Recovered,
    Skipped,
    Stopped,
    Unwanted,
    Writes,
)
from wfe.core.rules.plan import Reducer
from wfe.core.rules.state import state_from_json, state_to_json

PENDING = "pending"


def both(*branches: Node, **parts: Any) -> Node:
    return step("both", Kind.PARALLEL, blocks=tuple(block(each) for each in branches), **parts)


def hooked(name: str, hook: str = "ensure", **parts: Any) -> Node:
    return step(name, hooks=((hook, block(step(f"{name}-{hook}"))),), **parts)


def undone(name: str, **parts: Any) -> Node:
    return step(name, undo=block(step(f"undo-{name}", **parts)))


def saga(*nodes: Node, **parts: Any) -> Node:
    return step("saga", Kind.SAGA, blocks=(block(*nodes),), **parts)


# -- control


def test_suspend_and_resume_are_news_once() -> None:
    run = Run(step("a"))
    run.message("resume")
    assert run.kinds == ["message_ignored"]
    run.message("suspend", actor="ann", reason="lunch")
    assert run.info("workflow_suspended") == {"actor": "ann", "reason": "lunch"}
    run.message("suspend")
    assert run.kinds == ["message_ignored"]
    assert run.info("message_ignored") == {"message": "suspend"}
    run.message("resume")
    assert run.status == "runnable"


def test_a_suspended_run_is_complete_only_when_it_is_resumed() -> None:
    run = Run(step("a"))
    run.message("suspend")
    run.done("a")
    assert (run.status, run.live) == ("suspended", {})
    run.message("resume")
    assert run.status == "complete"


def test_the_end_waits_for_resume_too() -> None:
    run = Run(both(step("a"), step("end", Kind.END)))
    run.message("suspend")
    run.done("end")
    assert (run.status, run.live) == ("suspended", {"a": PENDING, "end": PENDING})
    run.message("resume")
    run.done("end")
    assert run.status == "complete"


@pytest.mark.parametrize("reason", [None, "enough"])
def test_terminate_ends_a_run_with_its_reason(reason: str | None) -> None:
    run = Run(step("a"))
    run.message("terminate", reason=reason)
    assert run.status == "terminated"
    assert (run.state.error or {}).get("message") == reason
    assert run.last.final


def test_terminate_comes_before_what_arrived_with_it() -> None:
    run = Run(step("a"))
    run.feed(Completed(1, 0), Received(i=1, kind="terminate", payload=None))
    assert run.status == "terminated"


@pytest.mark.parametrize("kind", ["suspend", "terminate", "patch", "rewind", "signal"])
def test_a_final_run_takes_no_message(kind: str) -> None:
    run = Run(step("a"))
    run.done("a")
    run.message(kind, {"fields": {}, "name": "s", "data": None})
    assert (run.kinds, run.status) == (["message_ignored"], "complete")


def test_an_empty_definition_is_complete_at_once() -> None:
    assert Run().status == "complete"


# -- skip


def test_skip_stops_a_body_and_goes_on_after_it() -> None:
    run = Run(hooked("a"), step("next"))
    run.message("skip", {"pointer": 1}, actor="ann")
    assert run.live == {"a": "cancelled"}
    assert run.info("step_skipped") == {"actor": "ann"}
    run.stop("a")
    run.done("a-ensure")
    assert run.live == {"next": PENDING}


def test_skip_of_what_waits_goes_on_at_once_and_resumes() -> None:
    run = Run(step("a", on_error=Suspend()), step("next"))
    run.fail("a")
    assert (run.status, run.live) == ("suspended", {"a": "failed"})
    run.message("skip", {"pointer": 1})
    assert (run.status, run.live) == ("runnable", {"next": PENDING})


def test_skip_of_a_container_cancels_what_is_in_it() -> None:
    run = Run(both(step("a"), step("b")), step("next"))
    run.message("skip", {"pointer": 1})
    run.stop("a")
    run.stop("b")
    assert run.live == {"next": PENDING}


def test_what_is_being_cancelled_cannot_be_skipped() -> None:
    run = Run(step("seq", Kind.SEQUENCE, blocks=(block(both(step("a"), step("boom"))),)))
    run.fail("boom")
    assert run.live == {"a": "cancelled"}
    run.message("skip", {"pointer": run.at("a").id})
    assert run.kinds == ["message_ignored"]
    run.stop("a")
    assert run.status == "failed"


def test_nothing_begins_after_a_step_that_was_cancelled_and_skipped() -> None:
    branch = block(step("a"), step("after"))
    run = Run(step("p", Kind.PARALLEL, blocks=(branch, block(step("boom")))))
    run.fail("boom")
    run.message("skip", {"pointer": run.at("a").id})
    run.stop("a")
    assert run.status == "failed"


@pytest.mark.parametrize("pointer", [1, 99])
def test_what_runs_its_hooks_cannot_be_skipped(pointer: int) -> None:
    run = Run(hooked("a"))
    run.done("a")
    run.message("skip", {"pointer": pointer})
    assert run.kinds == ["message_ignored"]
    run.done("a-ensure")
    assert run.status == "complete"


def test_what_is_being_undone_cannot_be_skipped() -> None:
    run = Run(saga(undone("a"), step("b")))
    run.done("a")
    run.fail("b")
    run.message("skip", {"pointer": run.at("saga").id})
    assert run.kinds == ["message_ignored"]
    run.done("undo-a")
    assert run.status == "failed"


# -- data


def test_patch_sets_fields_whatever_their_reducers() -> None:
    run = Run(step("a"), data={"n": 1}, reducers={"n": Reducer("add", lambda a, b: a + b)})
    run.message("patch", {"fields": {"n": 5, "m": 2}}, actor="ann")
    assert run.state.data == {"n": 5, "m": 2}
    assert run.info("data_patched") == {"fields": ["m", "n"], "actor": "ann"}


def test_operands_are_reduced_when_the_rows_are_folded() -> None:
    reducers = {
        "n": Reducer("add", lambda a, b: a + b),
        "own": Reducer(None, lambda a, b: a * b),
    }
    run = Run(step("a"), step("b"), reducers=reducers)
    run.done("a", writes=Writes({}, (), {"n": 2, "own": 3}))
    run.done("b", writes=Writes({}, (), {"n": 5, "own": 4}))
    assert run.state.data == {"n": 7, "own": 12}


def test_what_a_wait_brings_is_reduced_too() -> None:
    node = step("w", Kind.WAIT_FOR, config={"output": "n"})
    run = Run(node, data={"n": 1}, reducers={"n": Reducer("add", lambda a, b: a + b)})
    run.wait("w")
    run.event("w", 4)
    assert run.state.data == {"n": 5}


def test_removed_fields_are_gone_and_a_lost_write_is_told() -> None:
    run = Run(both(step("a"), step("b")), step("c"), data={"x": 0})
    run.done("a", writes=Writes({"x": 1}, (), {}, 0))
    assert run.kinds == ["step_completed"]
    run.done("b", writes=Writes({}, ("x",), {}, 0))
    assert run.state.data == {}
    assert run.info("data_conflict") == {"fields": ["x"]}


def test_writes_of_one_batch_conflict_too() -> None:
    run = Run(both(step("a"), step("b")))
    run.feed(
        Completed(2, 0, None, Writes({"x": 1}, (), {}, 0), started=4),
        Completed(3, 0, None, Writes({"x": 2}, (), {}, 0)),
    )
    assert run.state.data == {"x": 2}
    assert run.info("data_conflict") == {"fields": ["x"]}
    assert run.rows[1][5] == {"started": 4}


# -- updates


def test_an_update_is_answered() -> None:
    run = Run(step("a"))
    answered = Answered(result=3, writes=Writes({"n": 3}))
    run.message("update", {"id": "u", "name": "add"}, found=answered, actor="ann")
    assert run.state.data == {"n": 3}
    expected = {"update": "u", "name": "add", "actor": "ann", "result": 3}
    assert run.info("update_completed") == expected


def test_an_update_is_rejected() -> None:
    run = Run(step("a"))
    answered = Answered(error={"type": "E", "message": "no"})
    run.message("update", {"id": "u", "name": "add"}, found=answered)
    assert run.info("update_rejected")["error"] == {"type": "E", "message": "no"}


def test_an_update_without_an_answer_is_ignored() -> None:
    run = Run(step("a"))
    run.message("update", {"id": "u", "name": "add"})
    assert run.kinds == ["message_ignored"]


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
