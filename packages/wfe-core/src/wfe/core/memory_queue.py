"""Hints between the hosts of one process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from wfe.core.clocks import SystemClock
from wfe.core.providers import Clock, Hint

__all__ = ["MemoryQueue"]


class MemoryQueue:
    """A mailbox for each epoch that has waited; for one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mail: dict[int, _Mailbox] = {}

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell owners; what nobody owns is told to all, and the claim decides."""
        for hint in hints:
            if hint.owner is None:
                for box in self._mail.values():
                    box.put(hint.n)
            else:
                self.put(hint.owner, hint.n)

    def put(self, epoch: int, n: int) -> bool:
        """Hint *n* to *epoch*; ``False``: it has never waited here."""
        box = self._mail.get(epoch)
        if box is not None:
            box.put(n)
        return box is not None

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        box = self._mail.get(epoch)
        if box is None:
            box = self._mail[epoch] = _Mailbox()
        return await box.take(self._clock, timeout)

    def forget(self, epoch: int) -> None:
        """Drop the mailbox of an epoch that is over."""
        self._mail.pop(epoch, None)


class _Mailbox:
    """Hints for one epoch."""

    def __init__(self) -> None:
        self._numbers: dict[int, None] = {}
        self._waiter: asyncio.Future[None] | None = None

    def put(self, n: int) -> None:
        self._numbers[n] = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, clock: Clock, timeout: int) -> Sequence[int]:
        if not self._numbers and timeout > 0:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            if isinstance(clock, SystemClock):
                await asyncio.wait({waiter}, timeout=timeout / 1_000_000)
            else:
                timer = asyncio.ensure_future(clock.sleep_until(clock.now() + timeout))
                try:
                    await asyncio.wait({waiter, timer}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    timer.cancel()
        numbers, self._numbers = tuple(self._numbers), {}
        return numbers
