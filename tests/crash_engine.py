"""The whole engine under kill -9: what runs, what the outside world does, and the processes.

``python -m tests.crash_engine`` is the server that forks the processes.  Whatever happens outside
of the runs (events, answers, repairs) can be done again by the next process: it looks first
whether the last one got it done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
from tests.crash_outside import Effects, Outside, kill_switch, serve
from tests.crash_yaml import SECRET, definitions, keep, lane, pipe, warm

from wfe.core import (
    Activity,
    Compensate,
    DefinitionConflictError,
    Retry,
    StepExecutionContext,
    StepFailedError,
    Suspend,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowDefinition,
    workflow,
)
from wfe.core.engine import seeking
from wfe.core.engine.caching import Results
from wfe.core.rules.state import Pointer, State, Undo
from wfe.host import WorkflowHost
from wfe.sqlite import open_url

__all__ = ["PLANTS", "SCENARIOS", "UNDONE"]

Ctx: TypeAlias = StepExecutionContext[Any]
MOMENT: Final = timedelta(milliseconds=1)
WEDGED: Final = 120
"""Seconds after which a process is stuck, and not merely slow: it needs less than one alone."""

ONCE_MORE: Final = Retry(max_retries=2, interval=MOMENT)
UNDONE: Final = frozenset({"reserve", "left", "right", "pay"})
"""Steps of :func:`undoing` that can be undone."""


async def effect(ctx: Ctx) -> None:
    """Have one effect."""
    ctx.app.note(ctx)


async def boom(ctx: Ctx) -> None:
    """Have one effect, and fail."""
    ctx.app.note(ctx)
    message = f"{ctx.pointer.step} broke"
    raise ValueError(message)


async def flaky(ctx: Ctx) -> None:
    """Fail the first time."""
    ctx.app.note(ctx)
    if ctx.attempt == 0:
        message = "once more"
        raise ConnectionError(message)


async def needs_repair(ctx: Ctx) -> None:
    """Fail until somebody repaired the world."""
    ctx.app.note(ctx)
    if not ctx.app.repaired:
        message = "the machine is broken"
        raise OSError(message)


async def needs_check(ctx: Ctx) -> None:
    """Fail until the data say that somebody looked."""
    ctx.app.note(ctx)
    if not ctx.data.get("checked"):
        message = "nobody looked"
        raise ValueError(message)


# -- what fails, is undone, retried and limited ---------------------------------------------------


def _undo(name: str) -> Callable[[Any], Any]:
    return lambda b: b.then(effect).name(name).compensate_with(effect)


def _both(p: Any) -> Any:
    return p.branch(_undo("left")).branch(_undo("right"))


def undoing() -> WorkflowDefinition:
    """Return a workflow with a saga that fails, hooks, retries, limits and pauses."""
    return (
        WorkflowBuilder()
        .saga(
            lambda b: _undo("reserve")(b)
            .parallel(_both)
            .then(flaky).name("flaky").on_error(ONCE_MORE).on_success(effect)
            .then(boom).name("pay").on_error(ONCE_MORE).compensate_with(effect)
            .on_failure(effect).ensure(effect)
        )
        .on_error(Compensate()).ensure(effect)
        .for_each(
            lambda d: d["items"],
            lambda b: b.then(effect).name("item").concurrency("slots", limit=1),
            max_concurrency=2,
        )
        .for_each(
            lambda d: d["items"][:2],
            lambda b: b.then(effect).name("rated").rate_limit(
                "door", limit=1, per=timedelta(milliseconds=5)
            ),
        )
        .delay(MOMENT)
        .then(flaky).name("last").on_error(ONCE_MORE).ensure(effect)
        .build("undoing")
    )  # fmt: skip


async def undo(outside: Outside) -> None:
    """Run it to its end."""
    host = outside.host
    run = await host.start_workflow("undoing", {"items": [1, 2, 3]}, idempotency_key="undoing")
    await run.result()


# -- what waits for the world ---------------------------------------------------------------------


def child() -> WorkflowDefinition:
    """Return the sub-workflow."""
    return WorkflowBuilder().start_with(effect).name("c1").then(effect).name("c2").build("child")


def waiting() -> WorkflowDefinition:
    """Return a workflow that waits for everybody."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("first")
        .wait_for("paid", key="1", output="paid")
        .wait_for("go", output="went")
        .wait_for("nudge", scope="run", output="nudged")
        .wait_for("nudge", scope="run", output="nudged2")
        .activity("review", parameters=lambda d: {"paid": d["paid"]}, output="review")
        .approval("Release it?", options=["yes", "no"], output="answer")
        .when("yes", lambda b: b.then(effect).name("released"))
        .otherwise(lambda b: b.then(effect).name("kept"))
        .sub_workflow("child", data=lambda _: {}, output="child")
        .then(effect).name("last")
        .build("waiting")
    )  # fmt: skip


