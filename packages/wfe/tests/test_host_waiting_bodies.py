"""Bodies that wait begin together, not one in each turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.host import WorkflowHost

Ctx = StepExecutionContext[Any]
_MANY = 200


@attrs.define
class Turns:
    """Counts turns of the loop; the application object."""

    turn: int = 0
    begun: list[int] = attrs.field(factory=list[int])
    all_there: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def count(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)


async def quick() -> None:
    """Wait for nothing."""


async def waits(ctx: Ctx) -> None:
    ctx.app.begun.append(ctx.app.turn)
    if len(ctx.app.begun) == _MANY:
        ctx.app.all_there.set()
    await ctx.app.all_there.wait()


async def test_bodies_that_wait_begin_within_a_few_turns() -> None:
    app = Turns()
    one = WorkflowBuilder().start_with(quick).build("one")
    fan = WorkflowBuilder().for_each(lambda _: range(_MANY), lambda b: b.then(waits)).build("fan")
    async with asyncio.timeout(30), WorkflowHost("memory://", app=app) as host:
        host.register(one, fan)
        await (await host.start_workflow("one")).wait()  # the last body did not wait
        counting = asyncio.create_task(app.count())
        ended = await (await host.start_workflow("fan")).wait()
        counting.cancel()

    assert ended.status == "complete"
    assert app.begun[-1] - app.begun[0] <= 10
