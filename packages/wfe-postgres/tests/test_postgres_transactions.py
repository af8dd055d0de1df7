"""Steps' transactions in PostgreSQL: the contract, and what is the server's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from wfe.core.errors import ProviderError, TransactionError
from wfe.core.providers import Conflict, Done, Fenced, Item, WorkerInfo
from wfe.postgres import PostgresStore, transactions
from wfe.testing.contracts import TransactionContract
from wfe.testing.contracts.runs import begin, load, one

WORKER = WorkerInfo(name="w", host="h", pid=1)
LEASE = 30_000_000  # µs
WRITE = "INSERT INTO app.notes VALUES (%s)"
PREPARE = """
CREATE SCHEMA IF NOT EXISTS app;
DROP TABLE IF EXISTS app.notes;
CREATE TABLE app.notes (note text UNIQUE DEFERRABLE INITIALLY IMMEDIATE)"""


class Notes:
    """An application with a table in the same database."""

    def __init__(self, url: str) -> None:
        self.url = url
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(PREPARE)

    async def write(self, connection: psycopg.AsyncConnection[Any], note: str) -> None:
        await connection.execute(WRITE, [note])

    def write_blocking(self, connection: psycopg.Connection[Any], note: str) -> None:
        connection.execute(WRITE, [note])

    async def end(self, connection: psycopg.AsyncConnection[Any], how: str) -> None:
        ends = {"commit": connection.commit, "roll back": connection.rollback}
        await ends.get(how, connection.close)()

    async def notes(self) -> Sequence[str]:
        return self.read()

    def read(self) -> list[str]:
        with psycopg.connect(self.url, autocommit=True) as db:
            return [note for (note,) in db.execute("SELECT note FROM app.notes")]

    def ask(self, text: str) -> Any:
        with psycopg.connect(self.url, autocommit=True) as db:
            row = db.execute(text.encode()).fetchone()
            return None if row is None else row[0]


@pytest.fixture
def application(tables: str) -> Iterator[Notes]:
    application = Notes(tables)
    yield application
    with psycopg.connect(tables, autocommit=True) as db:
        db.execute("DROP SCHEMA app CASCADE")


class TestPostgresTransactions(TransactionContract):
    pass


def completion(n: int, base: int = 0) -> Item:
    return Item(n=n, base=base, rows=('["done"]',), alive=True)


async def test_bodies_get_the_drivers_own_classes(store: PostgresStore) -> None:
    epoch = await store.register(WORKER)

    async with store.transaction(epoch, LEASE) as tx:
        db: Any = tx.connection
        kind: type[Any] = psycopg.AsyncConnection
        assert isinstance(db, kind)
        found = await (await db.execute("SHOW transaction_isolation")).fetchone()
        assert found == ("read committed",)
    async with store.transaction(epoch, LEASE, blocking=True) as tx:
        assert isinstance(tx.connection, psycopg.Connection)


async def test_savepoints_cursors_copies_and_pipelines_work(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        db = tx.connection
        async with db.transaction():
            await db.execute(WRITE, ["kept"])
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with db.transaction():
                await db.execute(WRITE, ["kept"])
        await db.execute("SAVEPOINT a")
        await db.execute(WRITE, ["dropped"])
        await db.execute("ROLLBACK TO SAVEPOINT a")
        async with db.cursor() as cursor:
            await cursor.executemany(WRITE, [["many"], ["more"]])
            async with cursor.copy("COPY app.notes FROM STDIN") as copy:
                await copy.write_row(["copied"])
        async with db.pipeline():
            await db.execute(WRITE, ["piped"])
        async with db:
            await db.execute(WRITE, ["last"], prepare=True)
        assert isinstance(await tx.commit(completion(n)), Done)

    assert sorted(application.read()) == ["copied", "kept", "last", "many", "more", "piped"]


@pytest.mark.parametrize(
    "text", ["COMMIT", " end", "ROLLBACK", "abort", "rollback work", "PREPARE TRANSACTION 'x'"]
)
async def test_what_would_end_it_is_refused_as_a_statement(
    store: PostgresStore, application: Notes, text: str
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        with pytest.raises(TransactionError, match="not for the body"):
            await tx.connection.execute(text)
        assert application.read() == []
        assert isinstance(await tx.commit(completion(n)), Done)

    assert application.read() == ["paid"]


@pytest.mark.parametrize("text", ["/* so */ COMMIT", "SELECT 1; COMMIT; BEGIN"])
async def test_a_hidden_commit_is_found_out(
    store: PostgresStore, application: Notes, text: str
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(text, prepare=False)
        if text.startswith("/*"):
            with pytest.raises(TransactionError, match="ended the transaction"):
                await tx.connection.execute(WRITE, ["more"])
        with pytest.raises(TransactionError, match="ended the transaction"):
            await tx.commit(completion(n))

    assert application.read() == []
    assert len((await load(store, n)).tail) == 1


async def test_after_a_failed_statement_nothing_is_committed(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        with pytest.raises(psycopg.errors.DivisionByZero):
            await tx.connection.execute("SELECT 1 / 0")
        with pytest.raises(TransactionError, match="around what may fail"):
            await tx.commit(completion(n))

    assert application.read() == []


async def test_a_deferred_constraint_is_the_steps_error(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute("SET CONSTRAINTS ALL DEFERRED")
        await tx.connection.execute(WRITE, ["twice"])
        await tx.connection.execute(WRITE, ["twice"])
        with pytest.raises(psycopg.errors.UniqueViolation):
            await tx.commit(completion(n))

    assert application.read() == []
    assert len((await load(store, n)).tail) == 1
    assert isinstance(await one(store, epoch, completion(n)), Done)


async def test_the_next_one_finds_a_clean_connection(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    for base in (0, 1):
        async with store.transaction(epoch, LEASE) as tx:
            db = tx.connection
            for setting in ("search_path", "statement_timeout"):
                value = await (await db.execute(f"SHOW {setting}")).fetchone()
                assert value != ("app",)
                assert value != ("7min",)
            await db.execute("SET search_path = app")
            await db.execute("SET statement_timeout = '7min'")
            await db.execute("CREATE TEMP TABLE mine (x int)")
            await db.execute("SELECT pg_advisory_lock(4711)")
            assert isinstance(await tx.commit(completion(n, base)), Done)
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711"
    assert application.ask(held) == 0


async def test_whoever_stops_before_the_commit_does_not_hold_up_the_fence(
    store: PostgresStore, other: PostgresStore, application: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    applied, go_on = asyncio.Event(), asyncio.Event()
    honest = vars(transactions)["commit_in"]

    async def slow(*args: Any, **options: Any) -> Any:
        outcomes = await honest(*args, **options)
        applied.set()
        await go_on.wait()
        return outcomes

    monkeypatch.setattr(transactions, "commit_in", slow)

    async with store.transaction(epoch, 900_000) as tx:  # a third of that
        await tx.connection.execute(WRITE, ["paid"])
        committing = asyncio.create_task(tx.commit(completion(n)))
        await applied.wait()
        async with asyncio.timeout(5):
            assert await other.fence([epoch], lease=None) == [epoch]
        go_on.set()
        with pytest.raises(ProviderError) as raised:  # it is no failure of the body
            await committing
        assert raised.value.transient

    assert application.read() == []
    assert len((await load(other, n)).tail) == 1


async def test_a_fence_waits_for_a_commit_under_way(
    store: PostgresStore, other: PostgresStore, application: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)
    applied, go_on = asyncio.Event(), asyncio.Event()
    honest = vars(transactions)["commit_in"]

    async def slow(*args: Any, **options: Any) -> Any:
        outcomes = await honest(*args, **options)
        applied.set()
        await go_on.wait()
        return outcomes

    monkeypatch.setattr(transactions, "commit_in", slow)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        committing = asyncio.create_task(tx.commit(completion(n)))
        await applied.wait()
        fencing = asyncio.create_task(other.fence([epoch], lease=None))
        await _until(application, "SELECT count(*) FROM pg_locks WHERE NOT granted")
        assert not fencing.done()
        go_on.set()
        assert isinstance(await committing, Done)
    assert await fencing == [epoch]

    assert application.read() == ["paid"]
    assert isinstance(await one(store, epoch, completion(n, 1)), Fenced)


async def _until(application: Notes, question: str) -> None:
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(application.ask, question):
            continue


async def test_a_connection_that_is_lost_leaves_nothing(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        pid = tx.connection.info.backend_pid
        application.ask(f"SELECT pg_terminate_backend({pid}, 5000)")
        with pytest.raises(ProviderError) as raised:
            await tx.commit(completion(n))
        assert not raised.value.unknown

    assert application.read() == []
    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["again"])
        assert isinstance(await tx.commit(completion(n)), Done)


async def test_an_answer_that_is_lost_is_unknown(
    store: PostgresStore, application: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        lender: Any = vars(tx)["_lender"]
        honest = lender.execute

        async def lossy(query: Any, *args: Any, **options: Any) -> Any:
            found = await honest(query, *args, **options)
            if query == "COMMIT":
                message = "server closed the connection unexpectedly"
                raise psycopg.OperationalError(message)
            return found

        monkeypatch.setattr(lender, "execute", lossy)
        with pytest.raises(ProviderError) as raised:
            await tx.commit(completion(n))
        assert raised.value.unknown

    assert application.read() == ["paid"]
    async with store.transaction(epoch, LEASE) as tx:  # as a host that tries again
        await tx.connection.execute(WRITE, ["twice"])
        assert isinstance(await tx.commit(completion(n)), Conflict)
    assert application.read() == ["paid"]


async def test_a_connection_lost_while_it_rolls_back_changes_no_outcome(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    n = await begin(store, epoch)

    async with store.transaction(epoch, LEASE) as tx:
        await tx.connection.execute(WRITE, ["paid"])
        lender: Any = vars(tx)["_lender"]
        honest = lender.execute

        async def cut(query: Any, *args: Any, **options: Any) -> Any:
            if query == "ROLLBACK":
                application.ask(f"SELECT pg_terminate_backend({lender.info.backend_pid}, 5000)")
            return await honest(query, *args, **options)

        lender.execute = cut
        outcome = await tx.commit(completion(n, base=5))

    assert isinstance(outcome, Conflict)
    assert application.read() == []


async def test_a_statement_of_a_thread_is_cancelled(
    store: PostgresStore, application: Notes
) -> None:
    epoch = await store.register(WORKER)
    raised: list[Exception] = []
    begun = threading.Event()

    def write(db: psycopg.Connection[Any]) -> None:
        for text in ("SELECT pg_sleep(60)", "INSERT INTO app.notes VALUES ('late')"):
            begun.set()
            try:
                db.execute(text.encode())
            except (psycopg.Error, TransactionError) as error:
                raised.append(error)

    async with asyncio.timeout(20):
        async with store.transaction(epoch, LEASE, blocking=True) as tx:
            writing = asyncio.create_task(asyncio.to_thread(write, tx.connection))
            await asyncio.to_thread(begun.wait)
            question = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            await _until(application, question)
        await writing

    assert [type(error) for error in raised] == [psycopg.errors.QueryCanceled, TransactionError]
    assert application.read() == []


async def test_transactions_leave_connections_for_the_engine(
    tables: str, application: Notes
) -> None:
    store = PostgresStore(tables, pool=2)
    await store.open()
    epoch = await store.register(WORKER)
    runs = [await begin(store, epoch) for _ in range(4)]

    async def step(n: int) -> None:
        async with store.transaction(epoch, LEASE) as tx:
            await tx.connection.execute(WRITE, [f"paid {n}"])
            await one(store, epoch, Item(n=runs[0], base=-5, rows=('["x"]',), alive=True))
            assert isinstance(await tx.commit(completion(n)), Done)

    async with asyncio.timeout(10):
        await asyncio.gather(*(step(n) for n in runs))
    assert len(application.read()) == 4
    await store.close()


async def test_a_pool_of_one_lends_nothing(tables: str) -> None:
    store = PostgresStore(tables, pool=1)
    await store.open()
    with pytest.raises(ProviderError, match="pool"):
        async with store.transaction(1, LEASE):
            pytest.fail("it was open")
    await store.close()
