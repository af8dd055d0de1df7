"""Work for somebody outside: claimed, lost, claimed again by another worker, and completed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from wfe.core import ActivityTokenError, WorkflowBuilder
from wfe.testing import WorkflowTest


def use(translation: str) -> None:
    print(f"got {translation!r}")


definition = (
    WorkflowBuilder()
    .activity("translate", parameters=lambda d: {"text": d["text"]}, output="translation")
    .then(use)
    .build("translation")
)


async def main() -> None:
    async with WorkflowTest(definition) as test:
        activities = test.host.activities
        run = await test.start(definition, {"text": "Guten Tag"})

        lost = await activities.claim("translate", "worker 1", lease=timedelta(minutes=5))
        assert lost is not None
        print(f"worker 1 has {lost.parameters}")
        await test.clock.advance(timedelta(minutes=6))  # no heartbeat: somebody else may have it

        claimed = await activities.claim("translate", "worker 2")
        assert claimed is not None
        print(f"worker 2 has {claimed.parameters}")
        await activities.complete(claimed.token, "Good day")
        try:
            await activities.complete(lost.token, "Hello")
        except ActivityTokenError as error:
            print(f"worker 1 is too late: {type(error).__name__}")
        print((await run.wait(timeout=10)).status)


if __name__ == "__main__":
    asyncio.run(main())
