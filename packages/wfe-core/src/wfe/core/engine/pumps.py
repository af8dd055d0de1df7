"""Collects rows that steps produce and stores them in batches, off the path of the steps."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from wfe.core.errors import ProviderError

__all__ = ["Pump"]

R = TypeVar("R")

_LOG: Final = logging.getLogger("wfe.engine")
_PAUSE: Final = 0.05  # seconds between a row and its storing
_MOST: Final = 1000  # rows a batch
_MANY: Final = 10_000  # rows that wait, beyond which the threads that bring more wait, too
_PATIENCE: Final = 0.5  # seconds that they do: nobody waits for ever for a store that is gone


class Pump(Generic[R]):
    """Takes rows from any thread."""

    def __init__(self, what: str, store: Callable[[Sequence[R]], Awaitable[None]]) -> None:
        """Store rows, called *what* in messages, with *store*, on the running loop."""
        self._what = what
        self._store = store
        self._rows: deque[R] = deque()
        self._handed: deque[R] = deque()  # by other threads
        self._called = False  # whether the loop was asked to fetch them
        self._room = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble = False  # told once, not at every try

    @property
    def waiting(self) -> bool:
        """Whether rows were taken that are not stored yet."""
        return bool(self._rows or self._handed) or self._turn.locked()

    def take(self, row: R) -> None:
        """Keep one row; a thread that brings more than the store can take is held up a little."""
        if threading.get_ident() == self._thread:
            self._take(row)
            return
        self._handed.append(row)
        if not self._called:  # a call for each row would be most of its cost
            self._called = True
            self._loop.call_soon_threadsafe(self._fetch)
        if self._full():
            self._room.clear()
            if self._full():  # still: else nobody might be about to set it
                self._room.wait(_PATIENCE)

    def _full(self) -> bool:
        return len(self._handed) + len(self._rows) > _MANY

    def _fetch(self) -> None:
        self._called = False  # first: what comes from now on calls again
        while self._handed:
            self._take(self._handed.popleft())

    def _take(self, row: R) -> None:
        self._rows.append(row)
        if self._timer is None:
            self._timer = self._loop.call_later(_PAUSE, self._due)
        elif len(self._rows) == _MOST and not self._trouble:
            self._timer.cancel()
            self._due()

    def _due(self) -> None:
        self._timer = None
        task = self._loop.create_task(self.flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Store what was taken so far."""
        async with self._turn:
            self._fetch()
            while self._rows:
                batch = [self._rows.popleft() for _ in range(min(_MOST, len(self._rows)))]
                if not self._full():
                    self._room.set()
                try:
                    await self._store(batch)
                    self._trouble = False
                except ProviderError as error:
                    self._rows.extendleft(reversed(batch))
                    if not self._trouble:
                        _LOG.warning("%s wait, the store refuses writes: %s", self._what, error)
                    self._trouble = True
                    self._again()
                    return

    def _again(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(1.0, self._due)

    async def close(self) -> None:
        """Store the rest."""
        if self._timer is not None:
            self._timer.cancel()
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()
