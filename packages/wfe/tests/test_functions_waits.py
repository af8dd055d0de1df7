"""Durable functions: pauses, events, signals, external workers, other runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    StepFailedError,
    StepTimeoutError,
    WorkflowBuilder,
    WorkflowContext,
    workflow,
)
from wfe.testing import WorkflowTest

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@attrs.define
class Order:
    id: str
    amount: int = 1


# -- waits ----------------------------------------------------------------------------------------


@workflow("sleeper")
async def sleeper(ctx: WorkflowContext) -> list[datetime]:
    times = [ctx.now()]
    await ctx.sleep(DAY)
    times.append(ctx.now())
    await ctx.sleep_until(times[0] + 3 * DAY)
    times.append(ctx.now())
    return times


async def test_a_sleeping_function_is_parked_and_goes_on_in_time() -> None:
    async with WorkflowTest(sleeper) as test:
        run = await test.start(sleeper)
        await test.clock.advance(HOUR)
        assert (await test.host.health())["live"] == 0

        await test.clock.advance(4 * DAY)
        begin = datetime(2025, 1, 1, tzinfo=UTC)
        assert await run.result(5) == [begin, begin + DAY, begin + 3 * DAY]


@workflow("waiter")
async def waiter(ctx: WorkflowContext) -> list[Any]:
    got = [await ctx.wait_for("go", key="1"), await ctx.wait_for("go", key="1")]
    try:
        await ctx.wait_for("go", key="2", timeout=DAY)
    except StepTimeoutError as error:
        got.append(error.message)
    return got


async def test_events_are_used_once_and_time_out() -> None:
    async with WorkflowTest(waiter) as test:
        run = await test.start(waiter)
        await test.host.publish_event("go", "1", 1)
        await test.clock.advance(HOUR)
        await test.host.publish_event("go", "1", 2)
        await test.clock.advance(2 * DAY)

        assert await run.result(5) == [1, 2, "no event 'go' with key '2' came in time"]


@workflow("signalled")
async def signalled(ctx: WorkflowContext) -> list[Any]:
    first = await ctx.wait_signal("s")
    await ctx.sleep(DAY)
    second = await ctx.wait_signal("s")
    try:
        await ctx.wait_signal("s", timeout=HOUR)
    except StepTimeoutError:
        return [first, second]
    return []


async def test_signals_are_kept_until_asked_for() -> None:
    async with WorkflowTest(signalled) as test:
        run = await test.start(signalled)
        await test.host.signal(run.id, "s", 1)
        await test.clock.settle()
        await test.host.signal(run.id, "s", 2)
        await test.clock.advance(2 * DAY)

        assert await run.result(5) == [1, 2]


@workflow("external")
async def external(ctx: WorkflowContext) -> Any:
    try:
        return await ctx.activity("review", {"id": 1})
    except StepFailedError as error:
        return error.message


@pytest.mark.parametrize(("fails", "result"), [(False, {"ok": True}), (True, "broken")])
async def test_activities(fails: bool, result: Any) -> None:
    async with WorkflowTest(external) as test:
        run = await test.start(external)
        await test.clock.advance(HOUR)
        activity = await test.host.activities.claim("review", "me", wait=timedelta(0))
        assert activity is not None
        assert activity.parameters == {"id": 1}

        if fails:
            await test.host.activities.fail(activity.token, "broken")
        else:
            await test.host.activities.complete(activity.token, {"ok": True})
        assert await run.result(5) == result


# -- other runs -----------------------------------------------------------------------------------


@workflow("inner")
async def inner(ctx: WorkflowContext, order: Order) -> Order:
    await ctx.sleep(HOUR)
    if order.amount < 0:
        message = "negative"
        raise ValueError(message)
    return attrs.evolve(order, amount=order.amount + 1)


@workflow("outer")
async def outer(ctx: WorkflowContext, order: Order) -> Order:
    return await ctx.child(inner, order)


async def test_a_child_gives_its_result() -> None:
    async with WorkflowTest(outer) as test:
        run = await test.start(outer, Order("7", 1))
        await test.clock.advance(2 * HOUR)

        assert await run.result(5) == Order("7", 2)
        children = await test.host.find(definition="inner")
    assert [child.parent_id for child in children.items] == [run.id]


async def test_a_failing_child_fails_its_call() -> None:
    async with WorkflowTest(outer, inner) as test:
        run = await test.start(outer, Order("7", -1))
        await test.clock.advance(2 * HOUR)

        with pytest.raises(StepFailedError, match=r"sub-workflow 'inner' .* failed: negative"):
            await run.result(5)


async def test_a_terminated_function_takes_its_child_along() -> None:
    async with WorkflowTest(outer, inner) as test:
        run = await test.start(outer, Order("7", 1))
        await test.host.terminate(run.id)
        await test.clock.settle()
        children = await test.host.find(definition="inner")

    assert [child.status for child in children.items] == ["terminated"]


async def test_a_definition_can_be_a_child() -> None:
    async def hi(name: str) -> dict[str, str]:
        return {"text": f"hi {name}"}

    greet = WorkflowBuilder().start_with(hi).build("greet")

    @workflow("caller")
    async def caller(ctx: WorkflowContext) -> str:
        return str((await ctx.child("greet", {"name": "Ada"}))["text"])

    async with WorkflowTest(greet) as test:
        assert await (await test.start(caller)).result(5) == "hi Ada"


async def test_a_function_can_be_a_child_of_a_definition() -> None:
    around = (
        WorkflowBuilder().sub_workflow("inner", data=lambda _: Order("1"), output="x").build("a")
    )
    async with WorkflowTest(around, inner) as test:
        run = await test.start(around)
        await test.clock.advance(2 * HOUR)
        instance = await run.wait(5)

    assert instance.status == "complete"


@workflow("starter")
async def starter(ctx: WorkflowContext) -> str:
    started = await ctx.start_workflow(inner, Order("9"))
    await ctx.sleep(DAY)
    return started


async def test_a_detached_run_is_started_once() -> None:
    async with WorkflowTest(starter, inner) as test:
        run = await test.start(starter)
        await test.clock.advance(2 * DAY)
        started = await run.result(5)
        found = await test.host.find(definition="inner")

    assert [(each.id, each.status) for each in found.items] == [(started, "complete")]


@workflow("impatient")
async def impatient(ctx: WorkflowContext, what: str) -> str:
    try:
        if what == "child":
            await ctx.child(sleeper, timeout=HOUR)
        else:
            await ctx.activity("review", timeout=HOUR)
    except StepTimeoutError as error:
        return error.message
    return "in time"


@pytest.mark.parametrize(
    ("what", "message"),
    [("child", "took longer than its timeout"), ("activity", "'review' was not done in time")],
)
async def test_children_and_activities_time_out(what: str, message: str) -> None:
    async with WorkflowTest(impatient, sleeper) as test:
        run = await test.start(impatient, what)
        await test.clock.advance(2 * HOUR)

        assert message in await run.result(5)
        children = (await test.host.find(definition="sleeper")).items
        assert [child.status for child in children] == ["terminated"] * (what == "child")
        assert await test.host.activities.claim("review", "me", wait=timedelta(0)) is None
