"""In which tasks bodies run, and that they do not get in the way of one another there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost

Context = StepExecutionContext[Any]
Body = Callable[..., Coroutine[Any, Any, object]]

MOST = 20
WHO: ContextVar[str] = ContextVar("who", default="nobody")


async def driven(*bodies: Body) -> list[str]:
    """Run 20 workflows of these steps together; return their statuses."""
    builder: Any = WorkflowBuilder()
    for position, body in enumerate(bodies):
        builder = builder.then(body).name(f"step{position}")
    async with WorkflowHost(MemoryStore()) as host:
        host.register(builder.build("line"))
        starts = (host.start_workflow("line", {"number": n}) for n in range(MOST))
        runs = await asyncio.gather(*starts)
        return [(await run.wait()).status.value for run in runs]


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def test_bodies_that_never_wait_share_tasks() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def body() -> None:
        tasks.append(this_task())

    assert await driven(body) == ["complete"] * MOST
    assert len(tasks) == MOST
    assert len(set(tasks)) <= 3  # one for each commit that begins some


async def test_a_body_that_waits_has_a_task_for_itself() -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def body() -> None:
        task = this_task()
        for _ in range(3):
            await asyncio.sleep(0)
            assert this_task() is task
        tasks.append(task)

    assert await driven(body) == ["complete"] * MOST
    assert len(set(tasks)) == MOST


async def test_a_variable_that_a_body_sets_is_not_seen_by_other_runs() -> None:
    seen: list[str] = []

    async def quick(ctx: Context) -> None:
        seen.append(WHO.get())
        WHO.set(f"run {ctx.data['number']}")

    async def slow(ctx: Context) -> None:
        mine = f"run {ctx.data['number']}, slow"
        WHO.set(mine)
        for _ in range(3):
            await asyncio.sleep(0)
            assert WHO.get() == mine

    WHO.set("whoever starts them")
    assert await driven(quick, slow) == ["complete"] * MOST
    assert seen == ["whoever starts them"] * MOST
    assert WHO.get() == "whoever starts them"


@pytest.mark.parametrize("number", [0, 7, MOST - 1])
async def test_a_body_that_cancels_its_task_and_does_not_wait_harms_nobody(number: int) -> None:
    async def quick(ctx: Context) -> None:
        if ctx.data["number"] == number:
            this_task().cancel()

    async def slow() -> None:
        await asyncio.sleep(0)

    assert await driven(quick, slow) == ["complete"] * MOST


async def test_a_time_limit_within_a_body_ends_that_body_only() -> None:
    late: list[int] = []

    async def body(ctx: Context) -> None:
        number = ctx.data["number"]
        try:
            async with asyncio.timeout(0.01 if number % 2 else None):
                await asyncio.wait_for(asyncio.Event().wait(), 60 if number % 2 else 0.1)
        except TimeoutError:
            late.append(number)

    assert await driven(body) == ["complete"] * MOST
    assert late[: MOST // 2] == list(range(1, MOST, 2))
    assert sorted(late) == list(range(MOST))


async def test_a_run_that_is_terminated_takes_nobody_with_it() -> None:
    stopped: list[int] = []
    go = asyncio.Event()

    async def body(ctx: Context) -> None:
        try:
            await go.wait()
        except asyncio.CancelledError:
            stopped.append(ctx.data["number"])
            raise

    async with WorkflowHost(MemoryStore()) as host:
        host.register(WorkflowBuilder().start_with(body).build("waits"))
        runs = [await host.start_workflow("waits", {"number": n}) for n in range(MOST)]
        await asyncio.sleep(0)
        await host.terminate(runs[3].id)
        assert (await runs[3].wait()).status == "terminated"
        go.set()
        statuses = [(await run.wait()).status.value for run in runs]

    assert stopped == [3]
    assert statuses.count("complete") == MOST - 1
