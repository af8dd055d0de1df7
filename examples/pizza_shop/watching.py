"""What goes around everything: a stopwatch, opening hours, and a board for the wall."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from examples.pizza_shop.shop import Shop
from wfe.core import LifecycleEvent, StepExecutionContext, WorkflowInstance

__all__ = ["Board", "OpeningHours", "Stopwatch"]


class Stopwatch:
    """Step middleware: counts how often each body ran."""

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()

    async def handle(
        self, ctx: StepExecutionContext[Any], call_next: Callable[[], Awaitable[Any]]
    ) -> Any:
        self.ran[ctx.pointer.step] += 1
        return await call_next()


class OpeningHours:
    """Workflow middleware: refuses orders when the shop is closed, and sees all runs end."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.ended: list[str] = []

    async def pre(self, instance: WorkflowInstance[Any]) -> None:
        if instance.definition == "pizza-order" and not self.shop.open:
            raise PermissionError("the shop is closed")

    async def post(self, instance: WorkflowInstance[Any]) -> None:
        self.ended.append(f"{instance.name} {instance.status}")


class Board:
    """Lifecycle events, for a display: what was committed, right after it was."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def __call__(self, event: LifecycleEvent) -> None:
        self.seen[event.kind] += 1
