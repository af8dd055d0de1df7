"""Steps' transactions whose store fails while the body works: it runs again, nothing fails."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from transaction_parts import (
    AGAIN,
    MOMENT,
    SOON,
    Ctx,
    Meddled,
    World,
    function,
    host_of,
    note,
    noted,
    run_of,
    world_of,
)

from wfe.core import ProviderError, Retry, WorkflowBuilder
from wfe.core.engine import transactions

RAISES = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END $$"


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    kind: str = request.param
    where = tmp_path / "app.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    return world_of(kind, where)


@pytest.fixture
def postgres(postgres_url: str) -> World:
    return world_of("postgres", postgres_url)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long for a store that is broken on purpose."""
    monkeypatch.setattr(transactions, "_BACKOFF", (0.001, 0.01))


def cut(world: World, connection: Any) -> None:
    """End the session of a connection, as an administrator or a restart does."""
    world.ask(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")


def cut_often(world: World, times: int) -> Any:
    """Return an async step whose connection is lost as often as that before it writes."""

    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "lost")
            if world.runs.count("lost") <= times:
                cut(world, tx.connection)
            await ctx.app.write(tx.connection, "paid")

    return body


# -- the connection is lost ------------------------------------------------------------------------


async def test_a_connection_lost_in_the_body_is_no_failure_of_the_step(postgres: World) -> None:
    built = WorkflowBuilder().start_with(cut_often(postgres, 2)).then(note("after")).build("w")

    instance, kinds = await run_of(postgres, built)

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["after", "lost", "paid"]
    assert Counter(postgres.runs)["lost"] == 3
    assert not {"step_retrying", "step_failed"} & {kind for kind, _ in kinds}


async def test_nor_is_one_lost_in_the_body_of_a_thread(postgres: World) -> None:
    def body(ctx: Ctx) -> None:
        with ctx.transaction() as tx:
            ctx.app.write_blocking(tx.connection, "lost")
            if postgres.runs.count("lost") <= 2:
                cut(postgres, tx.connection)
            ctx.app.write_blocking(tx.connection, "paid")

    instance, _ = await run_of(postgres, WorkflowBuilder().start_with(body).build("w"))

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["lost", "paid"]


async def test_nor_is_one_lost_behind_the_block(postgres: World) -> None:
    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "lost")
        if postgres.runs.count("lost") == 1:
            cut(postgres, tx.connection)
        await ctx.app.write(tx.connection, "paid")

    instance, _ = await run_of(postgres, WorkflowBuilder().start_with(body).build("w"))

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["lost", "paid"]


async def test_whatever_the_body_makes_of_a_lost_connection_it_runs_again(
    postgres: World,
) -> None:
    """It raises its own error, an exception group, another error instead, or swallows it."""

    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            how = postgres.runs.count("paid")
            if how > 4:
                return
            cut(postgres, tx.connection)
            try:
                await ctx.app.write(tx.connection, "more")
            except psycopg.OperationalError as error:
                message = "it went wrong"
                if how == 1:
                    raise LookupError(message) from error
                if how == 2:
                    raise ExceptionGroup(message, [error]) from None
                if how == 3:
                    raise LookupError(message) from None

    instance, kinds = await run_of(postgres, WorkflowBuilder().start_with(body).build("w"))

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["paid"]
    assert Counter(postgres.runs)["paid"] == 5
    assert not {"step_retrying", "step_failed"} & {kind for kind, _ in kinds}


async def test_all_connections_of_the_pool_may_be_lost_at_once(postgres: World) -> None:
    others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    others += " WHERE datname = current_database() AND pid <> pg_backend_pid()"

    started = asyncio.Event()

    async def body(ctx: Ctx) -> None:
        await started.wait()
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if len(postgres.runs) <= 4:
                postgres.ask(others)
            await ctx.app.write(tx.connection, "more")

    built = WorkflowBuilder().start_with(body).then(note("after")).build("w")

    async with host_of(postgres) as host:
        host.register(built)
        runs = [await host.start_workflow("w", {}) for _ in range(4)]
        started.set()
        done = [await run.wait(SOON) for run in runs]

    assert [(instance.status, instance.error) for instance in done] == [("complete", None)] * 4
    assert Counter(postgres.notes) == Counter({"paid": 4, "more": 4, "after": 4})


