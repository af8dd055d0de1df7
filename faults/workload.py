"""The workflows that run while things break, and the effects that their bodies leave behind."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from faults.settings import append
from wfe.core import (
    Activity,
    Compensate,
    Continue,
    Retry,
    StepExecutionContext,
    StepFailedError,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)

__all__ = [
    "BOOKING",
    "BOOKS",
    "LIMIT",
    "SLOTS",
    "UNDOABLE",
    "Effects",
    "data_of",
    "definitions",
    "kind_of",
]

Ctx: TypeAlias = StepExecutionContext[Any]
LIMIT: Final = 2
"""How many may hold a place at a time, over all hosts."""
SLOTS: Final = "slots"
"""The key of that limit."""
UNDOABLE: Final = frozenset({"reserve", "hotel", "flight"})
"""Steps of :func:`trip` that can be undone."""
BOOKS: Final = "faults_books"
"""The application's own table."""
BOOKING: Final = "book"
"""The step that writes into it."""
_KINDS: Final = ("order", "trip", "order", "errand", "trip", "order", "doomed", "errand")
_SOON: Final = timedelta(milliseconds=50)
_AGAIN: Final = Retry(max_retries=2, interval=_SOON)
# A host that is paused within a transaction on a SQLite file finds that its time is up.
_UNTIL_IT_WORKS: Final = Retry(max_retries=100, interval=timedelta(milliseconds=300))


@attrs.frozen
class Effects:
    """Effects outside of the store: one line each."""

    path: Path

    def note(self, ctx: Ctx, what: str = "begin") -> None:
        """Write down that a body is there."""
        self.write(ctx.idempotency_key, ctx.attempt, ctx.pointer.step, what)

    def write(self, key: str, attempt: int, step: str, what: str = "begin") -> None:
        """Write one line; the time is the one that no fault moves."""
        now = time.monotonic_ns() // 1000
        fact = {"key": key, "attempt": attempt, "step": step, "what": what, "at": now}
        append(self.path, {**fact, "pid": os.getpid()})


async def effect(ctx: Ctx) -> None:
    """Have one effect."""
    ctx.app.note(ctx)


async def slow(ctx: Ctx) -> None:
    """Have one effect, and take a moment."""
    ctx.app.note(ctx)
    await asyncio.sleep(0.15)


def blocking(ctx: Ctx) -> None:
    """Have one effect, in a thread."""
    ctx.app.note(ctx)


async def held(ctx: Ctx) -> None:
    """Hold a place for a moment."""
    ctx.app.note(ctx)
    await asyncio.sleep(0.3)


async def flaky(ctx: Ctx) -> None:
    """Fail the first time."""
    ctx.app.note(ctx)
    if ctx.attempt == 0:
        message = "once more"
        raise ConnectionError(message)


async def pay(ctx: Ctx) -> None:
    """Fail if the data say so, whatever is done about it."""
    ctx.app.note(ctx)
    if ctx.data["fails"]:
        message = "no money"
        raise ValueError(message)


async def book(ctx: Ctx) -> None:
    """Write into a table of the store's database, in the transaction that completes the step."""
    ctx.app.note(ctx)
    async with ctx.transaction() as tx:
        # The two drivers have different placeholders; what stands here needs none.
        done = tx.connection.execute(f"INSERT INTO {BOOKS} VALUES ('{ctx.idempotency_key}')")
        if inspect.isawaitable(done):
            await done


# -- definitions ----------------------------------------------------------------------------------


def order() -> WorkflowDefinition:
    """Return a workflow that waits for everybody."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("first")
        .parallel(
            lambda p: p.branch(lambda b: b.then(effect).name("left").then(slow).name("left2"))
            .branch(lambda b: b.then(flaky).name("right").on_error(_AGAIN))
            .branch(lambda b: b.delay(timedelta(milliseconds=300)).then(blocking).name("far"))
        )
        .wait_for("paid", key=lambda d: d["number"], output="paid")
        .for_each(
            lambda d: d["items"],
            lambda b: b.then(held).name("item").concurrency(SLOTS, limit=LIMIT),
            max_concurrency=2,
        )
        .then(book).name(BOOKING).on_error(_UNTIL_IT_WORKS)
        .wait_for("maybe", key=lambda d: d["number"], timeout=timedelta(seconds=1.2))
        .name("perhaps").on_error(Continue())
        .delay(timedelta(seconds=1)).name("rest")
        .sub_workflow("part", data=lambda d: {"number": d["number"]}, output="part")
        .wait_for("news", key=lambda d: d["topic"], output="news")
        .activity("review", output="review")
        .wait_for("nudge", scope="run", output="nudged")
        .then(effect).name("last")
        .build("order")
    )  # fmt: skip


def part() -> WorkflowDefinition:
    """Return the sub-workflow."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("p1")
        .delay(timedelta(milliseconds=400))
        .then(slow).name("p2")
        .build("part")
    )  # fmt: skip


