"""The queue contract: hints reach who waits; they may be doubled, and nothing is invented."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given

from wfe.core.providers import Hint, QueueProvider
from wfe.testing.contracts.histories import (
    drawn,
    follow_hints,
    hint_histories,
    start_serving,
)

__all__ = ["QueueContract"]

LONG = 4_000_000  # µs
BRIEF = 30_000
SOON = 1.5  # seconds; less than LONG
UNKNOWN = 4711


class QueueContract:
    """Subclass as ``TestMyQueue`` and give the class a ``queue`` fixture on the real clock.

    A ``new_epoch`` fixture, an async function, issues epochs that may wait; give your own if the
    queue wants registered ones.  A queue that wants to know what a host can run is told 1.

    Attributes:
        capabilities: None so far.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def new_epoch(self) -> Callable[[], Awaitable[int]]:
        """Issue epochs that nobody registered."""
        return count_epochs()

    async def test_a_hint_wakes_the_waiting_owner(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch)
        started = time.monotonic()

        await queue.hint([Hint(7, 1, epoch)])

        assert list(await waiting) == [7]
        assert time.monotonic() - started < SOON

    async def test_a_hint_for_nobody_reaches_somebody(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        waiting = [await _start_waiting(queue, await new_epoch()) for _ in range(3)]

        await queue.hint([Hint(7, 1, None)])

        done, left = await asyncio.wait(waiting, timeout=SOON, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        assert done
        assert [task.result() for task in done] == [[7]] * len(done)

    async def test_owners_get_their_own_hints_only(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epochs = [await new_epoch() for _ in range(20)]
        waiting = [await _start_waiting(queue, epoch) for epoch in epochs]

        await queue.hint([Hint(100 + k, 1, epoch) for k, epoch in enumerate(epochs)])

        got = await asyncio.gather(*waiting)
        assert [list(numbers) for numbers in got] == [[100 + k] for k in range(20)]

    async def test_a_hint_for_an_unknown_owner_is_nobodys(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch, BRIEF)

        await queue.hint([Hint(7, 1, UNKNOWN)])

        assert list(await waiting) == []

    async def test_waiting_ends_with_the_time_and_nothing(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        started = time.monotonic()

        async with asyncio.timeout(SOON):
            numbers = await queue.wait(epoch, BRIEF)

        assert list(numbers) == []
        assert time.monotonic() - started >= BRIEF / 1_000_000 * 0.9
        assert list(await queue.wait(epoch, 0)) == []

    async def test_nothing_is_told_twice_or_invented(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch)
        await queue.hint([Hint(n, 1, epoch) for n in (5, 5, 6, 5)])
        got = list(await waiting)

        while len(set(got)) < 2:
            got += await queue.wait(epoch, LONG)

        assert set(got) == {5, 6}
        assert list(await queue.wait(epoch, BRIEF)) == []

    async def test_many_hints_arrive(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch)

        await queue.hint([Hint(n, 1, epoch) for n in range(1, 501)])

        got = set(await waiting)
        async with asyncio.timeout(SOON):
            while len(got) < 500:
                got |= set(await queue.wait(epoch, LONG))
        assert got == set(range(1, 501))

    async def test_hints_between_two_waits_are_kept(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        await queue.wait(epoch, 0)

        await queue.hint([Hint(7, 1, epoch)])
        await queue.hint([Hint(8, 1, epoch)])

        async with asyncio.timeout(SOON):
            got = set(await queue.wait(epoch, LONG))
            while len(got) < 2:
                got |= set(await queue.wait(epoch, LONG))
        assert got == {7, 8}

    async def test_a_cancelled_wait_harms_nobody(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        await queue.hint([Hint(7, 1, epoch)])

        async with asyncio.timeout(SOON):
            assert list(await queue.wait(epoch, LONG)) == [7]

    async def test_no_hints_are_no_work(
        self, queue: QueueProvider, new_epoch: Callable[[], Awaitable[int]]
    ) -> None:
        epoch = await new_epoch()
        waiting = await _start_waiting(queue, epoch, BRIEF)

        await queue.hint([])

        assert list(await waiting) == []

    @drawn
    @given(history=hint_histories)
    async def test_in_any_history_everybody_sees_what_is_theirs(
        self,
        queue: QueueProvider,
        new_epoch: Callable[[], Awaitable[int]],
        history: Sequence[tuple[str, Any]],
    ) -> None:
        await follow_hints(queue, new_epoch, history)


async def _start_waiting(
    queue: QueueProvider, epoch: int, timeout: int = LONG
) -> asyncio.Task[list[int]]:
    """Return a task that really waits; it is limited in real time too."""

    async def wait() -> list[int]:
        async with asyncio.timeout(SOON):
            return list(await queue.wait(epoch, timeout))

    start_serving(queue, epoch)
    task = asyncio.create_task(wait())
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def count_epochs() -> Callable[[], Awaitable[int]]:
    """Return an async function that issues unregistered epochs."""
    issued = iter(range(10_000, 20_000))

    async def new_epoch() -> int:
        return next(issued)

    return new_epoch
