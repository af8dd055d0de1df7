"""Steps' transactions on a SQLite file: the contract, and what is this file's own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core.errors import ProviderError, TransactionError, TransactionTimeoutError
from wfe.core.providers import Done, Item, WorkerInfo
from wfe.sqlite import SqliteStore
from wfe.testing.contracts import TransactionContract
from wfe.testing.contracts.runs import begin, definition, load, one

WORKER = WorkerInfo(name="w", host="h", pid=1)
LEASE = 30_000_000  # µs
WRITE = "INSERT INTO notes VALUES (?)"


class Notes:
    """An application with a table in the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE IF NOT EXISTS notes (note TEXT UNIQUE)")
        db.close()

    async def write(self, connection: sqlite3.Connection, note: str) -> None:
        self.write_blocking(connection, note)

    def write_blocking(self, connection: sqlite3.Connection, note: str) -> None:
        connection.execute(WRITE, (note,))

    async def end(self, connection: sqlite3.Connection, how: str) -> None:
        {"commit": connection.commit, "roll back": connection.rollback, "close": connection.close}[
            how
        ]()

    async def notes(self) -> Sequence[str]:
        return self.read()

    def read(self) -> list[str]:
        db = sqlite3.connect(self.path)
        try:
            return [note for (note,) in db.execute("SELECT note FROM notes ORDER BY rowid")]
        finally:
            db.close()


@pytest.fixture
def application(store: SqliteStore) -> Notes:
    return Notes(store.path)


class TestSqliteTransactions(TransactionContract):
    pass


@pytest.fixture
async def hasty(path: Path) -> AsyncIterator[SqliteStore]:
    """A store whose transactions may take no time at all."""
    store = SqliteStore(path, transaction_limit=timedelta(milliseconds=80))
    await store.open()
    yield store
    await store.close()


def completion(n: int) -> Item:
    return Item(n=n, base=0, rows=('["done"]',), alive=True)


