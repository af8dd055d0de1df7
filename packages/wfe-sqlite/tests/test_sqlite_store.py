"""How the store uses its file: settings, statements, transactions, versions."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import re
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wfe.core.errors import ProviderError
from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Header,
    HeaderChange,
    Item,
    LockProvider,
    PersistenceProvider,
    QueueProvider,
    Snapshot,
    Subscription,
    WorkerInfo,
)
from wfe.sqlite import (
    SqliteStore,
    activities,
    checks,
    commit,
    due,
    events,
    limits,
    open_url,
    ownership,
    reads,
    schema,
    tx,
)
from wfe.sqlite.log_file import LOG_BYTES

WORKER = WorkerInfo(name="w", host="h", pid=1)
END = HeaderChange(status="complete", final=True)


def new(n: int, owner: int | None = None, **columns: Any) -> Header:
    return Header(
        n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", owner=owner, **columns
    )


async def begin(store: SqliteStore, epoch: int, count: int) -> list[int]:
    first = await store.allocate(count)
    runs = list(range(first, first + count))
    items = [Item(n=n, new=new(n, epoch), rows=('"begin"',)) for n in runs]
    assert all(isinstance(outcome, Done) for outcome in await store.commit(epoch, items))
    return runs


@contextmanager
def traced(store: SqliteStore) -> Generator[list[str]]:
    """Collect what the writing connection runs."""
    statements: list[str] = []
    db = store._opened.writer.db
    db.set_trace_callback(statements.append)
    yield statements
    db.set_trace_callback(None)


# -- URLs --------------------------------------------------------------------------------------


def test_urls_name_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert open_url("sqlite:///orders.db").path == tmp_path / "orders.db"
    assert open_url("sqlite:////srv/a%20b.db").path == Path("/srv/a b.db")
    assert str(open_url("sqlite:///:memory:").path) == ":memory:"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("sqlite://", "it names no file; write sqlite:///relative.db, "),
        ("sqlite://orders.db", "it names no file; write sqlite:///relative.db, "),
        ("sqlite:///a.db?mode=ro", "'mode' is unknown; there is synchronous=full or normal"),
        (
            "sqlite:///a.db?synchronous=off",
            "synchronous=off can destroy the file; use full or normal",
        ),
        ("sqlite:///a.db?synchronous=max", "synchronous=max is unknown; use full or normal"),
    ],
)
def test_wrong_urls_say_what_to_write(url: str, problem: str) -> None:
    with pytest.raises(ProviderError, match=re.escape(f"sqlite: {url!r}: {problem}")):
        open_url(url)


# -- settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("query", "level"), [("", 2), ("?synchronous=normal", 1)])
async def test_every_connection_has_its_settings(path: Path, query: str, level: int) -> None:
    store = open_url(f"sqlite:///{path}{query}")
    await store.open()
    writing, reading = store._opened.writer.db, store._opened.reader._db

    def pragma(db: sqlite3.Connection, name: str) -> object:
        return db.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma(writing, "journal_mode") == "wal"
    assert pragma(writing, "synchronous") == level
    assert pragma(writing, "busy_timeout") == 0
    assert [pragma(db, "wal_autocheckpoint") for db in (writing, reading)] == [0, 0]
    assert pragma(reading, "query_only") == 1
    assert [db.isolation_level for db in (writing, reading)] == [None, None]
    await store.close()


async def test_nothing_is_left_beside_a_closed_file(path: Path, store: SqliteStore) -> None:
    await begin(store, await store.register(WORKER), 100)
    log = path.with_name("wfe.db-wal")
    assert log.stat().st_size > 0

    await store.close()

    assert sorted(file.name for file in path.parent.iterdir()) == ["wfe.db", "wfe.db-hosts"]
    await store.close()


async def test_opening_a_file_of_this_version_needs_no_schema_tool(path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from wfe.sqlite import SqliteStore\n"
        "async def main():\n"
        "    for _ in range(2):\n"
        "        store = SqliteStore(sys.argv[1]); await store.open(); await store.close()\n"
        "asyncio.run(main())\n"
        "assert 'sqlite_utils' not in sys.modules\n"
    )

    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", script, str(path)], check=False
    )

    assert done.returncode == 0
    assert path.exists()


def test_the_store_is_all_three_providers() -> None:
    store = SqliteStore(":memory:")
    persistence: PersistenceProvider = store
    queue: QueueProvider = store
    lock: LockProvider = store

    assert [id(part) for part in (persistence, queue, lock)] == [id(store)] * 3
    shared = {"queue", "lock", "deaths", "outbox", "cache", "artifacts", "changes", "search"}
    assert store.features == shared
    assert SqliteStore("wfe.db").features == {*shared, "transaction"}


# -- transactions ------------------------------------------------------------------------------


async def test_a_batch_is_one_transaction(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    before = store.stats.commits
    runs = await begin(store, epoch, 100)
    assert store.stats.commits == before + 2  # numbers, starts

    await store.commit(epoch, [Item(n=n, base=0, rows=('"row"',)) for n in runs])
    await store.commit(
        epoch,
        [
            Item(n=n, base=1, rows=('"end"',), header=END, fold=Snapshot(2, "{}", "{}"))
            for n in runs
        ],
    )

    assert store.stats.commits == before + 4
    assert (store.stats.items, store.stats.rows) == (300, 300)
    loaded = await store.load(runs)
    assert {entry.header.status for entry in loaded} == {"complete"}


async def test_mere_rows_are_written_without_reading(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, epoch, 10)
    before = store.stats.statements

    with traced(store) as statements:
        await store.commit(epoch, [Item(n=n, base=0, rows=('"row"',)) for n in runs])

    assert store.stats.statements - before == 1 + len(runs)
    selects = [sql for sql in statements if sql.lstrip().startswith("SELECT")]
    assert [re.sub(r"\d+", "?", sql, count=2) for sql in selects] == [
        "SELECT ? FROM wfe_workers WHERE epoch = ? AND fenced IS NULL"
    ]
    assert [sql for sql in statements if sql in {"BEGIN IMMEDIATE", "COMMIT"}] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


async def test_one_bad_row_costs_one_more_transaction_and_spares_the_others(
    store: SqliteStore,
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, epoch, 50)
    items = [Item(n=n, base=-1 if k == 25 else 0, rows=('"row"',)) for k, n in enumerate(runs)]
    before = store.stats.commits

    outcomes = await store.commit(epoch, items)

    assert store.stats.commits == before + 1
    assert [k for k, outcome in enumerate(outcomes) if outcome == Conflict()] == [25]
    lengths = [len(await store.history(n, -1, 10)) for n in runs]
    assert lengths == [2] * 25 + [1] + [2] * 24


async def test_idleness_writes_nothing(path: Path, store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, epoch, 1)
    sleep = HeaderChange(status="runnable", wake=store.clock.now() + 10**12, release=True)
    await store.commit(epoch, [Item(n=n, base=0, header=sleep)])
    log = path.with_name("wfe.db-wal")
    before, commits = log.stat().st_mtime_ns, store.stats.commits

    with traced(store) as statements:
        assert await store.due([1]) is not None
        assert await store.claim(epoch, [1], 10) == []
        assert await store.claim(epoch, [1], 10, hints=[n]) == []
        assert await store.orphans(10) == 0
        assert await store.dead([epoch], 10**9) == []
        assert await store.fence([], lease=None) == []
        assert await store.commit(epoch, []) == []
        assert await store.put_definition("x", 1, "h", "{}") == 1
        assert statements
        del statements[:]
        assert await store.put_definition("x", 1, "h", "{}") == 1
        await store.append_logs([])

    assert statements == []
    assert store.stats.commits == commits + 1  # the definition, once
    assert log.stat().st_mtime_ns >= before


async def test_hooks_stand_around_each_commit_that_changes_something(path: Path) -> None:
    points: list[str] = []
    store = SqliteStore(path, on_commit=points.append)
    await store.open()

    epoch = await store.register(WORKER)
    await begin(store, epoch, 3)
    assert points == ["before", "after"] * 3
    del points[:]
    await store.commit(epoch, [Item(n=987, base=0, rows=("1",), header=END)])
    await store.fence([4711], lease=None)

    assert points == []
    await store.close()


async def test_a_failing_hook_rolls_back(path: Path) -> None:
    def fail(point: str) -> None:
        raise RuntimeError(point)

    store = SqliteStore(path)
    await store.open()
    epoch = await store.register(WORKER)
    (n,) = await begin(store, epoch, 1)
    store._opened.writer._on_commit = fail

    with pytest.raises(RuntimeError, match="before"):
        await store.commit(epoch, [Item(n=n, base=0, rows=('"lost"',))])

    store._opened.writer._on_commit = None
    assert len(await store.history(n, -1, 10)) == 1
    assert isinstance((await store.commit(epoch, [Item(n=n, base=0, rows=("1",))]))[0], Done)
    await store.close()


# -- loop and thread ---------------------------------------------------------------------------


async def test_large_batches_and_slow_disks_are_the_threads(store: SqliteStore) -> None:
    store._opened.writer._checkpoint_at = float("inf")  # no log to shorten in between
    epoch = await store.register(WORKER)
    store._opened.writer._average = 0.0  # whatever the disk of this machine does just now
    (n,) = await begin(store, epoch, 1)
    assert store.stats.handed_over == 0

    store._opened.writer._average = 0.0
    await begin(store, epoch, 1000)
    assert store.stats.handed_over == 1
    store._opened.writer._average = 0.1
    await store.commit(epoch, [Item(n=n, base=0, rows=("1",))])
    assert store.stats.handed_over == 2
    store._opened.writer._average = 0.0
    await store.commit(epoch, [Item(n=n, base=1, rows=("1",))])
    assert store.stats.handed_over == 2


async def test_while_somebody_writes_the_loop_goes_on(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, epoch, 1)
    gate = store._opened.gate
    gate.enter()
    try:
        writing = asyncio.create_task(store.commit(epoch, [Item(n=n, base=0, rows=("1",))]))
        await asyncio.sleep(0.02)
        assert not writing.done()
        assert len(await store.history(n, -1, 10)) == 1
    finally:
        gate.leave()
    assert isinstance((await writing)[0], Done)


async def test_a_cancelled_caller_does_not_break_the_writer(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, epoch, 1)
    gate = store._opened.gate
    gate.enter()
    writing = asyncio.create_task(store.commit(epoch, [Item(n=n, base=0, rows=("1",))]))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    gate.leave()

    await begin(store, epoch, 300)  # by the thread, after what was cancelled

    assert len(await store.history(n, -1, 10)) == 2


async def test_an_idle_store_empties_its_log(path: Path, store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    await begin(store, epoch, 500)
    log = path.with_name("wfe.db-wal")
    written = log.stat().st_size
    assert written > 50_000

    await store.wait(epoch, 1000)
    await store.allocate(1)
    await store.wait(epoch, 1000)
    assert log.stat().st_size >= written  # between the two something was written
    await store.wait(epoch, 1000)

    async with asyncio.timeout(5):
        while any(log.read_bytes()):  # noqa: ASYNC110 - the thread has no event
            await asyncio.sleep(0.005)


async def test_commits_do_not_make_the_log_longer(path: Path, store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    log = path.with_name("wfe.db-wal")
    assert log.stat().st_size == LOG_BYTES

    (n,) = await begin(store, epoch, 1)
    for base in range(50):
        await store.commit(epoch, [Item(n=n, base=base, rows=("[]",))])

    assert log.stat().st_size == LOG_BYTES


async def test_a_log_of_zeros_is_an_empty_log(path: Path, store: SqliteStore) -> None:
    (n,) = await begin(store, await store.register(WORKER), 1)
    whole = path.with_name("copy.db")
    await store.close()
    whole.write_bytes(path.read_bytes())
    whole.with_name("copy.db-wal").write_bytes(bytes(LOG_BYTES))  # as a crash may leave it

    other = SqliteStore(whole)
    await other.open()
    assert len(await other.history(n, -1, 10)) == 1
    assert len(await begin(other, await other.register(WORKER), 3)) == 3
    await other.close()


async def test_the_log_does_not_grow_for_ever(path: Path, store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, epoch, 1)
    row = f'"{"x" * 20_000}"'
    for base in range(0, 3000, 3):
        await store.commit(epoch, [Item(n=n, base=base, rows=(row,) * 3)])

    assert path.stat().st_size > 40 << 20
    assert path.with_name("wfe.db-wal").stat().st_size < 24 << 20


async def test_the_beat_corrects_the_clock(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    clock: Any = store.clock
    clock._offset -= 3_600 * 10**9  # the machine's clock was set an hour forward

    assert await store.beat(epoch, 1)

    (row,) = await store.workers()
    assert row.beat - row.started < 3_600 * 10**6
    assert abs(clock.now() - row.beat) < 60 * 10**6


async def test_starts_rows_and_ends_write_few_pages(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, epoch, 50)
    db = store._opened.writer.db
    row = "INSERT INTO wfe_subscriptions VALUES (?, 1, 'go', ?, 0, 0, 0)"
    db.executemany(row, [(n, str(n)) for n in runs])

    async def pages(*, n: int, of: int | None = epoch, **item: Any) -> int:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()  # the next commit begins the log
        (outcome,) = await store.commit(of, [Item(n=n, **item)])
        assert isinstance(outcome, Done)
        return int(db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])

    end = HeaderChange(status="complete", final=True, retain_until=1)
    fold = Snapshot(2, "{}", "{}")
    written = {
        "start": await pages(n=99, new=new(99, epoch), rows=('"begin"',)),
        "row": await pages(n=99, base=0, rows=("1",)),
        "end": await pages(n=99, base=1, rows=("2",), header=end, fold=fold),
        "event": await pages(n=0, of=None, publish=(Event(id="e", name="no", key="k"),)),
        "message": await pages(n=0, of=None, publish=(Event(id="f", name="go", key=str(runs[0])),)),
    }

    # One for each table and index, and no page of a table twice.
    assert written == {"start": 6, "row": 2, "end": 6, "event": 3, "message": 9}


# -- statements --------------------------------------------------------------------------------


def parameters(sql: str) -> int:
    return len(set(re.findall(r"\?\d+", sql))) or sql.count("?")


HOT = (activities, checks, commit, due, events, limits, ownership, reads, tx)


def test_hot_statements_use_indexes(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    schema.ensure_schema(db, path)
    hot = {
        f"{module.__name__}.{name}": text
        for module in HOT
        for name, text in vars(module).items()
        if name.isupper() and isinstance(text, str)
        if text.split()[:1] in (["SELECT"], ["INSERT"], ["UPDATE"], ["DELETE"])
    }
    # Not yet a whole statement: ``find`` adds its conditions.  Definitions are few.
    del hot["wfe.sqlite.reads._SELECT"], hot["wfe.sqlite.reads._DEFINITIONS"]
    # These stop at the first row.
    del hot["wfe.sqlite.commit._BEFORE_ENDS"], hot["wfe.sqlite.due._ANY_RANKED"]
    # Whoever asks for all of them gets all of them.
    del hot["wfe.sqlite.activities._ALL_ROWS"]
    assert len(hot) > 65

    for name, sql in hot.items():
        plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + sql, [None] * parameters(sql))]
        # Workers are few; json_each is the list of parameters.
        few = re.compile(r"SCAN (w|wfe_workers|json_each)\b|SCAN CONSTANT ROW")
        scans = [step for step in plan if step.startswith("SCAN") and not few.match(step)]
        assert scans == [], f"{name}: {plan}"
    db.close()


async def test_a_backlog_that_nobody_can_run_costs_a_claim_nothing(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    first = await store.allocate(5000)
    items = [Item(n=n, new=new(n, wake=0, reference=None)) for n in range(first, first + 5000)]
    await store.commit(None, items)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._opened.reader._db.set_progress_handler(count, 100)
    assert await store.due([2]) is None
    assert await store.claim(epoch, [2], 100) == []
    store._opened.reader._db.set_progress_handler(None, 0)

    assert steps < 5


async def test_waits_and_messages_survive_a_batch_of_everything(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, epoch, 4)
    wait = Subscription(pointer=1, name="go", key="k", as_of=0)

    outcomes = await store.commit(
        epoch,
        [
            Item(n=runs[0], base=0, rows=("1",), subscribe=(wait,)),
            Item(n=runs[1], base=0, rows=("1",)),
            Item(publish=(Event(id="e", name="go", key="k"),)),
            Item(n=runs[2], base=0, rows=("1",), header=END),
        ],
    )

    assert [len(outcome.woken) for outcome in outcomes if isinstance(outcome, Done)] == [0, 0, 1, 0]
