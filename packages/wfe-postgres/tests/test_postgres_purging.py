"""Deleting families in slices: nobody sees a half, nobody waits, and a crash is gone on from."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import psycopg
import pytest

from wfe.core.providers import (
    Done,
    Event,
    HeaderChange,
    InstanceQuery,
    Item,
    LogRow,
    PurgeQuery,
    Refused,
    StreamRow,
)
from wfe.postgres import PostgresStore, purging
from wfe.postgres.arrays import Ints
from wfe.testing.contracts.runs import begin, definition, final, header, message, one, worker

TABLES = ("instances", "journal", "snapshots", "logs", "stream", "inbox", "subscriptions")
SOON = 5.0  # seconds


async def _family(store: PostgresStore, children: int, rows: int) -> int:
    """Return the root of a finished family: each run with *rows* rows, a line and an item."""
    epoch = await worker(store)
    root = await begin(store, epoch, name="root")
    kids = [await begin(store, epoch, parent=root) for _ in range(children)]
    for n in (*kids, root):
        events = tuple(f"[{k}]" for k in range(rows - 1))
        await one(store, epoch, Item(n=n, base=0, rows=events, header=final()))
        line = LogRow(n=n, at=1, step=None, pointer=None, stream="stdout", line="x")
        await store.append_logs([line])
        item = StreamRow(n=n, at=1, step=None, pointer=None, name="x", payload="1")
        await store.append_stream([item])
    return root


async def _count(store: PostgresStore) -> dict[str, int]:
    db = store._opened
    return {t: (await db.all(f"SELECT count(*) FROM wfe_{t}"))[0][0] for t in TABLES}


async def _finished(store: PostgresStore, count: int) -> list[int]:
    epoch = await worker(store)
    d, first = await definition(store), await store.allocate(count)
    usual = await header(store, owner=epoch, wake=None, d=d)
    runs = list(range(first, first + count))
    news = [attrs.evolve(usual, n=n, id=f"run-{n}", root_id=f"run-{n}") for n in runs]
    await store.commit(epoch, [Item(n=new.n, new=new, rows=("[]",)) for new in news])
    end = HeaderChange(status="complete", final=True)
    done = await store.commit(epoch, [Item(n=n, base=0, header=end) for n in runs])
    assert all(isinstance(each, Done) for each in done)
    return runs


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of few rows and few runs."""
    monkeypatch.setattr(purging, "_BUDGET", 4)
    monkeypatch.setattr(purging, "_MEMBERS", 2)


class InterruptionError(Exception):
    """In place of a crash."""


async def _interrupted(store: PostgresStore, root: int, slices: int, mp: Any) -> None:
    """Purge, and die after some slices."""
    real, done = purging._slice, 0

    async def slice_(*args: Any) -> Any:
        nonlocal done
        if done == slices:
            raise InterruptionError
        done += 1
        return await real(*args)

    with mp.context() as patch:
        patch.setattr(purging, "_slice", slice_)
        with pytest.raises(InterruptionError):
            await store.purge([root])


@pytest.mark.usefixtures("small")
async def test_slices_end_with_everything_deleted(store: PostgresStore) -> None:
    root = await _family(store, children=3, rows=9)

    assert await store.purge([root]) == 4

    assert set((await _count(store)).values()) == {0}


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("slices", [1, 2, 3, 5])
async def test_a_half_deleted_family_is_seen_by_nobody_and_found_again(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, slices: int
) -> None:
    root = await _family(store, children=3, rows=9)
    epoch = await worker(store)
    kept = await begin(store, epoch)

    await _interrupted(store, root, slices, monkeypatch)

    assert 1 < (await _count(store))["journal"] < 37
    assert await store.get("root") is None
    assert [each.header.n for each in await store.load([root, kept])] == [kept]
    assert [each.n for each in await store.find(InstanceQuery())] == [kept]
    assert list(await store.claim(epoch, [await definition(store)], 10)) == []
    for query in (PurgeQuery(), PurgeQuery(status="complete"), PurgeQuery(definition="order")):
        (found,) = await store.purgeable(query)
        assert (found.n, found.status) == (root, "purged")

    assert await store.purge([root]) > 0
    assert (await _count(store))["journal"] == 1
    assert [each.n for each in await store.find(InstanceQuery())] == [kept]


