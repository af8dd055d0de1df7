"""Hints over NOTIFY and heartbeats: on connections of their own, and back after a loss."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from postgres_parts import query

from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.providers import Hint, WorkerInfo
from wfe.postgres import PostgresStore
from wfe.postgres.clock import ServerClock
from wfe.postgres.wake import ANYBODY, decoded, encoded

WORKER = WorkerInfo(name="w", host="h", pid=1)
LONG = 4_000_000  # µs
LEASE = 30_000_000
SOON = 3.0  # seconds


# -- payloads -------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.integers(0, 2**63 - 1),
        st.sets(st.integers(-1, 2**63 - 1), min_size=1, max_size=900),
        max_size=5,
    )
)
def test_payloads_say_all_and_are_short_enough(hints: dict[int, set[int]]) -> None:
    payloads = list(encoded("0a1b2c3d", {e: dict.fromkeys(ns) for e, ns in hints.items()}))

    found: dict[int, set[int]] = {}
    for payload in payloads:
        assert len(payload.encode()) < 8000
        sender, groups = decoded(payload)
        assert sender == "0a1b2c3d"
        for epoch, numbers in groups:
            found.setdefault(epoch, set()).update(numbers)
    assert found == hints


@pytest.mark.parametrize("payload", ["", "x", "x y", "x 1,y", "x ,", "x 1,2 zz,3"])
def test_foreign_payloads_are_passed_over(payload: str) -> None:
    _, groups = decoded(payload)

    assert groups in ([], [(1, [2])])


# -- hints ----------------------------------------------------------------------------------------


@pytest.fixture
async def ear(store: PostgresStore, tables: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection that listens as a host does."""
    connection = await psycopg.AsyncConnection.connect(tables, autocommit=True)
    await connection.execute(f'LISTEN "{store._opened.names.channel()}"'.encode())
    yield connection
    await connection.close()


async def _heard(ear: psycopg.AsyncConnection, until: Callable[[list[int]], bool]) -> list[str]:
    """Return the payloads until all that is wanted was heard."""
    payloads: list[str] = []
    numbers: list[int] = []
    async with asyncio.timeout(SOON):
        async for notify in ear.notifies():
            payloads.append(notify.payload)
            numbers += [n for _, ns in decoded(notify.payload)[1] for n in ns]
            if until(numbers):
                break
    return payloads


async def test_many_hints_are_few_messages(
    store: PostgresStore, ear: psycopg.AsyncConnection
) -> None:
    started = time.monotonic()
    for n in range(1, 61):
        await store.hint([Hint(n, 1, 4711)])
        await asyncio.sleep(0.001)
    windows = (time.monotonic() - started) / 0.005

    payloads = await _heard(ear, lambda numbers: 60 in numbers)

    assert {n for p in payloads for _, ns in decoded(p)[1] for n in ns} == set(range(1, 61))
    assert len(payloads) <= windows + 2


async def test_a_message_has_room_for_many(
    store: PostgresStore, ear: psycopg.AsyncConnection
) -> None:
    await store.hint([Hint(n, 1, 4711) for n in range(1, 2001)])

    payloads = await _heard(ear, lambda numbers: 2000 in numbers)

    assert len(payloads) == 1


async def test_the_first_hint_is_not_held_back(
    store: PostgresStore, ear: psycopg.AsyncConnection
) -> None:
    await store.hint([Hint(7, 1, None)])

    assert decoded((await _heard(ear, bool))[0])[1] == [(ANYBODY, [7])]


