"""A full store against one that is next to empty: the same calls, in turn."""

from __future__ import annotations

import itertools
import random  # noqa: TID251 - a benchmark draws
import time
import uuid
from collections.abc import Awaitable, Sequence
from typing import Any, Final

import attrs

from benchmarks.scaling.filling import BASE, FINISHED, REFERENCES, Filled
from benchmarks.scaling.flows import definitions
from benchmarks.scaling.timing import summary
from wfe.core.providers import (
    Claimed,
    Done,
    Header,
    HeaderChange,
    InstanceQuery,
    Item,
    StoredInstance,
    WorkerInfo,
)
from wfe.host import WorkflowHost
from wfe.postgres import PostgresStore

__all__ = ["MOST", "compare"]

MOST: Final = 2.0
"""What a full store may take, by what the other takes."""
_PAGE: Final = 50
_KNOWN: Final = 500  # runs of all ages that are asked for
_CLAIMED: Final = 20  # runs that are claimed at once
_ROW: Final = '[1,"step_completed",1,"noop",0,{"started":1795285669465983},[["d",1]]]'
_OVER: Final = HeaderChange(status="complete", final=True)


class Asked:
    """A store that is asked, and what its answers took."""

    def __init__(self, filled: Filled) -> None:
        """Ask the store in *filled*."""
        self.filled = filled
        self.store = PostgresStore(filled.url)
        self.times: dict[str, list[float]] = {}
        self._epoch = 0
        self._d: dict[str, int] = {}
        self._numbers = itertools.count()
        self._known: list[StoredInstance] = []

    async def open(self) -> None:
        """Connect, and look up what is asked for later."""
        store = self.store
        await store.open()
        self._epoch = await store.register(WorkerInfo(name="full", host="here", pid=1))
        self._d = {row.id: row.d for row in await store.definitions()}
        self._numbers = itertools.count(await store.allocate(100_000))
        numbers = random.sample(range(1, self.filled.finished + 1), _KNOWN)
        self._known = [each.header for each in await store.load([BASE + k for k in numbers])]

    async def timed(self, name: str, call: Awaitable[Any]) -> Any:
        """Await *call*, and note how long it took under *name*."""
        began = time.perf_counter()
        result = await call
        self.times.setdefault(name, []).append(time.perf_counter() - began)
        return result

    async def _committed(self, name: str, epoch: int | None, items: Sequence[Item]) -> None:
        """Commit *items*, all of which have to be done."""
        outcomes = await self.timed(name, self.store.commit(epoch, items))
        if wrong := [each for each in outcomes if not isinstance(each, Done)]:
            message = f"{name}: {len(wrong)} of {len(outcomes)} are {wrong[0]}"
            raise RuntimeError(message)

    async def round(self) -> None:
        """Ask everything once."""
        await self._read()
        await self._write()

    async def _read(self) -> None:
        store, timed = self.store, self.timed
        some = random.choice(self._known)
        reference = f"customer-{random.randrange(self.filled.finished // REFERENCES)}"
        await timed("due", store.due(list(self._d.values())))
        await timed("get", store.get(some.id))
        await timed("history", store.history(some.n, -1, 100))
        await timed("load", store.load([some.n]))
        queries = {
            "list newest": InstanceQuery(limit=_PAGE),
            "list failed": InstanceQuery(status="failed", limit=_PAGE),
            "list definition": InstanceQuery(definition=FINISHED[2], limit=_PAGE),
            "list definition+status": InstanceQuery(
                definition=FINISHED[2], status="complete", limit=_PAGE
            ),
            "list reference": InstanceQuery(reference=reference, limit=_PAGE),
            "list next page": InstanceQuery(after=(some.created_at, some.n), limit=_PAGE),
        }
        for name, query in queries.items():
            await timed(name, store.find(query))

    async def _write(self) -> None:
        store, timed = self.store, self.timed
        now = store.clock.now()
        news = [self._started(now) for _ in range(_CLAIMED)]
        await self._committed("start", None, news[:1])
        await self._committed(f"start {_CLAIMED - 1}", None, news[1:])
        claimed: Sequence[Claimed] = await timed(
            f"claim {_CLAIMED}", store.claim(self._epoch, list(self._d.values()), _CLAIMED)
        )
        if len(claimed) != _CLAIMED:
            message = f"{len(claimed)} of {_CLAIMED} due runs were claimed"
            raise RuntimeError(message)
        none = await timed(
            "claim nothing", store.claim(self._epoch, list(self._d.values()), _CLAIMED)
        )
        if none or {each.n for each in claimed} != {each.n for each in news}:
            message = "others than the runs just started were claimed"
            raise RuntimeError(message)
        first = claimed[0].n
        epoch = self._epoch
        await self._committed("commit a step", epoch, [_step(first)])
        more = [_step(each.n) for each in claimed[1:]]
        await self._committed(f"commit {_CLAIMED - 1} steps", epoch, more)
        ends = [Item(n=each.n, base=1, rows=(_ROW,), header=_OVER, alive=True) for each in claimed]
        await self._committed("end", epoch, ends[:1])
        await self._committed(f"end {_CLAIMED - 1}", epoch, ends[1:])

    def _started(self, now: int) -> Item:
        n = next(self._numbers)
        id = str(uuid.uuid4())
        header = Header(
            n=n,
            id=id,
            d=self._d[FINISHED[0]],
            definition=FINISHED[0],
            version=1,
            reference=f"customer-{n % 1000}",
            wake=now - 1000,
            root_id=id,
            idem=f"key:{id}",
        )
        return Item(n=n, rows=(_ROW,), new=header)

    async def close(self) -> None:
        """Let go."""
        await self.store.unregister(self._epoch)
        await self.store.close()


