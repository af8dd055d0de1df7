"""Runs whose steps write into the application's table in transactions, and their deaths.

``python -m tests.crash_transactions serve`` forks a process for each request.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from typing import Any

from tests.crash_outside import kill_switch, serve

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowContext, workflow
from wfe.core.definition import WorkflowDefinition
from wfe.host import WorkflowHost
from wfe.postgres import PostgresStore
from wfe.sqlite import SqliteStore

__all__ = ["NOTES", "TABLE"]

TABLE = "CREATE TABLE notes (run TEXT, step TEXT)"
NOTES = ["first", "second", "left", "right", "called", "called", "undo called", "last"]
"""What the steps of one run of each definition write."""

Ctx = StepExecutionContext[Any]


def _write(ctx: Ctx, tx: Any) -> Any:
    mark = "?" if isinstance(tx.connection, sqlite3.Connection) else "%s"
    note = (ctx.instance.definition, ctx.pointer.step)
    return tx.connection.execute(f"INSERT INTO notes VALUES ({mark}, {mark})", note)


async def pays(ctx: Ctx) -> None:
    """Write a note."""
    async with ctx.transaction() as tx:
        written = _write(ctx, tx)
        if not isinstance(tx.connection, sqlite3.Connection):
            await written


def pays_blocking(ctx: Ctx) -> None:
    """Write a note, in a thread."""
    with ctx.transaction() as tx:
        _write(ctx, tx)


async def called(ctx: Ctx, number: int) -> int:
    """Write a note."""
    await pays(ctx)
    return number


def undone(ctx: Ctx) -> None:
    """Write a note."""
    pays_blocking(ctx)


def _break() -> None:
    message = "then it fails"
    raise LookupError(message)


@workflow(id="function")
async def function(ctx: WorkflowContext, number: int) -> int:
    """Call twice, and undo the second."""
    await ctx.step(called, number)
    try:
        async with ctx.saga() as saga:
            await saga.step(called, number + 1, undo=(undone,))
            _break()
    except LookupError:
        return number
    return -1


def built() -> WorkflowDefinition:
    """Return the workflow."""
    return (
        WorkflowBuilder()
        .start_with(pays).name("first")
        .then(pays_blocking).name("second")
        .parallel(
            lambda p: p.branch(lambda b: b.then(pays).name("left"))
            .branch(lambda b: b.then(pays_blocking).name("right"))
        )
        .then(pays).name("last")
        .build("built")
    )  # fmt: skip


def _postgres(url: str, on_commit: Callable[[str], None]) -> PostgresStore:
    """Return a store that tells of each commit: those that are statements, and the others."""
    store = PostgresStore(url)
    honest = store.transaction

    @contextlib.asynccontextmanager
    async def transaction(*args: Any, **options: Any) -> AsyncGenerator[Any]:
        async with honest(*args, **options) as opened:
            inner: Any = opened
            commit = inner._commit

            async def told(conn: Any) -> None:
                on_commit("before")
                await commit(conn)
                on_commit("after")

            inner._commit = told
            yield inner

    ordinary = store.commit

    async def commit(*args: Any) -> Any:
        on_commit("before")
        outcomes = await ordinary(*args)
        on_commit("after")
        return outcomes

    store.transaction = transaction  # type: ignore[method-assign]
    store.commit = commit  # type: ignore[method-assign, assignment]
    return store


async def _drive(request: dict[str, Any]) -> None:
    on_commit = kill_switch(request["kill_at"], request["phase"], request["marker"])
    where: str = request["where"]
    file = "://" not in where
    store: Any = SqliteStore(where, on_commit=on_commit) if file else _postgres(where, on_commit)
    async with WorkflowHost(store) as host:
        if not file:  # nobody waits here until the lease of the dead is over
            await store.fence([w.epoch for w in await store.workers()][:-1], lease=None)
            await store.orphans(100)
        host.register(built(), function)
        runs = [
            await host.start_workflow("built", {}, idempotency_key="the-run"),
            await host.start_workflow("function", 1, idempotency_key="the-run"),
        ]
        for run in runs:
            instance = await run.wait(timedelta(seconds=30))
            if instance.status != "complete":
                message = f"{instance.status}: {instance.error}"
                raise RuntimeError(message)


if __name__ == "__main__":
    serve(_drive)
