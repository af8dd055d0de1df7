"""The providers over Valkey keep the contracts, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

import pytest
from valkey_parts import LEASE, Ticks, listen_for

from wfe.core.lifecycle_provider import LifecyclePublisher
from wfe.core.providers import QueueProvider, SeparateLock, SeparateQueue
from wfe.testing.contracts import LifecycleContract, LockContract, QueueContract
from wfe.valkey import ValkeyLifecycle, ValkeyLock, ValkeyQueue, open_lifecycle, open_queue


class TestValkeyLock(LockContract):
    capabilities = frozenset({"fences"})

    @pytest.fixture
    def ticks(self) -> Ticks:
        return Ticks()

    @pytest.fixture
    async def lock(self, valkey_url: str, ticks: Ticks) -> AsyncIterator[ValkeyLock]:
        lock = ValkeyLock(valkey_url, monotonic=ticks)
        yield lock
        await lock.close()

    @pytest.fixture
    def new_epoch(self) -> Callable[[], Awaitable[int]]:
        issued = count(2**62)

        async def new_epoch() -> int:
            return next(issued)

        return new_epoch

    @pytest.fixture
    def fence(self, lock: ValkeyLock) -> Callable[[int], Awaitable[object]]:
        return lambda epoch: lock.bury([epoch])

    @pytest.fixture
    def listened(self, lock: ValkeyLock, ticks: Ticks) -> Callable[[], Awaitable[object]]:
        # The server's own clock passes as if it had stood still: a third of a lease is a jump.
        return lambda: listen_for(lock, ticks, LEASE)

    def test_it_is_a_separate_lock(self, lock: ValkeyLock) -> None:
        assert isinstance(lock, SeparateLock)


class TestValkeyQueue(QueueContract):
    @pytest.fixture
    async def queue(self, valkey_url: str) -> AsyncIterator[QueueProvider]:
        queue = open_queue(valkey_url)
        yield queue
        await queue.close()

    def test_it_is_a_separate_queue(self, queue: ValkeyQueue) -> None:
        assert isinstance(queue, SeparateQueue)


class TestValkeyLifecycle(LifecycleContract):
    capabilities = frozenset({"bounded"})
    kept = 300

    @pytest.fixture
    async def lifecycle(self, valkey_url: str) -> AsyncIterator[ValkeyLifecycle]:
        self.url = valkey_url
        lifecycle = open_lifecycle(valkey_url)
        yield lifecycle
        await lifecycle.close()

    @pytest.fixture
    async def elsewhere(self, valkey_url: str) -> AsyncIterator[ValkeyLifecycle]:
        lifecycle = open_lifecycle(valkey_url)
        yield lifecycle
        await lifecycle.close()

    async def test_what_is_kept_is_bounded(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        small = open_lifecycle(f"{self.url}?events={self.kept}")
        await super().test_what_is_kept_is_bounded(small, small)
        await small.close()
