"""Going on after a failure: sub-workflows, sagas, and runs that an earlier version began."""

from __future__ import annotations

import attrs
from rules_run import SECOND, Run, block, both, hooked, saga, step, undone

from wfe.core.definition import Kind
from wfe.core.policies import CompensateThenRetry, Fail, Terminate
from wfe.core.rules.called import CallDone, CallSleeps
from wfe.core.rules.inputs import Restored
from wfe.core.rules.reopening import before_failures
from wfe.core.rules.reviving import restored

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


def test_a_saga_in_which_nothing_could_be_undone_goes_on_where_it_failed() -> None:
    run = Run(saga(step("a"), step("b")))
    run.done("a")
    run.fail("b")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"b": PENDING}
    run.done("b")
    assert run.status == "complete"


def test_so_does_one_whose_step_waited_in_vain() -> None:
    run = Run(saga(step("w", Kind.WAIT_FOR)))
    run.wait("w", until=5)
    run.due("w", 5)
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"w": PENDING}


def test_so_does_one_with_hooks_that_a_step_terminated() -> None:
    ensure = (("ensure", block(step("h"))),)
    graph = step("g", Kind.DAG, blocks=(block(step("a", on_error=Terminate())),))
    run = Run(saga(graph, hooks=ensure))
    run.fail("a")
    run.done("h")
    assert run.status == "terminated"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"a": PENDING}


def test_a_container_that_was_undone_begins_anew() -> None:
    undo, policy = block(step("u")), CompensateThenRetry(0, then=Fail())
    inner = step("seq", Kind.SEQUENCE, blocks=(block(step("a"), step("b")),), undo=undo)
    run = Run(attrs.evolve(inner, on_error=policy))
    run.done("a")
    run.fail("b")
    run.done("u")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"seq": PENDING}


def test_a_saga_that_was_undone_for_its_hook_begins_anew() -> None:
    run = Run(saga(undone("a"), hooks=(("on_success", block(step("h"))),)))
    run.done("a")
    run.fail("h")
    run.done("undo-a")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"saga": PENDING}, "not its hook alone: what it did is undone"


def test_a_saga_that_was_undone_for_a_failure_beside_it_begins_anew() -> None:
    run = Run(both(step("boom"), saga(undone("x"), step("y"))))
    run.done("x")
    run.fail("boom")
    run.stop("y")
    run.done("undo-x")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"boom": PENDING, "saga": PENDING}
    assert run.state.logs == {}


def test_so_does_a_saga_in_a_branch_that_failed_while_others_went_on() -> None:
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
    assert run.live == {"boom": PENDING, "saga": PENDING}


def test_a_saga_around_what_is_tried_again_knows_what_it_has_to_undo() -> None:
    cleaned = (("ensure", block(step("h"))),)
    inner = both(step("boom"), saga(undone("x"), hooks=cleaned), name="q")
    branches = (block(inner), block(step("z")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config={"fail_fast": False}))
    run.done("x")
    run.fail("boom")
    run.done("h")
    run.done("z")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"boom": PENDING, "h": PENDING}
    run.fail("h")
    assert "undo-x" in run.live


def test_the_calls_of_a_function_are_not_the_business_of_a_retry() -> None:
    """A function that undid a saga of its own finds in the journal what it undid."""
    node = step("f", Kind.FUNCTION)
    run = Run(both(node, step("boom")))
    pointer = run.at("f").id
    info = {"call": "0", "n": 0, "hash": "", "site": ""}
    run.feed(CallSleeps(pointer=pointer, attempt=0, name="(sleep)", info=info, until=9))
    run.feed(
        CallDone(
            pointer=pointer,
            attempt=0,
            name="saga",
            kind="saga_compensating",
            info={**info, "call": "1"},
        )
    )
    (origin,) = (p for p in run.state.pointers.values() if p.step == "(sleep)")
    state, _ = before_failures(run.rows, run.state.seq - 1, None)
    assert state.pointers[origin.id] == origin


# -- what went on while something failed ----------------------------------------------------------


def test_what_completes_while_the_hooks_of_a_failure_run_stays_completed() -> None:
    run = Run(both(hooked("a", "on_failure"), step("b"), step("c")))
    run.fail("a")
    run.done("b")
    run.done("a-on_failure")
    run.stop("c")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"a": PENDING, "c": PENDING}
    run.done("a")
    run.done("c")
    assert run.status == "complete"


def test_so_does_what_completes_beside_the_containers_around_it() -> None:
    tidy = (("ensure", block(step("h"))),)
    inner = both(step("a"), step("b"), name="inner", hooks=tidy)
    run = Run(both(inner, step("c")))
    run.fail("a")
    run.done("b")  # cancelled, but it had completed already
    run.done("c")
    run.done("h")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"a": PENDING, "b": PENDING}


def test_what_completed_after_an_earlier_retry_stays_completed() -> None:
    tidy = (("ensure", block(step("h"))),)
    inner = step("seq", Kind.SEQUENCE, blocks=(block(step("a")),), hooks=tidy)
    run = Run(both(inner, step("b"), step("c")))
    run.fail("a")
    run.fail("b")
    run.done("h")
    run.stop("c")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"a": PENDING, "b": PENDING, "c": PENDING}, "also what was cut off failing"
    run.done("b")
    run.fail("a")
    run.done("h")
    run.stop("c")
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"a": PENDING, "c": PENDING}


def test_what_waited_for_a_failure_in_a_graph_and_failed_too_is_tried_again() -> None:
    nodes = block(step("a"), step("late", needs=("a",), trigger="all_done"))
    run = Run(step("g", Kind.DAG, blocks=(nodes,)))
    run.fail("a")
    run.fail("late")
    assert run.status == "failed"
    run.back("retry", ended(run), from_step=None)
    run.done("a")
    run.done("late")
    assert run.status == "complete"


def test_what_lost_a_branch_and_ends_already_is_not_opened_again() -> None:
    config = {"fail_fast": False}
    tidy = (("ensure", block(step("h"))),)
    parts = {"blocks": (block(step("a")), block(step("b"))), "config": config, "hooks": tidy}
    run = Run(both(step("p", Kind.PARALLEL, **parts), step("boom")))
    run.fail("a")
    run.fail("boom")
    run.message("terminate")
    run.stop("b")
    run.done("h")
    assert run.status == "terminated"
    run.back("retry", ended(run), from_step=None)
    assert run.live == {"b": "cancelled"}
    run.stop("b")
    run.done("h")
    assert run.status == "failed"


def test_a_run_whose_steps_were_all_done_when_it_was_terminated_completes() -> None:
    run = Run(step("a"))
    run.message("suspend")
    run.done("a")
    run.message("terminate")
    assert run.status == "terminated"
    run.back("retry", ended(run), from_step=None)
    assert run.kinds == ["workflow_retried", "workflow_completed"]
    assert run.status == "complete"


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
