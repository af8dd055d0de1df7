"""Collects what steps write and stores it in batches, off the path of the steps."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from wfe.core.errors import ProviderError
from wfe.core.providers import LogRow, PersistenceProvider

__all__ = ["LogPump"]

_LOG: Final = logging.getLogger("wfe.engine")
_PAUSE: Final = 0.05  # seconds between a line and its storing
_MOST: Final = 1000  # lines a batch
_LONGEST: Final = 16_384  # characters of a line; what is beyond is cut, and says so


class LogPump:
    """Takes lines from any thread."""

    def __init__(self, store: PersistenceProvider, seen: Callable[[LogRow], None]) -> None:
        """Store in *store*; *seen* is told of each line, on the loop."""
        self._store = store
        self._seen = seen
        self._rows: list[LogRow] = []
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, row: LogRow) -> None:
        """Keep one line."""
        if threading.get_ident() != self._thread:
            self._loop.call_soon_threadsafe(self._take, row)
        else:
            self._take(row)

    def _take(self, row: LogRow) -> None:
        if len(row.line) > _LONGEST:
            cut = f"{row.line[:_LONGEST]}… ({len(row.line)} characters, cut)"
            row = LogRow(
                n=row.n, at=row.at, step=row.step, pointer=row.pointer, stream=row.stream, line=cut
            )
        self._seen(row)
        self._rows.append(row)
        if self._timer is None:
            self._timer = self._loop.call_later(_PAUSE, self._due)

    def _due(self) -> None:
        self._timer = None
        task = self._loop.create_task(self.flush())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Store what was taken so far."""
        async with self._turn:
            while self._rows:
                batch, self._rows = self._rows[:_MOST], self._rows[_MOST:]
                try:
                    await self._store.append_logs(batch)
                except ProviderError as error:
                    self._rows = [*batch, *self._rows]
                    _LOG.warning("log lines wait, the store refuses writes: %s", error)
                    return

    async def close(self) -> None:
        """Store the rest."""
        if self._timer is not None:
            self._timer.cancel()
        await self.flush()
