"""One live branch of a run."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Any

from wfe.core.steps import StepExecutionContext

__all__ = ["Branch"]


class Branch:
    """Where the bodies of one branch run, one after the other.

    Attributes:
        ctx: Of the body that runs now; ``None`` between bodies.
        task: In which it runs; ``None`` between bodies.
        waits: Whether a body has ended, and what follows is being decided.
        dropped: Whether what was about to begin must not begin any more.
        context: The variables of its bodies, as whoever began the branch had them.
    """

    __slots__ = ("context", "ctx", "dropped", "task", "waits")

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.ctx: StepExecutionContext[Any] | None = None
        self.waits: bool = False
        self.dropped: bool = False
        self.context: Context = copy_context()

    def cancel(self) -> None:
        """Stop the body that runs, or that was about to begin."""
        if self.ctx is not None:
            self.ctx.cancelled.set()
        if self.task is not None:
            self.task.cancel()
        else:
            self.dropped = True
