"""One heap of due times for all live runs, and one task that waits for the earliest."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from wfe.core.providers import Clock

__all__ = ["Timers"]


class Timers:
    """Calls back when times come; a callback that is not wanted any more must notice itself."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty heap on *clock*."""
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._task: asyncio.Task[None] | None = None
        self._target: int | None = None

    def at(self, when: int, call: Callable[[], None]) -> None:
        """Call *call* when the clock shows *when* (µs) or later."""
        heapq.heappush(self._heap, (when, next(self._order), call))
        if self._target is None or when < self._target:
            self._restart()

    def _restart(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._target = self._heap[0][0] if self._heap else None
        self._task = asyncio.create_task(self._run()) if self._heap else None

    async def _run(self) -> None:
        while self._heap:
            self._target = self._heap[0][0]
            await self._clock.sleep_until(self._target)
            now = self._clock.now()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
        self._target = None

    async def close(self) -> None:
        """Forget everything."""
        self._heap.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
