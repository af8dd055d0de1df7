"""A connection that asks by itself: it is never left in the middle of anything."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from postgres_parts import WORKER, begin, query
from psycopg import errors
from psycopg.pq import TransactionStatus

from wfe.core.errors import StoreUnavailableError
from wfe.core.providers import Done, Item
from wfe.postgres import PostgresStore, open_url
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.wire import Wire

SLEEP = "SELECT pg_sleep(%(seconds)s)"


@pytest.fixture
async def wire(store: PostgresStore) -> AsyncIterator[Wire]:
    conn = await store._opened.connect_alone()
    yield conn
    await conn.close()


async def _asked(url: str, wire: Wire) -> None:
    """Return when the server is at work on what *wire* was asked."""
    active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
    async with asyncio.timeout(20):
        while not (await asyncio.to_thread(query, url, active, wire.pgconn.backend_pid))[0][0]:
            pass


async def test_rows_are_what_the_driver_makes_of_them(wire: Wire) -> None:
    sql = """
SELECT %(n)s::bigint, %(text)s::text, %(none)s::text, true, '100 %%', ARRAY[1, NULL]::bigint[],
    ARRAY['a', NULL], '{"a": 1}'::jsonb, 1.5::float8, %(n)s::bigint + 1"""
    args = {"n": 1 << 40, "text": "é", "none": None}

    rows = await wire.ask(sql, args)

    assert rows == await (await wire.execute(sql.encode(), args)).fetchall()
    assert await wire.ask("SELECT '100 %'") == [("100 %",)]
    assert await wire.ask("CREATE TEMP TABLE nothing ()") == []


async def test_statements_that_go_together_are_one_transaction(wire: Wire) -> None:
    await wire.ask("CREATE TEMP TABLE t (n bigint PRIMARY KEY)")
    put = "INSERT INTO t VALUES (%(n)s::bigint) RETURNING n"

    with pytest.raises(errors.UniqueViolation):
        await wire.ask_all([(put, {"n": 1}), (put, {"n": 2}), (put, {"n": 1}), (put, {"n": 3})])

    assert await wire.ask_all([(put, {"n": 3}), ("SELECT n FROM t", None)]) == [[(3,)], [(3,)]]
    assert wire.pgconn.transaction_status == TransactionStatus.IDLE


@pytest.mark.parametrize("together", [False, True])
async def test_much_goes_to_and_fro(wire: Wire, *, together: bool) -> None:
    texts = Texts([f"{k} {'x' * 1000}" for k in range(20_000)])
    sql = "SELECT %(texts)s::text[], unnest(%(n)s::bigint[])"
    question = (sql, {"texts": texts, "n": Ints([1, 2])})

    found = await wire.ask_all([question] * (1 + together))

    assert found == [[(list(texts), 1), (list(texts), 2)]] * (1 + together)


@pytest.mark.parametrize("together", [False, True])
async def test_a_question_that_is_cancelled_ends_on_the_server_too(
    wire: Wire, tables: str, *, together: bool
) -> None:
    question = (SLEEP, {"seconds": 60})
    task = asyncio.create_task(wire.ask_all([question] * (1 + together)))
    await _asked(tables, wire)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert wire.pgconn.transaction_status == TransactionStatus.IDLE
    assert await wire.ask("SELECT 1") == [(1,)]


async def test_who_is_cancelled_again_leaves_no_connection_in_the_middle(
    wire: Wire, tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = asyncio.create_task(wire.ask(SLEEP, {"seconds": 60}))
    await _asked(tables, wire)
    ending = asyncio.Event()

    async def forever(**_: object) -> None:
        ending.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(wire, "cancel_safe", forever)
    task.cancel()
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert wire.closed
    query(
        tables,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s",
        "%pg_sleep(%",
    )


@pytest.mark.parametrize("turns", range(4))
async def test_a_question_that_is_cancelled_as_it_ends_is_cancelled(wire: Wire, turns: int) -> None:
    await wire.ask("SELECT 1")
    task = asyncio.create_task(wire.ask("SELECT 1"))
    while wire.pgconn.transaction_status != TransactionStatus.ACTIVE:  # noqa: ASYNC110 - sent
        await asyncio.sleep(0)
    while wire.pgconn.transaction_status == TransactionStatus.ACTIVE:  # noqa: ASYNC110 - answered
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)

    if task.cancel():  # it had not ended
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await wire.ask("SELECT 2") == [(2,)]


async def test_statements_that_others_deallocated_are_prepared_anew(wire: Wire) -> None:
    question = ("SELECT %(n)s::bigint", {"n": 1})
    await wire.ask(*question)

    async with wire.transaction(force_rollback=True):
        await wire.execute("SELECT 1")  # the driver deallocates all after a ROLLBACK

    assert await wire.ask(*question) == [(1,)]
    await wire.ask("DEALLOCATE ALL")
    assert await wire.ask_all([question, question]) == [[(1,)], [(1,)]]


def _is_watched(wire: Wire) -> bool:
    return wire._watched is not None


async def test_a_connection_that_dies_idle_is_watched_no_more(wire: Wire, tables: str) -> None:
    await wire.ask("SELECT 1")
    assert _is_watched(wire)

    query(tables, "SELECT pg_terminate_backend(%s)", wire.pgconn.backend_pid)
    async with asyncio.timeout(20):
        while _is_watched(wire):  # noqa: ASYNC110 - what the loop does meanwhile
            await asyncio.sleep(0)

    with pytest.raises(psycopg.OperationalError):
        await wire.ask("SELECT 1")
    assert wire.closed
    assert not _is_watched(wire)


async def test_a_closed_connection_leaves_its_socket_to_others(store: PostgresStore) -> None:
    wire = await store._opened.connect_alone()
    await wire.ask("SELECT 1")
    number = wire.pgconn.socket

    await wire.close()

    assert not asyncio.get_running_loop().remove_reader(number)  # nobody reads it


async def test_driver_and_questions_take_turns(wire: Wire) -> None:
    for n in range(3):
        assert await wire.ask("SELECT %(n)s::bigint", {"n": n}) == [(n,)]
        async with wire.transaction():
            assert await (await wire.execute("SELECT 1")).fetchone() == (1,)


# -- the connection that is at hand ---------------------------------------------------------------


async def test_one_after_another_use_one_connection(store: PostgresStore, tables: str) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    db = store._opened

    for k in range(3):
        (outcome,) = await store.commit(epoch, [Item(n=n, base=k, rows=('"a"',))])
        assert isinstance(outcome, Done)
        assert db._spare is not None
        assert len(await store.history(n, -1, 9)) == k + 2

    spare = db._spare
    assert spare is not None
    query(tables, "SELECT pg_terminate_backend(%s)", spare.pgconn.backend_pid)
    assert len(await store.history(n, -1, 9)) == 4  # a question is asked again
    assert db._spare is not spare


async def test_who_waits_for_the_only_connection_gets_it(tables: str) -> None:
    store = open_url(tables, pool=1)
    await store.open()

    found = await asyncio.gather(*(store.workers() for _ in range(40)))

    assert len(found) == 40
    assert store._opened._spare is not None
    await store.close()
    assert store._database._spare is None


async def test_a_claim_whose_answer_is_lost_is_not_made_again(
    store: PostgresStore, tables: str
) -> None:
    """What it claimed would be known to nobody."""
    epoch = await store.register(WORKER)
    await begin(store, 1, None)
    ((d,),) = query(tables, "SELECT d FROM wfe_instances")
    with psycopg.connect(tables) as held:
        held.execute("SELECT 1 FROM wfe_workers FOR UPDATE")
        task = asyncio.create_task(store.claim(epoch, [d], 10))
        blocked = "SELECT pid FROM pg_locks WHERE NOT granted"
        async with asyncio.timeout(20):
            while not (pids := await asyncio.to_thread(query, tables, blocked)):
                pass
        query(tables, "SELECT pg_terminate_backend(%s)", pids[0][0])
        with pytest.raises(StoreUnavailableError) as caught:
            await task

    assert caught.value.unknown
    assert len(await store.claim(epoch, [d], 10)) == 1


async def test_without_prepared_statements_questions_are_the_same(tables: str) -> None:
    store = open_url(tables + "?prepare=off")
    await store.open()
    async with store._opened.connection() as conn:
        question = ("SELECT %(n)s::bigint", {"n": 1})
        assert await conn.ask(*question) == [(1,)]
        assert await conn.ask_all([question, question]) == [[(1,)], [(1,)]]
        assert await conn.ask("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    await store.close()
