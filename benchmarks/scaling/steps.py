"""Steps a second of one, two and four processes, and what a step costs them and the server."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.scaling.children import Child
from benchmarks.scaling.flows import STEPS, WAITING_STEPS, definitions
from benchmarks.scaling.places import Servers
from wfe.core.providers import InstanceQuery
from wfe.host import WorkflowHost

__all__ = ["SCALES", "driven"]

SCALES: Final = 1.8
"""What two processes do with steps that wait, by what one does."""
_STEPS: Final = {"ten": STEPS, "waiting": WAITING_STEPS}
_LOADERS: Final = 200  # runs that are started at a time


async def driven(
    servers: Servers, flow: str, *, processes: int, runs: int, max_live: int
) -> dict[str, Any]:
    """Start *runs* of *flow* with nobody to drive them, then let processes do so.

    Raises:
        RuntimeError: A row is missing, or one too many; or a body ran twice.
    """
    place = servers.new()
    host = WorkflowHost(place.store, queue=place.queue, lock=place.lock, max_live=0)
    async with host, AsyncExitStack() as stack:
        host.register(*definitions().values())
        await _started(host, flow, runs)
        workers = [
            await stack.enter_async_context(Child("drive", place, max_live=max_live))
            for _ in range(processes)
        ]
        await asyncio.sleep(1.5)  # the server counts what sessions did, a second late at most
        server, transactions = servers.cpu(), servers.transactions(place)
        written = servers.log_bytes()
        began = time.perf_counter()
        for each in workers:
            each.say("go")
        providers = place.providers()
        store = providers.persistence
        await store.open()
        query = InstanceQuery(definition=flow, status="runnable", limit=1)
        while await store.find(query):  # noqa: ASYNC110 - another process ends them
            await asyncio.sleep(0.02)
        wall = time.perf_counter() - began
        said = [await each.ask("stop") for each in workers]
        server, written = servers.cpu() - server, servers.log_bytes() - written
        await _checked(store, flow, runs)
        await store.close()
    total = {name: sum(each[name] for each in said) for name in said[0]}
    steps = runs * _STEPS[flow]
    if total["bodies"] != steps:
        message = f"{total['bodies']} bodies ran for {steps} steps"
        raise RuntimeError(message)
    await asyncio.sleep(1.5)
    transactions = servers.transactions(place) - transactions
    servers.drop(place)
    return {
        "flow": flow,
        "processes": processes,
        "max_live": max_live,
        "runs": runs,
        "wall_s": wall,
        "steps_s": steps / wall,
        "share_min": min(each["bodies"] for each in said) / steps,
        "cpu_us_step": total["cpu"] / steps * 1e6,
        "server_cpu_us_step": server / steps * 1e6,
        "items_commit": total["items"] / max(total["commits"], 1),
        **{
            f"{name}_step": total[name] / steps
            for name in ("commits", "round_trips", "statements", "rows")
        },
        "transactions_step": transactions / steps,
        "log_bytes_step": written / steps,
        "repeated": total["repeated"],
    }


async def _started(host: WorkflowHost, flow: str, runs: int) -> None:
    for first in range(0, runs, _LOADERS):
        some = range(first, min(first + _LOADERS, runs))
        await asyncio.gather(*(host.start_workflow(flow) for _ in some))


async def _checked(store: Any, flow: str, runs: int) -> None:
    """Look whether each run has each row once, in order."""
    query = InstanceQuery(definition=flow, limit=runs + 1)
    found = await store.find(query)
    if len(found) != runs or {each.status for each in found} != {"complete"}:
        message = f"{len(found)} of {runs} runs are there, not all complete"
        raise RuntimeError(message)
    wanted = list(range(_STEPS[flow] + 2))  # the start, the steps, the end
    for each in found[:: max(len(found) // 200, 1)]:
        rows = [row.seq for row in await store.history(each.n, -1, 1000)]
        if rows != wanted:
            message = f"run {each.id} has rows {rows}"
            raise RuntimeError(message)
