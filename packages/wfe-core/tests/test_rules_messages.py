"""Messages and what is written by the pure rules, case by case."""

from __future__ import annotations

import pytest
from rules_run import Run, block, both, hooked, saga, step, undone

from wfe.core.definition import Kind
from wfe.core.policies import Suspend
from wfe.core.rules.inputs import (
    Answered,
    Completed,
    Received,
    Writes,
)
from wfe.core.rules.plan import Reducer

PENDING = "pending"


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
