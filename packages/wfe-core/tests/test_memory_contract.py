"""The memory store keeps all three contracts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.providers import Clock, PersistenceProvider, WorkerInfo
from wfe.testing.contracts import LockContract, PersistenceContract, QueueContract

WORKER = WorkerInfo(name="w", host="h", pid=1)


class TestMemoryStore(PersistenceContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "lock"})
    examples: ClassVar[int] = 10  # it is compared with itself

    @pytest.fixture
    def new_store(self) -> Callable[[Clock], PersistenceProvider]:
        return MemoryStore


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    async def queue(self) -> AsyncIterator[MemoryStore]:
        store = MemoryStore()
        await store.open()
        yield store
        await store.close()


class TestMemoryLock(LockContract):
    capabilities: ClassVar[frozenset[str]] = frozenset({"virtual_clock", "fences"})

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def lock(self, clock: VirtualClock) -> MemoryStore:
        return MemoryStore(clock)

    @pytest.fixture
    def new_epoch(self, lock: MemoryStore) -> Callable[[], Awaitable[int]]:
        return lambda: lock.register(WORKER)

    @pytest.fixture
    def fence(self, lock: MemoryStore) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.fence([epoch], lease=None)