def _undo(name: str) -> Any:
    return lambda b: b.then(effect).name(name).compensate_with(slow)


def trip() -> WorkflowDefinition:
    """Return a saga that fails at its end, or not."""
    return (
        WorkflowBuilder()
        .saga(
            lambda b: _undo("reserve")(b)
            .parallel(lambda p: p.branch(_undo("hotel")).branch(_undo("flight")))
            .delay(timedelta(milliseconds=200))
            .then(flaky).name("ask").on_error(_AGAIN)
            .then(pay).name("pay").on_error(_AGAIN)
        )
        .on_error(Compensate()).ensure(effect)
        .then(effect).name("home")
        .build("trip")
    )  # fmt: skip


def doomed() -> WorkflowDefinition:
    """Return a workflow that waits until it is terminated, with a child that waits, too."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("begin")
        .parallel(
            lambda p: p.branch(lambda b: b.wait_for("never"))
            .branch(lambda b: b.sub_workflow("asleep", data=lambda _: {}))
        )
        .build("doomed")
    )  # fmt: skip


def asleep() -> WorkflowDefinition:
    """Return a workflow that never ends by itself."""
    return WorkflowBuilder().start_with(effect).name("lie").wait_for("never").build("asleep")


def tick() -> WorkflowDefinition:
    """Return what the schedule starts."""
    return WorkflowBuilder().start_with(effect).name("tock").build("tick")


async def note(ctx: Ctx, text: str) -> str:
    """Have one effect and say so."""
    ctx.app.note(ctx)
    return text


async def flaky_note(ctx: Ctx, text: str) -> str:
    """Fail the first time."""
    await flaky(ctx)
    return text


async def boom(ctx: Ctx) -> None:
    """Fail always."""
    ctx.app.note(ctx)
    message = "it broke"
    raise ValueError(message)


async def _branch(ctx: WorkflowContext) -> str:
    await ctx.sleep(timedelta(milliseconds=300))
    return await ctx.options(retry=_AGAIN).step(flaky_note, "b")


@workflow("errand")
async def errand(ctx: WorkflowContext, number: str) -> list[Any]:
    """Use what a durable function has."""
    trace: list[Any] = [await ctx.step(note, "a")]
    trace += await ctx.gather(_branch(ctx), ctx.step(note, "c"))
    try:
        async with ctx.saga() as saga:
            await saga.step(note, "d", undo=(note, "undo d"))
            await saga.step(note, "e", undo=(note, "undo e"))
            await ctx.step(boom)
    except StepFailedError as error:
        trace.append(str(error.step))
    trace.append(await ctx.wait_for("paid", number))
    await ctx.options(retry=_UNTIL_IT_WORKS).step(book)
    await ctx.child("part", {"number": number})
    trace.append(await ctx.step(note, "z"))
    return trace


def definitions() -> list[Any]:
    """Return what every host knows."""
    return [order(), part(), trip(), doomed(), asleep(), tick(), errand]


async def review(effects: Effects, activity: Activity) -> str:
    """Serve an activity."""
    effects.write(activity.idempotency_key, activity.attempt, "review", "served")
    await asyncio.sleep(0.05)
    return "fine"


# -- cases ----------------------------------------------------------------------------------------


def kind_of(number: int) -> str:
    """Return which definition case *number* of a client runs."""
    return _KINDS[number % len(_KINDS)]


def data_of(kind: str, number: int, name: str, topic: str) -> Any:
    """Return what case *number* begins with; what happens in it depends on nothing else."""
    match kind:
        case "order":
            return {"number": name, "topic": topic, "items": list(range(number % 4))}
        case "trip":
            return {"fails": number % 3 == 1}
        case "errand":
            return name
        case _:
            return {}
