"""Steps that keep notes in the application's table, over every store that has transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import psycopg

from wfe.core import Retry, StepExecutionContext, WorkflowContext, workflow
from wfe.core.providers import Item, Outcome
from wfe.host import WorkflowHost
from wfe.postgres import PostgresStore
from wfe.sqlite import SqliteStore

__all__ = [
    "AGAIN",
    "MOMENT",
    "SOON",
    "Ctx",
    "Meddled",
    "Ours",
    "World",
    "broke",
    "ended",
    "function",
    "host_of",
    "note",
    "noted",
    "pay",
    "run_of",
    "world_of",
]

Ctx = StepExecutionContext[Any]
SOON = timedelta(seconds=20)
MOMENT = timedelta(milliseconds=5)
AGAIN = Retry(max_retries=5, interval=MOMENT)


@attrs.define(kw_only=True)
class World:
    """A database with the application's table ``notes``; the host's ``app``."""

    kind: str
    url: str
    placeholder: str
    runs: list[str] = attrs.field(factory=list[str])
    flags: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def store(self, **options: Any) -> Any:
        """Return one more store on the database."""
        if self.kind == "sqlite":
            return SqliteStore(self.url, **options)
        return PostgresStore(self.url, **options)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement from outside."""
        if self.kind == "sqlite":
            db = sqlite3.connect(self.url, timeout=10, isolation_level=None)
            try:
                return db.execute(sql).fetchall()
            finally:
                db.close()
        with psycopg.connect(self.url, autocommit=True) as conn:
            cursor = conn.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def notes(self) -> list[str]:
        """What is committed."""
        return sorted(text for (text,) in self.ask("SELECT note FROM notes"))

    async def write(self, connection: Any, text: str) -> None:
        """Write a note in an async body."""
        self.runs.append(text)
        found = connection.execute(f"INSERT INTO notes VALUES ({self.placeholder})", [text])
        if self.kind != "sqlite":
            await found

    def write_blocking(self, connection: Any, text: str) -> None:
        """Write a note in a sync body."""
        self.runs.append(text)
        connection.execute(f"INSERT INTO notes VALUES ({self.placeholder})", [text])


def world_of(kind: str, where: str | Path) -> World:
    """Return an empty world."""
    world = World(kind=kind, url=str(where), placeholder="?" if kind == "sqlite" else "%s")
    world.ask("CREATE TABLE notes (note TEXT)")
    return world


def note(name: str, **returned: Any) -> Callable[[Ctx], Any]:
    """Return an async step that writes a note."""

    async def body(ctx: Ctx) -> Any:
        async with ctx.transaction() as tx:
            item = "" if ctx.item is None else f":{ctx.item}"
            await ctx.app.write(tx.connection, f"{name}{item}")
        return returned or None

    body.__name__ = name
    return body


def noted(name: str, **returned: Any) -> Callable[[Ctx], Any]:
    """Return a sync step that writes a note."""

    def body(ctx: Ctx) -> Any:
        with ctx.transaction() as tx:
            ctx.app.write_blocking(tx.connection, name)
        return returned or None

    body.__name__ = name
    return body


class Meddled:
    """A store whose transactions end as a test wants."""

    def __init__(self, store: Any, meddle: Callable[[Ours, Item], Any]) -> None:
        self._store = store
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @asynccontextmanager
    async def transaction(self, *args: Any, **options: Any) -> AsyncGenerator[Ours]:
        async with self._store.transaction(*args, **options) as opened:
            yield Ours(opened, self._meddle)


@attrs.frozen
class Ours:
    """One transaction of a :class:`Meddled` store."""

    opened: Any
    meddle: Callable[[Ours, Item], Any]

    @property
    def connection(self) -> Any:
        return self.opened.connection

    @property
    def problem(self) -> Any:
        return self.opened.problem

    def interruption(self, error: BaseException | None) -> Any:
        return self.opened.interruption(error)

    async def commit(self, item: Item) -> Outcome:
        outcome: Outcome = await self.meddle(self, item)
        return outcome


def host_of(world: World, store: Any = None, **options: Any) -> WorkflowHost:
    return WorkflowHost(store or world.store(), app=world, **options)


async def run_of(world: World, definition: Any, data: Any = None, **options: Any) -> Any:
    """Run a definition to its end and return (instance, kinds of its history)."""
    async with host_of(world, **options) as host:
        host.register(definition)
        run = await host.start_workflow(definition.id, data or {})
        instance = await run.wait(SOON)
        kinds = [(entry.kind, entry.step) for entry in await host.history(run.id)]
    return instance, kinds


def broke() -> None:
    """Fail."""
    message = "it broke"
    raise LookupError(message)


async def ended(host: WorkflowHost, id: str) -> Any:
    """Return a run when it has ended."""
    return await (await host.run(id)).wait(timedelta(seconds=60))


async def pay(ctx: Ctx, amount: int) -> int:
    """Write down a payment."""
    async with ctx.transaction() as tx:
        await ctx.app.write(tx.connection, f"paid {amount}")
        if ctx.app.flags.pop("fail", None):
            message = "no money"
            raise LookupError(message)
    return amount + 1


@workflow(id="function")
async def function(ctx: WorkflowContext, amount: int) -> int:
    """Pay twice, at the same time, and once more."""
    first = await ctx.step(pay, amount)
    both = await ctx.gather(ctx.step(pay, first * 10), ctx.step(pay, first * 100))
    return sum(both)
