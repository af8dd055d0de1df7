"""A host that may have been taken for dead begins no step, in durable functions either."""

from __future__ import annotations

import asyncio

import pytest

from wfe.core import WorkflowContext, workflow
from wfe.core.engine.seeking import Seeker
from wfe.host import WorkflowHost


async def test_no_step_of_a_function_begins_while_the_host_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doubt, cleared, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
    began: list[str] = []

    async def sure(_: Seeker) -> None:
        asked.set()
        await cleared.wait()
        doubt.clear()

    monkeypatch.setattr(Seeker, "unsure", property(lambda _: doubt.is_set()))
    monkeypatch.setattr(Seeker, "sure", sure)

    async def first() -> None:
        began.append("first")
        doubt.set()

    async def second() -> None:
        began.append("second")

    @workflow("doubting")
    async def doubting(ctx: WorkflowContext) -> str:
        await ctx.step(first)
        await ctx.step(second)
        return "done"

    async with WorkflowHost("memory://") as host:
        host.register(doubting)
        run = await host.start_workflow("doubting")
        async with asyncio.timeout(10):
            await asked.wait()
        assert began == ["first"]

        cleared.set()
        assert await run.result() == "done"

    assert began == ["first", "second"]
