"""The part of the store that keeps schedules; that one fires is part of a commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from wfe.core.providers import ScheduleRow
from wfe.core.sql_columns import SCHEDULE, schedule_row
from wfe.sqlite.parts import SqlitePart

__all__ = ["SqliteSchedules"]

_INSERT: Final = f"""
INSERT INTO wfe_schedules ({SCHEDULE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?, 1)
ON CONFLICT DO NOTHING"""  # noqa: S608 - constants
_REPLACE: Final = """
UPDATE wfe_schedules SET definition = ?, version = ?, data = ?, spec = ?, next_at = ?, paused = ?,
    state = ?, rev = rev + 1 WHERE id = ? AND rev = ?"""
_DELETE: Final = "DELETE FROM wfe_schedules WHERE id = ?"
_FIND: Final = f"""
SELECT {SCHEDULE} FROM wfe_schedules
WHERE (? IS NULL OR id = ?) AND (? IS NULL OR definition = ?) ORDER BY id"""  # noqa: S608 - constants
# One more than wanted: it says when the next one is due.
_COMING: Final = f"""
SELECT {SCHEDULE} FROM wfe_schedules
WHERE next_at IS NOT NULL AND NOT paused AND next_at <= ? ORDER BY next_at, id LIMIT ?"""  # noqa: S608 - constants
_FOLLOWING: Final = """
SELECT min(next_at) FROM wfe_schedules
WHERE next_at IS NOT NULL AND NOT paused AND next_at > ?"""


class SqliteSchedules(SqlitePart):
    """The schedules of a :class:`~wfe.sqlite.store.SqliteStore`."""

    async def put_schedule(self, row: ScheduleRow) -> bool:
        what = (row.definition, row.version, row.data, row.spec, row.next_at, row.paused, row.state)

        def put(db: sqlite3.Connection, now: int) -> bool:
            if row.rev == 0:
                return db.execute(_INSERT, (row.id, *what, now)).rowcount == 1
            return db.execute(_REPLACE, (*what, row.id, row.rev)).rowcount == 1

        return await self._write(put)

    async def delete_schedule(self, id: str) -> bool:
        return await self._write(lambda db, _: db.execute(_DELETE, (id,)).rowcount == 1)

    async def schedules(
        self, id: str | None = None, definition: str | None = None
    ) -> Sequence[ScheduleRow]:
        found = self._opened.reader.all(_FIND, id, id, definition, definition)
        return [schedule_row(each) for each in found]

    async def due_schedules(self, limit: int) -> tuple[Sequence[ScheduleRow], int | None]:
        now, reader = self.clock.now(), self._opened.reader
        rows = [schedule_row(found) for found in reader.all(_COMING, now, limit + 1)]
        if len(rows) > limit:
            return rows[:limit], rows[limit].next_at
        ((following,),) = reader.all(_FOLLOWING, now)
        return rows, following
