"""What the engine does beside its turns: nobody waits for it, until the host stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Errands", "still_busy"]


class Errands:
    """Small tasks that look after themselves; a host that stops lets them end."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return bool(self._tasks)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Begin one."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until those that were begun have ended, however they do."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def still_busy(
    working: Callable[[], list[asyncio.Task[None]]], grace: float
) -> list[asyncio.Task[None]]:
    """Wait until nobody works, at most *grace* seconds; return the tasks that still do."""
    deadline = asyncio.get_running_loop().time() + grace
    while busy := working():
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return busy
        await asyncio.wait(busy, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
    return []
