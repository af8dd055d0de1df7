"""How fast processes claim runs that are due."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.scaling.children import Child
from benchmarks.scaling.places import Servers
from wfe.core.providers import Header, Item, PersistenceProvider

__all__ = ["claimed"]

_BATCH: Final = 1000  # runs of one transaction
_CALLS: Final = 3000  # of all processes together
_ROW: Final = '[1,"workflow_started",null,null,null,{},[["p",1,"noop",null,"pending",0,null,0]]]'


async def claimed(servers: Servers, *, processes: int, batch: int, runs: int) -> dict[str, Any]:
    """Let processes claim of *runs*, up to *batch* by one call, until nothing is left.

    They stop after some thousand calls.

    Raises:
        RuntimeError: One was not claimed, or one twice.
    """
    place = servers.new()
    store = place.providers().persistence
    await store.open()
    d = await _due(store, runs)
    calls = _CALLS // processes
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                Child("claim", place, definitions=[d], batch=batch, calls=calls)
            )
            for _ in range(processes)
        ]
        server, began = servers.cpu(), time.monotonic_ns()
        said = await asyncio.gather(*(each.ask("go") for each in workers))
        server = servers.cpu() - server
    await store.close()
    servers.drop(place)
    total, wanted = sum(each["claimed"] for each in said), min(runs, calls * processes * batch)
    if total != wanted:
        message = f"{total} runs were claimed of {wanted}"
        raise RuntimeError(message)
    wall = (max(each["at"] for each in said) - began) / 1e9
    return {
        "processes": processes,
        "batch": batch,
        "runs": runs,
        "claims_s": total / wall,
        "share_min": min(each["claimed"] for each in said) / total,
        "p50_ms": max(each["p50_ms"] for each in said),
        "p99_ms": max(each["p99_ms"] for each in said),
        "server_cpu_us": server / total * 1e6,
    }


async def _due(store: PersistenceProvider, runs: int) -> int:
    """Store runs that are due, and as many that sleep; return their definition's number."""
    d = await store.put_definition("due", 1, "due", "{}")
    now = store.clock.now()
    for wake in (now - 60_000_000, now + 3_600_000_000):
        first = await store.allocate(runs)
        for start in range(first, first + runs, _BATCH):
            items = [_item(n, d, wake + n) for n in range(start, min(start + _BATCH, first + runs))]
            await store.commit(None, items)
    return d


def _item(n: int, d: int, wake: int) -> Item:
    id = str(uuid.uuid4())
    header = Header(n=n, id=id, d=d, definition="due", version=1, wake=wake, root_id=id)
    return Item(n=n, rows=(_ROW,), new=header)
