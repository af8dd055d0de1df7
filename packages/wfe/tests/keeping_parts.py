"""What the tests of keeping share."""

from __future__ import annotations

import asyncio
from typing import Any

from wfe.core import (
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.host import WorkflowHost

__all__ = ["Ctx", "finished", "nothing", "short"]

Ctx = StepExecutionContext[Any]


async def nothing(ctx: Ctx) -> None:
    await asyncio.sleep(0)


def short(name: str = "short") -> WorkflowDefinition:
    return WorkflowBuilder().start_with(nothing).build(name)


async def finished(host: WorkflowHost, definition: WorkflowDefinition, **options: Any) -> str:
    run = await host.start_workflow(definition, **options)
    await run.wait(10)
    return run.id
