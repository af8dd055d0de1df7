"""What the tests of the cache share: a step that says when it ran, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wfe.core import WorkflowBuilder
from wfe.core.definition import WorkflowDefinition
from wfe.host import WorkflowHost

__all__ = ["CALLS", "cached_flow", "double", "finished", "info_of", "until"]

CALLS: list[Any] = []
"""What bodies were called with."""


def double(x: int) -> dict[str, int]:
    CALLS.append(x)
    return {"y": x * 2}


def cached_flow(body: Any = double, **options: Any) -> WorkflowDefinition:
    return WorkflowBuilder().start_with(body).name("work").cache(**options).build("flow", 1)


async def finished(host: WorkflowHost, flow: WorkflowDefinition, **data: Any) -> Any:
    run = await host.start_workflow(flow, data)
    return await run.wait(5)


async def until(holds: Callable[[], object]) -> None:
    """Return when *holds*, giving everybody else turns."""
    while not holds():  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(0)


async def info_of(host: WorkflowHost, run: Any, step: str = "work") -> dict[str, Any]:
    rows = [row for row in await host.history(run.id) if row.step == step]
    return dict(rows[-1].data or {})
