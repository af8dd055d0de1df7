"""Does something again and again until a condition holds, while it waits for an event."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.testing import WorkflowTest


def remind(ctx: StepExecutionContext) -> None:
    print(f"{ctx.now():%a}: please bring back {ctx.data['book']}")


def thank(returned: str) -> None:
    print(f"thank you, {returned}")


definition = (
    WorkflowBuilder()
    .parallel(
        lambda p: p.branch(
            lambda b: b.wait_for("returned", key=lambda d: d["book"], output="returned")
        ).branch(
            lambda b: b.recur(
                timedelta(days=1), lambda r: r.then(remind), until="has(data.returned)"
            )
        ),
        join="any",
    )
    .then(thank)
    .build("lend")
)


async def main() -> None:
    async with WorkflowTest(definition) as test:
        run = await test.start(definition, {"book": "Momo"})
        await test.clock.advance(timedelta(days=2, hours=5))
        await test.host.publish_event("returned", "Momo", "Ada")
        await run.wait(timeout=10)


if __name__ == "__main__":
    asyncio.run(main())
