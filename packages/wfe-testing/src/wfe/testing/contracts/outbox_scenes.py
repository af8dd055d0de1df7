"""What the laws of the outbox play in: two stores, an application, and runs that wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import attrs

from wfe.core.providers import (
    Done,
    Event,
    Header,
    InstanceQuery,
    Item,
    OutboxProvider,
    Outcome,
    PersistenceProvider,
    Subscription,
)
from wfe.testing.contracts.runs import begin, fields, inbox, numbers, one, parked, worker

__all__ = ["MANY", "PATIENCE", "ROWS", "Application", "Scene", "event", "start", "wait"]

MANY = 1000  # more than any law leaves in an outbox
PATIENCE = 20.0  # seconds
ROWS = ('["begin"]', '["ready"]')


class Application(Protocol):
    """The application: it has transactions of its own where the runs are, and notes in them."""

    def connect(self) -> AbstractAsyncContextManager[Any]:
        """Return a new connection, ready for one transaction after another."""
        ...

    async def write(self, connection: Any, note: str) -> None:
        """Write a note in the connection's transaction, which begins with that unless it has."""
        ...

    async def commit(self, connection: Any) -> None:
        """Commit the connection's transaction."""
        ...

    async def roll_back(self, connection: Any) -> None:
        """Roll the connection's transaction back."""
        ...

    async def notes(self) -> Sequence[str]:
        """Return what is committed, in any order, from outside."""
        ...

    def strangers(self) -> AbstractAsyncContextManager[Sequence[Any]]:
        """Return connections that cannot take a run along: elsewhere, closed, no connection."""
        ...


@attrs.frozen
class Scene:
    """Two open stores on one backend (or one, twice), and the application."""

    store: PersistenceProvider
    other: PersistenceProvider
    app: Application

    async def put(self, connection: Any, item: Item) -> Outcome:
        """Hand *item* over as a host does."""
        async with asyncio.timeout(PATIENCE):
            found = cast("OutboxProvider", self.store).enqueue(connection, item)
            return await found if inspect.isawaitable(found) else found

    async def publish(self, connection: Any, *events: Event) -> None:
        assert isinstance(await self.put(connection, Item(publish=events)), Done)

    async def drain(self, limit: int = MANY, *, other: bool = False) -> list[int]:
        """Publish what was left; return who woke."""
        store = cast("OutboxProvider", self.other if other else self.store)
        return [n for n, _, _ in await store.drain_outbox(limit)]

    async def waiting(self, *waits: Subscription) -> int:
        """Return a run that waits for events."""
        epoch = await worker(self.store)
        n = await begin(self.store, epoch)
        item = Item(n=n, base=0, rows=('["wait"]',), subscribe=waits, header=parked())
        assert isinstance(await one(self.store, epoch, item), Done)
        return n

    async def got(self, n: int) -> list[dict[str, Any]]:
        """Return the events that a run was sent."""
        _, rows = await inbox(self.store, n)
        return [fields(row.payload) for row in rows if row.kind == "event"]

    async def all(self) -> list[int]:
        return numbers(await self.other.find(InstanceQuery()))


def start(new: Header, **rest: Any) -> Item:
    """Return a start within a transaction."""
    return Item(n=new.n, new=new, rows=ROWS, **rest)


def event(key: str = "k", **rest: Any) -> Event:
    """Return an event."""
    return Event(id=rest.pop("id", f"event {key}"), name="paid", key=key, **rest)


def wait(key: str = "k", *, pointer: int = 1, as_of: int = 0, **after: Any) -> Subscription:
    """Return a wait for it."""
    return Subscription(pointer=pointer, name="paid", key=key, as_of=as_of, **after)
