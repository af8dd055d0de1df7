"""Deletes finished runs while others commit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

from benchmarks.scaling.children import Child
from benchmarks.scaling.filling import FINISHED, Filled
from benchmarks.scaling.places import Place

__all__ = ["MOST", "purged"]

MOST: Final = 3.0
"""What the slowest hundredth of commits may take meanwhile, by what it took before."""


async def purged(filled: Filled, *, processes: int, seconds: float) -> list[dict[str, Any]]:
    """Return how long commits took before, during and after, and how fast it went.

    Args:
        filled: Whose finished runs are deleted.
        processes: How many start and drive runs meanwhile, eight at a time each.
        seconds: How long is looked before and after.
    """
    place = Place(store=filled.url)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(Child("commit", place, loops=8))
            for _ in range(processes)
        ]
        purger = await stack.enter_async_context(Child("purge", place, definitions=list(FINISHED)))
        await asyncio.sleep(min(3.0, seconds))
        await _asked(workers, "warm")
        await asyncio.sleep(seconds)
        before = await _asked(workers, "before")
        done = await purger.ask("go")
        during = await _asked(workers, "during")
        await asyncio.sleep(seconds)
        after = await _asked(workers, "after")
    if done["deleted"] < filled.finished:
        message = f"{done['deleted']} of {filled.finished} runs were deleted"
        raise RuntimeError(message)
    phases = {"before": before, "during": during, "after": after}
    found = [{"phase": name, "processes": processes, **each} for name, each in phases.items()]
    ratio = during["p99_ms"] / before["p99_ms"]
    return [*found, {**done, "a_second": done["deleted"] / done["seconds"], "p99_ratio": ratio}]


async def _asked(workers: list[Child], phase: str) -> dict[str, float]:
    """Return the sum of the counts, and the worst of the times, of all workers since last time."""
    said = [await each.ask(phase) for each in workers]
    return {
        name: (sum if name == "count" else max)(each[name] for each in said) for name in said[0]
    }
