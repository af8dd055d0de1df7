"""What the PostgreSQL store does besides its contract: failures, and what it costs."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from postgres_parts import WORKER, Tables, begin, query, start

from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Fenced,
    HeaderChange,
    Hold,
    Item,
    Message,
    Outcome,
    Snapshot,
    Subscription,
)
from wfe.postgres import PostgresStore, open_url
from wfe.postgres.writing import Batch

PARK = HeaderChange(status="runnable", wake=2**62, release=True)
FINAL = HeaderChange(status="complete", final=True)


# -- what it costs --------------------------------------------------------------------------------


async def test_runs_are_found_by_their_numbers_whatever_the_statistics_say(
    store: PostgresStore, tables: str
) -> None:
    await begin(store, 1000, None)
    query(tables, "VACUUM ANALYZE wfe_instances")  # nobody owned anything just then
    epoch = await store.register(WORKER)
    runs = await begin(store, 20, epoch)
    batch = Batch(epoch)
    for n in runs:
        assert batch.add(Item(n=n, base=0, rows=('"e"',), header=FINAL), ordered=False)

    async with store._opened.connection() as conn:
        sql = b"EXPLAIN " + store._opened.names.sql(batch.sql()).encode()
        found = await (await conn.execute(sql, batch.args(None))).fetchall()

    plan = "\n".join(line for (line,) in found)
    assert "wfe_instances_pkey" in plan
    assert "wfe_instances_owner" not in plan


async def test_usual_batches_are_one_statement_and_one_round_trip(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 100, epoch)
    d = await store.put_definition("order", 1, "hash", "{}")
    more = await store.allocate(50)
    batches = [
        [Item(n=n, base=0, rows=('"a"', '"b"')) for n in runs],
        [Item(n=n, base=2, rows=('"c"',), alive=True) for n in runs],
        [Item(n=n, base=3, rows=('"d"',), fold=Snapshot(4, "{}", "{}")) for n in runs[:10]],
        [Item(n=n, base=4, rows=('"e"',), header=PARK) for n in runs[:5]],
        [Item(n=n, base=4, rows=('"e"',), header=FINAL) for n in runs[5:10]],
        [
            Item(n=runs[10], base=3, rows=('"e"',), header=FINAL),
            Item(n=runs[11], base=3, rows=('"e"',)),
            *(start(n, d, owner=epoch) for n in range(more, more + 50)),
        ],
    ]

    for batch in batches:
        before = (store.stats.statements, store.stats.round_trips)
        outcomes = await store.commit(epoch, batch)
        after = (store.stats.statements, store.stats.round_trips)

        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert (after[0] - before[0], after[1] - before[1]) == (1, 1)


async def test_guarded_batches_are_one_round_trip(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 8, epoch)
    d = await store.put_definition("order", 1, "hash", "{}")
    child = await store.allocate(1)
    wait = Subscription(pointer=1, name="go", key="k", as_of=0)
    batch = [
        Item(n=runs[0], base=0, rows=('"a"',), subscribe=(wait,)),
        Item(publish=(Event(id="e", name="go", key="k"),)),
        Item(
            n=runs[1], base=0, rows=('"a"',), hold=(Hold(pointer=1, attempt=0, key="k", limit=1),)
        ),
        Item(n=runs[2], base=0, rows=('"a"',), messages=(Message(target=runs[3], kind="k"),)),
        Item(n=runs[4], base=0, rows=('"a"',), starts=(start(child, d, parent=runs[4]),)),
        *(Item(n=n, base=0, rows=('"a"',)) for n in runs[5:]),
    ]
    before = store.stats.round_trips

    outcomes = await store.commit(epoch, batch)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert store.stats.round_trips - before == 1


async def test_looking_for_work_in_vain_writes_nothing(store: PostgresStore, tables: str) -> None:
    epoch = await store.register(WORKER)
    d = await store.put_definition("order", 1, "hash", "{}")
    asked = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"

    async def look() -> None:
        assert await store.claim(epoch, [d], 10) == []
        assert await store.claim(epoch, [d], 10, hints=[5]) == []
        assert await store.orphans(10) == 0
        assert list(await store.fence([4711], lease=None)) == []
        assert await store.due([d]) is None
        await store.put_definition("order", 1, "hash", "{}")

    for _ in range(50):  # other tests may just be writing to other databases of the server
        before = query(tables, asked)
        await look()
        if query(tables, asked) == before:
            return
    pytest.fail("each look wrote something")


BACKLOG = """
INSERT INTO wfe_instances (n, id, d, definition, version, status, root_id, wake, created_at,
    priority)
