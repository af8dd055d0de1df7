"""Deleting families in slices: nobody sees a half, and a crash in between is gone on from."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from wfe.core.providers import (
    HeaderChange,
    InstanceQuery,
    Item,
    LogRow,
    PurgeQuery,
    Refused,
    StreamRow,
)
from wfe.sqlite import SqliteStore
from wfe.sqlite.purging import BUDGET, purge_slice, purgeable
from wfe.sqlite.reads import Reader
from wfe.testing.contracts.runs import begin, definition, final, header, message, one, worker

TABLES = ("instances", "journal", "snapshots", "logs", "stream", "inbox", "subscriptions")


async def _family(store: SqliteStore, children: int, rows: int) -> int:
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


async def _slice(store: SqliteStore, roots: Sequence[int], budget: int) -> tuple[int, int]:
    def work(db: sqlite3.Connection, _: int) -> tuple[int, int]:
        return purge_slice(db, roots, budget)

    return await store._write(work)


def _count(path: Path) -> dict[str, int]:
    db = sqlite3.connect(path)
    found = {t: db.execute(f"SELECT count(*) FROM wfe_{t}").fetchone()[0] for t in TABLES}
    db.close()
    return found


@pytest.mark.parametrize("budget", [1, 3, 7, 10, 1000])
async def test_slices_end_with_everything_deleted(
    store: SqliteStore, path: Path, budget: int
) -> None:
    root = await _family(store, children=3, rows=5)

    slices, deleted, done = 0, 0, 0
    while not done:
        done, gone = await _slice(store, [root], budget)
        slices, deleted = slices + 1, deleted + gone
        assert slices < 100

    assert deleted == 4
    assert set(_count(path).values()) == {0}
    assert (slices == 1) == (budget == 1000)


async def test_a_half_deleted_family_is_seen_by_nobody_and_found_again(
    store: SqliteStore, path: Path
) -> None:
    root = await _family(store, children=2, rows=5)
    epoch = await worker(store)
    kept = await begin(store, epoch)

    done, deleted = await _slice(store, [root], 9)

    assert (done, deleted) == (0, 1)
    assert 0 < _count(path)["journal"] < 16
    assert await store.get("root") is None
    assert await store.get(f"run-{root}") is None
    assert [each.header.n for each in await store.load([root, kept])] == [kept]
    assert [each.n for each in await store.find(InstanceQuery())] == [kept]
    assert list(await store.claim(epoch, [await definition(store)], 10)) == []
    for query in (PurgeQuery(), PurgeQuery(status="complete"), PurgeQuery(definition="order")):
        (found,) = await store.purgeable(query)
        assert (found.n, found.status) == (root, "purged")

    assert await store.purge([root]) == 2
    assert _count(path)["journal"] == 1
    assert [each.n for each in await store.find(InstanceQuery())] == [kept]


async def test_an_intent_for_a_half_deleted_run_does_not_stop_the_deletion(
    store: SqliteStore, path: Path
) -> None:
    root = await _family(store, children=0, rows=20)
    await _slice(store, [root], 5)
    await one(store, None, Item(messages=(message(root, "retry", strict=True, allow_final=True),)))

    assert await store.purge([root]) == 1
    assert set(_count(path).values()) == {0}


async def test_a_name_is_taken_until_the_last_slice(store: SqliteStore) -> None:
    root = await _family(store, children=0, rows=20)
    await _slice(store, [root], 5)
    new = await header(store, name="root")
    assert isinstance(await one(store, None, Item(n=new.n, new=new)), Refused)

    await store.purge([root])
    assert not isinstance(await one(store, None, Item(n=new.n, new=new)), Refused)


async def test_a_crash_between_two_slices_is_gone_on_from(path: Path) -> None:
    class CrashError(Exception):
        pass

    commits: list[str] = []

    def crash(when: str) -> None:
        commits.append(when)
        if armed and commits.count("before") == 3:
            raise CrashError

    armed = False
    store = SqliteStore(path, on_commit=crash)
    await store.open()
    root = await _family(store, children=1, rows=2 * BUDGET)
    armed = True
    commits.clear()
    with pytest.raises(CrashError):
        await store.purge([root])
    armed = False
    await store.close()

    again = SqliteStore(path)
    await again.open()
    (found,) = await again.purgeable(PurgeQuery(retained_until=None))
    assert found.n == root
    assert await again.purge([root]) == 2
    assert set(_count(path).values()) == {0}
    await again.close()


async def test_one_transaction_deletes_many_small_families(store: SqliteStore) -> None:
    epoch = await worker(store)
    roots = [await begin(store, epoch) for _ in range(100)]
    items = [Item(n=n, base=0, header=HeaderChange(status="complete", final=True)) for n in roots]
    await store.commit(epoch, items)
    before = store.stats.commits

    assert await store.purge(roots) == 100

    assert store.stats.commits - before == 1


def _plan(path: Path, run: Callable[[sqlite3.Connection], Any]) -> str:
    db = sqlite3.connect(path)
    seen: list[str] = []
    db.set_trace_callback(seen.append)
    run(db)
    db.set_trace_callback(None)
    rows = [row for sql in seen for row in db.execute(f"EXPLAIN QUERY PLAN {sql}")]
    db.close()
    return "\n".join(str(row[3]) for row in rows)


async def test_retention_is_looked_up_in_an_index(store: SqliteStore, path: Path) -> None:
    def run(db: sqlite3.Connection) -> None:
        purgeable(Reader(db, path, threading.Lock()), PurgeQuery(retained_until=5))

    plan = _plan(path, run)
    assert "USING INDEX wfe_instances_held (owner=? AND retain_until<?)" in plan
    assert "SCAN wfe_instances" not in plan
    assert "SCAN r" not in plan
