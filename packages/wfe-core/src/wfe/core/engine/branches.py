"""The task of one live branch of a run."""

from __future__ import annotations

import asyncio
from typing import Any

from wfe.core.steps import StepExecutionContext

__all__ = ["Branch"]


class Branch:
    """A task that runs the bodies of one branch, one after the other.

    Attributes:
        ctx: Of the body that runs now; ``None`` between bodies.
        waiter: What the task waits on for its next pointer; ``None`` while a body runs.
    """

    __slots__ = ("ctx", "task", "waiter")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.ctx: StepExecutionContext[Any] | None = None
        self.waiter: asyncio.Future[int | None] | None = None

    def go_on(self, key: int | None) -> None:
        """Hand the task its next pointer; ``None`` ends it."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(key)

    def cancel(self) -> None:
        """Stop the body that runs."""
        if self.ctx is not None:
            self.ctx.cancelled.set()
        if self.task is not None:
            self.task.cancel()
