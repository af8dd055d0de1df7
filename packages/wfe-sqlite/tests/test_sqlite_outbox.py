"""Starts and events inside the application's own transaction on the same file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import (
    DataTypeError,
    DuplicateNameError,
    ProviderError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
)
from wfe.core.models import from_micros
from wfe.core.providers import Done, Event, Item
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.sqlite import SqliteStore

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
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    connection.commit()
    yield connection
    connection.close()


def _orders(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM orders")
    connection.close()
    return int(count)


async def test_a_start_counts_when_the_application_commits(
    path: Path, app: sqlite3.Connection
) -> None:
    ran: Counter[str] = Counter()
    async with registered(f"sqlite:///{path}", app=ran) as host:
        app.execute("INSERT INTO orders VALUES (1)")
        run = await host.start_workflow("noting", {"id": 1}, within=app, reference="order-1")
        with pytest.raises(WorkflowNotFoundError):
            await host.get(run.id)

        app.commit()
        instance = await run.wait(10)

        assert (instance.status, instance.data) == ("complete", {"id": 1})
        assert (instance.id, instance.reference, run.new) == (run.id, "order-1", True)
        (first,) = await host.history(run.id, limit=1)
        assert first.kind == "workflow_started"
    assert (list(ran.values()), _orders(path)) == ([1], 1)


async def test_rolled_back_is_never_started(path: Path, app: sqlite3.Connection) -> None:
    async with registered(f"sqlite:///{path}", app=Counter()) as host:
        app.execute("INSERT INTO orders VALUES (1)")
        gone = await host.start_workflow("noting", within=app)
        await host.publish_event("paid", "1", within=app)
        app.rollback()

        later = await host.start_workflow("noting", within=app)
        app.commit()
        await later.wait(10)
        listening = await host.start_workflow("waiting")

        assert [each.id for each in (await host.find(definition="noting")).items] == [later.id]
        with pytest.raises(WorkflowNotFoundError):
            await gone.wait(1)
        with pytest.raises(TimeoutError):
            await listening.wait(1.2)
    assert _orders(path) == 0


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


async def test_the_same_key_is_the_same_run(path: Path, app: sqlite3.Connection) -> None:
    async with registered(f"sqlite:///{path}", app=Counter()) as host:
        first = await host.start_workflow("noting", within=app, idempotency_key="k", name="n")
        second = await host.start_workflow("noting", within=app, idempotency_key="k")
        with pytest.raises(DuplicateNameError):
            await host.start_workflow("noting", within=app, name="n")
        app.commit()
        third = await host.start_workflow("noting", within=app, idempotency_key="k")
        app.commit()
        fourth = await host.start_workflow("noting", idempotency_key="k")

        assert {first.id} == {second.id, third.id, fourth.id}
        assert [each.new for each in (first, second, third, fourth)] == [True, False, False, False]
        assert (await first.wait(10)).name == "n"
        assert len((await host.find()).items) == 1


async def test_an_event_is_published_after_the_commit(path: Path, app: sqlite3.Connection) -> None:
    async with registered(f"sqlite:///{path}") as host:
        run = await host.start_workflow("waiting")
        app.execute("INSERT INTO orders VALUES (1)")
        id_ = await host.publish_event("paid", "1", {"sum": 5}, within=app)
        app.commit()

        instance = await run.wait(10)
        assert instance.data == {"got": {"sum": 5}}
        assert id_


async def test_what_was_committed_outlives_the_host(path: Path, app: sqlite3.Connection) -> None:
    """The host ends between the application's commit and the draining: another one goes on."""
    store = SqliteStore(path)
    await store.open()
    before = store.clock.now()
    outcome = store.enqueue(app, Item(publish=(Event(id="e", name="paid", key="1"),)))
    assert isinstance(outcome, Done)
    app.commit()
    await store.close()

    async with WorkflowHost(f"sqlite:///{path}") as host:
        run = await host.start_workflow(
            WorkflowBuilder()
            .wait_for("paid", key="1", as_of=lambda _: _moment(before))
            .build("waiting")
        )
        assert (await run.wait(10)).status == "complete"


def _moment(micros: int) -> Any:
    return from_micros(micros)


