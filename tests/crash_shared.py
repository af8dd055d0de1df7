"""What several processes share on one file; ``python -m tests.crash_shared DB EFFECTS`` is one.

With a third argument it runs the workflows of :mod:`tests.crash_yaml`, which it names.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests import crash_yaml
from tests.crash_outside import Effects

from wfe.core import Activity, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.host import WorkflowHost

__all__ = ["LIMIT", "definitions"]

Ctx: TypeAlias = StepExecutionContext[Any]
LIMIT: Final = 3
"""How many may hold a place at a time, over all processes."""


async def held(ctx: Ctx) -> None:
    """Hold a place for a moment, and say when it began and ended."""
    ctx.app.write(ctx.idempotency_key, ctx.attempt, "begin")
    await asyncio.sleep(0.002)
    ctx.app.write(ctx.idempotency_key, ctx.attempt, "end")


async def effect(ctx: Ctx) -> None:
    """Have one effect."""
    ctx.app.note(ctx)


def definitions() -> list[WorkflowDefinition]:
    """Return what every process knows."""
    shared = (
        WorkflowBuilder()
        .start_with(effect).name("first")
        .then(held).name("held").concurrency("pool", limit=LIMIT)
        .activity("review", output="review")
        .wait_for("go", key=lambda d: str(d["number"]), output="went")
        .then(effect).name("last")
        .build("shared")
    )  # fmt: skip
    tick = WorkflowBuilder().then(effect).name("tock").build("tick")
    return [shared, tick]


async def work(db: str, path: str, *files: str) -> None:
    """Work until killed."""
    effects = Effects(path)

    async def review(activity: Activity) -> str:
        effects.write(activity.idempotency_key, activity.attempt, "review")
        return "fine"

    host = WorkflowHost(
        f"sqlite:///{db}?synchronous=normal", app=effects, lease=timedelta(seconds=2)
    )
    host.register(*(crash_yaml.definitions(Path(db).parent, *files) if files else definitions()))
    async with host:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        lease = timedelta(seconds=1)
        await host.activities.work("review", review, concurrency=4, lease=lease)


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
