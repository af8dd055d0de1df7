"""Carries lifecycle events to other processes: after the commit, and never in its way."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from typing import Any, Final

import attrs

from wfe.core.cancelling import cancelled
from wfe.core.errors import ProviderError
from wfe.core.lifecycle_provider import LifecyclePublisher
from wfe.core.models import LifecycleEvent
from wfe.core.providers import Clock

__all__ = ["Publishing"]

_LOG: Final = logging.getLogger("wfe.engine")
_MOST: Final = 10_000  # events that wait
_BATCH: Final = 500
_BACKOFF: Final = (0.1, 5.0)  # seconds
_LAST: Final = 1.0  # seconds for what waits when the host stops


class Publishing:
    """A bounded buffer and the task that empties it; what does not fit is dropped and counted.

    What waited for longer than a lease is dropped too: its run may have another owner by then,
    who has told what came later, and the events of a run are told in their order.
    """

    def __init__(
        self, publisher: LifecyclePublisher, clock: Clock, lease: int, *, data: bool = True
    ) -> None:
        """Tell *publisher*; nothing that is older than *lease* (µs), *data* only if it may know."""
        self.publisher: LifecyclePublisher = publisher
        self._clock = clock
        self._lease = lease
        self._data = data
        self._source = secrets.token_hex(8)
        self._waiting: deque[tuple[int, LifecycleEvent]] = deque()
        self._next = 1
        self._signal = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sent = self._dropped = self._untold = 0
        self._trouble: str | None = None

    def start(self) -> None:
        """Begin to publish."""
        self._task = asyncio.create_task(self._run(), name="wfe-lifecycle")

    def take(self, event: LifecycleEvent) -> None:
        """Keep *event* until it is told."""
        if len(self._waiting) >= _MOST:
            self._drop(1)
        if not self._data and event.data is not None:
            event = attrs.evolve(event, data=None)
        self._waiting.append((self._clock.now(), event))
        self._next += 1
        self._signal.set()

    def fenced(self) -> None:
        """Others own the runs now: what was not told by then is not told."""
        self._drop(len(self._waiting))

    @property
    def state(self) -> dict[str, Any]:
        """How it does: events ``sent``, ``dropped``, ``waiting``, and ``trouble``."""
        return {
            "sent": self._sent,
            "dropped": self._dropped,
            "waiting": len(self._waiting),
            "trouble": self._trouble,
        }

    async def close(self) -> None:
        """Tell what waits, within a second, and stop."""
        await cancelled(self._task)
        try:
            async with asyncio.timeout(_LAST):
                while self._waiting and self._trouble is None:
                    await self._some()
        except Exception as error:  # noqa: BLE001 - a guest must not keep the host from stopping
            self._trouble = str(error) or "it takes too long"
        if self._waiting:
            self._drop(len(self._waiting))
            _LOG.warning("%d lifecycle events were not published", self._untold)
        try:
            await self.publisher.close()
        except Exception as error:  # noqa: BLE001 - as above
            _LOG.warning("the publisher of lifecycle events did not close: %s", error)

    def _drop(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()
        self._dropped += count
        self._untold += count

    async def _run(self) -> None:
        pause = _BACKOFF[0]
        while True:
            await self._signal.wait()
            try:
                await self._some()
            except ProviderError as error:
                self._failed(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _BACKOFF[1])
            except Exception as error:  # noqa: BLE001 - it must not end: runs go on
                _LOG.exception("internal error while publishing lifecycle events, trying again")
                self._trouble = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _BACKOFF[1])
            else:
                self._recovered()
                pause = _BACKOFF[0]

    async def _some(self) -> None:
        """Publish what waits, a batch of it; it stays until it is told."""
        oldest = self._clock.now() - self._lease
        while self._waiting and self._waiting[0][0] < oldest:
            self._drop(1)
        if not self._waiting:
            self._signal.clear()
            return
        first = self._next - len(self._waiting)
        batch = [event for _, event in list(self._waiting)[:_BATCH]]
        await self.publisher.publish(self._source, first, batch)
        # Meanwhile some of them may have been dropped, for want of room or as too old.
        told = first + len(batch) - (self._next - len(self._waiting))
        for _ in range(max(told, 0)):
            self._waiting.popleft()
        self._sent += max(told, 0)

    def _failed(self, error: ProviderError) -> None:
        if self._trouble is None:
            _LOG.warning("lifecycle events wait, publishing fails: %s", error)
        self._trouble = str(error)

    def _recovered(self) -> None:
        self._trouble = None
        if self._untold:
            _LOG.warning("%d lifecycle events were dropped, they were not published", self._untold)
            self._untold = 0
