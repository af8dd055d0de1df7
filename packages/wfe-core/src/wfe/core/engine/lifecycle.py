"""Tells observers what happened, after the commit that made it true."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from datetime import datetime
from typing import Any, Final

from wfe.core.lifecycle_provider import checked_kinds
from wfe.core.models import LifecycleEvent

__all__ = ["Lifecycle", "Subscription"]

_LOG: Final = logging.getLogger("wfe.lifecycle")
_ENGINE: Final = logging.getLogger("wfe.engine")
_MOST: Final = 10_000  # events that wait for a subscriber
_QUIET: Final = frozenset({"log", "progress"})
"""Kinds that are no log records: they may be as many as lines of output."""


class Subscription:
    """Events from the moment it was made; an async iterator, closed by :meth:`close`.

    Who reads too slowly misses the oldest: at most 10,000 events wait.  In the place of those that
    are missing comes one of the kind ``events_missed``, whatever the kinds, with their number:
    ``data["count"]``.  The runs' histories have everything but lines and progress.
    """

    def __init__(self, lifecycle: Lifecycle, kinds: Collection[str] | None) -> None:
        """Listen to *kinds*, or to all when it is ``None``.

        Raises:
            TypeError: *kinds* is no collection of texts.
        """
        self._kinds = checked_kinds(kinds)
        self._events: deque[LifecycleEvent] = deque()
        self._news = asyncio.Event()
        self._missed = 0
        self._missed_at: datetime | None = None
        self._closed = False
        self._lifecycle = lifecycle
        lifecycle.add(self._take)

    def _take(self, event: LifecycleEvent) -> None:
        if self._kinds is not None and event.kind not in self._kinds:
            return
        if len(self._events) >= _MOST:
            if not self._missed:
                _ENGINE.warning("a subscriber is too slow for this host's events, and misses some")
            self._missed += 1
            self._missed_at = self._events.popleft().at
        self._events.append(event)
        self._news.set()

    def close(self) -> None:
        """Stop listening; the iterator ends after what it has."""
        self._lifecycle.remove(self._take)
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        """Yield events until :meth:`close`."""
        try:
            while True:
                while self._events:
                    yield self._next()
                if self._closed:
                    return
                self._news.clear()
                await self._news.wait()
        finally:
            self._lifecycle.remove(self._take)

    def _next(self) -> LifecycleEvent:
        if self._missed_at is None:
            return self._events.popleft()
        count, at, self._missed, self._missed_at = self._missed, self._missed_at, 0, None
        data = {"count": count}
        return LifecycleEvent(kind="events_missed", instance_id="", definition="", at=at, data=data)


class Lifecycle:
    """The observers of one host.

    Attributes:
        away: Carries what is neither a line nor progress to other processes; ``None``: nothing
            does.
    """

    def __init__(self) -> None:
        """Make one without observers."""
        self._observers: list[Callable[[LifecycleEvent], None]] = []
        self.away: Callable[[LifecycleEvent], None] | None = None

    @property
    def watched(self) -> bool:
        """Whether anybody listens, so that making an event is worth it."""
        here = bool(self._observers) or self.away is not None
        return here or _LOG.isEnabledFor(logging.INFO)

    @property
    def observed(self) -> bool:
        """Whether an observer listens here (log and other processes do not count)."""
        return bool(self._observers)

    def add(self, observer: Callable[[LifecycleEvent], Any]) -> None:
        """Call *observer* with each event from now on, on the host's loop; it must not block."""
        self._observers.append(observer)

    def remove(self, observer: Callable[[LifecycleEvent], Any]) -> None:
        """Stop calling *observer*; unknown ones are passed over."""
        if observer in self._observers:
            self._observers.remove(observer)

    def send(self, event: LifecycleEvent) -> None:
        """Tell everybody."""
        if event.kind not in _QUIET:
            if _LOG.isEnabledFor(logging.INFO):
                step = f" {event.step}" if event.step else ""
                extra = {"wfe_event": event}
                _LOG.info("%s %s%s", event.kind, event.instance_id, step, extra=extra)
            if self.away is not None:
                self.away(event)
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - an observer is a guest
                # An observer is a guest: its failure must not stop the run that it looks at.
                _LOG.exception("an observer of lifecycle events failed on %s", event.kind)

    def close(self) -> None:
        """End every subscription."""
        for observer in tuple(self._observers):
            owner = getattr(observer, "__self__", None)
            if isinstance(owner, Subscription):
                owner.close()
        self._observers.clear()
