"""Something for later that nobody waits for, a time of the wall clock, and a cron schedule."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.testing import WorkflowTest

NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC)


def say(text: str) -> WorkflowDefinition:
    """Return a workflow that says it."""

    def speak(ctx: StepExecutionContext) -> None:
        print(f"{ctx.now():%a %H:%M} {text}")

    return WorkflowBuilder().delay(timedelta(hours=1)).then(speak).build(text.replace(" ", "-"))


def now(ctx: StepExecutionContext) -> None:
    print(f"{ctx.now():%a %H:%M} main goes on")


main_workflow = (
    WorkflowBuilder()
    .sub_workflow("an-hour-later", detached=True)  # a run of its own: nobody waits for it
    .then(now)
    .name("at once")
    .schedule(at=NEW_YEAR + timedelta(hours=9))
    .then(now)
    .name("at nine")
    .build("main")
)


async def main() -> None:
    async with WorkflowTest(
        main_workflow, say("an hour later"), say("tidy up"), start=NEW_YEAR
    ) as test:
        await test.host.schedules.create("tidy", "tidy-up", cron="0 18 * * THU,FRI")
        await test.start(main_workflow)
        await test.clock.advance(timedelta(days=3))


if __name__ == "__main__":
    asyncio.run(main())
