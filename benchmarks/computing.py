"""A workload of CPU-bound steps in worker processes."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.measuring import Measured, measured, percentiles
from wfe.core import WorkflowContext, step, workflow

__all__ = ["process"]

_PROCESSES = 2
_LONG = 0.02  # s of CPU
_MOST = 16  # that wait at a time


@step(process=True)
def compute(seconds: float) -> int:
    """Use the processor for a while."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


@workflow("warmer")
async def warmer(ctx: WorkflowContext) -> list[Any]:
    """Use every process once."""
    return list(await ctx.gather(*(ctx.step(compute, _LONG) for _ in range(_PROCESSES * 4))))


@workflow("hopper")
async def hopper(ctx: WorkflowContext, steps: int) -> None:
    """Call what takes no time, over and over."""
    for _ in range(steps):
        await ctx.step(compute, 0.0)


@workflow("computer")
async def computer(ctx: WorkflowContext, steps: int) -> list[int]:
    """Compute in all processes."""
    found: list[int] = []
    for _ in range(0, steps, _MOST):
        found += await ctx.gather(*(ctx.step(compute, _LONG) for _ in range(_MOST)))
    return found


async def process(store: CountingStore, steps: int = 64) -> Measured:
    """Steps of 20 ms in two processes: how many at a time, and what the host notices."""
    async with store.host(processes=_PROCESSES) as host:
        host.register(warmer, hopper, computer)
        await (await host.start_workflow(warmer)).result(60)
        began = time.perf_counter()
        await (await host.start_workflow(hopper, 100)).result(60)
        hop = (time.perf_counter() - began) / 100

        async def work() -> dict[str, float]:
            run = await host.start_workflow(computer, steps)
            lag = asyncio.create_task(_lag())
            began = time.perf_counter()
            used = await run.result(300)
            took = time.perf_counter() - began
            lag.cancel()
            return {
                "hop_ms": hop * 1e3,
                "processes": len(set(used)),
                "at_a_time": steps * _LONG / took,
                "lag_p99_ms": percentiles(await lag)["p99_ms"],
            }

        return await measured(store, work, steps)


async def _lag() -> list[float]:
    """Return how late the loop was, s, each time that this asked to be woken."""
    late: list[float] = []
    try:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            late.append(time.perf_counter() - began - 0.002)
    except asyncio.CancelledError:
        return late