async def test_hosts_of_this_process_are_told_without_the_server(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await store.register(WORKER)
    await store.wait(epoch, 0)
    asked: list[object] = []

    def ask(*args: object) -> None:
        asked.append(args)

    monkeypatch.setattr(store._opened, "all", ask)

    await store.hint([Hint(7, 1, epoch)])

    assert list(await store.wait(epoch, 0)) == [7]
    assert asked == []


async def test_a_hint_for_nobody_comes_once_to_its_own_host(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    await store.wait(epoch, 0)

    await store.hint([Hint(7, 1, None)])

    assert list(await store.wait(epoch, LONG)) == [7]
    assert list(await store.wait(epoch, 100_000)) == []


async def test_what_was_hinted_last_is_sent_before_closing(
    tables: str, store: PostgresStore, ear: psycopg.AsyncConnection
) -> None:
    client = PostgresStore(tables)
    await client.open()

    await client.hint([Hint(7, 1, None)])
    await client.close()

    assert decoded((await _heard(ear, bool))[0])[1] == [(ANYBODY, [7])]


async def test_a_failure_is_logged_and_nobodys(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise StoreUnavailableError("postgres", "gone")

    monkeypatch.setattr(store._opened, "all", fail)
    await store.hint([Hint(7, 1, None)])
    await store._close_queue()

    assert "gone" in caplog.text


async def test_a_lost_listener_comes_back(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    epoch = await other.register(WORKER)
    with psycopg.connect(tables, autocommit=True) as admin:
        killed = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        ).fetchall()
        assert len(killed) == 1

        got: set[int] = set()
        async with asyncio.timeout(SOON):
            while not got:
                await store.hint([Hint(7, 1, epoch)])
                got.update(await other.wait(epoch, 50_000))

    assert got == {7}


async def test_a_silent_server_is_noticed(
    store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that is quiet for long is asked whether it lives, and goes on hearing."""
    monkeypatch.setattr("wfe.postgres.wake._SILENCE", 0.02)
    epoch = await other.register(WORKER)
    await other.wait(epoch, 200_000)

    await store.hint([Hint(7, 1, epoch)])

    assert list(await other.wait(epoch, LONG)) == [7]


async def test_a_store_that_is_closed_while_it_connects_leaves_nothing_behind(
    tables: str,
) -> None:
    store = PostgresStore(f"{tables}?application_name=brief")
    await store.open()
    await store.wait(1, 0)  # it begins to listen
    await store.workers()  # which takes less long
    await store.close()

    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'brief'"
    async with asyncio.timeout(SOON):
        while await asyncio.to_thread(query, tables, left) != [(0,)]:
            pass


# -- heartbeats -----------------------------------------------------------------------------------


def _in_a_thread(store: PostgresStore, epoch: int, times: int = 1) -> list[bool]:
    """Beat from a thread and a loop of its own, as the engine does."""
    found: list[bool] = []

    def run() -> None:
        with asyncio.Runner() as runner:
            found.extend(runner.run(store.beat(epoch, LEASE)) for _ in range(times))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found


async def test_a_beat_needs_neither_the_loop_nor_the_pool(tables: str) -> None:
    store = PostgresStore(tables, pool=1)
    await store.open()
    epoch = await store.register(WORKER)
    (before,) = await store.workers()

    async with store._opened.connection():
        assert _in_a_thread(store, epoch, times=2) == [True, True]  # while this loop is blocked

    (after,) = await store.workers()
    assert after.beat > before.beat
    await store.close()


async def test_a_beat_sets_the_clock(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    clock = store.clock
    assert isinstance(clock, ServerClock)
    clock._offset -= 3_600_000_000_000  # an hour behind

    await store.beat(epoch, LEASE)

    (row,) = await store.workers()
    assert abs(clock.now() - row.beat) < 1_000_000


async def test_a_beat_survives_the_loss_of_its_connection(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    assert await store.beat(epoch, LEASE)
    with psycopg.connect(tables, autocommit=True) as admin:
        killed = admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query LIKE '%SET beat%'"
            " AND pid <> pg_backend_pid()"
        ).fetchall()
        assert len(killed) == 1

    assert await store.beat(epoch, LEASE)


async def test_a_beat_to_a_server_that_does_not_answer_ends_in_time(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await store.register(WORKER)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hole = PostgresStore(f"postgresql://wfe@127.0.0.1:{port}/nothing")
    monkeypatch.setattr(store._opened, "connect_alone", hole._database.connect_alone)
    started = time.monotonic()

    with pytest.raises(ProviderError, match=r"did not answer a heartbeat within 0\.5 s"):
        await store.beat(epoch, 1_500_000)

    assert time.monotonic() - started < SOON
    server.close()
    await server.wait_closed()


async def test_a_fenced_worker_gets_no_lock_that_it_waits_for(
    store: PostgresStore, other: PostgresStore
) -> None:
    """The lock is asked for while the fence is under way."""
    epoch = await store.register(WORKER)

    outcomes = await asyncio.gather(
        other.fence([epoch], lease=None), *(store.try_acquire("x", epoch, LEASE) for _ in range(5))
    )

    assert outcomes[0] == [epoch]
    assert not await store.try_acquire("x", epoch, LEASE)
    assert await other.try_acquire("x", await other.register(WORKER), LEASE)


async def test_a_host_that_is_too_old_for_the_tables_beats_no_more(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)
    db = store._opened
    await db.all("UPDATE wfe_meta SET value = '99' WHERE key = 'min_reader'")

    beaten = await store.beat(epoch, LEASE)
    await db.all("UPDATE wfe_meta SET value = '1' WHERE key = 'min_reader'")

    assert not beaten
    assert await store.beat(epoch, LEASE)
