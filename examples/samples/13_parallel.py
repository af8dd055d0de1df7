"""Branches side by side: really at the same time, joined when all or when the first are done."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wfe.core import WorkflowBuilder
from wfe.testing import WorkflowTest

hours = timedelta(hours=1)

lunch = (
    WorkflowBuilder()
    .parallel(
        lambda p: p.branch(
            lambda b: b.delay(1 * hours).then(lambda: print("soup is ready"))
        ).branch(lambda b: b.delay(2 * hours).then(lambda: print("bread is ready")))
    )
    .then(lambda: print("lunch!"))
    .build("lunch")
)

race = (
    WorkflowBuilder()
    .parallel(
        lambda p: p.branch(
            lambda b: b.delay(1 * hours).then(lambda: print("the hare is there"))
        ).branch(lambda b: b.delay(5 * hours).then(lambda: print("the tortoise is there"))),
        join="any",
    )
    .then(lambda: print("the race is over"))
    .build("race")
)


async def main() -> None:
    async with WorkflowTest(lunch, race) as test:
        for definition in (lunch, race):
            run = await test.start(definition)
            await test.clock.advance(6 * hours)
            took = await run.wait(timeout=10)
            assert took.completed_at is not None
            print(f"after {(took.completed_at - took.created_at) / hours:.0f} h")


if __name__ == "__main__":
    asyncio.run(main())