async def test_what_would_end_it_is_refused_as_a_statement(
    store: SqliteStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        db = tx.connection
        db.execute(WRITE, ("paid",))
        for text in ("COMMIT", "ROLLBACK", "END", "commit transaction", "ATTACH ':memory:' AS x"):
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                db.execute(text)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            db.cursor().executescript("INSERT INTO notes VALUES ('more')")
        with pytest.raises(TransactionError, match="SAVEPOINT"):
            db.executescript("INSERT INTO notes VALUES ('more')")
        with pytest.raises(TransactionError):
            db.set_authorizer(None)
        with db:
            db.execute(WRITE, ("also",))
        assert application.read() == []
        assert isinstance(await tx.commit(completion(n)), Done)

    assert application.read() == ["paid", "also"]


async def test_savepoints_work(store: SqliteStore, application: Notes) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        db = tx.connection
        db.execute("SAVEPOINT a")
        db.execute(WRITE, ("kept",))
        db.execute("RELEASE a")
        db.execute("SAVEPOINT b")
        db.execute(WRITE, ("dropped",))
        db.execute("ROLLBACK TO b")
        db.execute(WRITE, ("kept too",))
        await tx.commit(completion(n))

    assert application.read() == ["kept", "kept too"]


async def test_rows_may_be_of_any_kind(store: SqliteStore, application: Notes) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        tx.connection.row_factory = sqlite3.Row
        tx.connection.text_factory = bytes
        tx.connection.execute(WRITE, ("paid",))
        assert isinstance(await tx.commit(completion(n)), Done)

    assert application.read() == ["paid"]


@pytest.mark.parametrize("way", ["OR ROLLBACK", "OR ABORT"])
async def test_after_a_statement_that_rolled_everything_back_nothing_is_written(
    store: SqliteStore, application: Notes, way: str
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        db = tx.connection
        db.execute(WRITE, ("paid",))
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(f"INSERT {way} INTO notes VALUES ('paid')")
        if way == "OR ROLLBACK":
            with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
                db.execute(WRITE, ("more",))
            with pytest.raises(TransactionError, match="OR ROLLBACK"):
                await tx.commit(completion(n))
        else:
            assert isinstance(await tx.commit(completion(n)), Done)

    assert application.read() == ([] if way == "OR ROLLBACK" else ["paid"])


async def test_a_deferred_constraint_is_the_steps_error(
    store: SqliteStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    db = sqlite3.connect(application.path)
    db.execute("CREATE TABLE p (id INTEGER PRIMARY KEY)")
    db.execute("CREATE TABLE c (p REFERENCES p DEFERRABLE INITIALLY DEFERRED)")
    db.close()

    async with store.transaction(epoch, LEASE) as tx:
        tx.connection.execute(WRITE, ("paid",))
        tx.connection.execute("INSERT INTO c VALUES (7)")
        outcome = await tx.commit(completion(n))

    assert isinstance(outcome, Done)  # SQLite does not look at foreign keys unless it is told to


async def test_a_statement_that_is_left_unfinished_is_the_steps_error(
    store: SqliteStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        left = tx.connection.execute(WRITE + ", ('b'), ('c') RETURNING note", ("a",))
        next(left)
        with pytest.raises(TransactionError, match="RETURNING"):
            await tx.commit(completion(n))

    assert application.read() == []
    assert len((await load(store, n)).tail) == 1


async def test_who_takes_too_long_is_rolled_back(hasty: SqliteStore) -> None:
    application = Notes(hasty.path)
    epoch = await hasty.register(WORKER)
    n, m = await begin(hasty, epoch), await begin(hasty, epoch)

    async with hasty.transaction(epoch, LEASE) as tx:
        db = tx.connection
        db.execute(WRITE, ("paid",))
        # It waits for the end, so this is what gets stuck on itself.
        assert isinstance(await one(hasty, epoch, completion(m)), Done)
        assert isinstance(tx.problem, TransactionTimeoutError)
        with pytest.raises(sqlite3.DatabaseError):
            db.execute(WRITE, ("more",))
        with pytest.raises(TransactionTimeoutError):
            tx.connection.execute(WRITE, ("more",))
        with pytest.raises(TransactionTimeoutError, match=r"0\.08 s \(transaction_limit\)"):
            await tx.commit(completion(n))

    assert application.read() == []
    assert len((await load(hasty, n)).tail) == 1


async def test_a_long_statement_of_a_thread_is_interrupted(hasty: SqliteStore) -> None:
    application = Notes(hasty.path)
    epoch = await hasty.register(WORKER)
    for_ever = """
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        INSERT INTO notes SELECT i FROM n"""
    raised: list[Exception] = []

    def write(db: sqlite3.Connection) -> None:
        for text in (for_ever, "INSERT INTO notes VALUES ('late')"):
            try:
                db.execute(text)
            except sqlite3.Error as error:
                raised.append(error)

    async with hasty.transaction(epoch, LEASE, blocking=True) as tx:
        await asyncio.to_thread(write, tx.connection)

    assert len(raised) == 2
    assert application.read() == []
    assert isinstance(await one(hasty, epoch, completion(await begin(hasty, epoch))), Done)


async def test_a_thread_between_two_rows_writes_no_further(hasty: SqliteStore) -> None:
    application = Notes(hasty.path)
    epoch = await hasty.register(WORKER)
    over = threading.Event()
    raised: list[Exception] = []

    def rows() -> Any:
        yield ("first",)
        over.wait(10)
        yield ("second",)

    def write(db: sqlite3.Connection) -> None:
        try:
            db.executemany(WRITE, rows())
        except sqlite3.Error as error:
            raised.append(error)

    async with hasty.transaction(epoch, LEASE, blocking=True) as tx:
        writing = asyncio.create_task(asyncio.to_thread(write, tx.connection))
        await one(hasty, epoch, completion(await begin(hasty, epoch)))  # not before it is over
        over.set()
        await writing

    assert len(raised) == 1
    assert application.read() == []


async def test_a_foreign_writer_is_waited_for(path: Path) -> None:
    store = SqliteStore(path, patience=timedelta(milliseconds=50))
    await store.open()
    epoch = await store.register(WORKER)
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(ProviderError, match="locked"):
            async with store.transaction(epoch, LEASE):
                pytest.fail("it was open")
    finally:
        foreign.execute("ROLLBACK")
        foreign.close()
    async with store.transaction(epoch, LEASE) as tx:
        assert tx.problem is None
    await store.close()


async def test_two_stores_of_one_process_take_turns(store: SqliteStore, application: Notes) -> None:
    other = SqliteStore(store.path)
    await other.open()
    epoch = await store.register(WORKER)
    other_epoch = await other.register(WORKER)
    n, m = await begin(store, epoch), await begin(other, other_epoch)

    async def step(its: SqliteStore, whose: int, run: int, note: str) -> None:
        async with its.transaction(whose, LEASE) as tx:
            tx.connection.execute(WRITE, (note,))
            await asyncio.sleep(0)
            assert isinstance(await tx.commit(completion(run)), Done)

    async with asyncio.timeout(10):
        await asyncio.gather(step(store, epoch, n, "a"), step(other, other_epoch, m, "b"))

    assert sorted(application.read()) == ["a", "b"]
    await other.close()


async def test_it_is_as_durable_as_all_else(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)

    async with store.transaction(epoch, LEASE) as tx:
        assert tx.connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert tx.connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


async def test_a_commit_is_counted(store: SqliteStore) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    before = store.stats.commits

    async with store.transaction(epoch, LEASE) as tx:
        await tx.commit(completion(n))

    assert store.stats.commits == before + 1


async def test_a_store_in_memory_lends_nothing() -> None:
    store = SqliteStore(":memory:")
    await store.open()
    epoch = await store.register(WORKER)
    await definition(store)

    with pytest.raises(ProviderError, match="use a file"):
        async with store.transaction(epoch, LEASE):
            pytest.fail("it was open")
    await store.close()