async def _order(outside: Outside) -> None:
    """Start the run and publish its first event in one transaction of the application."""
    with contextlib.closing(sqlite3.connect(outside.db)) as app:
        app.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY)")
        if app.execute("SELECT 1 FROM orders").fetchone() is None:
            app.execute("BEGIN IMMEDIATE")
            app.execute("INSERT INTO orders VALUES (1)")
            await outside.host.start_workflow("waiting", within=app, name="the-order")
            await outside.host.publish_event("paid", "1", {"sum": 5}, id="paid", within=app)
            outside.on_commit("before")
            app.commit()
            outside.on_commit("after")


async def wait(outside: Outside) -> None:
    """Give it all that it waits for."""
    host = outside.host
    await _order(outside)
    run = await host.run("the-order")

    async def review(activity: Activity) -> dict[str, Any]:
        outside.effects.write(activity.idempotency_key, activity.attempt, "review")
        return {"by": "worker", "of": activity.parameters}

    lease = timedelta(seconds=1)  # who lives keeps it, also on a busy machine
    worker = asyncio.ensure_future(host.activities.work("review", review, lease=lease))
    for number in (1, 2):
        if outside.told(run.id, "signal") < number:
            await host.signal(run.id, "nudge", number, actor=f"nudge {number}")
    await host.publish_event("go", data={"by": "test"}, id="go")
    if not outside.told(run.id, "approve"):
        await outside.until(host.approvals)
        await host.approve(run.id, "yes", actor="the boss")
    await run.result()
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


# -- what goes back, and what is ended ------------------------------------------------------------


def mending() -> WorkflowDefinition:
    """Return a workflow that fails, is suspended, and is mended."""
    return (
        WorkflowBuilder()
        .start_with(effect).name("first")
        .then(needs_repair).name("machine").on_failure(effect).ensure(effect)
        .then(effect).name("before")
        .then(needs_check).name("doubt").on_error(Suspend())
        .then(effect).name("last")
        .build("mending")
    )  # fmt: skip


def ending() -> WorkflowDefinition:
    """Return a workflow that waits until it is terminated, with a child that waits too."""
    return (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.wait_for("never").on_abort(effect).ensure(effect))
            .branch(lambda b: b.sub_workflow("asleep", data=lambda _: {}))
        )
        .on_abort(effect)
        .build("ending")
    )  # fmt: skip


def asleep() -> WorkflowDefinition:
    """Return a workflow that holds a place, and waits for ever."""
    inner = WorkflowBuilder().concurrency("bed", limit=1)
    return inner.then(effect).name("lie").wait_for("never").build("asleep")


async def mend(outside: Outside) -> None:
    """Repair, retry, rewind one run; terminate the other."""
    host = outside.host
    run = await host.start_workflow("mending", idempotency_key="mending")
    doomed = await host.start_workflow("ending", idempotency_key="ending")
    if not outside.told(run.id, "retry"):
        assert (await run.wait()).status == "failed"
        outside.effects.repair()
        await host.retry(run.id, actor="mechanic")
    if not outside.told(run.id, "rewind"):
        await outside.until(lambda: outside.is_now(run.id, "suspended"))
        await host.rewind(run.id, "before", {"checked": True}, actor="doctor")
    await outside.until(lambda: outside.is_now(run.id, "complete"))
    if not outside.told(doomed.id, "terminate"):
        await outside.until(lambda: outside.did("lie"))
        await host.terminate(doomed.id, "enough", actor="the boss")
    assert (await doomed.wait()).status == "terminated"
    # The parent's end tells its child; nobody says that the child's is there at once.
    await outside.until(lambda: outside.ended("asleep", 1, "terminated"))


# -- durable functions ----------------------------------------------------------------------------


async def note(ctx: Ctx, text: str) -> str:
    """Have one effect and say so."""
    ctx.app.note(ctx)
    return text


async def flaky_note(ctx: Ctx, text: str) -> str:
    """Fail the first time."""
    await flaky(ctx)
    return text


async def _branch(ctx: WorkflowContext) -> list[str]:
    await ctx.sleep(MOMENT)
    return [await ctx.step(note, "b1"), await ctx.options(retry=ONCE_MORE).step(flaky_note, "b2")]


@workflow("function")
async def function(ctx: WorkflowContext, start: str) -> list[Any]:
    """Use everything that a durable function has."""
    trace: list[Any] = [await ctx.step(note, start)]
    trace += await ctx.gather(_branch(ctx), ctx.step(note, "c"), ctx.step(note, "d"))
    try:
        async with ctx.saga() as saga:
            await saga.step(note, "e", undo=(note, "undo e"))
            await saga.step(note, "f", undo=(note, "undo f"))
            await ctx.step(boom)
    except StepFailedError as error:
        trace.append(str(error.step))
    trace.append(await ctx.wait_for("fn", "1"))
    trace.append(await ctx.wait_signal("poke"))
    await ctx.child("child")
    trace.append(await ctx.step(note, "z"))
    return trace


async def call(outside: Outside) -> None:
    """Run the durable function."""
    host = outside.host
    run = await host.start_workflow("function", "a", idempotency_key="function")
    if not outside.told(run.id, "signal"):
        await host.signal(run.id, "poke", "poked", actor="poker")
    await host.publish_event("fn", "1", "gone", id="fn")
    await run.result()


