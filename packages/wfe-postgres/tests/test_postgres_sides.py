"""The PostgreSQL store keeps the contracts of queue, lock, cache, artifacts, changes and search."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import psycopg
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Item, WorkerInfo
from wfe.core.search import Changes, Gone, LogChanges, SearchDocument, SearchQuery
from wfe.core.search_text import parse_terms
from wfe.postgres import PostgresStore
from wfe.postgres.changes import OPEN, settled
from wfe.testing.contracts import (
    ArtifactIndexContract,
    CacheIndexContract,
    LockContract,
    QueueContract,
)
from wfe.testing.contracts.changes import ChangesContract
from wfe.testing.contracts.runs import begin, header, one
from wfe.testing.contracts.search import SearchContract
from wfe.testing.services.databases import Databases

WORKER = WorkerInfo(name="w", host="h", pid=1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def virtual(tables: str, clock: VirtualClock) -> AsyncIterator[PostgresStore]:
    """A store that goes by a virtual clock."""
    store = PostgresStore(tables, clock=clock)
    await store.open()
    yield store
    await store.close()


class TestPostgresQueue(QueueContract):
    @pytest.fixture
    def queue(self, store: PostgresStore) -> PostgresStore:
        return store


class TestPostgresQueueBetweenStores(QueueContract):
    """Who hints and who waits are two stores on one database, as in two processes."""

    @pytest.fixture
    def queue(
        self, store: PostgresStore, other: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> PostgresStore:
        monkeypatch.setattr(store, "wait", other.wait)
        return store

    @pytest.fixture
    def new_epoch(self, other: PostgresStore) -> Callable[[], Awaitable[int]]:
        return lambda: other.register(WORKER)


class TestPostgresLock(LockContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "fences"})

    @pytest.fixture
    def lock(self, virtual: PostgresStore) -> PostgresStore:
        return virtual

    @pytest.fixture
    def new_epoch(self, lock: PostgresStore) -> Callable[[], Awaitable[int]]:
        return lambda: lock.register(WORKER)

    @pytest.fixture
    def fence(self, lock: PostgresStore) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.fence([epoch], lease=None)


class TestPostgresLockByTheServersClock(LockContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"fences"})

    @pytest.fixture
    def lock(self, store: PostgresStore) -> PostgresStore:
        return store

    @pytest.fixture
    def new_epoch(self, lock: PostgresStore) -> Callable[[], Awaitable[int]]:
        return lambda: lock.register(WORKER)

    @pytest.fixture
    def fence(self, lock: PostgresStore) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.fence([epoch], lease=None)


class TestPostgresCache(CacheIndexContract):
    @pytest.fixture
    def store(self, virtual: PostgresStore) -> PostgresStore:
        return virtual


class TestPostgresArtifacts(ArtifactIndexContract):
    pass


class PatientStore(PostgresStore):
    """Reads its feed when the transactions of other tests on the same server have ended."""

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        await self._settled()
        return await super().changes(cursor, limit)

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        await self._settled()
        return await super().log_changes(cursor, limit)

    async def _settled(self) -> None:
        db = self._opened
        ((last,),) = await db.all("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        oldest = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        async with asyncio.timeout(30):
            while (await db.all(oldest))[0][0] < last:  # noqa: ASYNC110 - others' transactions
                await asyncio.sleep(0.01)


class TestPostgresChanges(ChangesContract):
    @pytest.fixture
    async def store(self, tables: str) -> AsyncIterator[PostgresStore]:
        store = PatientStore(tables)
        await store.open()
        yield store
        await store.close()

    async def test_what_is_committed_late_is_not_missed(
        self, store: PostgresStore, tables: str
    ) -> None:
        """The transaction of a start is open while a later one is already fed."""
        early, late = await header(store), await header(store)
        await store.changes(None, 10)
        async with await psycopg.AsyncConnection.connect(tables) as app:
            outcome = store.enqueue(app, Item(n=early.n, new=early, rows=("[]",)))
            assert inspect.isawaitable(outcome)
            await outcome
            await one(store, None, Item(n=late.n, new=late, rows=("[]",)))
            page = await PostgresStore.changes(store, None, 10)
            assert page.changed == ()
            await app.commit()

        rest = await store.changes(page.cursor, 10)
        assert {each.n for each in rest.changed} == {early.n, late.n}

    async def test_transactions_of_this_database_alone_hold_it_up(
        self, store: PostgresStore, tables: str, postgres_databases: Databases
    ) -> None:
        """Those of another role and those that are prepared, too."""
        await store.changes(None, 10)
        elsewhere, write = postgres_databases.new(), "CREATE TABLE t ()"

        async def fed() -> bool:
            n = await begin(store)
            page = await PostgresStore.changes(store, None, 100)
            return n in [each.n for each in page.changed]

        async with await psycopg.AsyncConnection.connect(elsewhere) as other:
            await other.execute(write)
            async with asyncio.timeout(30):
                while not await fed():  # a vacuum may be at work here
                    pass
            async with await psycopg.AsyncConnection.connect(tables) as same:
                await same.execute(write)
                assert not await fed()
                await same.execute("PREPARE TRANSACTION 'wfe'")
                assert not await fed()
                async with await psycopg.AsyncConnection.connect(tables, autocommit=True) as end:
                    await end.execute("ROLLBACK PREPARED 'wfe'")
            await other.execute("SELECT 1")  # it was open all the time

    async def test_any_role_sees_whose_transactions_are_open(self, tables: str) -> None:
        async with (
            await psycopg.AsyncConnection.connect(tables, autocommit=True) as plain,
            await psycopg.AsyncConnection.connect(tables) as owner,
        ):
            cursor = await owner.execute("SELECT pg_current_xact_id()::text::bigint")
            number = await cursor.fetchone()
            role = f'"role of {plain.info.dbname}"'.encode()
            await plain.execute(b"CREATE ROLE " + role)
            try:
                await plain.execute(b"SET ROLE " + role)
                found = await (await plain.execute(OPEN)).fetchone()
                await plain.execute("RESET ROLE")
            finally:
                await plain.execute(b"DROP ROLE " + role)

        assert number is not None
        assert found is not None
        assert number[0] % 2**32 in found[1]
        assert found[0] > number[0]

    def test_numbers_of_transactions_go_round(self) -> None:
        limit = 5 * 2**32 + 3

        assert settled(limit, []) == limit
        assert settled(limit, [3, 2, 4]) == limit - 1  # 4 has begun since
        assert settled(limit, [2**32 - 5, 1]) == limit - 8

    async def test_the_cursor_of_another_server_is_a_beginning(self, store: PostgresStore) -> None:
        n = await begin(store)
        cursor = (await store.changes(None, 10)).cursor
        assert (await store.changes(cursor, 10)).changed == ()

        _, _, place = cursor.partition(":")
        page = await store.changes(f"00000000:{place}", 10)

        assert [each.n for each in page.changed] == [n]


class TestPostgresSearch(SearchContract):
    @pytest.fixture
    def index(self, store: PostgresStore) -> PostgresStore:
        return store

    async def test_many_feeders_at_once(self, store: PostgresStore, other: PostgresStore) -> None:
        documents = [run_document(n, f"word number{n}") for n in range(1, 60)]
        gone = [Gone(n, 9, f"run-{n}", n) for n in (3, 40)]

        async with asyncio.timeout(20):
            await asyncio.gather(
                *(
                    each.search_apply(order, gone, str(k))
                    for k in range(5)
                    for each in (store, other)
                    for order in (documents, documents[::-1])
                )
            )

        page = await other.search_runs(SearchQuery(terms=parse_terms("word"), limit=100))
        assert {hit.n for hit in page.hits} == set(range(1, 60)) - {3, 40}

    async def test_words_far_apart_are_no_phrase(self, store: PostgresStore) -> None:
        """The positions in a vector end at 16,383."""
        filler = " ".join(f"w{k}" for k in range(17_000))
        documents = [run_document(1, f"{filler} red x blue"), run_document(2, f"{filler} red blue")]
        await store.search_apply(documents, [], "a")

        page = await store.search_runs(SearchQuery(terms=parse_terms('"red blue"')))
        assert [hit.n for hit in page.hits] == [2]


def run_document(n: int, text: str) -> SearchDocument:
    return SearchDocument(
        n=n,
        rev=1,
        id=f"run-{n}",
        definition="order",
        version=1,
        name=f"order-{n}",
        reference=None,
        status="complete",
        created_at=n,
        completed_at=None,
        parent_id=None,
        root_id=f"run-{n}",
        text=text,
    )
