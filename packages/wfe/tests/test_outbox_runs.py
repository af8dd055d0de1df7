"""Starts and events inside the application's own transaction, over every store that has them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import psycopg
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
from wfe.core.providers import Done, Event, Item
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.postgres import PostgresStore
from wfe.sqlite import SqliteStore

Ctx = StepExecutionContext[Any]
SOON = 20.0  # seconds
A_WHILE = 1.2  # seconds, in which whatever was left in an outbox would have been found


async def note(ctx: Ctx) -> None:
    ctx.app[ctx.idempotency_key] += 1
    await asyncio.sleep(0)


def noting() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(note).build("noting")


def waiting() -> WorkflowDefinition:
    return WorkflowBuilder().wait_for("paid", key="1", output="got").build("waiting")


@attrs.frozen
class Shop:
    """An application with the table ``orders`` where the runs are.

    Attributes:
        url: Of the store.
        app: The application's own connection, in no transaction yet.
        where: What :meth:`connect` takes.
    """

    url: str
    app: Any
    where: str

    def host(self, **options: Any) -> WorkflowHost:
        """Return a host whose definitions are stored as it starts, before any transaction."""
        options.setdefault("app", Counter[str]())
        host = WorkflowHost(self.url, **options)
        host.register(noting(), waiting())
        return host

    def order(self) -> None:
        self.app.execute("INSERT INTO orders VALUES (1)")

    def orders(self) -> int:
        """Return how many are committed."""
        other = connect(self.where)
        try:
            ((count,),) = other.execute("SELECT count(*) FROM orders").fetchall()
        finally:
            other.close()
        return int(count)


def connect(where: str) -> Any:
    """Return a connection of the driver."""
    return psycopg.connect(where) if where.startswith("postgresql") else sqlite3.connect(where)


@pytest.fixture(params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    where = str(tmp_path / "app.db")
    url = f"sqlite:///{where}"
    if request.param == "postgres":
        url = where = request.getfixturevalue("postgres_url")
    app = connect(where)
    if request.param == "sqlite":
        app.execute("PRAGMA journal_mode = WAL")
    app.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    app.commit()
    yield Shop(url, app, where)
    app.close()


async def test_a_start_counts_when_the_application_commits(shop: Shop) -> None:
    ran: Counter[str] = Counter()
    async with shop.host(app=ran) as host:
        shop.order()
        run = await host.start_workflow("noting", {"id": 1}, within=shop.app, reference="order-1")
        with pytest.raises(WorkflowNotFoundError):
            await host.get(run.id)

        shop.app.commit()
        instance = await run.wait(SOON)

        assert (instance.status, instance.data) == ("complete", {"id": 1})
        assert (instance.id, instance.reference, run.new) == (run.id, "order-1", True)
        (first,) = await host.history(run.id, limit=1)
        assert first.kind == "workflow_started"
    assert (list(ran.values()), shop.orders()) == ([1], 1)


async def test_rolled_back_is_never_started(shop: Shop) -> None:
    async with shop.host() as host:
        shop.order()
        gone = await host.start_workflow("noting", within=shop.app)
        await host.publish_event("paid", "1", within=shop.app)
        shop.app.rollback()

        later = await host.start_workflow("noting", within=shop.app)
        shop.app.commit()
        await later.wait(SOON)
        listening = await host.start_workflow("waiting")

        assert [each.id for each in (await host.find(definition="noting")).items] == [later.id]
        with pytest.raises(WorkflowNotFoundError):
            await gone.wait(1)
        with pytest.raises(TimeoutError):
            await listening.wait(A_WHILE)
    assert shop.orders() == 0


async def test_the_same_key_is_the_same_run(shop: Shop) -> None:
    async with shop.host() as host:
        first = await host.start_workflow("noting", within=shop.app, idempotency_key="k", name="n")
        second = await host.start_workflow("noting", within=shop.app, idempotency_key="k")
        with pytest.raises(DuplicateNameError):
            await host.start_workflow("noting", within=shop.app, name="n")
        shop.app.commit()
        third = await host.start_workflow("noting", within=shop.app, idempotency_key="k")
        shop.app.commit()
        fourth = await host.start_workflow("noting", idempotency_key="k")

        runs = [first, second, third, fourth]
        assert {run.id for run in runs} == {first.id}
        assert [run.new for run in runs] == [True, False, False, False]
        assert (await first.wait(SOON)).name == "n"
        assert len((await host.find()).items) == 1


async def test_an_event_is_published_after_the_commit(shop: Shop) -> None:
    async with shop.host() as host:
        run = await host.start_workflow("waiting")
        shop.order()
        id_ = await host.publish_event("paid", "1", {"sum": 5}, within=shop.app)
        shop.app.commit()

        assert (await run.wait(SOON)).data == {"got": {"sum": 5}}
        assert id_


async def test_what_was_committed_outlives_the_host(shop: Shop) -> None:
    """It ended before the outbox was drained: another one goes on."""
    async with shop.host() as host:
        listening = await host.start_workflow("waiting")
    store = SqliteStore(shop.where) if shop.url != shop.where else PostgresStore(shop.where)
    await store.open()
    event = Event(id="e", name="paid", key="1", payload="7")
    assert isinstance(store.enqueue(shop.app, Item(publish=(event,))), Done)
    shop.app.commit()
    await store.close()

    async with shop.host() as again:
        assert (await (await again.run(listening.id)).wait(SOON)).data == {"got": 7}


async def test_several_hosts_start_once(shop: Shop) -> None:
    ran: Counter[str] = Counter()
    async with shop.host(app=ran) as first, shop.host(app=ran):
        runs = [await first.start_workflow("noting", within=shop.app) for _ in range(20)]
        shop.app.commit()
        for run in runs:
            assert (await run.wait(SOON)).status == "complete"

    assert (set(ran.values()), len(ran)) == ({1}, 20)


async def test_a_delay_and_own_runs_hold_there_too(shop: Shop) -> None:
    async with shop.host(own_runs_only=True) as host:
        late = await host.start_workflow("noting", within=shop.app, delay=timedelta(hours=1))
        soon = await host.start_workflow("noting", within=shop.app)
        shop.app.commit()

        assert (await soon.wait(SOON)).status == "complete"
        assert (await host.get(late.id)).status == "runnable"


async def test_a_value_for_the_blob_provider_cannot_go_there(shop: Shop, tmp_path: Path) -> None:
    async with shop.host(blobs=f"file://{tmp_path / 'blobs'}", max_inline=1000) as host:
        with pytest.raises(DataTypeError, match="at most 1,000 can be stored here"):
            await host.start_workflow("noting", {"a": "x" * 2000}, within=shop.app)
        with pytest.raises(DataTypeError, match="event within a transaction"):
            await host.publish_event("x", "k", "x" * 2000, within=shop.app)


def test_the_blocking_host_uses_the_connection_in_its_own_thread(shop: Shop) -> None:
    ran: Counter[str] = Counter()
    with SyncWorkflowHost(shop.url, app=ran) as host:
        host.register(noting(), waiting())
        listening = host.start_workflow("waiting")
        shop.order()
        run = host.start_workflow("noting", within=shop.app)
        host.publish_event("paid", "1", 7, within=shop.app)
        with pytest.raises(ProviderError, match="got str"):
            host.start_workflow("noting", within="nonsense")
        shop.app.commit()

        assert run.wait(SOON).status == "complete"
        assert listening.wait(SOON).data == {"got": 7}
    assert list(ran.values()) == [1]


async def test_a_start_in_an_async_transaction(postgres_url: str) -> None:
    ran: Counter[str] = Counter()
    shop = Shop(postgres_url, None, postgres_url)
    async with shop.host(app=ran) as host:
        async with (
            await psycopg.AsyncConnection.connect(postgres_url) as app,
            app.transaction(),
        ):
            run = await host.start_workflow("noting", {"id": 1}, within=app)

        assert (await run.wait(SOON)).status == "complete"
    assert list(ran.values()) == [1]


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
