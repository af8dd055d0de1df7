"""Runs that start runs: waited for, left alone, detached; and what a run may grow to."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import Continue, Retry, StepExecutionContext, WorkflowBuilder, WorkflowNotFoundError
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
MINUTE = timedelta(minutes=1)
CHILD = WorkflowBuilder().wait_for("go", output="got").build("child")


def parent(**options: Any) -> Any:
    flow = WorkflowBuilder().sub_workflow("child", output="child", **options)
    return flow.then(lambda ctx: ctx.app.append("after")).build("parent")


async def the_child(test: WorkflowTest, of: str) -> Any:
    (found,) = [c for c in (await test.host.find(definition="child")).items if c.parent_id == of]
    return found


async def test_an_abandoned_child_goes_on() -> None:
    after: list[str] = []
    flow = parent(on_parent_end="abandon")
    async with WorkflowTest(CHILD, flow, app=after) as test:
        run = await test.start("parent")
        child = await the_child(test, run.id)
        assert child.root_id == run.id
        await test.host.terminate(run.id)
        assert (await run.wait(5)).status == "terminated"
        assert (await test.host.get(child.id)).status == "runnable"
        await test.host.publish_event("go", data=1)
        assert (await (await test.host.run(child.id)).wait(5)).status == "complete"
    assert after == []


async def test_a_detached_child_is_not_waited_for() -> None:
    after: list[str] = []
    flow = parent(detached=True, name="the-child", reference="ref")
    async with WorkflowTest(CHILD, flow, app=after) as test:
        run = await test.start("parent")
        instance = await run.wait(5)
        child = await test.host.get("the-child")
        assert instance.data["child"] == child.id
        assert (child.reference, child.parent_id, child.root_id) == ("ref", run.id, run.id)
        assert child.status == "runnable"
    assert after == ["after"]


async def test_a_child_whose_name_is_taken_fails_its_step() -> None:
    flow = parent(name="the-child")
    async with WorkflowTest(CHILD, flow, app=[]) as test:
        await test.start("child", name="the-child")
        instance = await (await test.start("parent")).wait(5)
    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "DuplicateNameError"


async def test_a_step_that_is_tried_again_finds_the_run_that_it_started() -> None:
    started: list[str] = []

    async def start(ctx: Ctx) -> None:
        started.append(await ctx.start_workflow("child", {"n": 1}))
        started.append(await ctx.start_workflow("child", {"n": 2}))
        started.append(await ctx.start_workflow("child", {"n": 3}, key="third"))
        if ctx.attempt == 0:
            raise ConnectionError

    flow = WorkflowBuilder().then(start).on_error(Retry(max_retries=1, interval=MINUTE))
    async with WorkflowTest(CHILD) as test:
        run = await test.start(flow.build("parent"))
        await test.clock.advance(MINUTE)
        assert (await run.wait(5)).status == "complete"
        assert len((await test.host.find(definition="child")).items) == 3
        assert (await test.host.get(started[0])).root_id == run.id
    assert started[:3] == started[3:]
    assert len(set(started)) == 3


async def test_observers_hear_of_the_start_of_every_run_once() -> None:
    seen: list[tuple[str, str]] = []
    async with WorkflowTest(CHILD, parent(), app=[]) as test:
        test.host.subscribe(lambda event: seen.append((event.kind, event.definition)))
        run = await test.start("parent")
        delayed = await test.start("child", delay=MINUTE)
        await test.host.publish_event("go")
        await test.clock.advance(MINUTE)
        await test.host.publish_event("go")
        assert (await run.wait(5)).status == "complete"
        await delayed.wait(5)
    ended = sorted(definition for kind, definition in seen if kind == "workflow_completed")
    begun = sorted(definition for kind, definition in seen if kind == "workflow_started")
    assert begun == ended == ["child", "child", "parent"]


@attrs.define
class Pizza:
    name: str
    price: Decimal


@attrs.define
class Order:
    pizzas: list[Pizza] = attrs.field(factory=list[Pizza])


async def test_items_come_back_as_what_they_are_also_when_they_are_undone() -> None:
    seen: list[object] = []

    def bake(ctx: Ctx) -> None:
        seen.append(ctx.item)

    def unbake(ctx: Ctx) -> None:
        seen.append(ctx.item)

    def fail() -> None:
        raise ValueError("no")

    flow = WorkflowBuilder(Order).saga(
        lambda s: s.for_each(
            lambda d: d.pizzas, lambda b: b.then(bake).compensate_with(unbake), item_type=Pizza
        ).then(fail)
    )
    funghi = Pizza("Funghi", Decimal("8.50"))
    async with WorkflowTest() as test:
        assert (await test.run(flow.build("w"), Order([funghi]))).status == "failed"
    assert seen == [funghi, funghi]


async def test_many_children_with_a_limit() -> None:
    one = WorkflowBuilder().delay(MINUTE).build("one")
    flow = (
        WorkflowBuilder()
        .for_each(
            list(range(30)),
            lambda b: b.sub_workflow("one", data=lambda _, ctx: {"n": ctx.item}),
            max_concurrency=10,
        )
        .build("many")
    )
    async with WorkflowTest(one, flow) as test:
        run = await test.start("many")
        page = await test.host.find(definition="one", status="runnable", limit=100)
        assert len(page.items) == 10
        await test.clock.advance(timedelta(minutes=2))
        page = await test.host.find(definition="one", limit=100)
        assert sorted(item.data["n"] for item in page.items) == list(range(30))
        await test.clock.advance(MINUTE)
        assert (await run.wait(5)).status == "complete"


async def test_a_wait_that_times_out_has_a_branch_of_its_own() -> None:
    ran: list[str] = []
    flow = (
        WorkflowBuilder()
        .wait_for("never", timeout=MINUTE)
        .on_error(Continue())
        .on_failure(lambda: ran.append("late"))
        .then(lambda: ran.append("after"))
        .build("w")
    )
    async with WorkflowTest(flow) as test:
        run = await test.start("w")
        await test.clock.advance(MINUTE)
        assert (await run.wait(5)).status == "complete"
    assert ran == ["late", "after"]


async def test_a_history_that_grows_too_long_ends_the_run() -> None:
    flow = WorkflowBuilder().while_do(lambda _: True, lambda b: b.then(lambda: None)).build("w")
    async with WorkflowTest(flow, max_history=100) as test:
        run = await test.host.start_workflow("w")
        instance = await run.wait(5)
        history = await run.history()
    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.message == "its history is longer than 100 rows (max_history)"
    assert 100 <= len(history) <= 105


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_a_timer_fires_soon_after_it_is_due(store: str, tmp_path: Path) -> None:
    late: list[float] = []
    flow = (
        WorkflowBuilder()
        .delay(timedelta(seconds=0.3))
        .then(lambda: late.append(time.monotonic()))
        .build("w")
    )
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowHost(url, linger=timedelta(0)) as host:
        host.register(flow)
        lateness: list[float] = []
        for _ in range(3):  # the machine may be busy: it is the host that must not be late
            began = time.monotonic()
            run = await host.start_workflow("w")
            await asyncio.sleep(0.1)  # it was given back to the store by now
            await run.wait(10)
            lateness.append(late[-1] - began - 0.3)
        assert min(lateness) < 0.1


async def test_an_unknown_run_has_no_child() -> None:
    async with WorkflowTest() as test:
        with pytest.raises(WorkflowNotFoundError):
            await test.host.get("nobody-1")
