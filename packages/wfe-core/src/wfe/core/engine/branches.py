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
        waits: Whether a body has ended, and what the task goes on with is being decided.
        following: The pointer that it goes on with; ``None``: with none, it ends.
    """

    __slots__ = ("_given", "ctx", "following", "task", "waits")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.ctx: StepExecutionContext[Any] | None = None
        self.waits: bool = False
        self.following: int | None = None
        self._given: asyncio.Future[None] | None = None

    async def given(self) -> None:
        """Return when :meth:`go_on` was called."""
        self._given = asyncio.get_running_loop().create_future()
        try:
            await self._given
        finally:
            self._given = None

    def go_on(self, key: int | None) -> None:
        """Hand the task its next pointer, if it waits for one; ``None`` ends it."""
        if not self.waits:
            return
        self.waits, self.following = False, key
        if self._given is not None and not self._given.done():
            self._given.set_result(None)

    def cancel(self) -> None:
        """Stop the body that runs."""
        if self.ctx is not None:
            self.ctx.cancelled.set()
        if self.task is not None:
            self.task.cancel()
