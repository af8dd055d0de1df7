"""Going on after a failure: sub-workflows, sagas, and runs that an earlier version began."""

from __future__ import annotations

from rules_run import SECOND, Run, block, both, saga, step, undone

from wfe.core.definition import Kind
from wfe.core.rules.inputs import Restored
from wfe.core.rules.reviving import before_failures, restored

PENDING, WAITING = "pending", "waiting_for_event"


def ended(run: Run, *children: int) -> Restored:
    """Return the state that a retry goes on from; the sub-workflows of *children* go on, too."""
    assert run.state.origin is not None
    state, failures = before_failures(run.rows, *run.state.origin)
    return restored(state, None, failures, frozenset(children))


def failed_child(timeout: int | None = None) -> tuple[Run, int]:
    run = Run(step("c", Kind.SUB_WORKFLOW, timeout=timeout), step("end"))
    run.begin_child("c")
    waiting = run.at("c").id
    run.child_over("c", "failed", error={"message": "no"})
    assert run.status == "failed"
    return run, waiting


def test_a_sub_workflow_that_failed_is_tried_again_itself() -> None:
    run, waiting = failed_child()
    decision = run.back("retry", ended(run, waiting), from_step=None)
    assert run.live == {"c": WAITING}
    (message,) = decision.messages
    assert (message.target, message.kind, message.allow_final) == (7, "retry", True)
    run.child_over("c")
    assert run.live == {"end": PENDING}


def test_a_sub_workflow_that_goes_on_has_its_whole_time_again() -> None:
    run, waiting = failed_child(timeout=9 * SECOND)
    run.now = 5 * SECOND
    run.back("retry", ended(run, waiting), from_step=None)
    assert run.at("c").wake == 14 * SECOND


def test_a_saga_in_a_branch_that_failed_knows_what_it_has_to_undo() -> None:
    inner = both(step("boom"), saga(undone("x"), step("y")), name="q")
    branches = (block(inner), block(step("z")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config={"fail_fast": False}))
    run.done("x")
    run.fail("boom")
    run.stop("y")
    run.done("undo-x")
    run.done("z")
    assert run.status == "failed"

    run.back("retry", ended(run), from_step=None)
    assert run.live == {"boom": PENDING, "y": PENDING}
    run.fail("y")

    assert "undo-x" in run.live


def test_a_run_that_lost_a_branch_before_that_was_kept_goes_on() -> None:
    branches = tuple(block(step(name)) for name in ("a", "b", "c"))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config={"fail_fast": False}))
    run.fail("a")
    around = run.at("p")
    first = around.extra["error"]
    old = {name: value for name, value in around.extra.items() if name != "lost"}
    run.state.pointers[around.id] = around.having(old)

    run.fail("b")
    assert run.at("p").extra["error"] == first
    run.done("c")

    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["step"] == "a"
