"""Starts and events inside the application's own transaction on the same database."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
from postgres_parts import query
from psycopg.rows import dict_row

from wfe.core import ProviderError
from wfe.core.providers import (
    Done,
    Event,
    Hold,
    InstanceQuery,
    Item,
    Outcome,
    Refused,
)
from wfe.postgres import PostgresStore
from wfe.testing.contracts import OutboxContract
from wfe.testing.contracts.runs import final, header, inbox, one, worker

App: TypeAlias = "psycopg.Connection[Any]"
SOON = 5.0  # seconds


@pytest.fixture
def app(tables: str) -> Iterator[psycopg.Connection[Any]]:
    """The application's own connection to the same database, with a table of its own."""
    connection: psycopg.Connection[Any] = psycopg.connect(tables)
    connection.execute("CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY)")
    connection.commit()
    yield connection
    connection.close()


class Bookings:
    """The application: notes in a table of the same database."""

    def __init__(self, url: str, elsewhere: str) -> None:
        self.url = url
        self.elsewhere = elsewhere
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Any]:
        connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(self.url)
        try:
            yield connection
        finally:
            await connection.close()

    async def write(self, connection: psycopg.AsyncConnection[Any], note: str) -> None:
        await connection.execute("INSERT INTO notes VALUES (%s)", [note])

    async def commit(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.commit()

    async def roll_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.rollback()

    async def notes(self) -> Sequence[str]:
        with psycopg.connect(self.url) as connection:
            return [note for (note,) in connection.execute("SELECT note FROM notes")]

    @asynccontextmanager
    async def strangers(self) -> AsyncGenerator[Sequence[psycopg.Connection[Any]]]:
        with (
            psycopg.connect(self.elsewhere) as foreign,
            psycopg.connect(self.url, autocommit=True) as automatic,
            psycopg.connect(self.url) as broken,
            psycopg.connect(self.url) as closed,
        ):
            closed.close()
            with pytest.raises(psycopg.Error):
                broken.execute("SELECT 1 / 0")
            yield [foreign, automatic, broken, closed]


class BlockingBookings(Bookings):
    """The same with connections that block."""

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Any]:
        connection: psycopg.Connection[Any] = psycopg.connect(self.url)
        try:
            yield connection
        finally:
            connection.close()

    async def write(self, connection: Any, note: str) -> None:
        connection.execute("INSERT INTO notes VALUES (%s)", [note])

    async def commit(self, connection: Any) -> None:
        connection.commit()

    async def roll_back(self, connection: Any) -> None:
        connection.rollback()


class TestPostgresOutbox(OutboxContract):
    @pytest.fixture
    def application(self, tables: str, new_tables: Callable[[], str]) -> Iterator[Bookings]:
        yield Bookings(tables, new_tables())
        query(tables, "DROP TABLE notes")


class TestBlockingPostgresOutbox(OutboxContract):
    @pytest.fixture
    def application(self, tables: str, new_tables: Callable[[], str]) -> Iterator[Bookings]:
        yield BlockingBookings(tables, new_tables())
        query(tables, "DROP TABLE notes")


def count(app: App, table: str) -> int:
    with psycopg.Cursor(app) as cursor:
        found = cursor.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert found is not None
    return int(found[0])


async def put(store: PostgresStore, connection: Any, item: Item, **options: Any) -> Outcome:
    outcome = store.enqueue(connection, item, **options)
    if inspect.isawaitable(outcome):
        return await outcome
    return outcome


# -- whole hosts ----------------------------------------------------------------------------------


# -- the store ------------------------------------------------------------------------------------


def _event(key: str, **columns: Any) -> Event:
    return Event(id=f"event {key}", name="paid", key=key, payload=f'"{key}"', **columns)


async def test_an_open_transaction_stops_no_publisher(store: PostgresStore, app: App) -> None:
    await put(store, app, Item(publish=(_event("k"),)))

    async with asyncio.timeout(SOON):
        assert isinstance(await one(store, None, Item(publish=(_event("k"),))), Done)
    app.rollback()


async def test_what_is_committed_wakes_hosts_unless_told_not_to(
    store: PostgresStore, other: PostgresStore, app: App
) -> None:
    epoch = await worker(other)
    quiet, loud = [await header(store, n=0, id=id_) for id_ in ("quiet", "loud")]
    heard: set[int] = set()

    await put(store, app, Item(new=quiet, rows=("[]",)), notify=False)
    app.commit()
    await put(store, app, Item(new=loud, rows=("[]",)))
    waiting_for = asyncio.ensure_future(other.wait(epoch, 3_600_000_000))
    await asyncio.sleep(0)
    assert not waiting_for.done()
    app.commit()
    async with asyncio.timeout(SOON):
        heard.update(await waiting_for)

    found = await store.get("loud")
    assert found is not None
    assert heard == {found.n}


async def test_an_idle_draining_writes_nothing(store: PostgresStore) -> None:
    asked = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    for _ in range(50):  # other tests may just be writing to other databases of the server
        before = await store._opened.all(asked)
        await store.drain_outbox(10)
        if await store._opened.all(asked) == before:
            return
    pytest.fail("each draining wrote something")


