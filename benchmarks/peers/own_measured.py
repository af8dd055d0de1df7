"""What this project is measured at in one process, and the plain loop of the same commits."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.counting import CountingStore
from benchmarks.limits import Batch, batches, postgres_loop, sqlite_loop
from benchmarks.measuring import finished, noop, sequence
from benchmarks.peers.harness import (
    FIVE,
    Job,
    Report,
    idle,
    one_by_one,
    repeated,
)
from wfe.core import WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost
from wfe.host.connect import connect

__all__ = ["measured"]

_SHARES: Final = ("SEQ", "MANY")
"""Workloads that are compared with the plain loop of their commits."""


def _definitions(n: int) -> list[WorkflowDefinition]:
    fan = WorkflowBuilder().for_each(lambda _: range(n), lambda b: b.then(noop)).build("fan")
    sleeper = WorkflowBuilder().delay(timedelta(days=1)).build("sleeper")
    waiter = WorkflowBuilder().wait_for("go", key=lambda d: d["key"]).build("waiter")
    each = [sequence("one", 1), sequence("two", 2), sequence("five", FIVE), sequence("all", n)]
    return [*each, fan, sleeper, waiter]


async def _event(host: WorkflowHost, report: Report, n: int) -> None:
    waiting = [await host.start_workflow("waiter", {"key": str(i)}) for i in range(n)]
    await asyncio.sleep(1)  # until all of them wait

    async def wake(i: int) -> None:
        await host.publish_event("go", str(i))
        await waiting[i].wait()

    await one_by_one(report, range(n), wake)


async def _many(host: WorkflowHost, n: int) -> None:
    await asyncio.gather(*(finished(host, "five") for _ in range(n)))


async def _repeated(host: WorkflowHost, store: CountingStore, asked: Job, report: Report) -> None:
    """Measure the engine and the plain loop of what it commits, in turn."""
    n = asked.n
    work, steps = {
        "SEQ": (lambda: finished(host, "all"), n),
        "MANY": (lambda: _many(host, n), n * FIVE),
        "FANOUT": (lambda: finished(host, "fan"), n),
    }[asked.workload]
    compared = asked.workload in _SHARES and not asked.url.startswith("memory")
    wanted: list[Batch] = []
    for _ in range(asked.repeat):
        store.reset()
        await repeated(replace(asked, repeat=1), report, steps, work)
        engine = report.figures["ms_per_step"][-1]
        report.add(commits=store.commits, rows=store.rows)
        if compared:
            wanted = wanted or await _recorded(store, work)
            loop = _loop(asked.url, wanted) / steps * 1e3
            report.add(limit_ms_per_step=loop, limit_share=loop / engine)


async def _recorded(store: CountingStore, work: Callable[[], Awaitable[Any]]) -> list[Batch]:
    """Return what *work* commits.

    It is not measured: what is kept for the loop would be looked at by each garbage collection.
    """
    store.reset(keep=True)
    await work()
    wanted = batches(store.batches)
    store.reset()
    return wanted


def _loop(url: str, wanted: Sequence[Batch]) -> float:
    if url.startswith("postgresql"):
        return postgres_loop(url, wanted)
    path = Path(urlsplit(url).path.removeprefix("/"))
    synchronous = "NORMAL" if url.endswith("normal") else "FULL"
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        return sqlite_loop(Path(folder) / "loop.db", wanted, synchronous)


async def _run(host: WorkflowHost, store: CountingStore, asked: Job, report: Report) -> None:
    match asked.workload:
        case "LATENCY":
            await one_by_one(report, range(asked.n), lambda _: finished(host, "one"))
        case "EVENT":
            await _event(host, report, asked.n)
        case "IDLE":
            for _ in range(asked.n):
                await host.start_workflow("sleeper")
            await asyncio.sleep(6)  # they have left the memory by then
            await idle(asked, report, asyncio.sleep)
        case _:
            await _repeated(host, store, asked, report)


async def measured(asked: Job) -> None:
    """Run a workload, and print what it took."""
    beside = asked.queue or None
    store = CountingStore(connect(asked.url).persistence, queue=beside, lock=beside)
    report = Report(packages=("wfe",), settings=_settings(asked))
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(store.host())
        host.register(*_definitions(asked.n))
        await finished(host, "two")
        await _run(host, store, asked, report)
        report.print()


def _settings(asked: Job) -> str:
    kind = urlsplit(asked.url).scheme
    if kind == "sqlite":
        return f"`synchronous` {'NORMAL' if asked.url.endswith('normal') else 'FULL'}, WAL"
    if kind == "memory":
        return "nothing is kept"
    return "as it comes; hints and beats in Valkey" if asked.queue else "as it comes"
