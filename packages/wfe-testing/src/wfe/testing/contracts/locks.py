"""The lock contract: who is alive, and named locks of which one host at a time holds each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given

from wfe.core.clocks import VirtualClock
from wfe.core.providers import LockProvider
from wfe.testing.contracts.histories import LEASE, LockWorld, drawn, follow_locks, lock_histories

__all__ = ["LockContract"]

UNKNOWN = 4711


class LockContract:
    """Subclass as ``TestMyLock`` and give the class a ``lock`` and a ``new_epoch`` fixture.

    ``new_epoch`` is an async function that returns the epoch of a new live host.  With
    ``virtual_clock`` there is a ``clock`` fixture, with ``fences`` an async function ``fence``.
    A lock that concludes from silence only after it listened for a lease has a fixture
    ``listened``, an async function that does so; who beat before beats still.

    Attributes:
        capabilities: ``virtual_clock``: leases go by the ``clock`` fixture;
            ``fences``: it knows which epochs the store fenced.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()

    async def test_who_beats_is_not_dead(
        self, lock: LockProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epochs = [await new_epoch() for _ in range(3)]

        assert [await lock.beat(epoch, LEASE) for epoch in epochs] == [True] * 3
        assert list(await lock.dead(epochs, LEASE)) == []
        assert list(await lock.dead([], LEASE)) == []

    @pytest.fixture
    def listened(self) -> Callable[[], Awaitable[object]]:
        """Do nothing: the lock knows at once who is silent."""
        return nothing

    async def test_who_was_never_there_is_dead(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        listened: Callable[[], Awaitable[object]],
    ) -> None:
        alive = await new_epoch()
        await lock.beat(alive, LEASE)

        await listened()

        assert list(await lock.dead([alive, UNKNOWN], LEASE)) == [UNKNOWN]

    @pytest.mark.needs("virtual_clock")
    async def test_who_is_silent_for_a_lease_is_dead(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        clock: VirtualClock,
    ) -> None:
        silent, beating = await new_epoch(), await new_epoch()
        await lock.beat(silent, LEASE)
        for _ in range(4):
            await lock.beat(beating, LEASE)
            assert list(await lock.dead([beating], LEASE)) == []
            clock.move_to(clock.now() + LEASE // 3)

        assert list(await lock.dead([silent, beating], LEASE)) == [silent]

    @pytest.mark.needs("virtual_clock")
    async def test_nobody_is_dead_before_the_lease_is_over(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        clock: VirtualClock,
    ) -> None:
        epoch = await new_epoch()
        await lock.beat(epoch, LEASE)

        clock.move_to(clock.now() + LEASE - 1)

        assert list(await lock.dead([epoch], LEASE)) == []

    @pytest.mark.needs("fences")
    async def test_who_was_fenced_is_told_so_by_its_beat(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        fence: Callable[[int], Awaitable[object]],
    ) -> None:
        epoch = await new_epoch()
        await fence(epoch)

        assert not await lock.beat(epoch, LEASE)
        assert not await lock.try_acquire("sweeper", epoch, LEASE)

    async def test_one_holder_at_a_time(
        self, lock: LockProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        first, second = await new_epoch(), await new_epoch()

        assert await lock.try_acquire("sweeper", first, LEASE)
        assert not await lock.try_acquire("sweeper", second, LEASE)
        assert await lock.try_acquire("sweeper", first, LEASE)

    async def test_names_are_independent(
        self, lock: LockProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        first, second = await new_epoch(), await new_epoch()

        assert await lock.try_acquire("sweeper", first, LEASE)
        assert await lock.try_acquire("feeder", second, LEASE)

    async def test_one_of_many_wins(
        self, lock: LockProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epochs = [await new_epoch() for _ in range(20)]

        won = await asyncio.gather(*(lock.try_acquire("sweeper", e, LEASE) for e in epochs))

        assert sum(won) == 1
        again = [await lock.try_acquire("sweeper", epoch, LEASE) for epoch in epochs]
        assert again == list(won)

    @pytest.mark.needs("virtual_clock")
    async def test_a_lock_is_free_after_its_lease_and_not_before(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        clock: VirtualClock,
    ) -> None:
        first, second = await new_epoch(), await new_epoch()
        await lock.try_acquire("sweeper", first, LEASE)

        clock.move_to(clock.now() + LEASE - 1)
        early = await lock.try_acquire("sweeper", second, LEASE)
        clock.move_to(clock.now() + 1)
        late = await lock.try_acquire("sweeper", second, LEASE)

        assert (early, late) == (False, True)
        assert not await lock.try_acquire("sweeper", first, LEASE)

    @pytest.mark.needs("virtual_clock")
    async def test_taking_it_again_renews_it(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        clock: VirtualClock,
    ) -> None:
        first, second = await new_epoch(), await new_epoch()
        await lock.try_acquire("sweeper", first, LEASE)
        clock.move_to(clock.now() + LEASE // 2)
        assert await lock.try_acquire("sweeper", first, LEASE)

        clock.move_to(clock.now() + LEASE // 2 + 1)

        assert not await lock.try_acquire("sweeper", second, LEASE)

    @pytest.mark.needs("fences")
    async def test_a_fenced_holder_holds_nothing(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        fence: Callable[[int], Awaitable[object]],
    ) -> None:
        first, second = await new_epoch(), await new_epoch()
        await lock.try_acquire("sweeper", first, LEASE)

        await fence(first)

        assert await lock.try_acquire("sweeper", second, LEASE)

    @pytest.fixture
    def world(
        self,
        lock: LockProvider,
        new_epoch: Callable[[], Awaitable[int]],
        request: pytest.FixtureRequest,
    ) -> LockWorld:
        """The lock with what it claims to hear of: time, and fences."""
        world = LockWorld(lock, new_epoch)
        if "virtual_clock" in self.capabilities:
            clock: VirtualClock = request.getfixturevalue("clock")
            world.move = lambda by: clock.move_to(clock.now() + by)
        if "fences" in self.capabilities:
            world.fence = request.getfixturevalue("fence")
        return world

    @drawn
    @given(history=lock_histories)
    async def test_in_any_history_a_lock_has_one_holder(
        self, world: LockWorld, history: Sequence[tuple[str, Any]]
    ) -> None:
        await follow_locks(world, history)


async def nothing() -> None:
    """Do nothing."""
