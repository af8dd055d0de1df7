"""Durable functions: what goes in and comes out, steps, waits, other runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

import attrs
import pytest

from wfe.core import (
    Compensate,
    Continue,
    DataTypeError,
    DefinitionError,
    Retry,
    StepExecutionContext,
    StepFailedError,
    StepMiddleware,
    Suspend,
    Terminate,
    WorkflowContext,
    step,
    workflow,
)
from wfe.testing import WorkflowTest

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Ctx = StepExecutionContext[Any]


@attrs.define
class Order:
    id: str
    amount: int = 1


@dataclass
class Parcel:
    order: Order
    weight: float


class Address(TypedDict):
    street: str


@attrs.define
class Notes:
    """Counts what bodies do; the application object of these tests."""

    seen: list[str] = attrs.field(factory=list[str])
    failures: int = 0
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)


async def note(ctx: Ctx, text: str) -> str:
    ctx.app.seen.append(text)
    return text


async def flaky(ctx: Ctx) -> int:
    ctx.app.seen.append(f"try {ctx.attempt} {ctx.idempotency_key.split(':', 1)[1]}")
    if ctx.app.failures > 0:
        ctx.app.failures -= 1
        message = "not yet"
        raise ConnectionError(message)
    return ctx.attempt


async def pack(order: Order) -> Parcel:
    return Parcel(order, 1.5)


def in_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


async def guarded(ctx: Ctx) -> None:
    try:
        await ctx.app.gate.wait()
    finally:
        ctx.app.seen.append("ended")


async def nothing() -> None:
    """Do nothing."""


# -- what goes in and comes out -------------------------------------------------------------------


@workflow("typed")
async def typed(ctx: WorkflowContext, order: Order) -> Parcel:
    parcel = await ctx.step(pack, order)
    assert isinstance(parcel, Parcel)
    assert isinstance(parcel.order, Order)
    return parcel


async def test_arguments_and_results_come_back_as_their_types() -> None:
    async with WorkflowTest() as test:
        run = await test.host.start_workflow(typed, Order("7", 3))

        assert await run.result(5) == Parcel(Order("7", 3), 1.5)
        data = (await test.host.get(run.id)).data
        assert data == {"input": Order("7", 3), "result": Parcel(Order("7", 3), 1.5)}


async def test_a_mapping_is_taken_for_a_class() -> None:
    async with WorkflowTest(typed) as test:
        run = await test.host.start_workflow("typed", {"id": "7"})

        assert (await run.result(5)).order == Order("7", 1)


@workflow("several")
async def several(ctx: WorkflowContext, a: int, address: Address, b: int = 5) -> str:
    assert await ctx.step(in_thread)
    return f"{a} {b} {address['street']}"


async def test_several_parameters_are_a_mapping_by_name() -> None:
    async with WorkflowTest(several) as test:
        run = await test.host.start_workflow(several, {"a": 1, "address": {"street": "x"}})

        assert await run.result(5) == "1 5 x"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"a": "1", "address": {"street": "x"}}, "data.a"),
        ({"a": 1}, "data.address: is missing"),
        ({"a": 1, "address": {"street": "x"}, "c": 1}, "data.c"),
        (5, "expected a mapping"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(data: Any, problem: str) -> None:
    async with WorkflowTest(several) as test:
        with pytest.raises(DataTypeError, match=problem):
            await test.host.start_workflow(several, data)


@workflow("nothing")
async def without(ctx: WorkflowContext) -> None:
    await ctx.step(nothing)


async def test_a_function_may_take_and_give_nothing() -> None:
    async with WorkflowTest(without) as test:
        assert await (await test.start(without)).result(5) is None


def test_a_function_that_does_not_fit_is_refused() -> None:
    async def no_context() -> None: ...

    async def variadic(ctx: WorkflowContext, *args: int) -> None: ...

    def sync(ctx: WorkflowContext) -> None: ...

    wrong: list[Any] = [no_context, sync]
    with pytest.raises(DefinitionError, match="context"):
        workflow("w")(wrong[0]).build()
    with pytest.raises(DefinitionError, match=r"\*args"):
        workflow("w")(variadic).build()
    with pytest.raises(DefinitionError, match="async"):
        workflow("w")(wrong[1])
    with pytest.raises(DefinitionError, match="from 1"):
        workflow("w", version=0)


@workflow("raising")
async def raising(ctx: WorkflowContext, kind: str) -> None:
    if kind == "plain":
        message = "no good"
        raise ValueError(message)
    await ctx.step(flaky)


async def test_what_a_function_raises_fails_the_run() -> None:
    async with WorkflowTest(raising, app=Notes(failures=9)) as test:
        plain = await test.run(raising, "plain")
        called = await test.run(raising, "step")

    assert plain.error is not None
    assert (plain.status, plain.error.type, plain.error.message) == (
        "failed",
        "ValueError",
        "no good",
    )
    assert called.error is not None
    assert (called.error.type, called.error.step) == ("ConnectionError", "flaky")


# -- steps ----------------------------------------------------------------------------------------


@workflow("retrying")
async def retrying(ctx: WorkflowContext) -> int:
    return await ctx.options(retry=Retry(max_retries=2, interval=HOUR), name="r").step(flaky)


async def test_retries_wait_durably_and_keep_the_key() -> None:
    notes = Notes(failures=2)
    async with WorkflowTest(retrying, app=notes) as test:
        run = await test.start(retrying)
        await test.clock.advance(HOUR)
        await test.clock.advance(HOUR)

        assert await run.result(5) == 2
        kinds = [(e.kind, e.attempt) for e in await run.history() if e.step == "r"]

    assert notes.seen == ["try 0 1:r#1", "try 1 1:r#1", "try 2 1:r#1"]
    assert kinds == [("step_retrying", 0), ("step_retrying", 1), ("step_completed", 2)]


@workflow("caught")
async def caught(ctx: WorkflowContext) -> str:
    try:
        await ctx.options(retry=1).step(flaky)
    except StepFailedError as error:
        await ctx.sleep(DAY)
        return f"{error.step} {error.error_type} {error.message}"
    return "fine"


async def test_a_caught_failure_is_the_same_when_replayed() -> None:
    notes = Notes(failures=9)
    async with WorkflowTest(caught, app=notes) as test:
        run = await test.start(caught)
        await test.clock.advance(DAY + HOUR)

        assert await run.result(5) == "flaky ConnectionError not yet"
    assert len(notes.seen) == 2


@step(retry=1, timeout=timedelta(minutes=1))
async def slow(ctx: Ctx) -> None:
    ctx.app.seen.append("begun")
    await ctx.app.gate.wait()


@workflow("timing")
async def timing(ctx: WorkflowContext) -> None:
    await ctx.step(slow)


async def test_settings_of_a_step_apply() -> None:
    notes = Notes()
    async with WorkflowTest(timing, app=notes) as test:
        run = await test.start(timing)
        await test.clock.advance(timedelta(minutes=3))

        with pytest.raises(StepFailedError) as caught_error:
            await run.result(5)
    assert caught_error.value.error_type == "StepTimeoutError"
    assert notes.seen == ["begun", "begun"]


@workflow("suspending")
async def suspending(ctx: WorkflowContext) -> int:
    return await ctx.options(retry=Suspend()).step(flaky)


async def test_a_call_with_suspend_is_tried_again_by_resume() -> None:
    notes = Notes(failures=1)
    async with WorkflowTest(suspending, app=notes) as test:
        run = await test.start(suspending)
        assert (await run.wait(5, suspended=True)).status == "suspended"

        await test.clock.advance(HOUR)  # long enough to be parked
        await test.host.resume(run.id)

        assert await run.result(5) == 1


@workflow("terminating")
async def terminating(ctx: WorkflowContext) -> int:
    return await ctx.options(retry=Terminate()).step(flaky)


async def test_a_call_with_terminate_ends_the_run() -> None:
    async with WorkflowTest(terminating, app=Notes(failures=1)) as test:
        instance = await test.run(terminating)

    assert instance.status == "terminated"


@workflow("unstorable")
async def unstorable(ctx: WorkflowContext) -> None:
    thing: Any = object()
    await ctx.step(note, thing)


async def test_arguments_must_be_storable() -> None:
    async with WorkflowTest(unstorable, app=Notes()) as test:
        instance = await test.run(unstorable)

    assert instance.error is not None
    assert instance.error.type == "DataTypeError"


class Counting(StepMiddleware):
    def __init__(self) -> None:
        self.steps: list[str] = []

    async def handle(self, ctx: Ctx, call_next: Any) -> Any:
        self.steps.append(ctx.pointer.step)
        return await call_next()


async def test_middleware_goes_around_steps() -> None:
    around = Counting()
    async with WorkflowTest(typed, middleware=[around]) as test:
        await test.run(typed, Order("7"))

    assert around.steps == ["pack"]


async def test_terminate_cancels_the_running_step() -> None:
    @workflow("guarded")
    async def function(ctx: WorkflowContext) -> None:
        await ctx.step(guarded)

    notes = Notes()
    async with WorkflowTest(app=notes) as test:
        run = await test.start(function)
        await test.host.terminate(run.id, "enough")

        assert (await run.wait(5)).status == "terminated"
        await test.clock.settle()
    assert notes.seen == ["ended"]


async def test_suspend_lets_the_step_end_and_no_other_begin() -> None:
    @workflow("two")
    async def function(ctx: WorkflowContext) -> None:
        await ctx.step(guarded)
        await ctx.step(note, "second")

    notes = Notes()
    async with WorkflowTest(app=notes) as test:
        run = await test.start(function)
        await test.host.suspend(run.id)
        notes.gate.set()
        await test.clock.settle()
        assert notes.seen == ["ended"]
        await test.clock.advance(HOUR)

        await test.host.resume(run.id)
        await run.wait(5)
    assert notes.seen == ["ended", "second"]


# -- chance, data, handlers -----------------------------------------------------------------------


@workflow("chance")
async def chance(ctx: WorkflowContext) -> dict[str, Any]:
    before = (ctx.random(), ctx.uuid(), ctx.random())
    await ctx.set(status="sleeping", drawn=before[0])
    ctx.log.info("going to sleep")
    fresh = not ctx.replaying
    await ctx.sleep(DAY)
    await ctx.step(note, str(before[1]))
    return {"random": before[0], "other": before[2], "uuid": before[1], "fresh": fresh}


@chance.query("status")
def status(data: Mapping[str, Any], payload: str) -> str:
    return f"{payload}{data['status']}"


@chance.update("rename")
def rename(data: dict[str, Any], payload: str) -> str:
    old, data["status"] = data["status"], payload
    return str(old)


async def test_chance_is_the_same_when_replayed() -> None:
    notes = Notes()
    async with WorkflowTest(chance, app=notes) as test:
        run = await test.start(chance)
        await test.clock.advance(HOUR)
        drawn = (await test.host.get(run.id)).data["drawn"]
        assert await test.host.query(run.id, "status", "is ") == "is sleeping"
        assert await test.host.update(run.id, "rename", "waiting") == "sleeping"
        await test.clock.advance(DAY)
        result = await run.result(5)
        lines = [line.line for line in await test.host.logs(run.id)]

    assert 0 <= drawn < 1
    assert result["random"] == drawn != result["other"]
    assert isinstance(result["uuid"], UUID)
    assert notes.seen == [str(result["uuid"])]
    assert not result["fresh"]
    assert lines == ["going to sleep"]


@workflow("own")
async def own(ctx: WorkflowContext) -> None:
    await ctx.set(input=1)


async def test_a_function_cannot_overwrite_its_input() -> None:
    async with WorkflowTest(own) as test:
        instance = await test.run(own)

    assert instance.error is not None
    assert "data.input" in instance.error.message


# -- the rest of the calls ------------------------------------------------------------------------


@step(process=True)
def squared(number: int) -> int:
    return number * number


async def keyword(text: str, *, ctx: Any = None) -> str:
    return f"{text} {ctx.pointer.step}"


@workflow("various")
async def various(ctx: WorkflowContext) -> list[Any]:
    passed = await ctx.options(retry=Continue()).step(flaky)
    named = await ctx.options(name="other").step(keyword, "as")
    return [passed, await ctx.step(squared, 7), named]


async def test_steps_of_other_kinds() -> None:
    async with WorkflowTest(various, app=Notes(failures=1)) as test:
        run = await test.host.start_workflow(various)

        assert await run.result(20) == [None, 49, "as other"]


@workflow("undoing-policy")
async def undoing_policy(ctx: WorkflowContext) -> None:
    ctx.options(retry=Compensate())


async def test_a_policy_that_undoes_is_refused() -> None:
    async with WorkflowTest(undoing_policy) as test:
        instance = await test.run(undoing_policy)

    assert instance.error is not None
    assert "ctx.saga()" in instance.error.message


async def test_resume_after_a_skipped_call() -> None:
    async with WorkflowTest(suspending, app=Notes(failures=9)) as test:
        run = await test.start(suspending)
        (waiting,) = (p for p in (await test.host.get(run.id)).pointers if p.step == "flaky")
        await test.host.skip(run.id, waiting.id)
        await test.clock.settle()

        assert await run.result(5) is None


def test_two_handlers_of_one_name_are_refused() -> None:
    @workflow("handled")
    async def handled(ctx: WorkflowContext) -> None: ...

    handled.query("x")(status)
    with pytest.raises(DefinitionError, match="two handlers for 'x'"):
        handled.query("x")(status)


async def test_a_function_is_called_inside_of_another() -> None:
    @workflow("around")
    async def around(ctx: WorkflowContext) -> Parcel:
        return await typed(ctx, Order("7"))

    async with WorkflowTest() as test:
        run = await test.start(around)

        assert (await run.result(5)).order == Order("7")
        assert [e.step for e in await run.history() if e.step] == ["pack", "around"]
