"""The SQLite store keeps all three contracts, on a file and in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import ClassVar

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Clock, PersistenceProvider, WorkerInfo
from wfe.sqlite import SqliteStore
from wfe.testing.contracts import LockContract, PersistenceContract, QueueContract

WORKER = WorkerInfo(name="w", host="h", pid=1)


class TestSqliteStore(PersistenceContract):
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"virtual_clock", "lock", "durable", "shared"}
    )
    examples: ClassVar[int] = 50

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[Clock], PersistenceProvider]:
        numbers = count()
        return lambda clock: SqliteStore(tmp_path / f"wfe-{next(numbers)}.db", clock=clock)

    @pytest.fixture
    def another_store(self, store: SqliteStore) -> Callable[[], PersistenceProvider]:
        return lambda: SqliteStore(store.path, clock=store.clock)

    @pytest.fixture
    async def reopen(
        self, store: SqliteStore
    ) -> AsyncIterator[Callable[[], Awaitable[SqliteStore]]]:
        again = SqliteStore(store.path, clock=store.clock)

        async def reopen() -> SqliteStore:
            await store.close()
            await again.open()
            return again

        yield reopen
        await again.close()


class TestSqliteStoreInMemory(PersistenceContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "lock"})

    @pytest.fixture
    def new_store(self) -> Callable[[Clock], PersistenceProvider]:
        return lambda clock: SqliteStore(":memory:", clock=clock)


class TestSqliteQueue(QueueContract):
    @pytest.fixture
    async def queue(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "wfe.db")
        await store.open()
        yield store
        await store.close()


class TestSqliteQueueBetweenStores(QueueContract):
    """Who hints and who waits are two stores on one file, as in two processes."""

    @pytest.fixture
    async def waiting(self, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "wfe.db")
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    async def queue(self, waiting: SqliteStore) -> AsyncIterator[SqliteStore]:
        hinting = SqliteStore(waiting.path)
        await hinting.open()
        hinting.wait = waiting.wait  # type: ignore[method-assign]
        yield hinting
        await hinting.close()

    @pytest.fixture
    def new_epoch(self, waiting: SqliteStore) -> Callable[[], Awaitable[int]]:
        return lambda: waiting.register(WORKER)


class TestSqliteLock(LockContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "fences"})

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    async def lock(self, clock: VirtualClock, tmp_path: Path) -> AsyncIterator[SqliteStore]:
        store = SqliteStore(tmp_path / "wfe.db", clock=clock)
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def new_epoch(self, lock: SqliteStore) -> Callable[[], Awaitable[int]]:
        return lambda: lock.register(WORKER)

    @pytest.fixture
    def fence(self, lock: SqliteStore) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.fence([epoch], lease=None)