def _step(n: int) -> Item:
    return Item(n=n, base=0, rows=(_ROW,))


async def compare(small: Filled, big: Filled, rounds: int) -> list[dict[str, Any]]:
    """Return p50 and p99 of each call on both, and their ratios."""
    stores = [Asked(small), Asked(big)]
    for each in stores:
        await each.open()
    try:
        for k in range(rounds + rounds // 10):
            if k == rounds // 10:  # before: connections, plans and caches got warm
                for each in stores:
                    each.times.clear()
            for each in random.sample(stores, 2):
                await each.round()
    finally:
        for each in stores:
            await each.close()
    found = [_ratio(name, *(each.times[name] for each in stores)) for name in stores[0].times]
    return [*found, await _whole(small, big, rounds)]


async def _whole(small: Filled, big: Filled, rounds: int) -> dict[str, Any]:
    """Return what one-step workflows take from start to result, on a host of each."""
    async with WorkflowHost(small.url) as one, WorkflowHost(big.url) as other:
        times: dict[WorkflowHost, list[float]] = {one: [], other: []}
        for host in times:
            host.register(*definitions().values())
            host.register(*(attrs.evolve(definitions()["ten"], id=name) for name in FINISHED))
            await _finished(host)
        for _ in range(rounds):
            for host in random.sample([one, other], 2):
                began = time.perf_counter()
                await _finished(host)
                times[host].append(time.perf_counter() - began)
    return _ratio("workflow of 1 step", times[one], times[other])


async def _finished(host: WorkflowHost) -> None:
    await (await host.start_workflow("one")).wait()


def _ratio(name: str, small: Sequence[float], big: Sequence[float]) -> dict[str, Any]:
    one, other = summary(small), summary(big)
    found: dict[str, Any] = {"call": name}
    for figure in ("p50_ms", "p99_ms"):
        found[f"empty_{figure}"] = one[figure]
        found[f"full_{figure}"] = other[figure]
        found[figure.replace("_ms", "_ratio")] = other[figure] / one[figure]
    return found
