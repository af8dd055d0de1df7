"""What happens at one and the same moment: a body wakes or fails just as it is cancelled."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from wfe.core import ExecutionResult, ProviderError, StepExecutionContext, WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.engine import work
from wfe.core.engine.nodes import NodeRunner
from wfe.core.memory import MemoryStore
from wfe.core.providers import Item
from wfe.host import WorkflowHost

Ctx = StepExecutionContext[Any]
Body = Callable[..., Awaitable[Any]]


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


# -- wakes ----------------------------------------------------------------------------------------


class Slow(MemoryStore):
    """A store that keeps the commit of one step waiting."""

    def __init__(self, clock: VirtualClock, step: str) -> None:
        super().__init__(clock)
        self.step = step
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
        told = [row for item in items for row in item.rows if '"step_completed"' in row]
        if any(f'"{self.step}"' in row for row in told):
            self.asked.set()
            await self.answer.wait()
        return await super().commit(epoch, items)


@pytest.mark.parametrize("join", ["any", "all"])
async def test_a_body_that_wakes_while_its_end_is_committed_does_not_begin(join: Any) -> None:
    began: list[int] = []
    may_end = asyncio.Event()

    async def sleeper(ctx: Ctx) -> ExecutionResult:
        began.append(len(began))
        if ctx.persistence_data is None:
            return ExecutionResult.sleep(timedelta(seconds=10), {"slept": 1})
        return ExecutionResult.next()

    async def quick(ctx: Ctx) -> None:
        await may_end.wait()

    flow = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.then(sleeper).name("sleeper")).branch(
                lambda b: b.then(quick).name("quick")
            ),
            join=join,
        )
        .build("flow")
    )
    clock = VirtualClock()
    store = Slow(clock, "quick")
    async with asyncio.timeout(20), WorkflowHost(store) as host:
        run = await host.start_workflow(flow)
        await settled()
        await clock.advance(timedelta(seconds=9))
        may_end.set()
        await store.asked.wait()
        await clock.advance(timedelta(seconds=2), settled)
        assert began == [0], "what is being committed may end it"
        store.answer.set()
        assert (await run.wait()).status == "complete"

    assert began == ([0] if join == "any" else [0, 1])


# -- fails ----------------------------------------------------------------------------------------


class Clock:
    """A clock whose time does not pass."""

    async def sleep_until(self, _when: int) -> None:
        await asyncio.Event().wait()


def limited_node(body: Body) -> Awaitable[Any]:
    node: Any = SimpleNamespace(clock=Clock(), _without_exit=body)
    ctx: Any = SimpleNamespace()
    return NodeRunner._limited(node, ctx, 0, 1)


def limited_call(body: Body) -> Awaitable[Any]:
    calls: Any = SimpleNamespace(engine=SimpleNamespace(clock=Clock()))
    return work._limited(calls, "step", body, 0, 1)


@pytest.mark.parametrize("limited", [limited_node, limited_call])
async def test_nobody_asks_for_the_error_of_a_body_that_fails_as_it_is_cancelled(
    limited: Callable[[Body], Awaitable[Any]],
) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))

    async def once() -> None:
        async def body(*_: Any) -> None:
            attempt.cancel()
            raise ValueError("too late")

        attempt = asyncio.ensure_future(limited(body))
        with pytest.raises(asyncio.CancelledError):
            await attempt

    await once()
    await settled()
    gc.collect()
    assert problems == []


# -- stops ----------------------------------------------------------------------------------------


class Refusing(MemoryStore):
    """A store that refuses the commit of a step's end, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times
        self.refused = asyncio.Event()

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
        if self.left and any('"step_completed"' in row for item in items for row in item.rows):
            self.left -= 1
            self.refused.set()
            problem = "away for a moment"
            raise ProviderError("memory", problem)
        return await super().commit(epoch, items)


@pytest.mark.parametrize(("grace", "recorded"), [(10, True), (0, False)])
async def test_stop_waits_for_a_store_that_refuses_for_as_long_as_it_may(
    grace: float, recorded: bool
) -> None:
    store = Refusing(3)
    ran: list[int] = []

    def once(ctx: Ctx) -> None:
        ran.append(ctx.attempt)

    flow = WorkflowBuilder().then(once).build("once")
    async with WorkflowHost(store) as host:
        run = await host.start_workflow(flow)
        await store.refused.wait()
        await host.stop(grace)
    async with WorkflowHost(store) as host:
        host.register(flow)
        kinds = [each.kind for each in await host.history(run.id)]
        await (await host.drive(run.id)).wait(10)

    assert ("step_completed" in kinds) is recorded
    assert len(ran) == (1 if recorded else 2)
