"""Puts the parts together: everything that a host of the shop knows."""

from __future__ import annotations

from typing import Any

import attrs

from examples.pizza_shop.delivery import delivery
from examples.pizza_shop.evenings import closing, report
from examples.pizza_shop.loyalty import loyalty
from examples.pizza_shop.ordering import pizza_order
from examples.pizza_shop.shop import Shop
from examples.pizza_shop.watching import Board, OpeningHours, Stopwatch
from wfe.host import WorkflowHost

__all__ = ["Staff", "schedule", "workflows"]


def workflows() -> list[Any]:
    """Return all that is registered: built, a durable function, a flow."""
    return [pizza_order(), delivery(), closing(), loyalty, report]


@attrs.define
class Staff:
    """What a host is given besides the workflows."""

    shop: Shop
    hours: OpeningHours = attrs.field(
        default=attrs.Factory(lambda self: OpeningHours(self.shop), takes_self=True)
    )
    watch: Stopwatch = attrs.field(factory=Stopwatch)
    board: Board = attrs.field(factory=Board)

    def options(self) -> dict[str, Any]:
        """Return the options of ``WorkflowHost``, or of ``WorkflowTest``."""
        return {
            "app": self.shop,
            "middleware": [self.hours, self.watch],
            "labels": {"oven"},  # orders require it: other hosts leave them to us
        }


async def schedule(host: WorkflowHost) -> None:
    """Say what starts by itself, at each start of the program: what is known goes on as it is."""
    await host.schedules.create(
        "closing",
        "closing",
        cron="30 23 * * *",
        timezone="Europe/Rome",
        overlap="queue",
        on_conflict="replace",
    )
    await host.schedules.create(
        "report",
        "report",
        {"shop": "Da Gino"},
        cron="45 23 * * *",
        timezone="Europe/Rome",
        on_conflict="replace",
    )
