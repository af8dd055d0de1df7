"""A host in a process of its own, for the tests: run by path with a store's and a server's URL."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import WorkflowHost


async def hang_once(ctx: StepExecutionContext[object]) -> None:
    print("begun", flush=True)  # noqa: T201 - the test reads it
    await asyncio.Event().wait()


async def main(store: str, server: str, lease: float) -> None:
    host = WorkflowHost(store, queue=server, lock=server, lease=timedelta(seconds=lease))
    host.register(WorkflowBuilder().start_with(hang_once).build("job"))
    async with host:
        await host.start_workflow("job", name="the-job")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
