"""What happens in the workflows when nothing goes wrong: found out by running them so."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

from faults.hosting import make_host
from faults.laws import outline, variant
from faults.reading import read
from faults.settings import Settings
from faults.workload import data_of
from wfe.host import WorkflowHost

__all__ = ["undisturbed"]

_LONG = timedelta(seconds=60)
_CASES = [("order", n) for n in range(4)] + [("trip", 0), ("trip", 1), ("errand", 0), ("tick", 0)]


async def undisturbed() -> dict[tuple[str, str], Counter[tuple[str, str]]]:
    """Return how often what happens to each step, by definition and variant."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(folder=name, seed=0, db=f"sqlite:///{name}/wfe.db", lease=30)
        numbers: dict[str, int] = {}
        async with make_host(settings, "undisturbed") as host:
            await asyncio.gather(*(_one(host, *case, numbers) for case in _CASES))
        runs = read(settings.db, folder, 0).runs
    return {
        (run.definition, variant(run.definition, numbers.get(run.id))): outline(run) for run in runs
    }


async def _one(host: WorkflowHost, kind: str, number: int, numbers: dict[str, int]) -> None:
    name = f"{kind}-{number}"
    run = await host.start_workflow(kind, data_of(kind, number, name, name))
    numbers[run.id] = number
    for event in ("paid", "news", "maybe"):
        await host.publish_event(event, name)
    if kind == "order":
        await host.signal(run.id, "nudge")
        activity = await host.activities.claim("review", "x", wait=_LONG)
        assert activity is not None
        await host.activities.complete(activity.token, "fine")
    await run.wait()
