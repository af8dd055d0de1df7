"""Hosts on one database: each run ends once, whoever drives it and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import psycopg

from wfe.core import ProviderError, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost

Ctx = StepExecutionContext[Any]


async def note(ctx: Ctx) -> None:
    ctx.app[ctx.idempotency_key] += 1
    await asyncio.sleep(0)


def waiting() -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .start_with(note)
        .wait_for("paid", key=lambda data: str(data["k"]), output="got")
        .then(note)
        .build("waiting")
    )


def host(url: str, ran: Counter[str]) -> WorkflowHost:
    made = WorkflowHost(url, app=ran)
    made.register(waiting())
    return made


async def test_two_hosts_end_each_run_once(tables: str) -> None:
    ran: Counter[str] = Counter()
    async with host(tables, ran) as one, host(tables, ran) as two:
        hosts = (one, two)
        runs = [await hosts[k % 2].start_workflow("waiting", {"k": k}) for k in range(30)]
        await asyncio.gather(
            *(hosts[k % 3 % 2].publish_event("paid", str(k), {"sum": k}) for k in range(30))
        )

        ended = await asyncio.gather(*(run.wait(30) for run in runs))

        assert [run.status for run in ended] == ["complete"] * 30
        assert [run.data["got"] for run in ended] == [{"sum": k} for k in range(30)]
    assert len(ran) == 60
    assert set(ran.values()) == {1}


async def test_a_stopped_hosts_runs_go_on_elsewhere(tables: str) -> None:
    ran: Counter[str] = Counter()
    async with host(tables, ran) as one:
        async with host(tables, ran) as two:
            runs = [await two.start_workflow("waiting", {"k": k}) for k in range(10)]
        for k in range(10):
            await one.publish_event("paid", str(k))

        found = [await one.get(run.id) for run in runs]
        async with asyncio.timeout(30):
            while any(instance.status == "runnable" for instance in found):
                await asyncio.sleep(0.02)
                found = [await one.get(run.id) for run in runs]

    assert [instance.status for instance in found] == ["complete"] * 10
    assert set(ran.values()) == {1}


DIES = """
import asyncio, sys
from datetime import timedelta
from wfe.core import WorkflowBuilder
from wfe.host import WorkflowHost

async def long(ctx):
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with WorkflowHost(sys.argv[1], lease=timedelta(hours=1)) as host:
        host.register(WorkflowBuilder().start_with(long).build("dying"))
        await host.start_workflow("dying", name="one")
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def long(ctx: Ctx) -> None:
    ctx.app.append(ctx.attempt)


async def test_a_killed_process_of_this_machine_is_taken_over_at_once(tables: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DIES, tables, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    process.kill()
    await process.wait()
    ran: list[int] = []
    async with WorkflowHost(tables, app=ran, lease=timedelta(hours=1)) as other:
        other.register(WorkflowBuilder().start_with(long).build("dying"))
        run = await other.run("one")
        ended = await run.wait(30)
        kinds = [entry.kind for entry in await run.history()]

    assert (ended.status, ran) == ("complete", [0])
    assert kinds.count("step_interrupted") == 1


async def test_runs_go_on_though_all_connections_die_again_and_again(tables: str) -> None:
    ran: Counter[str] = Counter()
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with host(tables, ran) as one, host(tables, ran) as two:
        runs = [await (one, two)[k % 2].start_workflow("waiting", {"k": k}) for k in range(20)]

        async def trouble() -> None:
            async with await psycopg.AsyncConnection.connect(tables, autocommit=True) as connection:
                for _ in range(3):
                    await asyncio.sleep(0.1)
                    await connection.execute(kill)

        async def publish(k: int) -> None:
            while True:
                try:
                    await one.publish_event("paid", str(k), id=f"paid {k}")
                except ProviderError:  # the point: it is said, and may be repeated
                    await asyncio.sleep(0.02)
                else:
                    return

        await asyncio.gather(trouble(), *(publish(k) for k in range(20)))
        ended = await asyncio.gather(*(run.wait(60) for run in runs))

    assert [run.status for run in ended] == ["complete"] * 20
