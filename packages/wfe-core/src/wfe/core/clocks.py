"""The clocks of a store: the machine's, and one that tests move by hand."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

from wfe.core.micros import to_micros

__all__ = ["SystemClock", "VirtualClock"]

_LONGEST_SLEEP: Final = 30.0  # seconds; after it a corrected clock is seen
_VIRTUAL_START: Final = to_micros(datetime(2025, 1, 1, tzinfo=UTC))


class SystemClock:
    """Wall clock read once, then carried on by the monotonic clock; never goes back.

    A step of the machine's wall clock changes nothing until :meth:`sync`.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()  # ns
        self._floor = 0  # µs

    def now(self) -> int:
        """Return µs since 1970, UTC."""
        now = (self._offset + self._monotonic()) // 1000
        return now if now > self._floor else self._floor  # noqa: FURB136 - max() takes twice as long

    def sync(self) -> int:
        """Measure the wall clock again; return by how many µs it had moved (either way).

        After a step back the clock stands still until the wall clock has caught up.
        """
        self._floor = self.now()
        offset = self._wall() - self._monotonic()
        moved, self._offset = offset - self._offset, offset
        return moved // 1000

    async def sleep_until(self, when: int) -> None:
        """Return when :meth:`now` is at least *when* (µs)."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - a clock has no event
            await asyncio.sleep(min(left / 1_000_000, _LONGEST_SLEEP))


class VirtualClock:
    """Stands still until :meth:`advance` moves it; belongs to one event loop.

    Args:
        start: First value of :meth:`now`, an aware datetime; ``None``: 2025-01-01 UTC.
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = _VIRTUAL_START if start is None else to_micros(start)
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> int:
        """Return µs since 1970, UTC."""
        return self._now

    @property
    def next_due(self) -> int | None:
        """When the earliest sleeper wakes (µs); ``None``: nobody sleeps."""
        while self._waiters and self._waiters[0][2].done():
            heapq.heappop(self._waiters)
        return self._waiters[0][0] if self._waiters else None

    async def sleep_until(self, when: int) -> None:
        """Return when :meth:`now` is at least *when* (µs)."""
        if when <= self._now:
            return
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (when, next(self._order), waiter))
        await waiter

    def move_to(self, when: int) -> int:
        """Set the time to *when* (µs; never back), wake who is due, and return how many."""
        self._now = max(self._now, when)
        woken = 0
        while (due := self.next_due) is not None and due <= self._now:
            heapq.heappop(self._waiters)[2].set_result(None)
            woken += 1
        return woken

    async def advance(
        self, by: timedelta, settle: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Move on by *by*, stopping at each sleeper's time on the way.

        Args:
            by: How far; not negative.
            settle: Awaited after each stop, so that what woke may finish and sleep again;
                ``None``: the loop turns ten times.
        """
        end = self._now + to_micros(by)
        await _settled(settle)
        while (due := self.next_due) is not None and due <= end:
            self.move_to(due)
            await _settled(settle)
        self.move_to(end)
        await _settled(settle)


async def _settled(settle: Callable[[], Awaitable[object]] | None) -> None:
    if settle is not None:
        await settle()
        return
    for _ in range(10):
        await asyncio.sleep(0)
