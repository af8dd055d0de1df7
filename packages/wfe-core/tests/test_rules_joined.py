"""Steps whose completion was committed with their own transaction, by the pure rules."""

from __future__ import annotations

from typing import Any

import attrs
import orjson
import pytest
from rules_run import Run, block, both, hooked, saga, step, undone

from wfe.core.policies import Retry
from wfe.core.rules.decide import decide
from wfe.core.rules.inputs import (
    Completed,
    Decision,
    Expired,
    Joined,
    Restored,
    Stopped,
    Writes,
    completed_of,
)
from wfe.core.rules.state import pointers_to_json


def join(run: Run, name: str, **parts: Any) -> Decision:
    """Let the transaction of a step's body be committed."""
    return run.feed(Joined(Completed(**run.place(name), **parts)))


def usual(run: Run, name: str) -> Decision:
    """Decide on the completion as it is read back from the journal."""
    pointer = run.at(name)
    return run.feed(completed_of(pointer.id, pointer.attempt, pointer.extra["joined"]))


def test_it_is_one_row_that_changes_nothing_else() -> None:
    run = Run(step("a"), step("b"))

    decision = join(run, "a", writes=Writes({"x": 1}, base=0), started=7)

    assert run.kinds == ["step_committed"]
    assert [op[0] for op in decision.rows[0][6]] == ["e"]
    assert decision.rows[0][5] == {"started": 7}
    more = attrs.asdict(decision, filter=lambda at, _: at.name not in {"rows", "status"})
    assert not any(more.values())
    assert run.state.data == {}
    assert run.at("a").status == "pending"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"outcome": {"k": [1]}, "started": 5, "notes": {"cached": {"run": "r"}}},
        {"writes": Writes({"x": 1}, ("gone",), {"sum": 3}, 4)},
    ],
)
def test_the_completion_is_read_back_as_it_was(parts: dict[str, Any]) -> None:
    completed = Completed(3, 1, **parts)
    stored = orjson.loads(orjson.dumps(Joined(completed).stored()))

    assert completed_of(3, 1, stored) == completed


def test_what_follows_is_decided_as_ever() -> None:
    joined, plain = Run(step("a"), step("b")), Run(step("a"), step("b"))
    writes = Writes({"x": 1}, base=0)

    join(joined, "a", writes=writes)
    usual(joined, "a")
    plain.done("a", writes=writes)

    assert joined.kinds == plain.kinds == ["step_completed"]
    assert joined.state.data == plain.state.data == {"x": 1}
    assert joined.state.pointers == plain.state.pointers


def test_a_result_that_comes_too_late_is_none() -> None:
    run = Run(step("a"), step("b"))
    pointer = run.at("a")
    run.done("a")

    late = decide(run.plan, run.state, [Joined(Completed(pointer.id, pointer.attempt))], 0)

    assert late.rows == []


def test_a_step_with_blocks_that_begins_anew_runs_its_body_again() -> None:
    retry = Retry(max_retries=1)
    chooses = step("a", blocks=(block(step("inner")),), on_error=retry)
    run = Run(chooses)
    join(run, "a", outcome=None)
    usual(run, "a")

    run.fail("inner")

    assert "joined" not in run.at("a").extra


def test_a_retry_of_the_run_does_not_do_it_again() -> None:
    run = Run(step("a"))
    join(run, "a", writes=Writes({"x": 1}, base=0))
    pointers = pointers_to_json(run.state.pointers.values())
    run.feed(Expired())
    assert run.status == "failed"

    run.back("retry", Restored(pointers=pointers, logs={}, next=run.state.next_pointer))

    assert run.status == "runnable"
    usual(run, "a")
    assert run.status == "complete"
    assert run.state.data == {"x": 1}


def test_a_saga_undoes_what_was_committed_before_it_was_cancelled() -> None:
    run = Run(saga(both(undone("a"), step("b"))))
    join(run, "a")

    run.fail("b")
    assert run.at("a").status == "cancelled"
    run.feed(completed_of(run.at("a").id, 0, run.at("a").extra["joined"]))

    assert "step_completed" in run.kinds
    assert run.at("undo-a").status == "pending"
    run.done("undo-a")
    assert run.status == "failed"


def test_without_its_commit_a_cancelled_step_is_not_undone() -> None:
    run = Run(saga(both(undone("a"), step("b"))))

    run.fail("b")
    run.feed(Stopped(run.at("a").id))

    assert run.status == "failed"
    assert "step_compensated" not in [row[1] for row in run.rows]


def test_the_end_of_the_run_waits_for_the_undo() -> None:
    run = Run(saga(undone("a")))
    join(run, "a")

    run.feed(Expired())
    assert run.status == "runnable"
    run.feed(Stopped(run.at("a").id))

    run.done("undo-a")
    assert run.status == "failed"


def test_terminating_the_run_undoes_nothing() -> None:
    run = Run(saga(undone("a")))
    join(run, "a")

    run.message("terminate")

    assert run.status == "terminated"


def test_a_hook_runs_after_it_was_cancelled() -> None:
    run = Run(both(hooked("a"), step("b")))
    join(run, "a")

    run.fail("b")
    run.feed(Stopped(run.at("a").id))

    assert run.at("a-ensure").status == "pending"
    assert "joined" not in run.at("a").extra
    run.done("a-ensure")
    assert run.status == "failed"
