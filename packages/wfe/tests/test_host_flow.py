"""Control flow through the public API: containers, joins, cancellation, goto, DAG."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    Continue,
    Dag,
    ExecutionResult,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowInstance,
)
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


@attrs.define
class Trace:
    """What ran, in order; the application object of these tests."""

    ran: list[Any] = attrs.field(factory=list[Any])
    ended: list[str] = attrs.field(factory=list[str])


async def note(ctx: Ctx) -> None:
    ctx.app.ran.append(ctx.pointer.step if ctx.item is None else (ctx.pointer.step, ctx.item))


async def fail(ctx: Ctx) -> None:
    raise ValueError("no")


async def hang(ctx: Ctx) -> None:
    ctx.app.ran.append(ctx.pointer.step)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        ctx.app.ended.append(ctx.pointer.step)


async def count(n: int = 0) -> dict[str, int]:
    return {"n": n + 1}


async def _run(definition: WorkflowDefinition, data: Any = None) -> tuple[Any, Trace]:
    trace = Trace()
    async with WorkflowTest(app=trace) as test:
        return await test.run(definition, data), trace


def _history(instance: WorkflowInstance[Any]) -> str:
    return f"{instance.status}: {instance.error}"


@pytest.mark.parametrize(("big", "ran"), [(True, ["yes", "after"]), (False, ["no", "after"])])
async def test_if_takes_one_branch(big: bool, ran: list[str]) -> None:
    definition = (
        WorkflowBuilder()
        .if_do(lambda d: d["big"], lambda b: b.then(note).name("yes"))
        .else_do(lambda b: b.then(note).name("no"))
        .then(note)
        .name("after")
        .build("w")
    )

    instance, trace = await _run(definition, {"big": big})

    assert instance.status == "complete"
    assert trace.ran == ran


async def test_while_turns_until_its_condition_is_false() -> None:
    definition = (
        WorkflowBuilder()
        .while_do(lambda d: d.get("n", 0) < 3, lambda b: b.then(count).then(note).name("turn"))
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.data["n"] == 3
    assert trace.ran == ["turn"] * 3


async def test_for_each_runs_its_items_at_the_same_time() -> None:
    definition = (
        WorkflowBuilder()
        .for_each(lambda d: d["items"], lambda b: b.then(note).name("a").then(note).name("b"))
        .build("w")
    )

    instance, trace = await _run(definition, {"items": [1, 2, 3]})

    assert instance.status == "complete"
    assert trace.ran == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("b", 2), ("b", 3)]


async def test_sequential_for_each_finishes_an_item_before_the_next() -> None:
    definition = (
        WorkflowBuilder()
        .for_each(
            lambda d: d["items"],
            lambda b: b.then(note).name("a").then(note).name("b"),
            parallel=False,
        )
        .build("w")
    )

    _, trace = await _run(definition, {"items": [1, 2]})

    assert trace.ran == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


async def test_for_each_never_exceeds_its_concurrency() -> None:
    running: Counter[str] = Counter()
    most = 0

    async def work(ctx: Ctx) -> None:
        nonlocal most
        running["now"] += 1
        most = max(most, running["now"])
        for _ in range(5):  # until all that may run at a time have begun
            await asyncio.sleep(0)
        running["now"] -= 1

    definition = (
        WorkflowBuilder()
        .for_each(lambda _: range(20), lambda b: b.then(work), max_concurrency=3)
        .build("w")
    )

    instance, _ = await _run(definition)

    assert instance.status == "complete"
    assert most == 3


async def test_for_each_over_more_items_than_the_window() -> None:
    definition = (
        WorkflowBuilder().for_each(lambda _: range(2500), lambda b: b.then(note)).build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "complete"
    assert sorted(item for _, item in trace.ran) == list(range(2500))


async def test_an_empty_for_each_is_done_at_once() -> None:
    definition = WorkflowBuilder().for_each(lambda _: [], lambda b: b.then(note)).build("w")

    instance, trace = await _run(definition)

    assert instance.status == "complete"
    assert trace.ran == []


async def test_nested_for_each_knows_the_innermost_item() -> None:
    definition = (
        WorkflowBuilder()
        .for_each(
            lambda _: [[1, 2], [3]],
            lambda outer: outer.for_each(lambda _, ctx: ctx.item, lambda b: b.then(note).name("x")),
        )
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "complete", _history(instance)
    assert sorted(trace.ran) == [("x", 1), ("x", 2), ("x", 3)]


async def test_parallel_joins_all_branches_once() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(note).name("a")).branch(
                lambda b: b.then(note).name("b").then(note).name("c")
            )
        )
        .then(note)
        .name("after")
        .build("w")
    )

    _, trace = await _run(definition)

    assert sorted(trace.ran[:-1]) == ["a", "b", "c"]
    assert trace.ran[-1] == "after"


@pytest.mark.parametrize("join", ["any", 1])
async def test_an_early_join_cancels_the_losers_and_waits_for_them(join: Any) -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(note).name("fast")).branch(
                lambda b: b.then(hang).name("slow")
            ),
            join=join,
        )
        .then(note)
        .name("after")
        .build("w")
    )
    trace = Trace()

    async with WorkflowTest(app=trace) as test:
        run = await test.start(definition)
        instance = await run.wait(5)
        kinds = [(entry.kind, entry.step) for entry in await run.history()]

    assert instance.status == "complete"
    assert trace.ended == ["slow"]
    assert kinds.index(("step_cancelled", "slow")) < kinds.index(("step_completed", "after"))


async def test_a_failing_branch_cancels_its_siblings_and_fails_the_run() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(fail).name("bad")).branch(
                lambda b: b.then(hang).name("slow")
            )
        )
        .then(note)
        .name("after")
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "failed"
    assert instance.error is not None
    assert (instance.error.type, instance.error.step) == ("ValueError", "bad")
    assert trace.ended == ["slow"]
    assert "after" not in trace.ran


async def test_without_fail_fast_the_others_finish_before_the_run_fails() -> None:
    async def odd_fails(ctx: Ctx) -> None:
        ctx.app.ran.append(ctx.item)
        if ctx.item % 2:
            raise ValueError(str(ctx.item))

    definition = (
        WorkflowBuilder()
        .for_each(
            lambda _: range(6), lambda b: b.then(odd_fails), fail_fast=False, max_concurrency=1
        )
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.message == "1"
    assert trace.ran == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("kind", "ran"), [("a", ["for-a"]), ("b", ["for-b"]), ("c", ["other"])])
async def test_decide_takes_the_case_that_fits(kind: str, ran: list[str]) -> None:
    definition = (
        WorkflowBuilder()
        .decide(
            lambda d: d["kind"],
            {
                "a": lambda b: b.then(note).name("for-a"),
                "b": lambda b: b.then(note).name("for-b"),
            },
            default=lambda b: b.then(note).name("other"),
        )
        .build("w")
    )

    _, trace = await _run(definition, {"kind": kind})

    assert trace.ran == ran


@pytest.mark.parametrize(
    ("outcome", "ran"), [(1, ["one", "end"]), (True, ["other", "end"]), (7, ["other", "end"])]
)
async def test_when_follows_the_outcome(outcome: Any, ran: list[str]) -> None:
    def ask(value: Any) -> ExecutionResult:
        return ExecutionResult.outcome(value)

    definition = (
        WorkflowBuilder()
        .start_with(ask)
        .when(1, lambda b: b.then(note).name("one"))
        .otherwise(lambda b: b.then(note).name("other"))
        .then(note)
        .name("end")
        .build("w")
    )

    _, trace = await _run(definition, {"value": outcome})

    assert trace.ran == ran


async def test_goto_leaves_its_container_and_what_else_runs_in_it() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(note).name("a").goto("end")).branch(
                lambda b: b.then(hang).name("slow")
            )
        )
        .then(note)
        .name("skipped")
        .then(note)
        .id("end")
        .name("end")
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "complete", _history(instance)
    assert trace.ended == ["slow"]
    assert trace.ran[-1] == "end"
    assert "skipped" not in trace.ran


async def test_goto_back_makes_a_loop() -> None:
    definition = (
        WorkflowBuilder()
        .start_with(count)
        .id("again")
        .if_do(lambda d: d["n"] < 4, lambda b: b.then(note).goto("again"))
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.data["n"] == 4
    assert len(trace.ran) == 3


async def test_end_workflow_ends_every_branch() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(note).name("a").end_workflow()).branch(
                lambda b: b.then(hang).name("slow")
            )
        )
        .then(note)
        .name("after")
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "complete"
    assert "after" not in trace.ran


async def test_run_if_skips_and_goes_on() -> None:
    definition = (
        WorkflowBuilder()
        .start_with(note)
        .name("a")
        .then(note)
        .name("b")
        .run_if(lambda d: d["b"])
        .then(note)
        .name("c")
        .build("w")
    )
    trace = Trace()

    async with WorkflowTest(app=trace) as test:
        run = await test.start(definition, {"b": False})
        kinds = [(e.kind, e.step) for e in await run.history()]

    assert trace.ran == ["a", "c"]
    assert ("step_skipped", "b") in kinds


async def test_dag_steps_wait_for_all_or_for_any() -> None:
    dag = Dag("d")
    dag.step("a", note)
    dag.step("b", note)
    dag.step("both", note, depends_on=["a", "b"])
    dag.step("end", note, depends_on=["both"])
    dag.step("early", note, depends_on_any=["a", "end"])

    instance, trace = await _run(dag.build())

    assert instance.status == "complete"
    assert Counter(trace.ran) == Counter(["a", "b", "both", "end", "early"])
    assert trace.ran.index("early") < trace.ran.index("end")
    assert trace.ran.index("both") > max(trace.ran.index("a"), trace.ran.index("b"))


async def test_a_skipped_dag_step_counts_as_done_and_a_passed_over_failure_too() -> None:
    dag = Dag("d")
    dag.step("skipped", note, run_if=lambda _: False)
    dag.step("failed", fail, on_error=Continue())
    dag.step("after", note, depends_on=["skipped", "failed"])

    instance, trace = await _run(dag.build())

    assert instance.status == "complete"
    assert trace.ran == ["after"]


async def test_delays_run_on_the_clock_and_survive_being_parked() -> None:
    definition = (
        WorkflowBuilder()
        .start_with(note)
        .name("before")
        .delay(timedelta(days=30))
        .then(note)
        .name("after")
        .build("w")
    )
    trace = Trace()

    async with WorkflowTest(app=trace) as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(days=29))
        assert trace.ran == ["before"]
        assert (await test.host.health())["live"] == 0
        await test.clock.advance(timedelta(days=1))
        assert (await run.wait(5)).status == "complete"

    assert trace.ran == ["before", "after"]


async def test_a_join_of_two_out_of_three() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: (
                p.branch(lambda b: b.then(note).name("a"))
                .branch(lambda b: b.then(note).name("b"))
                .branch(lambda b: b.then(hang).name("slow"))
            ),
            join=2,
        )
        .then(note)
        .name("after")
        .build("w")
    )

    instance, trace = await _run(definition)

    assert instance.status == "complete"
    assert trace.ran[-1] == "after"
    assert trace.ended == ["slow"]
