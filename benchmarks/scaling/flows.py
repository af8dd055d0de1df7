"""What runs: workflows whose bodies count, wait, or hold on."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta

from wfe.core import WorkflowBuilder, WorkflowDefinition

__all__ = ["COUNTS", "STEPS", "WAITING_STEPS", "definitions", "say"]

STEPS = 10
"""Steps of a run of ``ten``."""
WAITING_STEPS = 5
"""Steps of a run of ``waiting``, of 100 ms each."""
COUNTS = {"bodies": 0}


def say(**facts: object) -> None:
    """Tell the process that measures."""
    print(json.dumps(facts), flush=True)


async def _noop() -> None:
    COUNTS["bodies"] += 1


async def _wait() -> None:
    COUNTS["bodies"] += 1
    await asyncio.sleep(0.1)


async def _hold() -> None:
    say(begun=time.monotonic_ns())
    await asyncio.Event().wait()


async def _begin() -> None:
    say(begun=time.monotonic_ns())


def definitions() -> dict[str, WorkflowDefinition]:
    """Return all of them by id."""
    ten = WorkflowBuilder().start_with(_noop)
    for _ in range(STEPS - 1):
        ten = ten.then(_noop)
    waiting = WorkflowBuilder().start_with(_wait)
    for _ in range(WAITING_STEPS - 1):
        waiting = waiting.then(_wait)
    built = (
        ten.build("ten"),
        waiting.build("waiting"),
        WorkflowBuilder().start_with(_noop).build("one"),
        WorkflowBuilder().start_with(_begin).build("begin"),
        WorkflowBuilder().start_with(_hold).build("hold"),
        WorkflowBuilder().delay(timedelta(days=1)).build("sleeper"),
    )
    return {each.id: each for each in built}
