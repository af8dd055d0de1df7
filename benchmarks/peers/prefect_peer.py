"""Prefect with the server that it starts itself, on SQLite; finished tasks keep their results."""

from __future__ import annotations

import asyncio

from prefect import flow, task

from benchmarks.peers.harness import FIVE, Job, Report, job, one_by_one, repeated


@task(persist_result=True)
async def noop(i: int) -> int:
    return i


@flow
async def sequence(n: int) -> int:
    for i in range(n):
        await noop(i)
    return n


@flow
async def fan(n: int) -> int:
    return sum(await asyncio.gather(*[noop(i) for i in range(n)]))


async def run(asked: Job, report: Report) -> None:
    n = asked.n
    match asked.workload:
        case "SEQ":
            await repeated(asked, report, n, lambda: sequence(n))
        case "MANY":
            await repeated(
                asked,
                report,
                n * FIVE,
                lambda: asyncio.gather(*(sequence(FIVE) for _ in range(n))),
            )
        case "FANOUT":
            await repeated(asked, report, n, lambda: fan(n))
        case _:
            await one_by_one(report, range(n), lambda _: sequence(1))


async def main() -> None:
    asked = job()
    report = Report(
        packages=("prefect", "fastapi"),
        settings="async tasks with `persist_result`, its ephemeral server on SQLite as it comes",
    )
    await sequence(2)
    await run(asked, report)
    report.print()


if __name__ == "__main__":
    asyncio.run(main())
