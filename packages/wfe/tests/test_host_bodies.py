"""Ways to write a body, what it may ask for, and definitions that change under running runs."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    Dag,
    DefinitionError,
    ExecutionResult,
    LifecycleEvent,
    Retry,
    StepBody,
    StepExecutionContext,
    WorkflowBuilder,
    expr,
    step,
)
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost, arun
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]
HOUR = timedelta(hours=1)


async def nothing() -> None:
    """Do nothing."""


async def hang(ctx: Ctx) -> None:
    await asyncio.Event().wait()


@step(process=True)
def squared(n: int) -> dict[str, int]:
    """Do CPU-bound work in a process of its own."""
    return {"n": n * n}


async def test_a_cpu_bound_function_runs_in_a_process() -> None:
    definition = WorkflowBuilder().start_with(squared).then(squared).build("w")

    instance = await arun(definition, {"n": 3})

    assert instance.data == {"n": 81}


@attrs.frozen
class Scaled(StepBody):
    factor: int = 1
    n: int = 0

    def run(self, ctx: Ctx) -> dict[str, int]:
        return {"n": self.n * self.factor}


async def test_a_frozen_prototype_is_copied_with_its_inputs() -> None:
    definition = (
        WorkflowBuilder().start_with(Scaled(factor=10)).input("n", lambda d: d["n"]).build("w")
    )

    assert (await arun(definition, {"n": 4})).data == {"n": 40}


@pytest.mark.parametrize(
    ("result", "kind"),
    [
        (ExecutionResult.next(), "step_completed"),
        (ExecutionResult.skip(), "step_skipped"),
        (ExecutionResult.fail("no"), "step_failed"),
        (ExecutionResult.fail(ValueError("no"), retryable=False), "step_failed"),
    ],
)
async def test_what_a_body_answers_is_what_happens(result: ExecutionResult, kind: str) -> None:
    async def answer() -> ExecutionResult:
        return result

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().start_with(answer).build("w"))
        kinds = [entry.kind for entry in await run.history()]

    assert kinds[1] == kind


async def test_a_body_may_run_again_at_once_or_at_a_time() -> None:
    async def again(ctx: Ctx) -> ExecutionResult:
        match ctx.persistence_data:
            case None:
                return ExecutionResult.persist("once")
            case "once":
                when = test.clock.now() + HOUR
                return ExecutionResult.sleep_until(when, "twice")
            case memory:
                return ExecutionResult.output(memory=memory)

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().start_with(again).build("w"))
        await test.clock.advance(HOUR)
        assert (await run.wait(5)).data == {"memory": "twice"}


async def test_progress_reaches_observers_from_any_thread() -> None:
    def work(ctx: Ctx) -> None:
        ctx.emit("rows", 3)
        ctx.heartbeat({"done": 0.5})

    seen: list[Any] = []

    def observe(event: LifecycleEvent) -> None:
        if event.kind == "progress" and event.data:
            seen.append((event.data["name"], event.data["payload"]))

    async with WorkflowTest() as test:
        test.host.subscribe(observe)
        await (await test.start(WorkflowBuilder().start_with(work).build("w"))).wait(5)
        await test.clock.settle()

    assert seen == [("rows", 3), ("heartbeat", {"done": 0.5})]


async def test_a_parameter_that_nothing_fills_is_named() -> None:
    def needs(colour: str) -> None: ...

    instance = await arun(WorkflowBuilder().start_with(needs).build("w"), {"size": 1})

    assert instance.error is not None
    assert instance.error.type == "DataTypeError"
    assert "parameter 'colour'" in instance.error.message
    assert "(known: size)" in instance.error.message


async def test_a_container_has_a_time_of_its_own() -> None:
    dag = Dag("d")
    dag.step("slow", hang)
    whole = (
        WorkflowBuilder()
        .parallel(lambda p: p.branch(lambda b: b.then(hang)).branch(lambda b: b.then(nothing)))
        .timeout(HOUR)
        .build("w")
    )
    async with WorkflowTest() as test:
        run = await test.start(whole)
        await test.clock.advance(HOUR)
        instance = await run.wait(5)
        kinds = [(e.kind, e.step) for e in await run.history()]

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"
    assert ("step_cancelled", "hang") in kinds


async def test_a_sub_workflow_that_takes_too_long_is_terminated_and_tried_again() -> None:
    child = WorkflowBuilder().start_with(hang).build("child")
    parent = (
        WorkflowBuilder()
        .sub_workflow("child")
        .timeout(HOUR)
        .on_error(Retry(max_retries=1, interval=timedelta(0)))
        .build("parent")
    )
    async with WorkflowTest(child, parent) as test:
        run = await test.start("parent")
        await test.clock.advance(3 * HOUR)
        instance = await run.wait(5)
        await test.clock.settle()
        children = (await test.host.find(definition="child")).items

    assert instance.status == "failed"
    assert [child.status for child in children] == ["terminated", "terminated"]


async def test_a_sub_workflow_that_still_runs_when_its_branch_loses_is_terminated() -> None:
    child = WorkflowBuilder().start_with(hang).build("child")
    parent = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.sub_workflow("child")).branch(
                lambda b: b.delay(HOUR).then(nothing)
            ),
            join="any",
        )
        .build("parent")
    )
    async with WorkflowTest(child, parent) as test:
        run = await test.start("parent")
        await test.clock.advance(HOUR)
        assert (await run.wait(5)).status == "complete"
        await test.clock.settle()
        (lost,) = (await test.host.find(definition="child")).items

    assert lost.status == "terminated"


async def test_a_running_run_keeps_its_definition_when_another_replaces_it() -> None:
    store = MemoryStore()
    old = WorkflowBuilder().wait_for("go", key="k").then(nothing).name("old").build("w")
    new = (
        WorkflowBuilder()
        .wait_for("go", key="k")
        .then(nothing)
        .name("old")
        .then(nothing)
        .name("new")
        .build("w")
    )
    async with WorkflowHost(store) as host:
        host.register(old)
        run = await host.start_workflow("w")

    async with WorkflowHost(store) as host:
        host.register(new)
        later = await host.start_workflow("w")
        await host.publish_event("go", "k")
        handle = await host.run(run.id)
        await handle.wait(5)
        await later.wait(5)
        steps = [entry.step for entry in await handle.history()]
        newer = [entry.step for entry in await later.history()]

    assert "new" not in steps
    assert "new" in newer


async def test_a_run_whose_code_is_not_there_waits_for_a_host_that_has_it() -> None:
    store = MemoryStore()
    definition = WorkflowBuilder().delay(HOUR).then(nothing).build("w")
    async with WorkflowHost(store) as host:
        host.register(definition)
        run = await host.start_workflow("w")

    async with WorkflowHost(store) as stranger:
        stranger.register(WorkflowBuilder().start_with(nothing).build("other"))
        await asyncio.sleep(0)
        assert (await stranger.get(run.id)).status == "runnable"
        assert (await stranger.health())["live"] == 0


def test_a_definition_without_its_code_is_refused_by_name() -> None:
    definition = WorkflowBuilder().start_with(nothing).build("w")
    bare = attrs.evolve(definition, code={})

    with pytest.raises(DefinitionError, match=r"no code is registered for nothing/body"):
        WorkflowHost("memory://").register(bare)


async def test_a_delayed_start_begins_later() -> None:
    ran: list[str] = []

    async def note(ctx: Ctx) -> None:
        ran.append(ctx.instance.id)

    async with WorkflowTest(WorkflowBuilder().start_with(note).build("w")) as test:
        run = await test.start("w", delay=HOUR)
        await test.clock.advance(HOUR / 2)
        assert ran == []
        await test.clock.advance(HOUR / 2)
        await run.wait(5)

    assert ran == [run.id]


@pytest.mark.memory_only("it counts the host's timers, over very many runs")
async def test_the_timers_of_ended_runs_do_not_pile_up() -> None:
    definition = WorkflowBuilder().start_with(nothing).definition_timeout(1000 * HOUR).build("w")
    async with WorkflowTest(definition) as test:
        for _ in range(30):
            runs = [await test.host.start_workflow("w") for _ in range(100)]
            await asyncio.gather(*(run.wait(10) for run in runs))
        engine: Any = vars(test.host)["_engine"]
        waited_for = len(engine.timers)

    assert waited_for < 1500


async def test_a_body_may_branch_over_values() -> None:
    seen: list[tuple[object, int | None]] = []

    def fan() -> ExecutionResult:
        return ExecutionResult.branch(["a", "b"])

    def work(ctx: StepExecutionContext[Any]) -> None:
        seen.append((ctx.item, ctx.index))

    flow = WorkflowBuilder().then(fan).when("each", lambda b: b.then(work))
    async with WorkflowTest() as test:
        assert (await test.run(flow.build("w"))).status == "complete"
    assert sorted(seen, key=str) == [("a", 0), ("b", 1)]


async def test_what_a_body_returns_goes_to_the_field_that_its_output_names() -> None:
    flow = WorkflowBuilder().then(lambda: 3).output("three")
    async with WorkflowTest() as test:
        assert (await test.run(flow.build("w"))).data == {"three": 3}


@attrs.define
class Since:
    when: datetime


async def test_a_wait_may_take_its_as_of_from_typed_data_by_an_expression() -> None:
    flow = WorkflowBuilder(Since).wait_for("go", as_of=expr("data.when"))
    async with WorkflowTest() as test:
        late = test.clock.now() + timedelta(minutes=1)
        run = await test.start(flow.build("w"), Since(late))
        await test.host.publish_event("go")
        await test.clock.settle()
        assert (await test.host.get(run.id)).status == "runnable", "that event came before"
        await test.clock.advance(timedelta(minutes=1))
        await test.host.publish_event("go")
        assert (await run.wait(5)).status == "complete"
