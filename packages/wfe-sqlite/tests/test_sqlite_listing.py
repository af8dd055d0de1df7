"""Lists of runs: merged from one index, in order, without looking at runs that are not shown."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Header, InstanceQuery, Item, StoredInstance, WorkerInfo
from wfe.sqlite import SqliteStore, listing, schema

DEFINITIONS = ("mail", "order", "report")
STATUSES = ("runnable", "complete", "failed", listing.PURGED)
DATA = "INSERT INTO wfe_snapshots VALUES (?, 0, 0, '{}', ?)"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "wfe.db", clock=VirtualClock())
    await store.open()
    yield store
    await store.close()


async def filled(store: SqliteStore, count: int) -> list[StoredInstance]:
    """Fill the store with runs of all kinds, several of which are of the same moment."""
    await store.register(WorkerInfo(name="w", host="h", pid=1))
    items: list[Item] = []
    for n in range(1, count + 1):
        id_ = DEFINITIONS[n % 3]
        reference = (None, "r-1", "r-2")[n % 7 % 3]
        new = Header(
            n=n, id=f"run-{n}", d=1, definition=id_, version=1, root_id="r", reference=reference
        )
        items.append(Item(n=n, new=new))
    await store.commit(None, items)
    db = store._opened.writer.db
    for n in range(1, count + 1):
        db.execute(
            "UPDATE wfe_instances SET status = ?, created_at = ? WHERE n = ?",
            (STATUSES[n * n % 11 % 4], n * 17 % (count // 3), n),
        )
        db.execute(DATA, (n, ('{"a":1}', '{"a":2}', "{}")[n % 5 % 3]))
    every = await store.load(range(1, count + 1))
    return [each.header for each in every]


def queries(*, at: int, n: int) -> Iterator[InstanceQuery]:
    """Return one query of each shape."""
    shapes = itertools.product(
        (None, "order", "nobody"),
        (None, "failed", "suspended", listing.PURGED),
        (None, "r-1"),
        (None, at),
        (None, (at, n)),
        (None, {"a": 1}),
        (True, False),
        (1, 7, 1000),
    )
    for definition, status, reference, since, after, data, newest_first, limit in shapes:
        yield InstanceQuery(
            definition=definition,
            status=status,
            reference=reference,
            since=since,
            after=after,
            data=data,
            newest_first=newest_first,
            limit=limit,
        )


def expected(
    runs: list[StoredInstance], data: dict[int, str], query: InstanceQuery
) -> list[StoredInstance]:
    def place(run: StoredInstance) -> tuple[int, int]:
        return run.created_at, run.n

    def fits(run: StoredInstance) -> bool:
        beyond = query.after is None or (
            place(run) < query.after if query.newest_first else place(run) > query.after
        )
        return (
            beyond
            and query.definition in (None, run.definition)
            and query.status in (None, run.status)
            and query.reference in (None, run.reference)
            and (query.since is None or run.created_at >= query.since)
            and (query.data is None or data[run.n] == '{"a":1}')
        )

    return sorted(filter(fits, runs), key=place, reverse=query.newest_first)[: query.limit]


async def test_every_shape_finds_what_a_look_at_all_finds(store: SqliteStore) -> None:
    runs = await filled(store, 90)
    data = dict(store._opened.reader.all("SELECT n, data FROM wfe_snapshots"))
    seen = 0
    middle = runs[len(runs) // 2]

    for query in queries(at=middle.created_at, n=middle.n):
        found = await store.find(query)
        assert list(found) == expected(runs, data, query), query
        seen += len(found)

    assert len(runs) < 90  # some are being deleted, and nobody sees these
    assert seen > 1000


async def test_nothing_is_found_where_nothing_is(store: SqliteStore) -> None:
    assert list(await store.find(InstanceQuery())) == []
    assert list(await store.find(InstanceQuery(data={"a": 1}))) == []


def test_no_shape_scans_or_sorts_the_runs(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    schema.ensure_schema(db, path)
    db.create_function("wfe_has", 2, max)
    names = ("definition", "status", "reference", "since", "after_at", "after_n", "data", "limit")
    args: dict[str, int] = dict.fromkeys(names, 1)

    for query in queries(at=1, n=1):
        statements = [listing._kind(query), listing._firsts(query)]
        if query.reference is not None:
            statements = [listing._referenced(query)]
        for sql in statements:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", args)]
            assert not [step for step in plan if re.match(r"SCAN (wfe_instances|i)\b", step)], plan
            if sql == listing._kind(query):
                assert not [step for step in plan if "TEMP B-TREE" in step], plan
    db.close()


@pytest.mark.parametrize(
    "query",
    [
        InstanceQuery(limit=5),
        InstanceQuery(status="failed", limit=5),
        InstanceQuery(status="complete", limit=5, newest_first=False),
        InstanceQuery(definition="order", limit=5),
        InstanceQuery(definition="order", status="failed", limit=5),
    ],
    ids=["all", "rare status", "usual status", "definition", "both"],
)
async def test_a_list_costs_the_same_however_many_runs_there_are(
    store: SqliteStore, query: InstanceQuery
) -> None:
    headers = [
        Header(n=n, id=f"{n}", d=1, definition="order", version=1, root_id="r", status=status)
        for n in range(1, 4001)
        for status in (["failed"] if n in {7, 9} else ["complete"])
    ]
    await store.commit(None, [Item(n=new.n, new=new) for new in headers])
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._opened.scanner._db.set_progress_handler(count, 100)
    found = await store.find(query)
    store._opened.scanner._db.set_progress_handler(None, 0)

    assert len(found) == (2 if query.status == "failed" else 5)
    assert steps < 15  # 1,500 instructions of SQLite's machine
