"""Durable functions: things side by side, sagas, changed code, versions, retried runs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    HistoryEntry,
    Retry,
    StepExecutionContext,
    StepFailedError,
    WorkflowContext,
    workflow,
)
from wfe.testing import WorkflowTest

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Ctx = StepExecutionContext[Any]


@attrs.define
class Notes:
    """Counts what bodies do; the application object of these tests."""

    seen: list[str] = attrs.field(factory=list[str])
    broken: set[str] = attrs.field(factory=set[str])
    gate: asyncio.Event = attrs.field(factory=asyncio.Event)


async def note(ctx: Ctx, text: str) -> str:
    ctx.app.seen.append(text)
    if text in ctx.app.broken:
        message = f"{text} is broken"
        raise RuntimeError(message)
    return text


async def guarded(ctx: Ctx, text: str) -> None:
    ctx.app.seen.append(text)
    try:
        await ctx.app.gate.wait()
    except asyncio.CancelledError:
        ctx.app.seen.append(f"{text} cancelled")
        raise


def _kinds(history: list[HistoryEntry], *kinds: str) -> list[tuple[str, str | None]]:
    return [(entry.kind, entry.step) for entry in history if entry.kind in kinds]


# -- gather ---------------------------------------------------------------------------------------


@workflow("both")
async def both(ctx: WorkflowContext) -> list[Any]:
    async def line(name: str, pause: timedelta) -> str:
        await ctx.step(note, f"{name}1")
        await ctx.sleep(pause)
        return await ctx.step(note, f"{name}2")

    return list(await ctx.gather(line("a", DAY), line("b", HOUR), ctx.step(note, "c")))


async def test_gather_runs_side_by_side_and_keeps_the_order() -> None:
    notes = Notes()
    async with WorkflowTest(both, app=notes) as test:
        run = await test.start(both)
        assert sorted(notes.seen) == ["a1", "b1", "c"]
        await test.clock.advance(2 * HOUR)
        assert notes.seen[3:] == ["b2"]
        await test.clock.advance(DAY)

        assert await run.result(5) == ["a2", "b2", "c"]
    assert sorted(notes.seen) == ["a1", "a2", "b1", "b2", "c"]


@workflow("failing")
async def failing(ctx: WorkflowContext) -> str:
    async def sleeps() -> None:
        await ctx.step(note, "before")
        await ctx.sleep(DAY)
        await ctx.step(note, "never")

    async def fails() -> None:
        await ctx.sleep(HOUR)
        await ctx.step(note, "bad")

    try:
        await ctx.gather(sleeps(), ctx.step(guarded, "body"), fails())
    except StepFailedError as error:
        await ctx.sleep(DAY)  # long enough for a replay
        return error.message
    return "fine"


async def test_the_first_failure_cancels_the_others() -> None:
    notes = Notes(broken={"bad"})
    async with WorkflowTest(failing, app=notes) as test:
        run = await test.start(failing)
        await test.clock.advance(2 * HOUR)
        assert sorted(notes.seen) == ["bad", "before", "body", "body cancelled"]
        pointers = (await test.host.get(run.id)).pointers
        assert [(p.step, p.status) for p in pointers] == [
            ("failing", "pending"),
            ("sleep", "sleeping"),
        ]
        await test.clock.advance(2 * DAY)

        assert await run.result(5) == "bad is broken"
        cancelled = _kinds(await run.history(), "step_cancelled")
    assert len(notes.seen) == 4
    assert sorted(cancelled) == [("step_cancelled", "guarded"), ("step_cancelled", "sleep")]


@workflow("nested")
async def nested(ctx: WorkflowContext) -> str:
    async def inner(name: str) -> None:
        async with ctx.saga() as saga:
            await saga.step(note, name, undo=(note, f"undo {name}"))
            await ctx.gather(ctx.sleep(DAY), ctx.sleep(2 * DAY))

    async def fails() -> None:
        await ctx.sleep(HOUR)
        await ctx.step(note, "bad")

    try:
        await ctx.gather(inner("x"), ctx.gather(inner("y"), inner("z")), fails())
    except StepFailedError:
        await ctx.sleep(DAY)
        await ctx.step(note, "after")
        return "undone"
    return "fine"


async def test_sagas_of_cancelled_branches_are_undone() -> None:
    notes = Notes(broken={"bad"})
    async with WorkflowTest(nested, app=notes) as test:
        run = await test.start(nested)
        await test.clock.advance(3 * DAY)

        assert await run.result(5) == "undone"
    assert sorted(notes.seen) == ["after", "bad", "undo x", "undo y", "undo z", "x", "y", "z"]


async def test_gather_of_nothing_gives_nothing() -> None:
    @workflow("none")
    async def none(ctx: WorkflowContext) -> int:
        found: tuple[Any, ...] = await ctx.gather()
        return len(found)

    async with WorkflowTest() as test:
        assert await (await test.start(none)).result(5) == 0


# -- sagas ----------------------------------------------------------------------------------------


@workflow("trip")
async def trip(ctx: WorkflowContext, last: str) -> str:
    hotel = ""
    try:
        async with ctx.saga(retry=Retry(max_retries=1, interval=HOUR)) as saga:
            hotel = await saga.step(note, "hotel", undo=(note, "cancel hotel"))
            await ctx.sleep(DAY)
            await saga.step(note, "flight", undo=_undone)
            saga.compensate(note, "tell")
            await saga.step(note, last, undo=(note, f"cancel {last}"))
    except StepFailedError as error:
        await ctx.sleep(DAY)
        return f"{hotel}: {error.message}"
    return "booked"


async def _undone(result: str) -> str:
    return f"undone {result}"


async def test_a_saga_is_undone_in_reverse_order() -> None:
    notes = Notes(broken={"car"})
    async with WorkflowTest(trip, app=notes) as test:
        run = await test.start(trip, "car")
        await test.clock.advance(3 * DAY)

        assert await run.result(5) == "hotel: car is broken"
        history = await run.history()
    assert notes.seen == ["hotel", "flight", "car", "cancel car", "tell", "cancel hotel"]
    assert _kinds(history, "saga_compensating", "step_compensated") == [
        ("saga_compensating", "saga"),
        ("step_compensated", "note"),
        ("step_compensated", "note"),
        ("step_compensated", "note"),
        ("step_compensated", "note"),
    ]


async def test_a_saga_that_succeeds_is_not_undone() -> None:
    notes = Notes()
    async with WorkflowTest(trip, app=notes) as test:
        run = await test.start(trip, "car")
        await test.clock.advance(2 * DAY)

        assert await run.result(5) == "booked"
    assert notes.seen == ["hotel", "flight", "car"]


async def test_an_undo_that_fails_suspends_and_resume_tries_it_again() -> None:
    notes = Notes(broken={"car", "cancel hotel"})
    async with WorkflowTest(trip, app=notes) as test:
        run = await test.start(trip, "car")
        await test.clock.advance(DAY + 2 * HOUR)
        instance = await run.wait(5, suspended=True)
        assert instance.status == "suspended"
        assert instance.error is not None
        assert instance.error.message == "cancel hotel is broken"
        assert notes.seen.count("cancel hotel") == 2

        notes.broken.clear()
        await test.host.resume(run.id)
        await test.clock.advance(2 * DAY)
        assert await run.result(5) == "hotel: car is broken"
    assert notes.seen.count("cancel hotel") == 3
    assert notes.seen.count("cancel car") == 1


# -- changed code ---------------------------------------------------------------------------------


def _function(order: list[str], *, patched: bool = False, repeat: int = 1) -> Any:
    """Return a function that makes these calls; a new one with the same id is changed code."""

    @workflow("changed")
    async def changed(ctx: WorkflowContext) -> list[str]:
        done: list[str] = []
        for turn in range(repeat):
            if patched and ctx.patched("log"):
                done.append(await ctx.step(note, f"log {turn}"))
            for text in order:
                if text == "sleep":
                    await ctx.sleep(DAY)
                else:
                    done.append(await ctx.options(name=text[0]).step(note, text))
        return done

    return changed


@pytest.mark.parametrize(
    ("after", "recorded", "made"),
    [
        (["b", "a", "sleep", "c"], "'a' (call a#1", "'b' (call b#1"),
        (["a2", "b", "sleep", "c"], "'a' (call a#1", "'a' with other arguments"),
        (["a", "sleep", "c"], "'b' (call b#1", "'sleep' (call sleep#1"),
        (["a"], "'b' (call b#1", "it has ended"),
    ],
)
async def test_other_calls_than_recorded_suspend_the_run(
    after: list[str], recorded: str, made: str
) -> None:
    notes = Notes()
    first = _function(["a", "b", "sleep", "c"])
    async with WorkflowTest(first, app=notes) as test:
        run = await test.start(first)
        await test.clock.advance(HOUR)
        test.host.register(_function(after))
        await test.clock.settle()
        await test.clock.advance(DAY)
        instance = await run.wait(5, suspended=True)

        assert instance.status == "suspended"
        assert instance.error is not None
        assert instance.error.type == "DeterminismError"
        assert recorded in instance.error.message
        assert made in instance.error.message
        assert "test_functions_order.py:" in instance.error.message
        assert "resume" in instance.error.message
        assert notes.seen == ["a", "b"]

        test.host.register(_function(["a", "b", "sleep", "c"]))
        await test.clock.settle()
        await test.host.resume(run.id)
        assert await run.result(5) == ["a", "b", "c"]
    assert notes.seen == ["a", "b", "c"]


async def test_a_determinism_error_cannot_be_swallowed() -> None:
    @workflow("changed")
    async def swallowing(ctx: WorkflowContext) -> None:
        try:
            async with ctx.saga() as saga:
                saga.compensate(note, "undone")
                await ctx.gather(ctx.step(note, "x"), ctx.sleep(DAY))
        except Exception:  # noqa: BLE001 - what careless code does
            await ctx.step(note, "swallowed")

    notes = Notes()
    first = _function(["a", "sleep"])
    async with WorkflowTest(first, app=notes) as test:
        run = await test.start(first)
        await test.clock.advance(HOUR)
        test.host.register(swallowing)
        await test.clock.advance(DAY)
        instance = await run.wait(5, suspended=True)

    assert instance.error is not None
    assert instance.error.type == "DeterminismError"
    assert notes.seen == ["a"]


async def test_patched_sends_old_runs_the_old_way() -> None:
    notes = Notes()
    first = _function(["a", "sleep"], repeat=2)
    changed = _function(["a", "sleep"], patched=True, repeat=2)
    async with WorkflowTest(first, app=notes) as test:
        old = await test.start(first)
        await test.clock.advance(HOUR)
        test.host.register(changed)
        await test.clock.settle()
        new = await test.start("changed")
        await test.clock.advance(3 * DAY)

        assert await old.result(5) == ["a", "a"]
        assert await new.result(5) == ["log 0", "a", "log 1", "a"]


async def test_runs_finish_on_the_version_they_began_with() -> None:
    @workflow("versioned", version=1)
    async def one(ctx: WorkflowContext) -> int:
        await ctx.sleep(DAY)
        return 1

    @workflow("versioned", version=2)
    async def two(ctx: WorkflowContext) -> int:
        await ctx.step(note, "two")
        return 2

    async with WorkflowTest(one, app=Notes()) as test:
        old = await test.start("versioned")
        test.host.register(two)
        new = await test.start("versioned")
        await test.clock.advance(2 * DAY)

        assert await new.result(5) == 2
        assert await old.result(5) == 1


# -- retried runs ---------------------------------------------------------------------------------


@workflow("again")
async def again(ctx: WorkflowContext) -> list[str]:
    async with ctx.saga() as saga:
        one = await saga.step(note, "one", undo=(note, "undo one"))
        pair = await ctx.gather(ctx.step(note, "two"), ctx.step(note, "side"))
        return [one, pair[0], await ctx.step(note, "three")]


async def test_retry_of_a_failed_run_does_again_what_failed_and_what_was_undone() -> None:
    notes = Notes(broken={"three"})
    async with WorkflowTest(again, app=notes) as test:
        run = await test.start(again)
        assert (await run.wait(5)).status == "failed"
        assert sorted(notes.seen) == ["one", "side", "three", "two", "undo one"]

        notes.broken.clear()
        notes.seen.clear()
        await test.host.retry(run.id)
        await test.clock.settle()
        assert await run.result(5) == ["one", "two", "three"]
    assert notes.seen == ["one", "three"]


async def test_a_function_that_cancels_itself_fails() -> None:
    @workflow("cancelling")
    async def cancelling(ctx: WorkflowContext) -> None:
        await ctx.step(note, "begun")
        raise asyncio.CancelledError

    async with WorkflowTest(app=Notes()) as test:
        instance = await test.run(cancelling)

    assert instance.error is not None
    assert instance.error.type == "CancelledError"


async def test_skip_gives_none_in_place_of_a_call() -> None:
    @workflow("skipped")
    async def skipped(ctx: WorkflowContext) -> Any:
        return await ctx.wait_for("never")

    async with WorkflowTest(skipped) as test:
        run = await test.start(skipped)
        waiting = (await test.host.get(run.id)).pointers[-1]
        await test.host.skip(run.id, waiting.id)
        await test.clock.settle()

        assert await run.result(5) is None
