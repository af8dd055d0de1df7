"""DAG triggers through the public API: what runs, what is skipped, how the run ends."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest

from wfe.core import Continue, Dag, ExecutionResult, StepExecutionContext, WorkflowInstance
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


@attrs.define
class Trace:
    """What ran, in order; the application object of these tests."""

    ran: list[str] = attrs.field(factory=list[str])
    cancelled: list[str] = attrs.field(factory=list[str])


async def note(ctx: Ctx) -> None:
    ctx.app.ran.append(ctx.pointer.step)


async def fail(ctx: Ctx) -> None:
    raise ValueError(f"{ctx.pointer.step} does not work")


async def hang(ctx: Ctx) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        ctx.app.cancelled.append(ctx.pointer.step)


async def pass_by(ctx: Ctx) -> ExecutionResult:
    return ExecutionResult.skip()


def ended(dag: Dag[Any], name: str, how: str) -> Dag[Any]:
    """Add a step that ends as *how* says."""
    match how:
        case "done":
            return dag.step(name, note)
        case "failed":
            return dag.step(name, fail)
        case "continued":
            return dag.step(name, fail, on_error=Continue())
        case "skipped":
            return dag.step(name, note, run_if=False)
        case _:
            return dag.step(name, pass_by)


async def _run(dag: Dag[Any]) -> tuple[WorkflowInstance[Any], Trace, list[tuple[str, str | None]]]:
    trace = Trace()
    async with WorkflowTest(app=trace) as test:
        instance = await test.run(dag.build())
        history = await test.host.history(instance.id)
    return instance, trace, [(entry.kind, entry.step) for entry in history]


# by trigger: what becomes of the second need -> whether the step runs (the first need is done)
RUNS = {
    "all": {"done": True, "failed": False, "continued": True, "skipped": True, "passed": True},
    "any": {"done": True, "failed": True, "continued": True, "skipped": True, "passed": True},
    "all_done": dict.fromkeys(("done", "failed", "continued", "skipped", "passed"), True),
    "any_failed": {
        "done": False,
        "failed": True,
        "continued": True,
        "skipped": False,
        "passed": False,
    },
    "none_failed": {
        "done": True,
        "failed": False,
        "continued": False,
        "skipped": True,
        "passed": True,
    },
}
CASES = [(trigger, how, runs) for trigger, by in RUNS.items() for how, runs in by.items()]


@pytest.mark.parametrize(("trigger", "how", "runs"), CASES)
async def test_a_trigger_decides_whether_the_step_runs(trigger: Any, how: str, runs: bool) -> None:
    dag: Dag[Any] = Dag("d", fail_fast=False).step("a", note)
    ended(dag, "b", how).step("c", note, depends_on=["a", "b"], trigger=trigger)

    instance, trace, history = await _run(dag)

    assert ("c" in trace.ran) == runs
    assert (("step_skipped", "c") in history) == (not runs)
    assert instance.status == ("failed" if how == "failed" else "complete")
    if how == "failed":
        assert instance.error is not None
        assert (instance.error.step, instance.error.message) == ("b", "b does not work")


async def test_any_begins_with_the_first_need_that_is_done() -> None:
    dag: Dag[Any] = Dag("d").step("slow", hang).step("quick", note)
    dag.step("c", note, depends_on=["slow", "quick"], trigger="any")
    dag.step("stop", fail, depends_on=["c"])  # or the run would wait for the slow one

    instance, trace, _ = await _run(dag)

    assert (instance.status, trace.ran) == ("failed", ["quick", "c"])
    assert trace.cancelled == ["slow"]


@pytest.mark.parametrize("trigger", ["all_done", "any_failed"])
async def test_a_failure_that_a_step_waits_for_does_not_cancel_the_others(trigger: Any) -> None:
    dag: Dag[Any] = Dag("d").step("a", fail).step("load", note, depends_on=["a"])
    dag.step("other", note).step("later", note, depends_on=["other"])
    dag.step("alarm", note, depends_on=["load"], trigger=trigger)

    instance, trace, history = await _run(dag)

    assert sorted(trace.ran) == ["alarm", "later", "other"]
    assert ("step_skipped", "load") in history
    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.step == "a"


async def test_another_failure_still_cancels_and_the_first_error_is_the_runs() -> None:
    dag: Dag[Any] = Dag("d").step("a", fail).step("slow", hang)
    dag.step("alarm", note, depends_on=["a"], trigger="any_failed")
    dag.step("b", fail, depends_on=["alarm"])

    instance, trace, _ = await _run(dag)

    assert (trace.ran, trace.cancelled) == (["alarm"], ["slow"])
    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.step == "a"


@pytest.mark.parametrize("how", ["skipped", "passed"])
@pytest.mark.parametrize(
    ("skip", "ran"), [("satisfy", ["b", "c"]), ("propagate", []), ({"a": "propagate"}, [])]
)
async def test_a_skip_satisfies_or_propagates(how: str, skip: Any, ran: list[str]) -> None:
    dag = ended(Dag("d"), "a", how).step("b", note, depends_on=["a"], skip=skip)
    dag.step("c", note, depends_on=["b"], skip="propagate")

    instance, trace, history = await _run(dag)

    assert (instance.status, trace.ran) == ("complete", ran)
    assert (("step_skipped", "b") in history) == (("step_skipped", "c") in history) == (not ran)


async def test_what_a_failure_keeps_from_running_is_no_mere_skip_for_later_steps() -> None:
    dag: Dag[Any] = Dag("d", fail_fast=False).step("a", fail).step("b", note, depends_on=["a"])
    dag.step("c", note, depends_on=["b"])
    dag.step("tidy", note, depends_on=["c"], trigger="all_done")

    instance, trace, history = await _run(dag)

    assert trace.ran == ["tidy"]
    assert [step for kind, step in history if kind == "step_skipped"] == ["b", "c"]
    assert instance.status == "failed"


async def test_a_handler_that_is_not_needed_counts_as_skipped() -> None:
    dag: Dag[Any] = Dag("d").step("a", note)
    dag.step("alarm", note, depends_on=["a"], trigger="any_failed")
    dag.step("end", note, depends_on=["alarm"])

    instance, trace, history = await _run(dag)

    assert (instance.status, trace.ran) == ("complete", ["a", "end"])
    assert ("step_skipped", "alarm") in history


async def test_a_failure_that_was_passed_over_runs_its_handler_in_a_run_that_completes() -> None:
    dag: Dag[Any] = Dag("d").step("a", fail, on_error=Continue()).step("b", note, depends_on=["a"])
    dag.step("alarm", note, depends_on=["a"], trigger="any_failed")

    instance, trace, _ = await _run(dag)

    assert (instance.status, sorted(trace.ran)) == ("complete", ["alarm", "b"])


async def test_depends_on_any_stands_beside_the_trigger() -> None:
    dag: Dag[Any] = Dag("d", fail_fast=False).step("a", fail).step("x", note).step("y", fail)
    dag.step("c", note, depends_on=["a"], depends_on_any=["x", "y"], trigger="all_done")
    dag.step("d", note, depends_on=["a"], depends_on_any=["y"], trigger="all_done")

    instance, trace, history = await _run(dag)

    assert (instance.status, sorted(trace.ran)) == ("failed", ["c", "x"])
    assert ("step_skipped", "d") in history


async def test_a_skipped_step_counts_as_one_of_those_that_must_be_done() -> None:
    dag: Dag[Any] = Dag("d").step("a", note, run_if=False).step("b", note, run_if=False)
    dag.step("c", note, depends_on_any=["a", "b"])
    dag.step("e", note, depends_on_any=["a", "b"], skip="propagate")

    instance, trace, _ = await _run(dag)

    assert (instance.status, trace.ran) == ("complete", ["c"])
