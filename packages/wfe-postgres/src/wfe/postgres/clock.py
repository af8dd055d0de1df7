"""The server's clock, as this process knows it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

__all__ = ["ServerClock"]

_LONGEST_SLEEP: Final = 30.0  # seconds; after it a corrected clock is seen


class ServerClock:
    """The offset of the server's clock, measured now and then, and the monotonic clock between.

    It never goes back: after a measurement that would put it back it stands still until the
    server has caught up.  Before the first measurement it goes by the machine's clock.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()  # ns
        self._floor = 0  # µs
        self._guard = threading.Lock()  # the heartbeat has a thread of its own
        self._measured = False

    def now(self) -> int:
        """Return µs since 1970, UTC."""
        at = (self._offset + self._monotonic()) // 1000
        return at if at > self._floor else self._floor  # noqa: FURB136 - so often that a call counts

    def sync(self, server: int, before: int, after: int) -> int:
        """Take a measurement; return by how many µs the clock had moved (either way).

        The first one is taken to be from half-way between question and answer.  A later one says
        between which bounds the clock is right: within them it is left alone, so that a slow
        answer spoils nothing that a fast one told.

        Args:
            server: Its time, µs.
            before: ``time.monotonic_ns()`` when it was asked.
            after: The same when its answer was there.
        """
        least, most = server * 1000 - after, server * 1000 - before
        with self._guard:
            if self._measured:
                self._floor = self.now()
                offset = min(max(self._offset, least), most)
            else:
                offset = (least + most) // 2
            moved, self._offset = offset - self._offset, offset
            self._measured = True
        return moved // 1000

    async def sleep_until(self, when: int) -> None:
        """Return when :meth:`now` is at least *when* (µs)."""
        while (left := when - self.now()) > 0:  # noqa: ASYNC110 - a clock has no event
            await asyncio.sleep(min(left / 1_000_000, _LONGEST_SLEEP))
