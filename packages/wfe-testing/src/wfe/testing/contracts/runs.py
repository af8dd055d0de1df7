"""What the laws of the persistence contract are about: workers, runs, and reading them back."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import attrs
import orjson

from wfe.core.providers import (
    Done,
    Header,
    HeaderChange,
    InboxRow,
    Item,
    Loaded,
    Message,
    Outcome,
    PersistenceProvider,
    StoredInstance,
    WorkerInfo,
)

__all__ = [
    "HOUR",
    "begin",
    "begin_many",
    "both_orders",
    "definition",
    "fields",
    "final",
    "header",
    "inbox",
    "load",
    "message",
    "numbers",
    "one",
    "parked",
    "tell",
    "twenty",
    "worker",
]

HOUR = 3_600_000_000  # µs


async def worker(store: PersistenceProvider, name: str = "worker") -> int:
    """Register a worker and return its epoch."""
    return await store.register(WorkerInfo(name=name, host="laptop", pid=4711))


async def definition(store: PersistenceProvider, id_: str = "order") -> int:
    """Store a definition and return its number."""
    return await store.put_definition(id_, 1, f"hash of {id_}", "{}")


async def header(store: PersistenceProvider, id_: str = "order", **columns: Any) -> Header:
    """Return the columns of a new run of the definition *id_*, due now."""
    n = await store.allocate(1)
    usual = Header(
        n=n,
        id=f"run-{n}",
        d=await definition(store, id_),
        definition=id_,
        version=1,
        wake=store.clock.now(),
        root_id=f"run-{n}",
    )
    return attrs.evolve(usual, **columns)


async def one(store: PersistenceProvider, epoch: int | None, item: Item) -> Outcome:
    """Commit one item."""
    (outcome,) = await store.commit(epoch, [item])
    return outcome


async def begin(
    store: PersistenceProvider, epoch: int | None = None, id_: str = "order", **columns: Any
) -> int:
    """Start a run with one row, owned by *epoch*, and return its number."""
    new = await header(store, id_, owner=epoch, **columns)
    outcome = await one(store, epoch, Item(n=new.n, new=new, rows=('["begin"]',)))
    assert isinstance(outcome, Done)
    return new.n


async def begin_many(
    store: PersistenceProvider, count: int, epoch: int | None = None, **columns: Any
) -> list[int]:
    """Start runs with one row each in one batch, and return their numbers."""
    first = await header(store, owner=epoch, **columns)
    start = await store.allocate(count)
    news = [
        attrs.evolve(first, n=n, id=f"run-{n}", root_id=f"run-{n}")
        for n in range(start, start + count)
    ]
    outcomes = await store.commit(epoch, [Item(n=o.n, new=o, rows=('["begin"]',)) for o in news])
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return [new.n for new in news]


async def load(store: PersistenceProvider, n: int) -> Loaded:
    """Return one instance, which exists."""
    (loaded,) = await store.load([n])
    return loaded


async def inbox(store: PersistenceProvider, n: int) -> tuple[int, tuple[InboxRow, ...]]:
    """Return poke and messages of one instance."""
    ((same, poke, rows),) = await store.inbox([n])
    assert same == n
    return poke, rows


def message(target: int | None, kind: str = "suspend", **rest: Any) -> Message:
    """Return a message."""
    return Message(target=target, kind=kind, **rest)


async def tell(store: PersistenceProvider, n: int, kind: str = "suspend", **rest: Any) -> Done:
    """Send one message as a client; it is accepted."""
    outcome = await one(store, None, Item(messages=(message(n, kind, **rest),)))
    assert isinstance(outcome, Done)
    return outcome


def parked(wake: int | None = None, status: str = "runnable") -> HeaderChange:
    """Return the header change that gives a run up until *wake*."""
    return HeaderChange(status=status, wake=wake, release=True)


def final(status: str = "complete", error: str | None = None) -> HeaderChange:
    """Return the header change that ends a run."""
    return HeaderChange(status=status, error=error, final=True)


def fields(payload: str) -> dict[str, Any]:
    """Return the payload of an ``event`` message."""
    found: dict[str, Any] = orjson.loads(payload)
    return found


def numbers(instances: Sequence[StoredInstance]) -> list[int]:
    """Return their numbers, in order."""
    return [instance.n for instance in instances]


def both_orders(
    first: Sequence[Awaitable[object]], second: Sequence[Awaitable[object]]
) -> list[Awaitable[object]]:
    """Return all, now one of *first* and now one of *second* before its partner."""
    pairs = zip(first, second, strict=True)
    ordered = [pair if k % 2 else pair[::-1] for k, pair in enumerate(pairs)]
    return [work for pair in ordered for work in pair]


def twenty(hosts: Sequence[PersistenceProvider]) -> list[PersistenceProvider]:
    """Return the stores in turn, so many that twenty callers have one each."""
    return [hosts[k % len(hosts)] for k in range(20)]
