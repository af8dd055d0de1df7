"""What happens in the workflows when nothing goes wrong: found out by running them so."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from faults.client import Ledger
from faults.hosting import make_host
from faults.laws import Judged, outline, variant
from faults.reading import Seen, make_books, read
from faults.settings import Settings
from faults.workload import data_of
from wfe.host import WorkflowHost

__all__ = ["disturbed_by_nothing", "outlines", "undisturbed"]

_LONG = timedelta(seconds=60)
_OFTEN = timedelta(milliseconds=200)
_CASES = [("order", n) for n in range(4)] + [("trip", 0), ("trip", 1), ("errand", 0), ("tick", 0)]
_KNOWN = frozenset({"order", "trip", "errand", "tick", "part"})
"""Definitions of which every run goes one of a few ways."""


async def undisturbed() -> Mapping[tuple[str, str], Counter[tuple[str, str]]]:
    """Return how often what happens to each step, by definition and variant."""
    with tempfile.TemporaryDirectory() as name:
        judged = await asyncio.to_thread(disturbed_by_nothing, Path(name))
    return judged.wanted


def disturbed_by_nothing(folder: Path) -> Judged:
    """Run one case of each kind in *folder*, and return what the laws look at."""
    settings = Settings(folder=str(folder), seed=0, db=f"sqlite:///{folder}/wfe.db", lease=30)
    ledger = Ledger(folder / "ledger")
    paused = asyncio.run(_all(settings, ledger))
    offset = (time.time_ns() - time.monotonic_ns()) // 1000
    seen = read(settings.db, folder, offset)
    numbers = {fact["got"]: fact["number"] for fact in ledger.facts if fact["what"] == "start"}
    return Judged(seen=seen, ledgers=[ledger], wanted=outlines(seen, numbers), paused=paused)


def outlines(
    seen: Seen, numbers: Mapping[str, int]
) -> Mapping[tuple[str, str], Counter[tuple[str, str]]]:
    """Return how often what happened to each step; *numbers* are those of cases, by run."""
    return {
        (run.definition, variant(run.definition, numbers.get(run.id))): outline(run)
        for run in seen.runs
        if run.definition in _KNOWN
    }


async def _all(settings: Settings, ledger: Ledger) -> int:
    """Run everything; return when the schedule was paused, µs."""
    async with make_host(settings, "undisturbed") as host:
        make_books(settings.db)
        start = datetime.now(UTC) + timedelta(seconds=1)
        await host.schedules.create("ticks", "tick", every=_OFTEN, start=start, overlap="queue")
        await asyncio.gather(*(_one(host, *case, ledger) for case in _CASES))
        paused = time.time_ns() // 1000
        await host.schedules.pause("ticks")
        for page in (await host.find(definition="tick")).items:
            await (await host.run(page.id)).wait()
    return paused


async def _one(host: WorkflowHost, kind: str, number: int, ledger: Ledger) -> None:
    """Run one case to its end."""
    name = f"{kind}-{number}"
    data = data_of(kind, number, name, name)
    run = await host.start_workflow(kind, data, idempotency_key=name)
    start = {"what": "start", "name": name, "sure": True, "got": run.id}
    ledger.take({**start, "kind": kind, "number": number})
    for event in ("paid", "news", "maybe") if kind != "tick" else ():
        id = f"{event} {name}"
        await host.publish_event(event, name, id=id)
        ledger.take({"what": "event", "name": id, "sure": True, "got": id})
    if kind == "order":
        await host.signal(run.id, "nudge", actor=name)
        asked = {"what": "signal", "name": name, "actor": name, "run": run.id}
        ledger.take({**asked, "sure": True, "refused": False})
        activity = await host.activities.claim("review", "x", wait=_LONG)
        assert activity is not None
        await host.activities.complete(activity.token, "fine")
    await run.wait()
