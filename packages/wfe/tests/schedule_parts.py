"""What the tests of schedules share."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs

from wfe.core import WorkflowBuilder
from wfe.core.models import WorkflowInstance
from wfe.host import WorkflowHost

__all__ = [
    "HOUR",
    "MINUTE",
    "START",
    "Report",
    "quick",
    "report",
    "runs_of",
    "slow",
    "times",
    "turns",
    "work",
]

START = datetime(2025, 1, 1, tzinfo=UTC)


MINUTE = timedelta(minutes=1)


HOUR = timedelta(hours=1)


@attrs.define
class Report:
    """What the report workflow works on."""

    shop: str
    pages: int = 3


async def work() -> None:
    """Do nothing, on the loop: a thread would not keep step with the virtual clock."""


report = WorkflowBuilder(Report).start_with(work).build("report")


quick = WorkflowBuilder().start_with(work).build("quick")


slow = WorkflowBuilder().delay(90 * MINUTE).then(work).build("slow")


async def runs_of(host: WorkflowHost, definition: str | None = None) -> list[WorkflowInstance[Any]]:
    return list((await host.find(definition=definition, order="oldest", limit=1000)).items)


async def times(host: WorkflowHost) -> list[str]:
    """Return the times of the schedules' runs, as their history says, in order of creation."""
    found: list[str] = []
    for run in await runs_of(host):
        first = (await host.history(run.id))[0]
        assert first.data is not None
        found.append(f"{datetime.fromisoformat(first.data['at']):%H:%M}")
    return found


async def turns() -> None:
    """Let several hosts do what is due."""
    for _ in range(60):
        await asyncio.sleep(0)
