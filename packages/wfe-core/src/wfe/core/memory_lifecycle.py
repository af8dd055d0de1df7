"""Lifecycle events between the hosts of one process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from itertools import islice

from wfe.core.errors import ProviderError
from wfe.core.lifecycle_provider import checked_kinds
from wfe.core.models import LifecycleEvent

__all__ = ["MemoryLifecycle", "MemorySubscription", "open_url"]


def open_url(url: str) -> MemoryLifecycle:
    """Return a new one for ``memory://``.

    Raises:
        ProviderError: The URL says more than its scheme.
    """
    if url.removeprefix("memory:").strip("/"):
        problem = f"{url!r}: lifecycle events in memory have no name; write memory://"
        raise ProviderError("memory", problem, transient=False)
    return MemoryLifecycle()


class MemoryLifecycle:
    """A :class:`~wfe.core.lifecycle_provider.LifecyclePublisher` for one event loop.

    Attributes:
        kept: How many events late subscribers find.
    """

    def __init__(self, kept: int = 10_000) -> None:
        """Keep the last *kept* events."""
        self.kept = kept
        self._events: deque[LifecycleEvent] = deque(maxlen=kept)
        self._told: dict[str, int] = {}
        self._count = 0
        self._subscriptions: set[MemorySubscription] = set()

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        """Tell all subscribers, in this order; what was told under these numbers is not again."""
        known = self._told.get(source, 0)
        fresh = events[max(known + 1 - first, 0) :]
        self._told[source] = max(known, first + len(events) - 1)
        self._events.extend(fresh)
        self._count += len(fresh)
        for each in self._subscriptions:
            each.news.set()

    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        """Return a subscription that has begun."""
        wanted = checked_kinds(kinds)
        if after is not None and after and not after.isdecimal():
            problem = f"{after!r} is no position of a subscription"
            raise ProviderError("memory", problem, transient=False)
        position = self._count if after is None else int(after or 0)
        subscription = MemorySubscription(self, wanted, position)
        self._subscriptions.add(subscription)
        return subscription

    async def close(self) -> None:
        """End all subscriptions."""
        for each in tuple(self._subscriptions):
            await each.close()

    def after(self, position: int) -> tuple[int, list[LifecycleEvent]]:
        """Return what is kept beyond *position*, and the number of the first of these."""
        oldest = self._count - len(self._events)
        start = max(position - oldest, 0)
        return oldest + start + 1, list(islice(self._events, start, None))

    def end(self, subscription: MemorySubscription) -> None:
        """Wake *subscription* no more."""
        self._subscriptions.discard(subscription)


class MemorySubscription:
    """Events from one place on."""

    def __init__(
        self, lifecycle: MemoryLifecycle, kinds: frozenset[str] | None, position: int
    ) -> None:
        self._lifecycle = lifecycle
        self._kinds = kinds
        self._position = position
        self._closed = False
        self.news: asyncio.Event = asyncio.Event()

    @property
    def position(self) -> str:
        """After what a later subscription goes on."""
        return str(self._position)

    async def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        """Yield events until :meth:`close`."""
        while not self._over():
            self.news.clear()
            first, events = self._lifecycle.after(self._position)
            for number, event in enumerate(events, first):
                self._position = number
                if self._kinds is None or event.kind in self._kinds:
                    yield event
                if self._over():
                    return
            if not events:
                await self.news.wait()

    def _over(self) -> bool:
        return self._closed

    async def close(self) -> None:
        """End the iterator."""
        self._closed = True
        self._lifecycle.end(self)
        self.news.set()
