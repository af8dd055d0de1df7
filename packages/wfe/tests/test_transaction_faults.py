"""Steps' transactions when hosts die, stores fail, or somebody takes too long."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from transaction_parts import (
    AGAIN,
    SOON,
    Ctx,
    Meddled,
    Ours,
    World,
    ended,
    function,
    host_of,
    note,
    noted,
    run_of,
    world_of,
)

from wfe.core import (
    ProviderError,
    Retry,
    WorkflowBuilder,
)
from wfe.core.engine import body_transactions
from wfe.core.providers import Item, Outcome


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    kind: str = request.param
    where = tmp_path / "app.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    return world_of(kind, where)


async def test_who_is_fenced_during_the_body_commits_nothing(world: World) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def pays(ctx: Ctx) -> None:
        if len(world.runs) == 0:
            world.runs.append("begun")
            if world.kind == "sqlite":  # nobody can fence whoever has the writer
                entered.set()
                await go_on.wait()
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if not entered.is_set():
                entered.set()
                await go_on.wait()

    built = WorkflowBuilder().start_with(pays).build("w")
    first, second = host_of(world), host_of(world)
    async with second:
        second.register(built)
        await first.start()
        first.register(built)
        run = await first.start_workflow("w", {})
        await asyncio.wait_for(entered.wait(), 20)
        engine: Any = vars(second)["_engine"]
        store = engine.store
        await store.fence([vars(first)["_engine"].epoch], lease=None)
        await store.orphans(10)
        engine.nudge()
        instance = await ended(second, run.id)
        go_on.set()
        await first.stop()

    assert instance.status == "complete"
    assert world.notes == ["paid"]


@pytest.mark.parametrize("committed", [True, False])
async def test_an_unknown_outcome_is_looked_up(world: World, *, committed: bool) -> None:
    lost: list[str] = []

    async def lossy(ours: Ours, item: Item) -> Outcome:
        if lost:
            outcome: Outcome = await ours.opened.commit(item)
            return outcome
        lost.append("the answer")
        if committed:
            await ours.opened.commit(item)
        kind, problem = "test", "the connection is gone"
        raise ProviderError(kind, problem, unknown=True)

    built = WorkflowBuilder().start_with(note("a")).then(note("b")).build("w")

    instance, kinds = await run_of(world, built, store=Meddled(world.store(), lossy))

    assert instance.status == "complete"
    assert world.notes == ["a", "b"]
    assert world.runs == (["a", "b"] if committed else ["a", "a", "b"])
    assert kinds.count(("step_committed", "a")) == 1


async def test_who_got_no_answer_does_not_wait_for_ever(world: World) -> None:
    """Its run is closed while it commits: that cancels it before it begins to wait for that."""
    lost: list[str] = []

    async def lossy(ours: Ours, item: Item) -> Outcome:
        if not lost:
            lost.append("the answer")
            kind, problem = "test", "the connection is gone"
            raise ProviderError(kind, problem, unknown=True)
        outcome: Outcome = await ours.opened.commit(item)
        return outcome

    async with host_of(world, Meddled(world.store(), lossy)) as host:
        host.register(WorkflowBuilder().start_with(note("a")).build("w"))
        run = await host.start_workflow("w", {})
        assert (await run.wait(SOON)).status == "complete"
        cancelled = [task for task in asyncio.all_tasks() if task.cancelling()]
        assert not cancelled


async def test_a_store_that_fails_is_no_failure_of_the_step(world: World) -> None:
    failures = 3

    async def flaky(ours: Ours, item: Item) -> Outcome:
        nonlocal failures
        if failures:
            failures -= 1
            kind, problem = "test", "not now"
            raise ProviderError(kind, problem)
        outcome: Outcome = await ours.opened.commit(item)
        return outcome

    built = WorkflowBuilder().start_with(note("a")).build("w")

    instance, kinds = await run_of(world, built, store=Meddled(world.store(), flaky))

    assert instance.status == "complete"
    assert world.runs == ["a"] * 4
    assert world.notes == ["a"]
    assert not any(kind == "step_retrying" for kind, _ in kinds)


async def test_a_function_whose_store_fails_goes_on(world: World) -> None:
    failures = 2

    async def flaky(ours: Ours, item: Item) -> Outcome:
        nonlocal failures
        failures -= 1
        if failures == 1:
            kind, problem = "test", "not now"
            raise ProviderError(kind, problem)
        outcome: Outcome = await ours.opened.commit(item)
        if failures == 0:
            kind, problem = "test", "the connection is gone"
            raise ProviderError(kind, problem, unknown=True)
        return outcome

    async with host_of(world, Meddled(world.store(), flaky)) as host:
        host.register(function)
        run = await host.start_workflow("function", 1)
        assert await run.result(SOON) == 21 + 201

    assert world.notes == ["paid 1", "paid 20", "paid 200"]
    assert Counter(world.runs)["paid 1"] == 2


async def test_terminating_a_run_rolls_back(world: World) -> None:
    entered = asyncio.Event()

    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            entered.set()
            await asyncio.sleep(0.2 if world.kind == "sqlite" else 60)
        message = "it is tried again, or it is terminated"
        raise LookupError(message)

    built = WorkflowBuilder().start_with(pays).on_error(Retry(interval=SOON)).build("w")
    async with host_of(world) as host:
        host.register(built)
        run = await host.start_workflow("w", {})
        await asyncio.wait_for(entered.wait(), 20)
        await host.terminate(run.id)
        instance = await run.wait(SOON)

    assert instance.status == "terminated"
    assert world.notes == []


async def test_stopping_the_host_rolls_back(world: World) -> None:
    entered = asyncio.Event()

    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if not entered.is_set():
                entered.set()
                await asyncio.Event().wait()

    built = WorkflowBuilder().start_with(pays).build("w")
    host = host_of(world)
    await host.start()
    host.register(built)
    run = await host.start_workflow("w", {})
    await asyncio.wait_for(entered.wait(), 20)
    await host.stop(grace=timedelta(0))
    assert world.notes == []

    async with host_of(world) as again:
        again.register(built)
        assert (await ended(again, run.id)).status == "complete"
    assert world.notes == ["paid"]


# -- SQLite: nobody else can write meanwhile -------------------------------------------------------


async def test_a_long_one_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = world_of("sqlite", tmp_path / "app.db")
    monkeypatch.setattr(body_transactions, "_LONG", 0.02)
    seen = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "slow" in record.getMessage():
                seen.set()

    async def slow(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            await asyncio.wait_for(seen.wait(), 4)

    watch = Watch()
    logging.getLogger("wfe.engine").addHandler(watch)
    try:
        with caplog.at_level(logging.WARNING):
            instance, _ = await run_of(world, WorkflowBuilder().start_with(slow).build("w"))
    finally:
        logging.getLogger("wfe.engine").removeHandler(watch)

    assert instance.status == "complete", instance.error
    assert "the transaction of step slow of run" in caplog.text
    assert world.notes == ["paid"]


async def test_one_that_waits_for_itself_is_rolled_back(tmp_path: Path) -> None:
    world = world_of("sqlite", tmp_path / "app.db")

    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if ctx.attempt == 0:
                await ctx.app.flags["host"].publish_event("go", "1", {})
                await ctx.app.write(tx.connection, "more")

    built = WorkflowBuilder().start_with(pays).on_error(AGAIN).build("w")
    store = world.store(transaction_limit=timedelta(seconds=0.2))
    async with host_of(world, store) as host:
        world.flags["host"] = host
        host.register(built)
        run = await host.start_workflow("w", {})
        instance = await run.wait(SOON)
        history = await host.history(run.id)

    assert instance.status == "complete"
    (failed,) = [entry for entry in history if entry.kind == "step_retrying"]
    assert "TransactionTimeoutError" in str(failed)
    assert "0.2 s (transaction_limit)" in str(failed)
    assert world.notes == ["paid"]


async def test_two_hosts_of_one_file_take_turns(tmp_path: Path) -> None:
    world = world_of("sqlite", tmp_path / "app.db")
    built = WorkflowBuilder().start_with(note("a")).then(noted("b")).build("w")

    async with host_of(world, max_live=3) as one, host_of(world, max_live=3) as other:
        one.register(built)
        other.register(built)
        runs = [await (one, other)[k % 2].start_workflow("w", {}) for k in range(12)]
        done = [await ended(one, run.id) for run in runs]

    assert {instance.status for instance in done} == {"complete"}
    assert Counter(world.notes) == Counter({"a": 12, "b": 12})