async def test_each_event_is_published_once_whoever_drains(
    path: Path, app: sqlite3.Connection
) -> None:
    stores = [SqliteStore(path), SqliteStore(path)]
    for store in stores:
        await store.open()
    for k in range(50):
        event = Event(
            id=f"event {k}", name="paid", key=str(k), payload=str(k), at=k, expires=10**17
        )
        stores[0].enqueue(app, Item(publish=(event,)))
        app.commit()

    await asyncio.gather(*(store.drain_outbox(7) for _ in range(4) for store in stores))
    await stores[0].drain_outbox(7)

    rows = app.execute("SELECT id, name, key, payload, at, expires FROM wfe_events").fetchall()
    assert sorted(rows) == sorted(
        (f"event {k}", "paid", str(k), str(k), k, 10**17) for k in range(50)
    )
    assert list(await stores[1].drain_outbox(10)) == []
    assert app.execute("SELECT count(*) FROM wfe_outbox").fetchone() == (0,)
    for store in stores:
        await store.close()


async def test_events_of_one_transaction_keep_their_order(
    path: Path, app: sqlite3.Connection
) -> None:
    store = SqliteStore(path)
    await store.open()
    for key in "cab":
        store.enqueue(app, Item(publish=(Event(id=key, name="n", key=key, at=5),)))
    app.commit()
    await store.drain_outbox(10)

    assert [e for (e,) in app.execute("SELECT id FROM wfe_events ORDER BY e")] == ["c", "a", "b"]
    await store.close()


async def test_several_hosts_publish_once_and_start_once(
    path: Path, app: sqlite3.Connection
) -> None:
    ran: Counter[str] = Counter()
    url = f"sqlite:///{path}"
    async with registered(url, app=ran) as one, registered(url, app=ran):
        runs = [await one.start_workflow("noting", within=app) for _ in range(20)]
        app.commit()
        for run in runs:
            assert (await run.wait(10)).status == "complete"

    assert set(ran.values()) == {1}
    assert len(ran) == 20


async def test_an_idle_draining_writes_nothing(path: Path) -> None:
    store = SqliteStore(path)
    await store.open()
    await store.drain_outbox(10)
    assert store.stats.commits == 0
    await store.close()


async def test_a_delay_and_own_runs_hold_there_too(path: Path, app: sqlite3.Connection) -> None:
    async with registered(f"sqlite:///{path}", app=Counter(), own_runs_only=True) as host:
        late = await host.start_workflow("noting", within=app, delay=timedelta(hours=1))
        soon = await host.start_workflow("noting", within=app)
        app.commit()

        assert (await soon.wait(10)).status == "complete"
        assert (await host.get(late.id)).status == "runnable"


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


async def test_a_store_in_memory_has_no_such_transactions() -> None:
    app = sqlite3.connect(":memory:")
    async with WorkflowHost("memory://") as host:
        host.register(noting())
        with pytest.raises(ProviderError, match="this store has no transactions that an app"):
            await host.start_workflow("noting", within=app)
        with pytest.raises(ProviderError, match="use a database, for example sqlite"):
            await host.publish_event("x", "k", within=app)
    async with WorkflowHost("sqlite:///:memory:") as host:
        host.register(noting())
        with pytest.raises(ProviderError, match="no second connection"):
            await host.start_workflow("noting", within=app)
    app.close()


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


async def test_a_value_for_the_blob_provider_cannot_go_there(
    path: Path, app: sqlite3.Connection, tmp_path: Path
) -> None:
    blobs = f"file://{tmp_path / 'blobs'}"
    async with registered(f"sqlite:///{path}", blobs=blobs, max_inline=1000) as host:
        with pytest.raises(DataTypeError, match="at most 1,000 can be stored here"):
            await host.start_workflow("noting", {"a": "x" * 2000}, within=app)
        with pytest.raises(DataTypeError, match="event within a transaction"):
            await host.publish_event("x", "k", "x" * 2000, within=app)


def test_the_blocking_host_uses_the_connection_in_its_own_thread(
    path: Path, app: sqlite3.Connection
) -> None:
    ran: Counter[str] = Counter()
    with SyncWorkflowHost(f"sqlite:///{path}", app=ran) as host:
        host.register(noting(), waiting())
        listening = host.start_workflow("waiting")
        app.execute("INSERT INTO orders VALUES (1)")
        run = host.start_workflow("noting", within=app)
        host.publish_event("paid", "1", 7, within=app)
        with pytest.raises(ProviderError, match="got str"):
            host.start_workflow("noting", within="nonsense")
        app.commit()

        assert run.wait(10).status == "complete"
        assert listening.wait(10).data == {"got": 7}
    assert list(ran.values()) == [1]