SELECT %(first)s + g, 'x' || %(first)s + g, %(d)s, 'd', 1, 'runnable', 'x', %(wake)s, 0,
    %(priority)s
FROM generate_series(1, %(count)s) g"""
FETCHED = """
SELECT idx_tup_fetch + seq_tup_read + coalesce((SELECT sum(idx_tup_read)::bigint
    FROM pg_stat_user_indexes WHERE relname = 'wfe_instances'), 0)
FROM pg_stat_user_tables WHERE relname = 'wfe_instances'"""


def flushed(url: str) -> int:
    """Return how many rows of instances have been looked at in this database."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(FETCHED).fetchone()
    return 0 if row is None else int(row[0])


async def test_a_claim_looks_at_no_backlog_but_what_it_takes(tables: str) -> None:
    """Also while the server has gathered no statistics: the first minute of a new database."""
    store = open_url(tables, pool=1)
    await store.open()
    epoch = await store.register(WORKER)
    mine, nobodys = [await store.put_definition(id_, 1, "h", "{}") for id_ in ("a", "b")]
    assert await store.claim(epoch, [mine], 10) == []
    backlogs = [(mine, 5, 0), (nobodys, 1, 0), (mine, 2**62, 0), (mine, 2**62, 3), (mine, 9, 1)]
    with psycopg.connect(tables, autocommit=True) as connection:
        # An autovacuum in the middle would gather statistics, and its own reads would be counted.
        connection.execute("ALTER TABLE wfe_instances SET (autovacuum_enabled = false)")
        for k, (d, wake, priority) in enumerate(backlogs):
            args = {"first": k * 10_000, "d": d, "wake": wake, "priority": priority, "count": 3000}
            connection.execute(BACKLOG.encode(), args)
    flush = "SELECT pg_stat_force_next_flush()"
    looked: list[int] = []
    for _ in range(5):  # what backends of before did may be counted late, but not each time
        await store._opened.all(flush)
        before = flushed(tables)
        claimed = [await store.claim(epoch, [mine], 10) for _ in range(3)]
        await store._opened.all(flush)
        assert [len(each) for each in claimed] == [10] * 3
        looked.append(flushed(tables) - before)

    assert 60 <= min(looked) < 1000
    await store.close()


