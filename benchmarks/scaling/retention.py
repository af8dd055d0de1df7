"""Deletes finished runs while others commit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

import psycopg

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
    if left := await asyncio.to_thread(_left, filled.url):
        message = f"{left} runs are left"
        raise RuntimeError(message)
    phases = {"before": before, "during": during, "after": after}
    found = [{"phase": name, "processes": processes, **each} for name, each in phases.items()]
    ratio = during["p99_ms"] / before["p99_ms"]
    return [*found, {**done, "a_second": done["deleted"] / done["seconds"], "p99_ratio": ratio}]


def _left(url: str) -> int:
    """Return how many runs of those definitions there are, and rows of none."""
    with psycopg.connect(url) as conn:
        sql = """
SELECT (SELECT count(*) FROM wfe_instances WHERE definition = ANY (%s))
    + (SELECT count(*) FROM wfe_journal j
        WHERE NOT EXISTS (SELECT 1 FROM wfe_instances i WHERE i.n = j.instance))"""
        row = conn.execute(sql, [list(FINISHED)]).fetchone()
    return -1 if row is None else int(row[0])


async def _asked(workers: list[Child], phase: str) -> dict[str, float]:
    """Return the sum of the counts, and the worst of the times, of all workers since last time."""
    said = [await each.ask(phase) for each in workers]
    return {
        name: (sum if name == "count" else max)(each[name] for each in said) for name in said[0]
    }
