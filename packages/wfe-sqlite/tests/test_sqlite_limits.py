"""Limits, rates and priorities in a file: exact between stores, and cheap."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import (
    ActivityStart,
    Done,
    Header,
    HeaderChange,
    Hold,
    Item,
    WorkerInfo,
)
from wfe.sqlite import SqliteStore

WORKER = WorkerInfo(name="w", host="h", pid=1)
END = HeaderChange(status="complete", final=True)
HOUR = 3_600_000_000  # µs


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[list[SqliteStore]]:
    """Three stores on one file, as in three processes."""
    stores = [SqliteStore(tmp_path / "wfe.db") for _ in range(3)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


def _new(n: int, owner: int | None = None, **columns: Any) -> Header:
    return Header(
        n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", owner=owner, **columns
    )


async def _begin(store: SqliteStore, epoch: int | None, count: int, **columns: Any) -> list[int]:
    first = await store.allocate(count)
    runs = list(range(first, first + count))
    items = [Item(n=n, new=_new(n, epoch, **columns), rows=('"begin"',)) for n in runs]
    assert all(isinstance(outcome, Done) for outcome in await store.commit(epoch, items))
    return runs


def _rows(store: SqliteStore, sql: str) -> list[Any]:
    db = sqlite3.connect(store.path)
    found = db.execute(sql).fetchall()
    db.close()
    return found


@contextmanager
def _counted(db: sqlite3.Connection) -> Generator[list[int]]:
    """Count the hundreds of steps of SQLite's machine that a connection needs."""
    steps: list[int] = []

    def count() -> int:
        steps.append(1)
        return 0

    db.set_progress_handler(count, 100)
    yield steps
    db.set_progress_handler(None, 0)


async def test_stores_on_one_file_share_the_places(stores: list[SqliteStore]) -> None:
    hold = Hold(pointer=1, attempt=0, key="k", limit=3)
    most: list[int] = []
    all_taken = asyncio.Barrier(3)

    async def use(store: SqliteStore, epoch: int, n: int) -> None:
        await store.commit(epoch, [Item(n=n, base=0, rows=("1",), hold=(hold,))])
        while True:
            ((_, poke, rows),) = await store.inbox([n])
            if rows:
                break
            await asyncio.sleep(0)
        await all_taken.wait()
        most.append(len(_rows(store, "SELECT 1 FROM wfe_holders")))
        end = Item(n=n, base=1, rows=("2",), seen=poke, header=END)
        assert isinstance((await store.commit(epoch, [end]))[0], Done)

    users: list[asyncio.Task[None]] = []
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for store in stores:
            epoch = await store.register(WORKER)
            runs = await _begin(store, epoch, 10)
            users += [group.create_task(use(store, epoch, n)) for n in runs]

    assert len(users) == 30
    assert max(most) == 3
    assert _rows(stores[0], "SELECT 1 FROM wfe_holders") == []
    assert _rows(stores[0], "SELECT 1 FROM wfe_waiters") == []


async def test_stores_on_one_file_share_a_rate(stores: list[SqliteStore]) -> None:
    hold = Hold(pointer=1, attempt=0, key="r:k", limit=2, per=HOUR)

    for _ in range(3):
        for store in stores:
            epoch = await store.register(WORKER)
            (n,) = await _begin(store, epoch, 1)
            await store.commit(epoch, [Item(n=n, base=0, rows=("1",), hold=(hold,))])

    ats = [at for (at,) in _rows(stores[0], "SELECT at FROM wfe_rates ORDER BY at")]
    assert len(ats) == 9
    assert all(later - at >= HOUR for at, later in zip(ats, ats[2:], strict=False))


async def test_grants_of_old_rates_are_forgotten_whatever_their_key() -> None:
    clock = VirtualClock()
    store = SqliteStore(":memory:", clock=clock)
    await store.open()
    epoch = await store.register(WORKER)
    for n in await _begin(store, epoch, 50):
        hold = Hold(pointer=1, attempt=0, key=f"r:{n}", limit=2, per=HOUR)
        await store.commit(epoch, [Item(n=n, base=0, rows=("1",), hold=(hold,))])
    db = store._opened.writer.db
    before = db.execute("SELECT count(*) FROM wfe_rates").fetchone()
    clock.move_to(clock.now() + HOUR)

    (n,) = await _begin(store, epoch, 1)
    hold = Hold(pointer=1, attempt=0, key="r:other", limit=2, per=HOUR)
    await store.commit(epoch, [Item(n=n, base=0, rows=("1",), hold=(hold,))])

    after = db.execute("SELECT count(*) FROM wfe_rates").fetchone()
    await store.close()
    assert (before, after) == ((50,), (1,))


async def test_what_is_less_important_costs_what_is_more_nothing(
    stores: list[SqliteStore],
) -> None:
    store = stores[0]
    epoch = await store.register(WORKER)
    await _begin(store, None, 3000, wake=1, priority=-1)
    await _begin(store, None, 3000, wake=2**60, priority=5)
    usual = await _begin(store, None, 3, wake=5)

    with _counted(store._opened.reader._db) as reading, _counted(store._opened.writer.db) as steps:
        due = await store.due([1])
        claimed = [await store.claim(epoch, [1], 1) for _ in range(3)]

    assert due == 1
    assert [entry.n for entries in claimed for entry in entries] == usual
    assert len(reading) + len(steps) < 20


async def test_ends_cost_the_same_while_others_want_something(stores: list[SqliteStore]) -> None:
    store = stores[0]
    epoch = await store.register(WORKER)
    runs = await _begin(store, epoch, 300)
    work = ActivityStart(pointer=1, attempt=0, name="paint")
    await store.commit(epoch, [Item(n=runs[0], base=0, rows=("1",), activities=(work,))])
    before = store.stats.statements

    ends = [Item(n=n, base=0, rows=("1",), header=END) for n in runs[100:]]
    outcomes = await store.commit(epoch, ends)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    # Three of each run: its header, its row and its waits.
    assert store.stats.statements - before <= 3 * len(ends) + 5
    assert len(await store.activities()) == 1
