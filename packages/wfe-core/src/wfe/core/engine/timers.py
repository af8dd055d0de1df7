"""One heap of due times for all live runs, and one task that waits for the earliest."""

from __future__ import annotations

import asyncio
import heapq
import weakref
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Protocol

from wfe.core.providers import Clock

__all__ = ["Timed", "Timers"]

_SMALL: Final = 1024  # entries below which dead ones are not worth a search


class Timed(Protocol):
    """Something whose times come; it is held weakly, so that an ended run is not kept."""

    closed: bool

    def timer(self, key: int | None) -> None:
        """Take note that the time called *key* has come, if it is still wanted."""
        ...


class Timers:
    """Calls back when times come; a callback that is not wanted any more must notice itself."""

    def __init__(self, clock: Clock) -> None:
        """Make an empty heap on *clock*."""
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], object]]] = []
        self._order = count()
        self._task: asyncio.Task[None] | None = None
        self._target: int | None = None
        self._limit = _SMALL

    def __len__(self) -> int:
        """Return how many times are waited for, dead ones included."""
        return len(self._heap)

    def at(self, when: int, call: Callable[[], object]) -> None:
        """Call *call* when the clock shows *when* (µs) or later."""
        heapq.heappush(self._heap, (when, next(self._order), call))
        if len(self._heap) > self._limit:
            self._drop_dead()
        if self._target is None or when < self._target:
            self._restart()

    def wake(self, when: int, timed: Timed, key: int | None) -> None:
        """Call ``timed.timer(key)`` when the clock shows *when* (µs), unless it is gone by then."""
        self.at(when, _Wake(timed, key))

    def _drop_dead(self) -> None:
        """Forget the times of runs that have ended, so that long timeouts do not pile up."""
        alive = [e for e in self._heap if not isinstance(e[2], _Wake) or e[2].wanted]
        heapq.heapify(alive)
        self._heap = alive
        self._limit = max(_SMALL, 2 * len(alive))

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


class _Wake:
    """A call that does not keep its target alive."""

    __slots__ = ("_key", "_target")

    def __init__(self, timed: Timed, key: int | None) -> None:
        self._target: weakref.ref[Any] = weakref.ref(timed)
        self._key = key

    @property
    def wanted(self) -> bool:
        timed: Timed | None = self._target()
        return timed is not None and not timed.closed

    def __call__(self) -> None:
        timed: Timed | None = self._target()
        if timed is not None and not timed.closed:
            timed.timer(self._key)
