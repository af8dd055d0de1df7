"""A naive model of events: which were published, who waits, and whom each one wakes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from wfe.core.providers import Event, Subscription, located

__all__ = ["Match", "Topics"]

Match: TypeAlias = tuple[int, Subscription, Event, int]
"""Run, its subscription, the event, and which one of all events it is."""


class Topics:
    """All events and subscriptions; a subscription is over with its first event."""

    def __init__(self) -> None:
        """Begin with none."""
        self.events: dict[str, tuple[int, int, Event]] = {}
        self._waiting: dict[tuple[int, int], Subscription] = {}

    def of(self, n: int) -> list[Subscription]:
        """Return what run *n* waits for."""
        return [wanted for (each, _), wanted in self._waiting.items() if each == n]

    @property
    def waiting(self) -> list[tuple[int, Subscription]]:
        """All waits, each with its run."""
        return [(n, wanted) for (n, _), wanted in self._waiting.items()]

    def end(self, n: int, pointer: int | None = None) -> None:
        """End one wait of run *n*, or all."""
        for key in [key for key in self._waiting if key[0] == n and pointer in (None, key[1])]:
            del self._waiting[key]

    def subscribe(self, n: int, wanted: Subscription) -> Iterator[Match]:
        """Begin a wait; the earliest event that fits ends it at once."""
        places = [self.events[id][:2] for id in wanted.past if id in self.events]
        wanted = self._waiting[n, wanted.pointer] = located(wanted, places)
        for at, e, event in sorted(self.events.values(), key=lambda stored: stored[:2]):
            if _fits(wanted, event, at, e):
                yield self._matched(n, wanted, event, e)
                return

    def fitting(self, n: int, pointers: Iterable[int], event: Event, now: int) -> int:
        """Return how many of these waits of run *n* an event would end that is published now."""
        if event.id in self.events:
            return 0
        at = now if event.at is None else event.at
        waits = [self._waiting.get((n, pointer)) for pointer in set(pointers)]
        e = len(self.events) + 1
        return sum(wanted is not None and _fits(wanted, event, at, e) for wanted in waits)

    def publish(self, event: Event, now: int) -> Iterator[Match]:
        """Store an event, unless its id is known, and wake who waits for it."""
        if event.id in self.events:
            return
        at = now if event.at is None else event.at
        e = len(self.events) + 1
        self.events[event.id] = (at, e, event)
        for (n, _), wanted in list(self._waiting.items()):
            if _fits(wanted, event, at, e):
                yield self._matched(n, wanted, event, e)

    def _matched(self, n: int, wanted: Subscription, event: Event, e: int) -> Match:
        del self._waiting[n, wanted.pointer]
        return n, wanted, event, e


def _fits(wanted: Subscription, event: Event, at: int, e: int) -> bool:
    return (
        (event.name, event.key) == (wanted.name, wanted.key)
        and wanted.as_of <= at
        and (wanted.after_at, wanted.after_e) < (at, e)
    )