# -- connections ----------------------------------------------------------------------------------


async def test_connections_that_do_not_fit_are_refused(
    store: PostgresStore, tables: str, new_tables: Callable[[], str]
) -> None:
    new = await header(store, n=0)

    async def refused(connection: Any) -> str:
        texts: list[str] = []
        for item in (Item(new=new, rows=("[]",)), Item(publish=(_event("k"),))):
            with pytest.raises(ProviderError) as raised:
                await put(store, connection, item)
            texts.append(str(raised.value))
        return texts[0]

    with psycopg.connect(new_tables()) as foreign:
        assert "only a connection to the same database" in await refused(foreign)
    with psycopg.connect(tables, autocommit=True) as automatic:
        assert "is in no transaction" in await refused(automatic)
    with psycopg.connect(tables) as broken:
        with pytest.raises(psycopg.Error):
            broken.execute("SELECT 1 / 0")
        assert "has failed; roll it back" in await refused(broken)
    assert "is closed" in await refused(broken)
    assert "got dict" in await refused({})
    assert await store.find(InstanceQuery()) == []


async def test_who_lends_a_connection_is_asked_for_it(store: PostgresStore, app: App) -> None:
    class Fairy:
        driver_connection = app

    class Sqlalchemys:
        connection = Fairy()

    for lender in (Fairy(), Sqlalchemys()):
        assert isinstance(await put(store, lender, Item(publish=(_event("k"),))), Done)
    app.commit()
    assert count(app, "wfe_outbox") == 2


async def test_rows_of_the_application_may_look_as_they_like(
    store: PostgresStore, tables: str
) -> None:
    new = await header(store, n=0, id="x", idem="key:1")
    with psycopg.connect(tables) as connection:
        app: Any = connection
        app.row_factory, app.cursor_factory = dict_row, psycopg.RawCursor
        first = await put(store, app, Item(new=new, rows=("[]",)))
        again = await put(store, app, Item(new=new, rows=("[]",)))

    assert isinstance(first, Done)
    assert again == Refused("idem", "x")


async def test_starting_twice_at_the_same_time_is_one_start(
    store: PostgresStore, tables: str
) -> None:
    """The second waits for the first to commit, and then finds its run."""
    new = await header(store, n=0, id="x", idem="key:1")
    async with (
        await psycopg.AsyncConnection.connect(tables) as one_,
        await psycopg.AsyncConnection.connect(tables) as two,
    ):
        first = await put(store, one_, Item(new=new, rows=("[]",)))
        second = asyncio.ensure_future(put(store, two, Item(new=new, rows=("[]",))))
        await asyncio.sleep(0.05)
        assert not second.done()
        await one_.commit()

        assert isinstance(first, Done)
        assert await second == Refused("idem", "x")


async def test_an_event_that_cannot_be_stored_holds_up_no_other(
    store: PostgresStore, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    monster = "".join(chr(0x4E00 + (k * k) % 20_000) for k in range(6000))
    for event in (_event("a"), _event("b"), Event(id="m", name=monster, key="k"), _event("c")):
        await put(store, app, Item(publish=(event,)))
    app.commit()

    await store.drain_outbox(10)

    rows = app.execute("SELECT key FROM wfe_events ORDER BY e").fetchall()
    assert [key for (key,) in rows] == ["a", "b", "c"]
    assert count(app, "wfe_outbox") == 0
    assert "cannot be published" in caplog.text


async def test_a_schema_and_a_prefix_of_ones_own(tables: str, app: App) -> None:
    """Two stores in one database know nothing of each other."""
    stores = [PostgresStore(tables, schema="Engine", prefix=prefix) for prefix in ("Wfe_", "my_")]
    for store in stores:
        await store.open()
    mine, its = stores
    epoch = await worker(its)
    new = await header(mine, n=0, id="x")

    place = Hold(pointer=0, attempt=0, key="k", limit=1)
    await put(mine, app, Item(new=new, rows=("[]",), hold=(place,)))
    await put(mine, app, Item(publish=(_event("k"),)))
    app.commit()

    found = await mine.get("x")
    assert found is not None
    assert [n for n, _, _ in await mine.drain_outbox(10)] == [found.n]
    assert list(await its.wait(epoch, 50_000)) == []
    assert await its.get("x") is None
    assert (await mine.changes(None, 10)).changed[0].n == found.n
    assert (await its.changes(None, 10)).changed == ()
    await mine.search_apply([], [], "here")
    assert await its.search_cursors() == (None, None)
    epoch = await worker(mine)
    await mine.claim(epoch, [new.d], 1)
    poke, _ = await inbox(mine, found.n)
    await one(mine, epoch, Item(n=found.n, base=0, seen=poke, header=final()))
    assert await mine.purge([found.n]) == 1
    for store in stores:
        await store.close()
    app.execute('DROP SCHEMA "Engine" CASCADE')
    app.commit()
