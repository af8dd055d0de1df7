"""How long it takes until others go on with the runs of a process that was killed."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - a benchmark draws
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.scaling.children import Child
from benchmarks.scaling.flows import definitions
from benchmarks.scaling.places import Place, Servers
from wfe.host import WorkflowHost

__all__ = ["taken_over"]


async def taken_over(
    servers: Servers, *, lease: float, runs: int, elsewhere: bool = False
) -> dict[str, Any]:
    """Kill -9 a process in whose hands all *runs* are; another one goes on with them.

    Args:
        servers: Where the store is.
        lease: In seconds.
        runs: How many.
        elsewhere: The two are as on two machines: that one died shows by its silence only.
    """
    place = servers.new()
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder) if elsewhere else None
        figures = await _killed(place, machine, lease, runs)
    servers.drop(place)
    return figures


async def _killed(place: Place, machine: Path | None, lease: float, runs: int) -> dict[str, Any]:
    host = WorkflowHost(place.store, queue=place.queue, lock=place.lock, max_live=0)
    async with (
        host,
        Child("drive", place, machine=machine, lease=lease, name="first") as first,
        Child("drive", place, lease=lease, name="second") as second,
    ):
        host.register(*definitions().values())
        first.say("go")
        await first.hear("up")
        for _ in range(runs):
            await host.start_workflow("hold")
        for _ in range(runs):
            await first.hear("begun")
        second.say("go")
        await second.hear("up")
        # At any time between two heartbeats.
        await asyncio.sleep(2 + random.uniform(0, lease / 3))
        killed = time.monotonic_ns()
        first.kill()
        begun = [await second.hear("begun") - killed for _ in range(runs)]
    return {
        "lease_s": lease,
        "machines": 1 if machine is None else 2,
        "runs": runs,
        "first_s": min(begun) / 1e9,
        "all_s": max(begun) / 1e9,
    }
