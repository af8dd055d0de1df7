"""DBOS Transact with its async API, on SQLite or PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks.peers.harness import (
    FIVE,
    RECOVER_SECONDS,
    RECOVER_STEPS,
    Job,
    Report,
    idle,
    job,
    note,
    one_by_one,
    repeated,
)

ASKED = job()
SQLITE = ASKED.url.startswith("sqlite")
SETTINGS = (
    "async API; its file switched to WAL (it leaves the rollback journal, which is slower), "
    "`synchronous` FULL as it comes, listener polls every 10 ms (1 s when idle)"
    if SQLITE
    else "async API; LISTEN/NOTIFY and a pool of 20, as it comes"
)


@DBOS.step()
async def noop(i: int) -> int:
    return i


@DBOS.workflow()
async def sequence(n: int) -> int:
    for i in range(n):
        await noop(i)
    return n


@DBOS.workflow()
async def fan(n: int) -> int:
    return sum(await asyncio.gather(*[noop(i) for i in range(n)]))


@DBOS.workflow()
async def waiter() -> Any:
    return await DBOS.recv_async("go", timeout_seconds=600)


@DBOS.workflow()
async def sleeper() -> None:
    await DBOS.sleep_async(86_400)


@DBOS.step()
async def slow(workflow: int, i: int) -> int:
    note(ASKED.log, "begin", workflow, i)
    await asyncio.sleep(RECOVER_SECONDS)
    note(ASKED.log, "end", workflow, i)
    return i


@DBOS.workflow()
async def crashing(workflow: int) -> None:
    for i in range(RECOVER_STEPS):
        await slow(workflow, i)


async def finished(function: Any, *args: Any) -> None:
    handle = await DBOS.start_workflow_async(function, *args)
    await handle.get_result()


async def event(report: Report, n: int) -> None:
    handles = [await DBOS.start_workflow_async(waiter) for _ in range(n)]
    await asyncio.sleep(1)  # until all of them wait

    async def wake(handle: Any) -> None:
        await DBOS.send_async(handle.get_workflow_id(), "x", "go")
        await handle.get_result()

    await one_by_one(report, handles, wake)


async def recover(asked: Job) -> None:
    async def start(i: int) -> None:
        with SetWorkflowID(f"crashing-{i}"):
            handle = await DBOS.start_workflow_async(crashing, i)
        note(asked.log, "accepted", i)
        await handle.get_result()

    if not asked.again:
        await asyncio.gather(*(start(i) for i in range(asked.n)))
    await asyncio.Event().wait()  # to be killed


async def run(asked: Job, report: Report) -> None:
    n = asked.n
    match asked.workload:
        case "SEQ":
            await repeated(asked, report, n, lambda: finished(sequence, n))
        case "MANY":
            each = [finished] * n
            await repeated(
                asked,
                report,
                n * FIVE,
                lambda: asyncio.gather(*(one(sequence, FIVE) for one in each)),
            )
        case "FANOUT":
            await repeated(asked, report, n, lambda: finished(fan, n))
        case "LATENCY":
            await one_by_one(report, range(n), lambda _: finished(sequence, 1))
        case "EVENT":
            await event(report, n)
        case "IDLE":
            for _ in range(n):
                await DBOS.start_workflow_async(sleeper)
            await asyncio.sleep(3)
            await idle(asked, report, asyncio.sleep)
        case _:
            await recover(asked)


async def main() -> None:
    """Launch DBOS, warm it up unless it is to recover, and run the workload."""
    if SQLITE:
        with sqlite3.connect(ASKED.url.removeprefix("sqlite:///")) as db:
            db.execute("PRAGMA journal_mode=WAL")
    polling = 0.01 if SQLITE and ASKED.workload != "IDLE" else 1.0
    DBOS(
        config={
            "name": "bench",
            "system_database_url": ASKED.url,
            "log_level": "ERROR",
            "application_version": "1",
            "executor_id": "bench",
            "notification_listener_polling_interval_sec": polling,
        }
    )
    DBOS.launch()
    report = Report(packages=("dbos",), settings=SETTINGS)
    if ASKED.workload != "RECOVER":
        await finished(sequence, 2)
    await run(ASKED, report)
    report.print()


if __name__ == "__main__":
    asyncio.run(main())