@pytest.mark.usefixtures("small")
async def test_an_intent_for_a_half_deleted_run_does_not_stop_the_deletion(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await _family(store, children=0, rows=20)
    await _interrupted(store, root, 1, monkeypatch)
    await one(store, None, Item(messages=(message(root, "retry", strict=True, allow_final=True),)))

    assert await store.purge([root]) == 1
    assert set((await _count(store)).values()) == {0}


@pytest.mark.usefixtures("small")
async def test_a_name_is_taken_until_the_last_slice(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = await _family(store, children=0, rows=20)
    await _interrupted(store, root, 1, monkeypatch)
    new = await header(store, name="root")
    assert isinstance(await one(store, None, Item(n=new.n, new=new)), Refused)

    await store.purge([root])
    assert not isinstance(await one(store, None, Item(n=new.n, new=new)), Refused)


async def test_one_slice_deletes_many_small_families(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = await _finished(store, 500)
    slices: list[int] = []
    real = purging._slice

    async def counted(*args: Any) -> Any:
        slices.append(1)
        return await real(*args)

    monkeypatch.setattr(purging, "_slice", counted)

    assert await store.purge(roots) == 500
    assert len(slices) == 1


@pytest.mark.usefixtures("small")
async def test_several_purge_at_once_and_each_run_goes_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    root = await _family(store, children=5, rows=9)
    roots = [root, *(await _finished(store, 40))]

    async with asyncio.timeout(SOON * 4):
        deleted = await asyncio.gather(
            *(each.purge(order) for order in (roots, roots[::-1]) for each in (store, other))
        )
        deleted.append(await store.purge(roots))

    assert sum(deleted) == 46
    assert set((await _count(store)).values()) == {0}


async def test_who_is_just_being_told_something_is_left_for_later(
    store: PostgresStore, tables: str
) -> None:
    """Purging waits for nobody, and nobody loses an intent that is accepted."""
    first, told, last = await _finished(store, 3)
    with psycopg.connect(tables) as busy:
        busy.execute("SELECT 1 FROM wfe_instances WHERE n = %s FOR NO KEY UPDATE", (told,))
        async with asyncio.timeout(SOON):
            assert await store.purge([first, told, last]) == 2
        busy.execute("UPDATE wfe_instances SET wake = 1 WHERE n = %s", (told,))

    assert await store.purge([told]) == 0
    assert [each.header.n for each in await store.load([told])] == [told]


async def test_a_family_with_a_busy_child_is_left_for_later(
    store: PostgresStore, tables: str
) -> None:
    root = await _family(store, children=2, rows=2)
    *_, child = await store.family(root)
    with psycopg.connect(tables) as busy:
        busy.execute("SELECT 1 FROM wfe_instances WHERE n = %s FOR NO KEY UPDATE", (child.n,))
        async with asyncio.timeout(SOON):
            assert await store.purge([root]) == 0

    assert await store.purge([root]) == 3


async def test_nobody_waits_for_a_purge_of_others(store: PostgresStore, tables: str) -> None:
    """While the journal of finished runs is being deleted, others are started and told."""
    finished = await _finished(store, 10)
    epoch = await worker(store)
    live = await begin(store, epoch)
    with psycopg.connect(tables) as purging_:
        part = Ints(finished)
        names = store._opened.names
        args = {"part": list(part), "budget": 1000}
        purging_.execute(names.sql(purging._LOCK), args)
        purging_.execute(names.sql(purging._ROWS), args)
        purging_.execute(names.sql(purging._HEADERS), args)
        async with asyncio.timeout(SOON):
            await begin(store, epoch)
            await one(store, epoch, Item(n=live, base=0, rows=("[]",), header=final()))
            assert len(await store.find(InstanceQuery())) == 12


async def test_events_go_even_while_one_is_held(store: PostgresStore, tables: str) -> None:
    now = store.clock.now() - 1_000_000
    for k in range(3):
        event = Event(id=f"e{k}", name="n", key="k", expires=now + k)
        await one(store, None, Item(publish=(event,)))
    with psycopg.connect(tables) as busy:
        busy.execute("SELECT 1 FROM wfe_events WHERE id = 'e1' FOR UPDATE")
        async with asyncio.timeout(SOON):
            assert await store.purge_events(10) == 2
    assert await store.purge_events(10) == 1


async def test_retention_and_age_are_looked_up_in_indexes(store: PostgresStore) -> None:
    async def plan(query: PurgeQuery) -> str:
        sql, args = purging.purgeable(query)
        async with store._opened.connection() as conn:
            await conn.execute("SET enable_seqscan = off")
            await conn.execute("SET enable_sort = off")
            cursor = await conn.execute(store._opened.names.sql(f"EXPLAIN {sql}"), args)
            return "\n".join(row[0] for row in await cursor.fetchall())

    assert "wfe_instances_retain" in await plan(PurgeQuery(retained_until=5))
    assert "wfe_instances_completed" in await plan(PurgeQuery(completed_before=5))


async def test_what_is_deleted_is_noted_only_when_somebody_follows(store: PostgresStore) -> None:
    await store.purge(await _finished(store, 2))
    assert (await store._opened.all("SELECT count(*) FROM wfe_tombstones")) == [(0,)]

    cursor = (await store.changes(None, 10)).cursor
    runs = await _finished(store, 2)
    await store.purge(runs)

    gone: set[int] = set()
    async with asyncio.timeout(10):
        while gone != set(runs):  # what others write to the server just now holds it up
            found = await store.changes(cursor, 10)
            cursor = found.cursor
            gone |= {each.n for each in found.gone}
