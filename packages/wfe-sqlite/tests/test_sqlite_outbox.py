"""Starts and events inside the application's own transaction on the same file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import (
    ProviderError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore
from wfe.testing.contracts import OutboxContract

Ctx = StepExecutionContext[Any]


async def note(ctx: Ctx) -> None:
    ctx.app[ctx.idempotency_key] += 1
    await asyncio.sleep(0)


def noting() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(note).build("noting")


def waiting() -> WorkflowDefinition:
    return WorkflowBuilder().wait_for("paid", key="1", output="got").build("waiting")


def registered(url: str, **options: Any) -> WorkflowHost:
    """Return a host whose definitions are stored when it is started, before any transaction."""
    host = WorkflowHost(url, **options)
    host.register(noting(), waiting())
    return host


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
def app(path: Path) -> Iterator[sqlite3.Connection]:
    """The application's own connection to the same file, with a table of its own."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    # Only now: some bindings begin a transaction before a PRAGMA, too.
    connection.isolation_level = "DEFERRED"
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    connection.commit()
    yield connection
    connection.close()


class Bookings:
    """The application: notes in a table of the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (note TEXT)")
        db.close()

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path)) as connection:
            yield connection

    async def write(self, connection: sqlite3.Connection, note: str) -> None:
        connection.execute("INSERT INTO notes VALUES (?)", (note,))

    async def commit(self, connection: sqlite3.Connection) -> None:
        connection.commit()

    async def roll_back(self, connection: sqlite3.Connection) -> None:
        connection.rollback()

    async def notes(self) -> Sequence[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [note for (note,) in connection.execute("SELECT note FROM notes")]

    @asynccontextmanager
    async def strangers(self) -> AsyncGenerator[Sequence[sqlite3.Connection]]:
        elsewhere = self.path.with_name("elsewhere.db")
        with (
            closing(sqlite3.connect(elsewhere)) as foreign,
            closing(sqlite3.connect(":memory:")) as memory,
            closing(sqlite3.connect(self.path, isolation_level=None)) as automatic,
        ):
            yield [foreign, memory, automatic]


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(store: SqliteStore) -> AsyncIterator[SqliteStore]:
    other = SqliteStore(store.path)
    await other.open()
    yield other
    await other.close()


class TestSqliteOutbox(OutboxContract):
    @pytest.fixture
    def application(self, store: SqliteStore) -> Bookings:
        return Bookings(store.path)


async def test_definitions_are_registered_before_the_transaction(
    path: Path, app: sqlite3.Connection
) -> None:
    store = SqliteStore(path, patience=timedelta(milliseconds=100))
    async with WorkflowHost(store) as host:
        host.register(noting())
        app.execute("INSERT INTO orders VALUES (1)")
        with pytest.raises(ProviderError, match=r"'noting' is not stored yet.*; register"):
            await host.start_workflow("noting", within=app)
        app.rollback()


async def test_an_idle_draining_writes_nothing(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.drain_outbox(10)
    assert store.stats.commits == 0
    await store.close()


# -- connections that do not fit ------------------------------------------------------------------


async def test_connections_that_do_not_fit_are_refused(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other.db"
    foreign = sqlite3.connect(elsewhere)
    foreign.execute("CREATE TABLE t (a)")
    memory = sqlite3.connect(":memory:")
    automatic = sqlite3.connect(path, isolation_level=None)
    async with registered(f"sqlite:///{path}") as host:

        async def refused(connection: Any) -> str:
            with pytest.raises(ProviderError) as raised:
                await host.start_workflow("noting", within=connection)
            with pytest.raises(ProviderError):
                await host.publish_event("x", "k", within=connection)
            return str(raised.value)

        text = await refused(foreign)
        assert str(elsewhere) in text
        assert str(path) in text
        assert "a database in memory" in await refused(memory)
        assert "got dict" in await refused({})
        assert "is in no transaction" in await refused(automatic)

        automatic.execute("BEGIN IMMEDIATE")
        await host.start_workflow("noting", within=automatic)
        automatic.execute("ROLLBACK")
        assert (await host.find()).items == ()
    for connection in (foreign, memory, automatic):
        connection.close()


async def test_a_transaction_that_saw_an_older_state_is_told_so(
    path: Path, app: sqlite3.Connection
) -> None:
    async with registered(f"sqlite:///{path}", app=Counter()) as host:
        app.execute("BEGIN")
        app.execute("SELECT count(*) FROM orders").fetchall()
        await (await host.start_workflow("noting")).wait(10)
        with pytest.raises(ProviderError, match="begin it with BEGIN IMMEDIATE"):
            await host.start_workflow("noting", within=app)
        app.rollback()


async def test_rows_of_the_application_may_look_as_they_like(
    path: Path, app: sqlite3.Connection
) -> None:
    app.row_factory = lambda _, row: {"the": row}
    async with registered(f"sqlite:///{path}", app=Counter()) as host:
        first = await host.start_workflow("noting", within=app, idempotency_key="k")
        again = await host.start_workflow("noting", within=app, idempotency_key="k")
        app.commit()
        assert first.id == again.id
        assert (await first.wait(10)).status == "complete"