# -- bad items ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "columns",
    [{"name": "a\x00b"}, {"name": "a\ud800"}, {"idem": "x" * 20}, {"reference": "a\x00"}],
    ids=["NUL", "half a character", "unusual but fine", "NUL in what is no key"],
)
async def test_what_cannot_be_stored_keeps_nothing_else_from_it(
    store: PostgresStore, columns: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    epoch = await store.register(WORKER)
    good = await begin(store, 4, epoch)
    d = await store.put_definition("order", 1, "hash", "{}")
    n = await store.allocate(1)
    items = [Item(n=each, base=0, rows=('"a"',)) for each in good]
    items.insert(2, start(n, d, **columns))

    outcomes = list(await store.commit(epoch, items))

    bad = outcomes.pop(2)
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert isinstance(bad, Done if "idem" in columns else Conflict)
    assert ("cannot be stored" in caplog.text) == isinstance(bad, Conflict)


async def test_a_key_that_no_index_takes_keeps_nothing_else_from_it(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 5, epoch)
    long = "".join(f"{k * 7919 % 100_003:x}" for k in range(4000))  # does not compress enough
    waits = [Subscription(pointer=1, name="go", key=key, as_of=0) for key in ("a", long, "b")]
    items = [
        Item(n=n, base=0, rows=('"a"',), subscribe=(wait,))
        for n, wait in zip(runs, waits, strict=False)
    ]

    outcomes = await store.commit(epoch, [*items, Item(n=runs[4], base=0, rows=('"a"',))])

    assert [type(outcome) for outcome in outcomes] == [Done, Conflict, Done, Done]
    assert [len(await store.history(n, -1, 9)) for n in runs] == [2, 1, 2, 1, 2]


async def test_one_wrong_base_of_many_is_the_only_conflict(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 60, epoch)
    items = [Item(n=n, base=-1 if k == 33 else 0, rows=('"a"',)) for k, n in enumerate(runs)]

    outcomes = await store.commit(epoch, items)

    assert [k for k, outcome in enumerate(outcomes) if not isinstance(outcome, Done)] == [33]
    assert outcomes[33] == Conflict()


# -- lost connections -----------------------------------------------------------------------------


async def _killed(url: str, work: Coroutine[Any, Any, object]) -> Exception:
    """Kill the connection on which *work* waits for a lock; return what it raised."""
    task = asyncio.create_task(work)
    blocked = "SELECT pid FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(20):
        while not (pids := await asyncio.to_thread(query, url, blocked)):
            pass
    query(url, "SELECT pg_terminate_backend(%s)", pids[0][0])
    await asyncio.wait({task})
    raised = task.exception()
    assert isinstance(raised, Exception)
    return raised


async def test_a_commit_whose_answer_is_lost_may_have_been_made(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    item = Item(n=n, base=0, rows=('"a"',), alive=True)
    with psycopg.connect(tables) as held:
        held.execute("SELECT 1 FROM wfe_instances WHERE n = %s FOR UPDATE", (n,))
        raised = await _killed(tables, store.commit(epoch, [item]))

    assert isinstance(raised, StoreUnavailableError)
    assert raised.unknown
    assert raised.transient
    (again,) = await store.commit(epoch, [item])
    assert isinstance(again, Done)
    (twice,) = await store.commit(epoch, [item])
    assert twice == Conflict()


async def test_connections_that_died_idle_are_replaced(store: PostgresStore, tables: str) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 20, epoch)
    await asyncio.gather(*(store.history(n, -1, 9) for n in runs))  # several connections
    query(
        tables,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )

    failed = 0
    outcome: Outcome = Fenced()
    while not isinstance(outcome, Done):
        try:
            (outcome,) = await store.commit(epoch, [Item(n=runs[0], base=0, rows=('"a"',))])
        except StoreUnavailableError:
            failed += 1
            assert failed < 3

    results = await asyncio.gather(*(store.history(n, -1, 9) for n in runs))
    assert len(results) == 20


async def test_the_pool_tells_nobody_who_did_not_ask(
    tables: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    told = logging.getLogger("psycopg")
    monkeypatch.setattr(told, "handlers", [])
    monkeypatch.setattr(told, "propagate", False)  # pytest's own handlers take all
    store = PostgresStore(tables)
    await store.open()

    logging.getLogger("psycopg.pool").warning("error connecting")
    await store.close()

    assert len(told.handlers) == 1
    assert capfd.readouterr().err == ""


async def test_who_waits_too_long_for_a_connection_is_told_why(tables: str) -> None:
    store = open_url(tables, pool=1, patience=timedelta(seconds=0.2))
    await store.open()
    async with store._opened.connection():
        with pytest.raises(StoreUnavailableError, match="pool=N") as caught:
            await store.workers()
    assert caught.value.transient
    assert not caught.value.unknown
    await store.close()


async def _waiting(store: PostgresStore) -> None:
    """Return when somebody waits for a connection."""
    pool = store._opened._pool
    assert pool is not None
    while not pool.get_stats()["requests_waiting"]:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)


@pytest.mark.parametrize("lent", [True, False])
async def test_who_waits_for_a_connection_as_the_store_closes_is_told_so(
    tables: str, *, lent: bool
) -> None:
    store = PostgresStore(tables, pool=1)
    await store.open()
    db = store._opened

    async def borrow() -> None:
        async with db.connection():
            pytest.fail("it was lent a connection of a store that is closed")

    async with db.connection():
        waiting = asyncio.create_task(borrow() if lent else db.all("SELECT 1"))
        await _waiting(store)
        await store.close()
        with pytest.raises(ProviderError, match=r"was closed; await store\.open\(\)") as caught:
            await waiting

    assert not caught.value.transient
    assert not caught.value.unknown


async def test_a_connection_may_be_out_while_the_store_is_closed_and_opened(tables: str) -> None:
    store = PostgresStore(tables, pool=1)
    await store.open()

    async with store._opened.connection() as conn:
        await store.close()
        await store.open()

    assert conn.closed
    assert list(await store.workers()) == []
    await store.close()


async def test_two_that_open_a_store_make_one_pool(tables: str) -> None:
    store = PostgresStore(tables)

    await asyncio.gather(store.open(), store.open(), store.open())

    assert list(await store.workers()) == []
    await store.close()
    assert _pools() == []


async def test_a_store_that_cannot_be_opened_leaves_nothing_behind(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(tables)
    made: list[Any] = []
    honest = store._prepare

    async def gone(conn: Any) -> None:
        await honest(conn)
        made.append(conn)
        query(
            tables,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        problem = "the server has just gone"
        raise StoreUnavailableError("postgres", problem)

    monkeypatch.setattr(store, "_prepare", gone)
    with pytest.raises(StoreUnavailableError, match="just gone"):
        await store.open()
    assert made[0].closed
    assert _pools() == []

    monkeypatch.setattr(store, "_prepare", honest)
    await store.open()
    assert list(await store.workers()) == []
    await store.close()


def _pools() -> list[str]:
    """Return the names of the tasks that still serve a pool."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if "-worker-" in name or name.endswith("-scheduler")]


async def test_without_prepared_statements_all_is_the_same(tables: str) -> None:
    store = open_url(tables + "?prepare=off")
    await store.open()
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    (done,) = await store.commit(
        epoch, [Item(n=n, base=0, rows=('"a"',), messages=(Message(target=n, kind="k"),))]
    )
    found = query(
        tables, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%wfe_apply_1%%'"
    )

    assert isinstance(done, Done)
    assert found[0][0] >= 1
    await store.close()


async def test_a_new_definition_is_the_current_one(
    store: PostgresStore, other: PostgresStore
) -> None:
    put = [
        (store if k % 2 else other).put_definition("d", 1, f"hash {k % 4}", "{}") for k in range(16)
    ]

    numbers = await asyncio.gather(*put)

    rows = {row.d: row for row in await store.definitions("d")}
    assert set(numbers) == set(rows)
    assert len(rows) == 4
    assert sum(row.current for row in rows.values()) == 1


@pytest.mark.parametrize("turns", range(8))
async def test_a_wait_for_a_connection_that_is_cancelled_as_it_ends_is_cancelled(
    tables: str, turns: int
) -> None:
    store = PostgresStore(tables, pool=1)
    await store.open()
    async with store._opened.connection():
        waiting = asyncio.create_task(store.workers())
        await _waiting(store)
    for _ in range(turns):
        await asyncio.sleep(0)

    if waiting.cancel():  # it had not ended
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert list(await store.workers()) == []  # its connection is in the pool again
    await store.close()


def test_tables_can_be_emptied_between_tests(postgres_tables: Tables) -> None:
    url = postgres_tables.take()
    query(url, "INSERT INTO wfe_paused VALUES ('x', 1)")

    postgres_tables.empty(url)

    assert query(url, "SELECT * FROM wfe_paused") == []
    assert query(url, "SELECT nextval('wfe_numbers')") == [(1,)]
    postgres_tables.give(url)


def test_new_tables_differ(new_tables: Callable[[], str]) -> None:
    assert new_tables() != new_tables()
