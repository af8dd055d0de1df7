"""Workflows that start by themselves, on a virtual clock: a week passes in no time.

Run it with ``python examples/schedules/schedules.py``.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import attrs

from wfe.core import StepExecutionContext, WorkflowBuilder
from wfe.testing import WorkflowTest

BERLIN = ZoneInfo("Europe/Berlin")


@attrs.define
class Shop:
    """Which shop a report is about."""

    name: str
    lines: int = 0


async def count_sales(ctx: StepExecutionContext[Shop]) -> None:
    """Stand for the real work."""
    ctx.data.lines = len(ctx.data.name)


report = WorkflowBuilder(Shop).start_with(count_sales).build("report")
stock = WorkflowBuilder().delay(timedelta(hours=30)).build("stock-taking")


async def main() -> None:
    """Let two schedules fire through the weekend on which the clocks change."""
    friday = datetime(2025, 3, 28, 12, tzinfo=UTC)
    async with WorkflowTest(report, stock, start=friday) as test:
        schedules = test.host.schedules
        await schedules.create(
            "nightly-report",
            "report",
            {"name": "south"},
            cron="30 2 * * *",  # on Sunday there is no 02:30 in Berlin
            timezone="Europe/Berlin",
        )
        await schedules.create("stock", "stock-taking", every=timedelta(days=1), overlap="queue")

        await test.clock.advance(timedelta(days=4))

        for run in (await test.host.find(definition="report", order="oldest")).items:
            print(f"report at {run.created_at.astimezone(BERLIN):%a %H:%M %Z}: {run.status}")
        taken = await schedules.get("stock")
        runs = (await test.host.find(definition="stock-taking")).items
        print(f"stock: {len(runs)} runs, {len(taken.waiting)} times wait for the last run's end")

        (lost,) = await schedules.backfill(
            "nightly-report", friday - timedelta(days=1), friday - timedelta(hours=10)
        )
        print(f"backfilled: {(await lost.wait(5)).status}")


if __name__ == "__main__":
    asyncio.run(main())
