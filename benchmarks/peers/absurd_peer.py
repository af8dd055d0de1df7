"""Absurd, whose logic is SQL on PostgreSQL; workers and client in one process."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from absurd_sdk import AsyncAbsurd

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

WORKERS = {"EVENT": 4, "MANY": 8, "RECOVER": 8}
"""Where many tasks wait; elsewhere one, as idle ones only take the server's time with polling."""
CONCURRENCY = 64
POLL = 0.005
QUIET_POLL = 0.25
"""The SDK's own interval, for IDLE."""
CLAIM = 2
"""Seconds without a checkpoint after which a task is another's."""
SETTINGS = (
    f"async SDK, one worker of {CONCURRENCY} tasks (EVENT: 4, MANY and RECOVER: 8), a connection "
    f"each, polling every {POLL * 1e3:g} ms (IDLE: its own {QUIET_POLL * 1e3:g} ms); RECOVER: "
    f"claims of {CLAIM} s"
)


def register(app: Any) -> None:
    """Make the tasks known to a worker or client."""

    async def noop() -> int:
        return 1

    @app.register_task("sequence")
    async def sequence(params: Any, ctx: Any) -> int:
        for i in range(params["n"]):
            await ctx.step(f"s{i}", noop)
        return 1

    @app.register_task("waiter")
    async def waiter(params: Any, ctx: Any) -> Any:
        return await ctx.await_event(params["name"])

    @app.register_task("sleeper")
    async def sleeper(_: Any, ctx: Any) -> None:
        await ctx.sleep_for("long", 86_400)

    @app.register_task("crashing")
    async def crashing(params: Any, ctx: Any) -> None:
        for i in range(RECOVER_STEPS):

            async def slow(i: int = i) -> int:
                note(params["log"], "begin", params["workflow"], i)
                await asyncio.sleep(RECOVER_SECONDS)
                note(params["log"], "end", params["workflow"], i)
                return i

            await ctx.step(f"s{i}", slow)


async def ended(client: Any, spawned: Any) -> None:
    """Wait for a task; its own waiting begins with 50 ms and doubles, so look more often."""
    while True:
        found = await client.fetch_task_result(spawned["task_id"])
        if found is not None and found.state == "completed":
            return
        if found is not None and found.state in {"failed", "cancelled"}:
            raise RuntimeError(f"task {found.state}")
        await asyncio.sleep(0.002)


async def finished(client: Any, name: str, params: Any) -> None:
    await ended(client, await client.spawn(name, params))


async def many(client: Any, n: int) -> None:
    spawned = [await client.spawn("sequence", {"n": FIVE}) for _ in range(n)]
    for one in spawned:
        await ended(client, one)


async def event(client: Any, report: Report, n: int) -> None:
    waiting = [await client.spawn("waiter", {"name": f"go{i}"}) for i in range(n)]
    await asyncio.sleep(2)  # until all of them wait

    async def wake(i: int) -> None:
        await client.emit_event(f"go{i}", {"x": 1})
        await ended(client, waiting[i])

    await one_by_one(report, range(n), wake)


async def recover(client: Any, asked: Job) -> None:
    if not asked.again:
        for i in range(asked.n):
            await client.spawn("crashing", {"log": asked.log, "workflow": i})
            note(asked.log, "accepted", i)
    await asyncio.Event().wait()  # to be killed


async def run(client: Any, asked: Job, report: Report) -> None:
    n = asked.n
    match asked.workload:
        case "SEQ":
            await repeated(asked, report, n, lambda: finished(client, "sequence", {"n": n}))
        case "MANY":
            await repeated(asked, report, n * FIVE, lambda: many(client, n))
        case "LATENCY":
            await one_by_one(report, range(n), lambda _: finished(client, "sequence", {"n": 1}))
        case "EVENT":
            await event(client, report, n)
        case "IDLE":
            for _ in range(n):
                await client.spawn("sleeper", {})
            await asyncio.sleep(5)
            await idle(asked, report, asyncio.sleep)
        case _:
            await recover(client, asked)


async def main() -> None:
    asked = job()
    client = AsyncAbsurd(asked.url, queue_name="bench")
    if not asked.again:
        await client.create_queue("bench")
    register(client)
    count = WORKERS.get(asked.workload, 1)
    workers = [AsyncAbsurd(asked.url, queue_name="bench") for _ in range(count)]
    tasks: list[asyncio.Task[None]] = []
    for k, worker in enumerate(workers):
        register(worker)
        working = worker.start_worker(
            worker_id=f"w{k}-{os.getpid()}",
            concurrency=CONCURRENCY,
            poll_interval=QUIET_POLL if asked.workload == "IDLE" else POLL,
            claim_timeout=CLAIM if asked.workload == "RECOVER" else 120,
        )
        tasks.append(asyncio.create_task(working))
    report = Report(packages=("absurd-sdk",), settings=SETTINGS)
    if asked.workload != "RECOVER":
        await finished(client, "sequence", {"n": 2})
    await run(client, asked, report)
    report.print()


if __name__ == "__main__":
    asyncio.run(main())