# -- schedules ------------------------------------------------------------------------------------

FIRES: Final = 3
EVERY: Final = timedelta(milliseconds=15)
SOON: Final = timedelta(milliseconds=200)


def tick() -> WorkflowDefinition:
    """Return what the schedule starts; one at a time."""
    return WorkflowBuilder().concurrency("tick", limit=1).then(effect).name("tock").build("tick")


async def fire(outside: Outside) -> None:
    """Let a schedule fire three times."""
    host = outside.host
    begun = datetime.now(UTC)
    await outside.ended("tick", 0)
    now = datetime.now(UTC)
    # What was to fire before the schedule is stored never does: a busy machine gets more time.
    start = now + max(SOON, 20 * (now - begun))
    with contextlib.suppress(DefinitionConflictError):  # the last process created it
        await host.schedules.create(
            "often", "tick", every=EVERY, start=start, end=start + EVERY * FIRES, overlap="queue"
        )
    await outside.until(lambda: outside.ended("tick", FIRES))


# -- the processes --------------------------------------------------------------------------------


@attrs.frozen
class Scenario:
    """What is run, and what happens outside."""

    definitions: Callable[[Path], list[Any]]
    drive: Callable[[Outside], Awaitable[None]]


SCENARIOS: Final = {
    "undo": Scenario(lambda _: [undoing()], undo),
    "wait": Scenario(lambda _: [child(), waiting()], wait),
    "mend": Scenario(lambda _: [mending(), ending(), asleep()], mend),
    "call": Scenario(lambda _: [child(), function], call),
    "fire": Scenario(lambda _: [tick()], fire),
    "pipe": Scenario(lambda folder: definitions(folder, "pipeline"), pipe),
    "keep": Scenario(lambda folder: definitions(folder, "keeping"), keep),
    "lane": Scenario(lambda folder: definitions(folder, "lane"), lane),
}


def _spoil(spoil: Callable[[Any, State], None]) -> None:
    """Let *spoil* change each state that is loaded."""
    honest = vars(seeking)["state_of"]

    def spoiled(loaded: Any) -> Any:
        state, snapshot, tail = honest(loaded)
        spoil(loaded, state)
        return state, snapshot, tail

    setattr(seeking, "state_of", spoiled)  # noqa: B010 - it is not public there


def _rows(loaded: Any, kind: str) -> list[list[Any]]:
    rows = [json.loads(row.event) for row in loaded.tail]
    return [row for row in rows if row[1] == kind]


def _run_again(loaded: Any, state: State) -> None:
    """Forget that the first completed step is done."""
    for _, _, key, step, attempt, *_ in _rows(loaded, "step_completed")[:1]:
        if key not in state.pointers:
            state.pointers[key] = Pointer(key, step, None, "pending", attempt, None, {})


def _undo_again(loaded: Any, state: State) -> None:
    """Forget that the last undone step is undone."""
    for _, _, key, step, *_ in _rows(loaded, "step_compensated")[-1:]:
        for frame, log in state.logs.items():
            state.logs[frame] = (Undo(0, key, step, []), log)


def _repeat_hooks(_: Any, state: State) -> None:
    """Forget that a hook has begun."""
    for key, pointer in state.pointers.items():
        if hooks := pointer.extra.get("hooks"):
            state.pointers[key] = pointer.having({**pointer.extra, "hooks": [*hooks, hooks[0]]})


def _lose_signals(_: Any, state: State) -> None:
    """Forget the signals that are kept."""
    for name, kept in state.signals.items():
        state.signals[name] = kept[:1] * len(kept)


def _forget_results() -> None:
    """Find nothing in the cache."""

    async def look(*_: Any) -> tuple[None, str]:
        return None, "it was forgotten"

    setattr(Results, "_look", look)  # noqa: B010 - it is not public there


PLANTS: Final = {
    "run again": lambda: _spoil(_run_again),
    "undo again": lambda: _spoil(_undo_again),
    "repeat hooks": lambda: _spoil(_repeat_hooks),
    "lose signals": lambda: _spoil(_lose_signals),
    "forget results": _forget_results,
}
"""Bugs that a process may have when it goes on with what another one left."""


async def drive(request: dict[str, Any]) -> None:
    """Be one process of a scenario."""
    scenario = SCENARIOS[request["scenario"]]
    on_commit = kill_switch(request["kill_at"], request["phase"], request["marker"])
    # The process dies here, not the machine: the disk need not be waited for.
    store = open_url(f"sqlite:///{request['db']}?synchronous=normal", on_commit=on_commit)
    effects = Effects(request["effects"])
    if request["plant"]:
        PLANTS[request["plant"]]()
    # Runs that wait are given up at once: these commits are places to die at, too.
    secrets = {"token": SECRET}
    host = WorkflowHost(store, app=effects, linger=timedelta(0), secrets=secrets)
    host.register(*scenario.definitions(Path(request["db"]).parent))
    async with asyncio.timeout(WEDGED), host:
        await scenario.drive(
            Outside(host=host, db=request["db"], effects=effects, on_commit=on_commit)
        )


if __name__ == "__main__":
    warm()
    serve(drive)
