"""The workloads of the performance page; each returns what it measured."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from benchmarks import computing, keeping, sleeping, telling, whole
from benchmarks.counting import CountingStore
from benchmarks.measuring import Measured, finished, measured, noop, percentiles, sequence
from wfe.core import WorkflowBuilder, WorkflowContext, workflow

__all__ = ["BY_HAND", "WORKLOADS"]


async def seq(store: CountingStore) -> Measured:
    """1 workflow of 100 steps."""
    async with store.host() as host:
        host.register(sequence("warm", 5), sequence("seq", 100))
        await finished(host, "warm")

        async def work() -> dict[str, float]:
            await finished(host, "seq")
            return {}

        return await measured(store, work, 100)


@workflow("function")
async def durable(ctx: WorkflowContext, steps: int) -> None:
    """Call a step that does nothing, over and over."""
    for _ in range(steps):
        await ctx.step(noop)


async def function(store: CountingStore) -> Measured:
    """1 durable function of 100 steps."""
    async with store.host() as host:
        host.register(sequence("warm", 5), durable)
        await finished(host, "warm")
        await finished(host, "function", 5)

        async def work() -> dict[str, float]:
            await finished(host, "function", 100)
            return {}

        return await measured(store, work, 100)


async def many(store: CountingStore) -> Measured:
    """1,000 workflows of 5 steps, started together."""
    async with store.host() as host:
        host.register(sequence("five", 5))
        await finished(host, "five")

        async def work() -> dict[str, float]:
            await asyncio.gather(*(finished(host, "five") for _ in range(1000)))
            return {}

        return await measured(store, work, 5000)


async def fanout(store: CountingStore) -> Measured:
    """200 steps in parallel."""
    body = WorkflowBuilder().for_each(lambda _: range(200), lambda b: b.then(noop))
    async with store.host() as host:
        host.register(sequence("warm", 5), body.build("fanout"))
        await finished(host, "warm")

        async def work() -> dict[str, float]:
            await finished(host, "fanout")
            return {}

        return await measured(store, work, 200)


async def latency(store: CountingStore, runs: int = 200) -> Measured:
    """1-step workflows, one after the other: from start to result."""
    async with store.host() as host:
        host.register(sequence("one", 1))
        await finished(host, "one")

        async def work() -> dict[str, float]:
            times: list[float] = []
            for _ in range(runs):
                began = time.perf_counter()
                await finished(host, "one")
                times.append(time.perf_counter() - began)
            return percentiles(times)

        return await measured(store, work, runs)


async def event(store: CountingStore, runs: int = 200) -> Measured:
    """From publishing an event to the end of the workflow that waits for it."""
    waiting = WorkflowBuilder().wait_for("go", key=lambda d: d["key"]).build("waiter")
    async with store.host() as host:
        host.register(waiting)
        started = [await host.start_workflow("waiter", {"key": str(i)}) for i in range(runs)]
        await asyncio.sleep(0.05)

        async def work() -> dict[str, float]:
            times: list[float] = []
            for i, run in enumerate(started):
                began = time.perf_counter()
                await host.publish_event("go", str(i))
                await run.wait()
                times.append(time.perf_counter() - began)
            return percentiles(times)

        return await measured(store, work, runs)


Workload: TypeAlias = Callable[[CountingStore], Coroutine[Any, Any, Measured]]

WORKLOADS: dict[str, Workload] = {
    "SEQ": seq,
    "FUNCTION": function,
    "MANY": many,
    "FANOUT": fanout,
    "LATENCY": latency,
    "EVENT": event,
    "SIGNAL": whole.signal,
    "ACTIVITY": whole.activity,
    "LIMITS": whole.limits,
    "SAGA": whole.saga,
    "RECOVER": keeping.recover,
    "IDLE": keeping.idle,
    "LONG": keeping.long_sequence,
    "WIDE": keeping.long_foreach,
    "LOGS": telling.logs,
    "SLEEPERS": sleeping.sleepers,
    "PROCESS": computing.process,
}
BY_HAND: dict[str, Workload] = {
    "IDLE100K": functools.partial(keeping.idle, sleepers=100_000),
    "LONG100K": functools.partial(keeping.long_sequence, steps=100_000),
    "WIDE100K": functools.partial(keeping.long_foreach, steps=100_000),
    "WIDE1M": functools.partial(keeping.long_foreach, steps=1_000_000),
    "SLEEPERS1M": functools.partial(sleeping.sleepers, total=1_000_000),
    "LOGS100MB": functools.partial(telling.logs, lines=1_000_000),
}
"""Too long for every run of the CI; they run when they are named."""
