"""Workloads of sagas, limits, signals and activities."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.marks import Marks
from benchmarks.measuring import Measured, finished, measured, noop, percentiles, sequence
from wfe.core import Fail, WorkflowBuilder

__all__ = ["activity", "limits", "saga", "signal"]


async def saga(store: CountingStore, steps: int = 1000) -> Measured:
    """A saga whose last step fails: every step before it is undone."""
    done, undone = Marks(steps), Marks(steps)

    async def take() -> None:
        done.hit()

    async def give_back() -> None:
        undone.hit()

    async def fail() -> None:
        message = "on purpose"
        raise ValueError(message)

    def inside(b: Any) -> Any:
        for _ in range(steps):
            b = b.then(take).compensate_with(give_back)
        return b.then(fail).on_error(Fail())

    async with store.host() as host:
        host.register(sequence("warm", 5), WorkflowBuilder().saga(inside).build("saga"))
        await finished(host, "warm")

        async def work() -> dict[str, float]:
            await finished(host, "saga", status="failed")
            return {
                "kept": steps - undone.count,
                "rows_a_step": store.rows / steps,
                "quarters": done.last_to_first(),
                "quarters_undo": undone.last_to_first(),
            }

        return await measured(store, work, steps)


async def limits(store: CountingStore, runs: int = 1000, limit: int = 10) -> Measured:
    """Runs that are started together, of which only few may run at a time."""
    now = most = 0

    async def enter() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    limited = WorkflowBuilder().start_with(enter).workflow_concurrency(limit=limit)
    async with store.host() as host:
        host.register(sequence("warm", 5), limited.build("limited"))
        await finished(host, "warm")

        async def work() -> dict[str, float]:
            await asyncio.gather(*(finished(host, "limited") for _ in range(runs)))
            return {
                "most": most,
                "commits_each": store.commits / runs,
                "rows_each": store.rows / runs,
            }

        return await measured(store, work, runs)


async def signal(store: CountingStore, runs: int = 200) -> Measured:
    """From a signal to the end of the workflow that waits for it."""
    waiting = WorkflowBuilder().wait_for("go", scope="run").build("waiter")
    async with store.host() as host:
        host.register(waiting)
        started = [await host.start_workflow("waiter") for _ in range(runs)]
        await asyncio.sleep(0.05)

        async def work() -> dict[str, float]:
            times: list[float] = []
            for run in started:
                began = time.perf_counter()
                await host.signal(run.id, "go")
                await run.wait()
                times.append(time.perf_counter() - began)
            return percentiles(times)

        return await measured(store, work, runs)


async def activity(store: CountingStore, runs: int = 200) -> Measured:
    """From a worker's claim to the end of the workflow that waits for its result."""
    offering = WorkflowBuilder().activity("sign").then(noop).build("offering")
    async with store.host() as host:
        host.register(offering)
        started = {
            run.id: run for run in [await host.start_workflow("offering") for _ in range(runs)]
        }
        await asyncio.sleep(0.05)

        async def work() -> dict[str, float]:
            times: list[float] = []
            for _ in range(runs):
                began = time.perf_counter()
                claimed = await host.activities.claim("sign", wait=timedelta(seconds=5))
                if claimed is None:
                    message = "an offered activity was not there to be claimed"
                    raise RuntimeError(message)
                await host.activities.complete(claimed.token)
                await started[claimed.run_id].wait()
                times.append(time.perf_counter() - began)
            return percentiles(times)

        return await measured(store, work, runs)
