"""A process that leaves 1,000 half-done runs behind: ``python -m benchmarks.crashing FILE``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from wfe.core import WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost

__all__ = ["RUNS", "begun", "half_done", "hold"]

RUNS = 1000
begun: Counter[str] = Counter()
"""Bodies that began in this process, by step."""
hold = asyncio.Event()
"""While it is not set, the third step does not end."""


async def _one() -> None:
    begun["one"] += 1


async def _two() -> None:
    begun["two"] += 1


async def _three() -> None:
    begun["three"] += 1
    await hold.wait()


async def _four() -> None:
    begun["four"] += 1


def half_done() -> WorkflowDefinition:
    """Return a workflow of four steps that stops after two."""
    built = WorkflowBuilder().start_with(_one).then(_two).then(_three).then(_four)
    return built.build("half-done")


async def main(url: str) -> None:
    """Start the runs, say so when all stand in the third step, and wait to be killed."""
    async with WorkflowHost(url, max_live=RUNS) as host:
        host.register(half_done())
        await asyncio.gather(*(host.start_workflow("half-done") for _ in range(RUNS)))
        while begun["three"] < RUNS:  # noqa: ASYNC110 - a benchmark's set-up
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
