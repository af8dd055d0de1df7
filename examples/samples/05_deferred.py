"""A step that is not done the first time: it asks to be run again later, and remembers."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wfe.core import ExecutionResult, StepExecutionContext, WorkflowBuilder
from wfe.testing import WorkflowTest


def watch_the_kettle(ctx: StepExecutionContext) -> ExecutionResult:
    """Look, and come back in two minutes unless it boils; the run sleeps in the store."""
    degrees = (ctx.persistence_data or 20) + 40
    print(f"{ctx.now():%H:%M} {degrees} degrees")
    if degrees < 100:
        return ExecutionResult.sleep(timedelta(minutes=2), data=degrees)
    return ExecutionResult.next()


definition = (
    WorkflowBuilder()
    .start_with(watch_the_kettle)
    .then(lambda: print("tea is ready"))
    .build("kettle")
)


async def main() -> None:
    async with WorkflowTest(definition) as test:  # on a virtual clock
        await test.start(definition)
        await test.clock.advance(timedelta(minutes=5))


if __name__ == "__main__":
    asyncio.run(main())
