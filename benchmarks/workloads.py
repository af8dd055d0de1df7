"""The workloads of the performance page; each returns what it measured."""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs

from benchmarks.counting import CountingStore
from wfe.core import WorkflowBuilder, WorkflowContext, WorkflowDefinition, workflow
from wfe.host import WorkflowHost

__all__ = ["WORKLOADS", "Measured", "imports"]


@attrs.frozen(kw_only=True)
class Measured:
    """One run of one workload.

    Attributes:
        wall: Seconds for all of it.
        cpu: CPU seconds of the process.
        steps: How many steps (or workflows, for LATENCY and EVENT) that is.
        extra: More figures by name.
    """

    wall: float
    cpu: float
    steps: int
    commits: int
    rows: int
    extra: dict[str, float] = attrs.field(factory=dict[str, float])


async def noop() -> None:
    """Do nothing."""


def sequence(name: str, steps: int) -> WorkflowDefinition:
    """Return a workflow of *steps* steps that do nothing."""
    builder = WorkflowBuilder().start_with(noop)
    for _ in range(steps - 1):
        builder = builder.then(noop)
    return builder.build(name)


async def _measured(
    store: CountingStore, work: Callable[[], Awaitable[dict[str, float]]], steps: int
) -> Measured:
    gc.collect()
    store.reset()
    wall, cpu = time.perf_counter(), time.process_time()
    extra = await work()
    return Measured(
        wall=time.perf_counter() - wall,
        cpu=time.process_time() - cpu,
        steps=steps,
        commits=store.commits,
        rows=store.rows,
        extra=extra,
    )


async def _finished(host: WorkflowHost, name: str, data: Any = None) -> None:
    run = await host.start_workflow(name, data)
    instance = await run.wait()
    if instance.status != "complete":
        message = f"{name}: {instance.status} {instance.error}"
        raise RuntimeError(message)


async def seq(store: CountingStore) -> Measured:
    """1 workflow of 100 steps."""
    async with WorkflowHost(store) as host:
        host.register(sequence("warm", 5), sequence("seq", 100))
        await _finished(host, "warm")

        async def work() -> dict[str, float]:
            await _finished(host, "seq")
            return {}

        return await _measured(store, work, 100)


@workflow("function")
async def durable(ctx: WorkflowContext, steps: int) -> None:
    """Call a step that does nothing, over and over."""
    for _ in range(steps):
        await ctx.step(noop)


async def function(store: CountingStore) -> Measured:
    """1 durable function of 100 steps."""
    async with WorkflowHost(store) as host:
        host.register(sequence("warm", 5), durable)
        await _finished(host, "warm")
        await _finished(host, "function", 5)

        async def work() -> dict[str, float]:
            await _finished(host, "function", 100)
            return {}

        return await _measured(store, work, 100)


async def many(store: CountingStore) -> Measured:
    """1,000 workflows of 5 steps, started together."""
    async with WorkflowHost(store) as host:
        host.register(sequence("five", 5))
        await _finished(host, "five")

        async def work() -> dict[str, float]:
            await asyncio.gather(*(_finished(host, "five") for _ in range(1000)))
            return {}

        return await _measured(store, work, 5000)


async def fanout(store: CountingStore) -> Measured:
    """200 steps in parallel."""
    body = WorkflowBuilder().for_each(lambda _: range(200), lambda b: b.then(noop))
    async with WorkflowHost(store) as host:
        host.register(sequence("warm", 5), body.build("fanout"))
        await _finished(host, "warm")

        async def work() -> dict[str, float]:
            await _finished(host, "fanout")
            return {}

        return await _measured(store, work, 200)


def _percentiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


async def latency(store: CountingStore, runs: int = 200) -> Measured:
    """1-step workflows, one after the other: from start to result."""
    async with WorkflowHost(store) as host:
        host.register(sequence("one", 1))
        await _finished(host, "one")

        async def work() -> dict[str, float]:
            times = []
            for _ in range(runs):
                began = time.perf_counter()
                await _finished(host, "one")
                times.append(time.perf_counter() - began)
            return _percentiles(times)

        return await _measured(store, work, runs)