async def test_functions_go_on_too(postgres: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = World.write

    async def write(self: World, connection: Any, text: str) -> None:
        await honest(self, connection, text)
        if self.runs.count("paid 1") < 3:
            cut(self, connection)
            await honest(self, connection, "more")

    monkeypatch.setattr(World, "write", write)
    async with host_of(postgres) as host:
        host.register(function)
        run = await host.start_workflow("function", 1)
        assert await run.result(SOON) == 21 + 201

    assert postgres.notes == ["paid 1", "paid 20", "paid 200"]
    assert Counter(postgres.runs)["paid 1"] == 3


async def test_a_step_class_is_not_told_of_a_failure_that_is_none(postgres: World) -> None:
    told: list[str] = []

    class Pays:
        async def run(self, ctx: Ctx) -> None:
            await cut_often(postgres, 1)(ctx)

        async def on_failure(self, ctx: Ctx, error: Exception) -> None:
            told.append(f"{ctx.pointer.step}: {error}")

        def is_retryable(self, error: Exception) -> bool:
            told.append(str(error))
            return False

    instance, _ = await run_of(postgres, WorkflowBuilder().start_with(Pays).build("w"))

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["lost", "paid"]
    assert told == []


# -- how often -------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
async def test_a_body_that_ends_its_own_connection_fails_after_a_while(
    postgres: World, *, swallows: bool
) -> None:
    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, f"attempt {ctx.attempt}")
            try:
                await tx.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            except psycopg.OperationalError:
                if not swallows:
                    raise

    built = (
        WorkflowBuilder()
        .start_with(body)
        .on_error(Retry(max_retries=1, interval=MOMENT))
        .build("w")
    )

    instance, kinds = await run_of(postgres, built, max_interruptions=3)

    assert instance.status == "failed"
    assert "3 times in a row while the step used the connection" in str(instance.error)
    assert Counter(postgres.runs) == {"attempt 0": 3, "attempt 1": 3}
    assert [kind for kind, _ in kinds].count("step_retrying") == 1
    assert postgres.notes == []


async def test_so_does_a_functions_step(postgres: World, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = World.write

    async def write(self: World, connection: Any, text: str) -> None:
        await honest(self, connection, text)
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(World, "write", write)
    async with host_of(postgres, max_interruptions=3) as host:
        host.register(function)
        run = await host.start_workflow("function", 1)
        instance = await run.wait(SOON)

    assert instance.status == "failed"
    assert "3 times in a row while the step used the connection" in str(instance.error)
    assert postgres.runs == ["paid 1"] * 3
    assert postgres.notes == []


async def test_losses_of_another_attempt_do_not_count(postgres: World) -> None:
    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, f"attempt {ctx.attempt}")
            if postgres.runs.count(f"attempt {ctx.attempt}") < 3:
                cut(postgres, tx.connection)
                await ctx.app.write(tx.connection, "lost")
            if ctx.attempt < 2:
                message = "not yet"
                raise LookupError(message)

    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    instance, kinds = await run_of(postgres, built, max_interruptions=3)

    assert instance.status == "complete", instance.error
    assert [kind for kind, _ in kinds].count("step_retrying") == 2
    assert postgres.notes == ["attempt 2"]


# -- the store cannot be had at all ----------------------------------------------------------------


class Closed(Meddled):
    """A store that lends nothing the first times."""

    def __init__(self, store: Any, times: int) -> None:
        super().__init__(store, lambda ours, item: ours.opened.commit(item))
        self.times = times

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncGenerator[Any]:
        if self.times:
            self.times -= 1
            kind, problem = "test", "the server is just starting"
            raise ProviderError(kind, problem)
        async with super().transaction(*args, **options) as opened:
            yield opened


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_store_that_lends_nothing_yet_is_no_failure(
    world: World, *, blocking: bool
) -> None:
    step = (noted if blocking else note)("a")
    store = Closed(world.store(), times=8)

    instance, kinds = await run_of(
        world, WorkflowBuilder().start_with(step).build("w"), store=store, max_interruptions=2
    )

    assert instance.status == "complete", instance.error
    assert store.times == 0
    assert world.notes == ["a"]
    assert not {"step_retrying", "step_failed"} & {kind for kind, _ in kinds}


async def test_a_function_waits_for_it_too(world: World) -> None:
    async with host_of(world, Closed(world.store(), times=4)) as host:
        host.register(function)
        run = await host.start_workflow("function", 1)
        assert await run.result(SOON) == 21 + 201

    assert world.notes == ["paid 1", "paid 20", "paid 200"]
    assert Counter(world.runs) == {"paid 1": 1, "paid 20": 1, "paid 200": 1}


