"""Ends tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

__all__ = ["cancelled", "check_cancelled"]

_AGAIN: Final = 10.0  # seconds that a task has to clean up after it was cancelled


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Cancel *task* and wait until it has ended, however it ended."""
    while task is not None and not task.done():
        task.cancel()
        # Again if need be: what a provider stands on may swallow a cancellation, as
        # asyncio.wait_for of Python 3.11 does, and a loop that was to end would go on.
        await asyncio.wait({task}, timeout=_AGAIN)
    if task is not None and not task.cancelled():
        task.exception()  # it was seen


def check_cancelled() -> None:
    """Raise ``CancelledError`` when this task was to end and what it stands on forgot it.

    A loop that goes on whatever fails asks at each turn, or it might go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
