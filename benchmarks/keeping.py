"""Workloads of what is kept: runs after a crash, sleepers, and very long runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import crashing
from benchmarks.counting import CountingStore
from benchmarks.marks import Marks
from benchmarks.measuring import Measured, finished, measured, sequence
from benchmarks.memory import Peak
from wfe.core import WorkflowBuilder, WorkflowDefinition
from wfe.core.models import WorkflowStatus
from wfe.core.providers import Header, Item
from wfe.host import WorkflowHost

__all__ = ["idle", "long_foreach", "long_sequence", "multiply", "nothing_live", "recover"]

_DAY = 86_400_000_000  # µs
_STRIDE = 1_000_000_007  # µs; spreads moments over the day
_BATCH = 1000
_LARGE = 16 << 20
_ROOT = Path(__file__).parent.parent


async def recover(store: CountingStore) -> Measured:
    """Runs whose host was killed in the middle: until they are owned again, and until they end."""
    runs = crashing.RUNS
    await _killed_host(f"sqlite:///{store.path}")
    crashing.begun.clear()
    crashing.hold.set()
    host = store.host(max_live=runs)
    host.register(crashing.half_done())

    async def work() -> dict[str, float]:
        began = time.perf_counter()
        async with host:
            while crashing.begun["four"] < runs or (await host.health())["live"]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return {
            "own_ms": (store.claimed_at - began) * 1e3,
            "store_ms": store.taking * 1e3,
            "fences": store.fences,
            "releases": store.releases,
            "claims": len(store.claims),
            "missed": runs - sum(store.claims),
            "again": crashing.begun["one"] + crashing.begun["two"],
        }

    return await measured(store, work, runs)


async def _killed_host(url: str) -> None:
    """Let another process start the runs, and kill it when all are half done."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.crashing", url),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        said = await asyncio.wait_for(_line(child), timeout=60)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        await child.wait()
    if said.strip() != b"ready":
        message = f"the process to be killed said {said!r}"
        raise RuntimeError(message)


async def _line(child: asyncio.subprocess.Process) -> bytes:
    return b"" if child.stdout is None else await child.stdout.readline()


async def idle(store: CountingStore, sleepers: int = 1000) -> Measured:
    """Sleeping workflows: what an idle host costs and writes."""
    sleeper = WorkflowBuilder().delay(timedelta(days=1)).build("sleeper")
    async with store.host(linger=timedelta(0)) as host:
        host.register(sleeper)
        run = await host.start_workflow("sleeper")
        await nothing_live(host)
        await multiply(store, run.id, sleepers - 1)
        peak = Peak()
        await asyncio.sleep(0.5)
        tasks = len(asyncio.all_tasks())

        async def work() -> dict[str, float]:
            cpu = time.process_time()
            await asyncio.sleep(5)
            percent = (time.process_time() - cpu) / 5 * 100
            writes = store.commits + store.writes
            live = (await host.health())["live"]
            grown = peak.grown()
            return {
                "tasks": tasks,
                "writes": writes,
                "live": live,
                "cpu_percent": percent,
                "grown_mb": grown,
            }

        return await measured(store, work, sleepers)


async def nothing_live(host: WorkflowHost) -> None:
    """Wait until a host has given up all runs that wait."""
    deadline = time.monotonic() + 30
    while (await host.health())["live"] and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def multiply(store: CountingStore, id: str, times: int, prefix: str | None = None) -> None:
    """Store copies of a sleeping run, each due at a moment of its own, a day ahead or more.

    Args:
        store: Where the run is.
        id: Of the run.
        times: How many copies.
        prefix: Of their ids; ``None``: the run's.
    """
    prefix = prefix or id
    one = await store.get(id)
    rows = tuple([row.event for row in await store.history(one.n, 0, 100)])
    first = await store.allocate(times)
    for start in range(0, times, _BATCH):
        items: list[Item] = []
        for k in range(start, min(start + _BATCH, times)):
            header = Header(
                n=first + k,
                id=f"{prefix}-{k}",
                d=one.d,
                definition=one.definition,
                version=one.version,
                status=WorkflowStatus.RUNNABLE.value,
                wake=one.wake + k * _STRIDE % _DAY,
                root_id=f"{prefix}-{k}",
            )
            items.append(Item(n=first + k, rows=rows, new=header))
        await store.commit(None, items)


async def long_sequence(store: CountingStore, steps: int = 20_000) -> Measured:
    """One workflow that turns a loop very often: rows a step, memory, linear time."""
    marks = Marks(steps)

    async def count(n: int = 0) -> dict[str, int]:
        marks.hit()
        return {"n": n + 1}

    def again(data: dict[str, Any]) -> bool:
        return int(data.get("n", 0)) < steps

    loop = WorkflowBuilder().while_do(again, lambda b: b.then(count)).build("long")
    return await _long(store, loop, marks, steps)


async def long_foreach(store: CountingStore, steps: int = 20_000) -> Measured:
    """A for-each over very many items: rows an item, memory, linear time."""
    marks = Marks(steps)

    async def item() -> None:
        marks.hit()

    wide = WorkflowBuilder().for_each(lambda _: range(steps), lambda b: b.then(item)).build("wide")
    return await _long(store, wide, marks, steps)


async def _long(
    store: CountingStore, definition: WorkflowDefinition, marks: Marks, steps: int
) -> Measured:
    # A million items are seven megabytes: more than a value may have by default.
    async with store.host(max_inline=_LARGE, max_data=_LARGE) as host:
        host.register(sequence("warm", 5), definition)
        await finished(host, "warm")
        peak = Peak()

        async def work() -> dict[str, float]:
            await finished(host, definition.id)
            return {
                "grown_mb": peak.grown(),
                "rows_a_step": store.rows / steps,
                "quarters": marks.last_to_first(),
            }

        return await measured(store, work, steps)
