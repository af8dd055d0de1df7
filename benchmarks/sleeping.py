"""A workload on a store full of sleepers: what they cost whoever asks for something else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.keeping import multiply, nothing_live
from benchmarks.measuring import Measured, finished, measured, percentiles, sequence
from benchmarks.memory import Peak
from wfe.core import WorkflowBuilder
from wfe.core.providers import WorkerInfo
from wfe.host import WorkflowHost

__all__ = ["sleepers"]

_ROUNDS = 100
_FEW = 100
_PAGE = 50
_IDLE = 2.0  # s
_NAPPER = WorkflowBuilder().delay(timedelta(days=1)).build("napper")


async def sleepers(store: CountingStore, total: int = 20_000) -> Measured:
    """A host over very many sleepers that were put into the store, not run.

    Each figure ``of_few`` is what a call takes there by what it takes with a hundred of them.
    """
    async with store.host(linger=timedelta(0)) as host:
        host.register(_NAPPER)
        run = await host.start_workflow(_NAPPER.id)
        await nothing_live(host)
        await multiply(store, run.id, _FEW)
    few, _ = await _asked(store)
    loading = time.perf_counter()
    async with store.host(max_live=0):
        await multiply(store, run.id, total - _FEW, f"{run.id}-more")
    loading = time.perf_counter() - loading
    _settled(store)
    peak = Peak()

    async def work() -> dict[str, float]:
        many, idle = await _asked(store)
        ratios = {f"{name}_of_few": many[name] / few[name] for name in few}
        p50s = {f"{name}_ms": value for name, value in many.items()}
        return {"load_s": loading, **p50s, **ratios, **idle, "grown_mb": peak.grown()}

    return await measured(store, work, total)


async def _asked(store: CountingStore) -> tuple[dict[str, float], dict[str, float]]:
    """Return p50 of each call, ms, and what an idle host does."""
    began = time.perf_counter()
    async with store.host() as host:
        opened = (time.perf_counter() - began) * 1e3
        host.register(_NAPPER, sequence("one", 1))
        await finished(host, "one")
        times = {name: await _timed(call) for name, call in _calls(host).items()}
        times["claim"] = await _claims(store)
        idle = await _idle(store, host)
    return {"open": opened, **times}, idle


def _calls(host: WorkflowHost) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "run": lambda: finished(host, "one"),
        "list": lambda: host.find(limit=_PAGE),
        "list_kind": lambda: host.find(definition="one", status="complete", limit=_PAGE),
    }


async def _timed(call: Callable[[], Awaitable[Any]]) -> float:
    times: list[float] = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        await call()
        times.append(time.perf_counter() - began)
    return percentiles(times)["p50_ms"]


async def _claims(store: CountingStore) -> float:
    """Return p50 of a look for due runs and of the next one's time, ms: nothing is due."""
    kinds = [row.d for row in await store.definitions()]
    epoch = await store.register(WorkerInfo(name="asks", host="here", pid=1))

    async def look() -> None:
        if await store.claim(epoch, kinds, _PAGE) or await store.due(kinds) is None:
            message = "a sleeper woke before its time, or none has one"
            raise RuntimeError(message)

    try:
        return await _timed(look)
    finally:
        await store.unregister(epoch)


async def _idle(store: CountingStore, host: WorkflowHost) -> dict[str, float]:
    await nothing_live(host)
    writes = store.commits + store.writes
    cpu = time.process_time()
    await asyncio.sleep(_IDLE)
    return {
        "tasks": len(asyncio.all_tasks()),
        "writes": store.commits + store.writes - writes,
        "live": (await host.health())["live"],
        "cpu_percent": (time.process_time() - cpu) / _IDLE * 100,
    }


def _settled(store: CountingStore) -> None:
    """Do what autovacuum would have done by then, on the store that has it."""
    if store.database:
        from benchmarks.scaling.filling import vacuum  # noqa: PLC0415 - imports its driver

        vacuum(store.database)