async def event(store: CountingStore, runs: int = 200) -> Measured:
    """From publishing an event to the end of the workflow that waits for it."""
    waiting = WorkflowBuilder().wait_for("go", key=lambda d: d["key"]).build("waiter")
    async with WorkflowHost(store) as host:
        host.register(waiting)
        started = [await host.start_workflow("waiter", {"key": str(i)}) for i in range(runs)]
        await asyncio.sleep(0.05)

        async def work() -> dict[str, float]:
            times = []
            for i, run in enumerate(started):
                began = time.perf_counter()
                await host.publish_event("go", str(i))
                await run.wait()
                times.append(time.perf_counter() - began)
            return _percentiles(times)

        return await _measured(store, work, runs)


async def idle(store: CountingStore, sleepers: int = 1000) -> Measured:
    """Sleeping workflows: what an idle host costs and writes."""
    sleeper = WorkflowBuilder().delay(timedelta(days=1)).build("sleeper")
    async with WorkflowHost(store, linger=timedelta(0)) as host:
        host.register(sleeper)
        await asyncio.gather(*(host.start_workflow("sleeper") for _ in range(sleepers)))
        deadline = time.monotonic() + 30
        while (await host.health())["live"] and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        tasks = len(asyncio.all_tasks())

        async def work() -> dict[str, float]:
            cpu = time.process_time()
            await asyncio.sleep(5)
            percent = (time.process_time() - cpu) / 5 * 100
            writes = store.commits + store.writes
            return {"tasks": tasks, "writes": writes, "cpu_percent": percent}

        return await _measured(store, work, sleepers)


async def long_sequence(store: CountingStore, steps: int = 20_000) -> Measured:
    """One workflow that turns a loop very often: rows a step, memory."""
    loop = (
        WorkflowBuilder()
        .while_do(lambda d: d.get("n", 0) < steps, lambda b: b.then(_count))
        .build("long")
    )
    return await _long(store, loop, steps)


async def long_foreach(store: CountingStore, steps: int = 20_000) -> Measured:
    """A for-each over very many items: rows an item, memory."""
    loop = WorkflowBuilder().for_each(lambda _: range(steps), lambda b: b.then(noop)).build("wide")
    return await _long(store, loop, steps)


async def _count(n: int = 0) -> dict[str, int]:
    return {"n": n + 1}


async def _long(store: CountingStore, definition: WorkflowDefinition, steps: int) -> Measured:
    async with WorkflowHost(store) as host:
        host.register(sequence("warm", 5), definition)
        await _finished(host, "warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        async def work() -> dict[str, float]:
            await _finished(host, definition.id)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            return {"grown_mb": grown / 1024, "rows_a_step": store.rows / steps}

        return await _measured(store, work, steps)


WORKLOADS: dict[str, Callable[[CountingStore], Coroutine[Any, Any, Measured]]] = {
    "SEQ": seq,
    "FUNCTION": function,
    "MANY": many,
    "FANOUT": fanout,
    "LATENCY": latency,
    "EVENT": event,
    "IDLE": idle,
    "LONG": long_sequence,
    "WIDE": long_foreach,
}


def imports(tries: int = 5) -> dict[str, float]:
    """Return milliseconds of whole processes (the best of *tries*), and what they imported."""
    wfe = str(Path(sys.executable).with_name("wfe"))
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import wfe.core": [sys.executable, "-c", "import wfe.core"],
        "use wfe.core": [sys.executable, "-c", "from wfe.core import WorkflowBuilder, step"],
        "wfe --help": [wfe, "--help"],
    }
    best: dict[str, float] = {}
    for name, command in commands.items():
        times = []
        for _ in range(tries):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            times.append(time.perf_counter() - began)
        best[name] = min(times) * 1e3
    code = "import sys; from wfe.core import WorkflowBuilder; print(len(sys.modules), *sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    best["modules"] = float(out[0])
    drivers = {"sqlite3", "psycopg", "valkey", "opensearchpy", "cattrs", "ruamel", "rich", "click"}
    best["drivers"] = float(len(drivers.intersection(out)))
    return best
