"""Events of a memory store and who waits for them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from operator import itemgetter

from wfe.core.memory_run import Deliver, MemoryCommit, MemoryRun
from wfe.core.providers import Event, Message, Subscription, event_payload, located

__all__ = ["MemoryTopics"]


class MemoryTopics:
    """Subscriptions and events by (name, key); each wait is over with its first event.

    Args:
        deliver: How a matched event reaches its run.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._events: defaultdict[tuple[str, str], list[tuple[int, int, Event]]] = defaultdict(list)
        self._places: dict[str, tuple[int, int]] = {}  # by id
        self._waiting: defaultdict[
            tuple[str, str], dict[tuple[int, int], tuple[MemoryRun, Subscription]]
        ] = defaultdict(dict)
        self._last_e = 0

    def unsubscribe(self, run: MemoryRun, pointer: int) -> None:
        subscription = run.subscriptions.pop(pointer, None)
        if subscription is not None:
            topic = (subscription.name, subscription.key)
            waiting = self._waiting[topic]
            del waiting[run.new.n, pointer]
            if not waiting:
                del self._waiting[topic]

    def end(self, run: MemoryRun) -> None:
        """End all waits of a run."""
        for pointer in tuple(run.subscriptions):
            self.unsubscribe(run, pointer)

    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        self.unsubscribe(run, subscription.pointer)
        if subscription.past:
            places = [self._places[id] for id in subscription.past if id in self._places]
            subscription = located(subscription, places)
        topic = (subscription.name, subscription.key)
        run.subscriptions[subscription.pointer] = subscription
        self._waiting[topic][run.new.n, subscription.pointer] = (run, subscription)
        events = self._events.get(topic, [])
        after = (subscription.after_at, subscription.after_e + 1)
        first = max(after, (subscription.as_of, 0))
        for k in range(bisect_left(events, first, key=lambda stored: stored[:2]), len(events)):
            if not _is_over(events[k][2], commit.now):
                self._match(run, subscription, events[k], commit)
                return

    def publish(self, event: Event, commit: MemoryCommit) -> None:
        if event.id in self._places:
            return
        self._last_e += 1
        at = commit.now if event.at is None else event.at
        self._places[event.id] = (at, self._last_e)
        stored = (at, self._last_e, event)
        topic = (event.name, event.key)
        insort(self._events[topic], stored, key=lambda other: other[:2])
        waiting = () if _is_over(event, commit.now) else self._waiting.get(topic, {}).items()
        for _, (run, subscription) in sorted(waiting, key=itemgetter(0)):
            after = (subscription.after_at, subscription.after_e)
            if subscription.as_of <= at and after < stored[:2]:
                self._match(run, subscription, stored, commit)

    def _match(
        self,
        run: MemoryRun,
        subscription: Subscription,
        stored: tuple[int, int, Event],
        commit: MemoryCommit,
    ) -> None:
        at, e, event = stored
        pointer = subscription.pointer
        self.unsubscribe(run, pointer)
        payload = event_payload(pointer, e, at, event)
        message = Message(
            target=run.new.n, kind="event", payload=payload, dedupe=f"event:{pointer}:{e}"
        )
        self._deliver(run, message, commit)

    def purge(self, now: int, limit: int) -> int:
        """Delete up to *limit* events that have expired; return how many."""
        over = [
            (topic, stored)
            for topic, events in self._events.items()
            for stored in events
            if _is_over(stored[2], now)
        ][:limit]
        for topic, stored in over:
            self._events[topic].remove(stored)
            self._places.pop(stored[2].id, None)
            if not self._events[topic]:
                del self._events[topic]
        return len(over)


def _is_over(event: Event, now: int) -> bool:
    return event.expires is not None and event.expires <= now
