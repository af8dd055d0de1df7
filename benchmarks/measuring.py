"""How a workload is measured, and the workflows that most of them run."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from benchmarks.counting import CountingStore
from wfe.core import WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost

__all__ = ["Measured", "finished", "measured", "noop", "percentiles", "sequence"]


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


async def measured(
    store: CountingStore, work: Callable[[], Awaitable[dict[str, float]]], steps: int
) -> Measured:
    """Return what *work* cost, and the figures that it returns."""
    gc.collect()
    store.reset()
    before = store.asked()
    wall, cpu = time.perf_counter(), time.process_time()
    extra = await work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    asked = {name: count - before[name] for name, count in store.asked().items()}
    return Measured(
        wall=wall,
        cpu=cpu,
        steps=steps,
        commits=store.commits,
        rows=store.rows,
        extra={**extra, **asked},
    )


async def finished(
    host: WorkflowHost, name: str, data: Any = None, status: str = "complete"
) -> None:
    """Run a workflow to its end, which has to be *status*."""
    run = await host.start_workflow(name, data)
    instance = await run.wait()
    if instance.status != status:
        message = f"{name}: {instance.status} {instance.error}"
        raise RuntimeError(message)


def percentiles(times: list[float]) -> dict[str, float]:
    """Return p50 and p99 of seconds, in ms."""
    ordered = sorted(times)
    return {
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }
