"""The part of the store that keeps and forgets: purging, streams, the outbox."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wfe.core.errors import ProviderError
from wfe.core.providers import Item, Outcome, PurgeQuery, StoredInstance, StreamRow
from wfe.sqlite import outbox, purging
from wfe.sqlite.parts import SqlitePart
from wfe.sqlite.writer import Stats

__all__ = ["SqliteKeeping"]

_EMIT: Final = """
INSERT INTO wfe_stream (instance, at, step, pointer, name, payload) VALUES (?, ?, ?, ?, ?, ?)"""
_STREAM: Final = """
SELECT instance, at, step, pointer, name, payload, s FROM wfe_stream
WHERE instance = ? AND s > ? ORDER BY s LIMIT ?"""


class SqliteKeeping(SqlitePart):
    """Purging, streams and the outbox of a :class:`~wfe.sqlite.store.SqliteStore`."""

    path: Path
    _in_memory: bool
    _stats: Stats

    # -- streams ------------------------------------------------------------------------------

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        if not rows:
            return
        emitted = [(r.n, r.at, r.step, r.pointer, r.name, r.payload) for r in rows]

        def append(db: sqlite3.Connection, _: int) -> None:
            db.executemany(_EMIT, emitted)

        await self._write(append, len(rows))

    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        return [
            StreamRow(n=n, at=at, step=step, pointer=pointer, name=name, payload=payload, s=s)
            for n, at, step, pointer, name, payload, s in self._opened.reader.all(
                _STREAM, n, after, limit
            )
        ]

    # -- purging ------------------------------------------------------------------------------

    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        # It may look at many rows.
        return await asyncio.to_thread(purging.purgeable, self._opened.scanner, query)

    async def family(self, n: int) -> Sequence[StoredInstance]:
        return purging.family(self._opened.reader, n)

    async def purge(self, roots: Sequence[int]) -> int:
        left, deleted = list(roots), 0
        while left:

            def work(db: sqlite3.Connection, _: int, roots: Sequence[int] = left) -> Any:
                return purging.purge_slice(db, roots)

            done, gone = await self._write(work, purging.BUDGET)
            left = left[done:]
            deleted += gone
        return deleted

    async def purge_events(self, limit: int) -> int:
        if not purging.has_expired(self._opened.reader, self.clock.now()):
            return 0
        return await self._write(lambda db, now: purging.purge_events(db, limit, now), limit)

    # -- outbox -------------------------------------------------------------------------------

    def enqueue(self, connection: Any, item: Item) -> Outcome:
        if self._in_memory:
            problem = "within=: a database in memory has no second connection; use a file"
            raise ProviderError("sqlite", problem, transient=False)
        return outbox.enqueue(connection, item, self.path, self.clock.now())

    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        if not outbox.has_mail(self._opened.reader):
            return ()
        return await self._write(
            lambda db, now: outbox.drain(db, limit, now, self._stats), min(limit, 1000)
        )
