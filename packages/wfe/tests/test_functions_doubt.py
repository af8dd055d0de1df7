"""A host that may have been taken for dead begins no step, in durable functions either."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import WorkflowContext, workflow
from wfe.core.engine.seeking import Seeker
from wfe.core.errors import StoreUnavailableError
from wfe.core.memory import MemoryStore
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


class Away:
    """A store that reads no history for the first few times it is asked."""

    def __init__(self, store: MemoryStore, failures: int, *, transient: bool) -> None:
        self._store, self.failures, self._transient = store, failures, transient

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def history(self, *args: Any) -> Any:
        if self.failures:
            self.failures -= 1
            problem = "gone for a while"
            raise StoreUnavailableError("test", problem, transient=self._transient)
        return await self._store.history(*args)


@pytest.mark.parametrize("transient", [True, False])
async def test_a_function_waits_for_a_store_that_is_away_when_its_run_is_loaded(
    caplog: pytest.LogCaptureFixture, *, transient: bool
) -> None:
    @workflow("reading")
    async def reading(ctx: WorkflowContext) -> str:
        await ctx.wait_for("go", "now")
        return "done"

    store = MemoryStore()
    async with WorkflowHost(store) as host:
        run = await host.start_workflow(reading)
    away: Any = Away(store, 6 if transient else 1, transient=transient)
    async with WorkflowHost(away) as host:
        host.register(reading)
        await host.publish_event("go", "now")
        instance = await (await host.run(run.id)).wait(timedelta(seconds=10))
        header = await store.get(run.id)

    assert (instance.status, away.failures) == ("complete", 0)
    assert header is not None
    assert header.faults == 0
    assert ("internal error" in caplog.text) is not transient
