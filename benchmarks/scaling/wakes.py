"""How long a hint takes from one process to another, and a start until its body begins."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - a benchmark draws
import time
from typing import Any, Final

from benchmarks.scaling.children import Child
from benchmarks.scaling.flows import definitions
from benchmarks.scaling.places import Servers
from benchmarks.scaling.timing import summary
from wfe.core.providers import Hint
from wfe.host import WorkflowHost

__all__ = ["hinted", "started"]

_WAYS: Final = {
    "sqlite": "datagram",
    "postgres": "LISTEN/NOTIFY",
    "postgres+valkey": "sorted set, blocking pop",
}


async def hinted(servers: Servers, count: int) -> dict[str, Any]:
    """Tell hints, one after the other, and look when they arrive.

    The monotonic clock is the same in all processes of a machine.
    """
    place = servers.new()
    providers = place.providers()
    await providers.persistence.open()
    told: dict[str, int] = {}
    heard: dict[str, int] = {}
    async with Child("hear", place, count=count) as listener:
        for n in range(1, count + 1):
            await asyncio.sleep(random.uniform(0.006, 0.014))  # more often, and they are gathered
            told[str(n)] = time.monotonic_ns()
            await providers.queue.hint([Hint(n, 1, None)])
        while len(heard) < count:
            heard |= await asyncio.wait_for(listener.hear("heard"), 30)
    for _, provider in providers.different():
        await provider.close()  # type: ignore[attr-defined]
    servers.drop(place)
    delays = [(heard[n] - told[n]) / 1e9 for n in told]
    return {"what": "hint", "way": _WAYS[servers.setup], **summary(delays)}


async def started(servers: Servers, count: int) -> dict[str, Any]:
    """Start runs that another process drives, one after the other, and look when they begin."""
    place = servers.new()
    host = WorkflowHost(place.store, queue=place.queue, lock=place.lock, max_live=0)
    delays: list[float] = []
    async with host, Child("drive", place) as worker:
        host.register(*definitions().values())
        worker.say("go")
        await worker.hear("up")
        for k in range(count + 20):
            await asyncio.sleep(random.uniform(0.002, 0.010))
            began = time.monotonic_ns()
            await host.start_workflow("begin")
            if k >= 20:  # before: everything for the first time
                delays.append((await worker.hear("begun") - began) / 1e9)
            else:
                await worker.hear("begun")
    servers.drop(place)
    return {"what": "start to body", "way": _WAYS[servers.setup], **summary(delays)}
