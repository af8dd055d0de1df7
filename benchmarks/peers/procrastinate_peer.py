"""Procrastinate: a queue of jobs, not workflows; a job is one durable step."""

from __future__ import annotations

import asyncio

from procrastinate import App, PsycopgConnector

from benchmarks.peers.harness import FIVE, Job, Report, job, one_by_one, repeated

CONCURRENCY = 100
POLL = 0.02  # seconds; 5 by default, which is what a job costs whose notification nobody heard


class Queue:
    """Defers jobs and waits until their bodies ran."""

    def __init__(self, url: str) -> None:
        self.app = App(connector=PsycopgConnector(conninfo=url))
        self._left = 0
        self._all = asyncio.Event()
        self.task = self.app.task(name="noop", queue="bench")(self._noop)

    async def _noop(self, i: int) -> int:
        self._left -= 1
        if not self._left:
            self._all.set()
        return i

    async def run(self, n: int) -> None:
        self._left = n
        self._all.clear()
        await self.task.batch_defer_async(*({"i": i} for i in range(n)))
        await self._all.wait()


async def run(queue: Queue, asked: Job, report: Report) -> None:
    if asked.workload == "MANY":
        jobs = asked.n * FIVE
        await repeated(asked, report, jobs, lambda: queue.run(jobs))
    else:
        await one_by_one(report, range(asked.n), lambda _: queue.run(1))


async def main() -> None:
    asked = job()
    queue = Queue(asked.url)
    report = Report(
        packages=("procrastinate",),
        settings=f"async worker of {CONCURRENCY} jobs, LISTEN/NOTIFY and a poll each "
        f"{POLL * 1e3:.0f} ms; jobs instead of workflows, "
        "deferred in one batch; until the body ran, not until that is recorded",
    )
    async with queue.app.open_async():
        await queue.app.schema_manager.apply_schema_async()
        working = queue.app.run_worker_async(
            queues=["bench"],
            concurrency=CONCURRENCY,
            fetch_job_polling_interval=POLL,
            install_signal_handlers=False,
        )
        worker = asyncio.create_task(working)
        await queue.run(2)
        await run(queue, asked, report)
        worker.cancel()
        report.print()


if __name__ == "__main__":
    asyncio.run(main())