async def test_a_full_disk_is_no_failure_of_the_step(tmp_path: Path) -> None:
    world = world_of("sqlite", tmp_path / "app.db")

    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if len(world.runs) <= 7:
                tx.connection.execute("PRAGMA max_page_count = 1")
                tx.connection.execute("INSERT INTO notes VALUES (hex(zeroblob(1000000)))")

    instance, kinds = await run_of(
        world, WorkflowBuilder().start_with(body).build("w"), max_interruptions=2
    )

    assert instance.status == "complete", instance.error
    assert world.notes == ["paid"]
    assert world.runs == ["paid"] * 8
    assert not {"step_retrying", "step_failed"} & {kind for kind, _ in kinds}


# -- what is the body's own ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["23505", "40001", "40P01", "42601", "57014", "53200", "P0001", "08P01", "57P01"]
)
async def test_what_the_server_says_of_a_statement_is_the_bodys_own(
    postgres: World, state: str
) -> None:
    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, f"attempt {ctx.attempt}")
            if ctx.attempt == 0:
                await tx.connection.execute(RAISES.format(state))

    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    instance, kinds = await run_of(postgres, built)

    assert instance.status == "complete", instance.error
    assert postgres.runs == ["attempt 0", "attempt 1"]
    assert [kind for kind, _ in kinds].count("step_retrying") == 1
    assert postgres.notes == ["attempt 1"]


async def test_a_constraint_is_the_bodys_own(world: World) -> None:
    world.ask("CREATE UNIQUE INDEX once ON notes (note)")

    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            await ctx.app.write(tx.connection, "paid" if ctx.attempt == 0 else "more")

    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    instance, kinds = await run_of(world, built)

    assert instance.status == "complete", instance.error
    assert [kind for kind, _ in kinds].count("step_retrying") == 1
    assert world.notes == ["more", "paid"]


async def test_another_database_that_is_lost_is_the_bodys_own(world: World, tmp_path: Path) -> None:
    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, f"attempt {ctx.attempt}")
            if ctx.attempt == 0 and world.kind == "sqlite":
                sqlite3.connect(tmp_path / "missing" / "other.db").close()
            elif ctx.attempt == 0:
                with psycopg.connect(world.url) as db:
                    db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    instance, kinds = await run_of(world, built)

    assert instance.status == "complete", instance.error
    assert [kind for kind, _ in kinds].count("step_retrying") == 1
    assert world.notes == ["attempt 1"]


@pytest.mark.parametrize("how", ["idle", "transaction"])
async def test_a_time_out_of_the_server_is_a_failure_of_its_own(postgres: World, how: str) -> None:
    if how == "transaction" and int(postgres.ask("SHOW server_version_num")[0][0]) < 170_000:
        pytest.skip("the server has no transaction_timeout")

    async def body(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, f"attempt {ctx.attempt}")
            if ctx.attempt == 0:
                name = "idle_in_transaction_session" if how == "idle" else how
                await tx.connection.execute(f"SET LOCAL {name}_timeout = '20ms'")
                pid = tx.connection.info.backend_pid
                while postgres.ask(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"):
                    continue
                await ctx.app.write(tx.connection, "late")

    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    async with host_of(postgres) as host:
        host.register(built)
        run = await host.start_workflow("w", {})
        instance = await run.wait(SOON)
        failed = [entry for entry in await host.history(run.id) if entry.kind == "step_retrying"]

    assert instance.status == "complete", instance.error
    assert postgres.notes == ["attempt 1"]
    assert len(failed) == 1
    assert "TransactionTimeoutError" in str(failed[0])
    assert "_timeout" in str(failed[0])


async def test_a_host_that_stops_does_not_wait_for_a_store_that_is_gone(world: World) -> None:
    store = Closed(world.store(), times=1_000_000)
    host = host_of(world, store)
    await host.start()
    host.register(WorkflowBuilder().start_with(note("a")).build("w"))
    run = await host.start_workflow("w", {})
    await host.stop(grace=timedelta(0))
    assert store.times > 0

    async with host_of(world) as again:
        again.register(WorkflowBuilder().start_with(note("a")).build("w"))
        assert (await (await again.run(run.id)).wait(SOON)).status == "complete"
    assert world.notes == ["a"]
