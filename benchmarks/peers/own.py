"""This project through its public API.

What only measuring needs is elsewhere: RECOVER begins with the imports of an application.
"""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.peers.harness import RECOVER_SECONDS, RECOVER_STEPS, Job, job, note
from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost


async def _slow(ctx: StepExecutionContext[Any]) -> None:
    log, workflow = ctx.data["log"], ctx.data["workflow"]
    step = int(ctx.pointer.step)
    note(log, "begin", workflow, step)
    await asyncio.sleep(RECOVER_SECONDS)
    note(log, "end", workflow, step)


def _crashing() -> WorkflowDefinition:
    builder = WorkflowBuilder().start_with(_slow).name("0")
    for i in range(1, RECOVER_STEPS):
        builder = builder.then(_slow).name(str(i))
    return builder.build("crashing")


async def _recover(asked: Job) -> None:
    beside = asked.queue or None
    async with WorkflowHost(asked.url, queue=beside, lock=beside) as host:
        host.register(_crashing())

        async def start(i: int) -> None:
            await host.start_workflow("crashing", {"log": asked.log, "workflow": i})
            note(asked.log, "accepted", i)

        if not asked.again:
            await asyncio.gather(*(start(i) for i in range(asked.n)))
        await asyncio.Event().wait()  # to be killed


async def main() -> None:
    asked = job()
    if asked.workload == "RECOVER":
        await _recover(asked)
    else:
        from benchmarks.peers.own_measured import measured  # noqa: PLC0415 - see above

        await measured(asked)


if __name__ == "__main__":
    asyncio.run(main())
