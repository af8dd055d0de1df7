"""Starts and events inside the application's own transaction on the same database."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg.rows import dict_row

from wfe.core import (
    DuplicateNameError,
    ProviderError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
)
from wfe.core.providers import (
    Done,
    Event,
    Hold,
    InstanceQuery,
    Item,
    Outcome,
    Refused,
    Subscription,
)
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.postgres import PostgresStore
from wfe.testing.contracts.runs import begin, fields, final, header, inbox, one, worker

Ctx = StepExecutionContext[Any]
App: TypeAlias = "psycopg.Connection[Any]"
SOON = 5.0  # seconds


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
def app(tables: str) -> Iterator[psycopg.Connection[Any]]:
    """The application's own connection to the same database, with a table of its own."""
    connection: psycopg.Connection[Any] = psycopg.connect(tables)
    connection.execute("CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY)")
    connection.commit()
    yield connection
    connection.close()


@pytest.fixture
async def async_app(tables: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection: psycopg.AsyncConnection[Any] = await psycopg.AsyncConnection.connect(tables)
    yield connection
    await connection.close()


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


async def test_a_start_counts_when_the_application_commits(tables: str, app: App) -> None:
    ran: Counter[str] = Counter()
    async with registered(tables, app=ran) as host:
        app.execute("INSERT INTO orders VALUES (1)")
        run = await host.start_workflow("noting", {"id": 1}, within=app, reference="order-1")
        with pytest.raises(WorkflowNotFoundError):
            await host.get(run.id)

        app.commit()
        instance = await run.wait(SOON)

        assert (instance.status, instance.data) == ("complete", {"id": 1})
        assert (instance.id, instance.reference, run.new) == (run.id, "order-1", True)
    assert (list(ran.values()), count(app, "orders")) == ([1], 1)


async def test_a_start_in_an_async_transaction(
    tables: str, async_app: psycopg.AsyncConnection[Any]
) -> None:
    ran: Counter[str] = Counter()
    async with registered(tables, app=ran) as host:
        async with async_app.transaction():
            run = await host.start_workflow("noting", {"id": 1}, within=async_app)

        assert (await run.wait(SOON)).status == "complete"
    assert list(ran.values()) == [1]


async def test_rolled_back_is_never_started(tables: str, app: App) -> None:
    async with registered(tables, app=Counter()) as host:
        app.execute("INSERT INTO orders VALUES (1)")
        gone = await host.start_workflow("noting", within=app)
        await host.publish_event("paid", "1", within=app)
        app.rollback()

        later = await host.start_workflow("noting", within=app)
        app.commit()
        await later.wait(SOON)
        listening = await host.start_workflow("waiting")

        assert [each.id for each in (await host.find(definition="noting")).items] == [later.id]
        with pytest.raises(WorkflowNotFoundError):
            await gone.wait(1)
        with pytest.raises(TimeoutError):
            await listening.wait(1.2)
    assert count(app, "orders") == 0


async def test_the_same_key_is_the_same_run(tables: str, app: App) -> None:
    async with registered(tables, app=Counter()) as host:
        first = await host.start_workflow("noting", within=app, idempotency_key="k", name="n")
        second = await host.start_workflow("noting", within=app, idempotency_key="k")
        with pytest.raises(DuplicateNameError):
            await host.start_workflow("noting", within=app, name="n")
        app.commit()
        third = await host.start_workflow("noting", within=app, idempotency_key="k")
        app.commit()

        assert {first.id} == {second.id, third.id}
        assert [each.new for each in (first, second, third)] == [True, False, False]
        assert (await first.wait(SOON)).name == "n"


async def test_an_event_is_published_after_the_commit(tables: str, app: App) -> None:
    async with registered(tables) as host:
        run = await host.start_workflow("waiting")
        await host.publish_event("paid", "1", {"sum": 5}, within=app)
        app.commit()

        assert (await run.wait(SOON)).data == {"got": {"sum": 5}}


async def test_several_hosts_start_once(tables: str, app: App) -> None:
    ran: Counter[str] = Counter()
    async with registered(tables, app=ran) as first, registered(tables, app=ran):
        runs = [await first.start_workflow("noting", within=app) for _ in range(20)]
        app.commit()
        for run in runs:
            assert (await run.wait(SOON)).status == "complete"

    assert (set(ran.values()), len(ran)) == ({1}, 20)


def test_the_blocking_host_uses_the_connection_in_its_own_thread(tables: str, app: App) -> None:
    with SyncWorkflowHost(tables, app=Counter()) as host:
        host.register(noting(), waiting())
        listening = host.start_workflow("waiting")
        app.execute("INSERT INTO orders VALUES (1)")
        run = host.start_workflow("noting", within=app)
        host.publish_event("paid", "1", 7, within=app)
        app.commit()

        assert run.wait(SOON).status == "complete"
        assert listening.wait(SOON).data == {"got": 7}


# -- the store ------------------------------------------------------------------------------------


def _event(key: str, **columns: Any) -> Event:
    return Event(id=f"event {key}", name="paid", key=key, payload=f'"{key}"', **columns)


async def test_each_event_is_published_once_whoever_drains(
    store: PostgresStore, other: PostgresStore, app: App
) -> None:
    for k in range(50):
        await put(store, app, Item(publish=(_event(str(k), at=k, expires=10**17),)))
    app.commit()

    await asyncio.gather(*(each.drain_outbox(7) for _ in range(4) for each in (store, other)))
    for _ in range(8):
        await other.drain_outbox(7)

    rows = app.execute("SELECT id, name, key, payload, at, expires FROM wfe_events").fetchall()
    assert sorted(rows) == sorted(
        (f"event {k}", "paid", str(k), f'"{k}"', k, 10**17) for k in range(50)
    )
    assert count(app, "wfe_outbox") == 0
    assert list(await other.drain_outbox(10)) == []


async def test_events_of_one_transaction_keep_their_order(store: PostgresStore, app: App) -> None:
    await put(store, app, Item(publish=tuple(_event(key, at=5) for key in "cab")))
    app.commit()
    await store.drain_outbox(10)

    rows = app.execute("SELECT key FROM wfe_events ORDER BY e").fetchall()
    assert [key for (key,) in rows] == ["c", "a", "b"]


async def test_draining_wakes_who_waits(store: PostgresStore, app: App) -> None:
    epoch = await worker(store)
    n = await begin(store, epoch)
    wait = Subscription(pointer=3, name="paid", key="k", as_of=0)
    await one(store, epoch, Item(n=n, base=0, rows=("[]",), subscribe=(wait,)))
    await put(store, app, Item(publish=(_event("k"),)))
    app.commit()

    ((woken, _, owner),) = await store.drain_outbox(10)

    assert (woken, owner) == (n, epoch)
    _, (row,) = await inbox(store, n)
    assert (row.kind, fields(row.payload)["payload"]) == ("event", "k")


async def test_an_open_transaction_stops_no_publisher(store: PostgresStore, app: App) -> None:
    await put(store, app, Item(publish=(_event("k"),)))

    async with asyncio.timeout(SOON):
        assert isinstance(await one(store, None, Item(publish=(_event("k"),))), Done)
    app.rollback()


async def test_a_refused_start_leaves_the_transaction_as_it_was(
    store: PostgresStore, app: App
) -> None:
    taken = await header(store, name="n", idem="key:1")
    await one(store, None, Item(n=taken.n, new=taken, rows=("[]",)))
    by_key = await header(store, idem="key:1", name="m", n=0, id="x")
    by_name = await header(store, name="n", n=0, id="y")
    app.execute("INSERT INTO orders VALUES (1)")

    outcomes = [await put(store, app, Item(new=new, rows=("[]",))) for new in (by_key, by_name)]
    app.commit()

    assert outcomes == [Refused("idem", taken.id), Refused("name", taken.id)]
    assert (count(app, "orders"), count(app, "wfe_instances")) == (1, 1)


async def test_a_start_gets_a_number_and_its_rows(store: PostgresStore, app: App) -> None:
    new = await header(store, n=0, id="x", reference="é", priority=5)

    done = await put(store, app, Item(new=new, rows=('["a"]', '["b"]')))
    app.commit()

    found = await store.get("x")
    assert isinstance(done, Done)
    assert found is not None
    assert done.woken == ((found.n, new.d, None),)
    assert (found.reference, found.priority, found.created_at) == ("é", 5, done.at)
    assert [(r.seq, r.at, r.event) for r in await store.history(found.n, -1, 9)] == [
        (0, done.at, '["a"]'),
        (1, done.at, '["b"]'),
    ]
    assert await store.allocate(1) > found.n


async def test_places_are_asked_for_after_the_commit(store: PostgresStore, app: App) -> None:
    """Places need a lock that a slow application must not hold."""
    epoch = await worker(store)
    holder = await begin(store, epoch)
    hold = Hold(pointer=0, attempt=0, key="printer", limit=1)
    await one(store, epoch, Item(n=holder, base=0, rows=("[]",), hold=(hold,)))
    new = await header(store, n=0, id="x")
    await put(store, app, Item(new=new, rows=("[]",), hold=(hold,)))
    app.commit()
    found = await store.get("x")
    assert found is not None

    assert list(await store.drain_outbox(10)) == []
    assert await inbox(store, found.n) == (0, ())
    poke, _ = await inbox(store, holder)
    done = await one(store, epoch, Item(n=holder, base=1, seen=poke, header=final()))

    assert isinstance(done, Done)
    assert [n for n, _, _ in done.woken] == [found.n]
    _, (granted,) = await inbox(store, found.n)
    assert (granted.kind, fields(granted.payload)["key"]) == ("granted", "printer")


async def test_a_free_place_is_given_when_the_outbox_is_drained(
    store: PostgresStore, app: App
) -> None:
    hold = Hold(pointer=4, attempt=1, key='a "b"', limit=1, on_conflict="cancel_running")
    new = await header(store, n=0, id="x")
    await put(store, app, Item(new=new, rows=("[]",), hold=(hold,)))
    app.commit()

    ((n, _, _),) = await store.drain_outbox(10)

    _, (granted,) = await inbox(store, n)
    payload = fields(granted.payload)
    assert (payload["key"], payload["pointer"], payload["attempt"]) == ('a "b"', 4, 1)
    assert count(app, "wfe_outbox") == 0


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
    before = await store._opened.all(asked)
    await store.drain_outbox(10)
    assert await store._opened.all(asked) == before


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


async def test_a_delay_holds_there_too(tables: str, app: App) -> None:
    async with registered(tables, app=Counter()) as host:
        late = await host.start_workflow("noting", within=app, delay=timedelta(hours=1))
        soon = await host.start_workflow("noting", within=app)
        app.commit()

        assert (await soon.wait(SOON)).status == "complete"
        assert (await host.get(late.id)).status == "runnable"


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
