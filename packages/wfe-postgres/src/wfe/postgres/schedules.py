"""The part of the store that keeps schedules; that one fires is part of a commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wfe.core.providers import ScheduleRow
from wfe.core.sql_columns import SCHEDULE, schedule_row
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart

__all__ = ["PostgresSchedules"]

_INSERT: Final = f"""
INSERT INTO wfe_schedules ({SCHEDULE})
VALUES (%(id)s, %(definition)s, %(version)s, %(data)s, %(spec)s, %(next_at)s, %(paused)s,
    %(state)s, NULL, {NOW}, 1)
ON CONFLICT DO NOTHING RETURNING 1"""  # noqa: S608 - constants
_REPLACE: Final = """
UPDATE wfe_schedules
SET definition = %(definition)s, version = %(version)s, data = %(data)s, spec = %(spec)s,
    next_at = %(next_at)s, paused = %(paused)s, state = %(state)s, rev = rev + 1
WHERE id = %(id)s AND rev = %(rev)s RETURNING 1"""
_DELETE: Final = "DELETE FROM wfe_schedules WHERE id = %(id)s RETURNING 1"
_FIND: Final = f"""
SELECT {SCHEDULE} FROM wfe_schedules
WHERE (%(id)s::text IS NULL OR id = %(id)s)
    AND (%(definition)s::text IS NULL OR definition = %(definition)s) ORDER BY id"""  # noqa: S608 - constants
# Due or not: the first that is not returned says when the next one is due.
_COMING: Final = f"""
SELECT {SCHEDULE}, next_at <= {NOW} FROM wfe_schedules
WHERE next_at IS NOT NULL AND NOT paused ORDER BY next_at, id LIMIT %(limit)s"""  # noqa: S608 - constants


class PostgresSchedules(PostgresPart):
    """The schedules of a :class:`~wfe.postgres.store.PostgresStore`."""

    async def put_schedule(self, row: ScheduleRow) -> bool:
        args = {
            "id": row.id,
            "definition": row.definition,
            "version": row.version,
            "data": row.data,
            "spec": row.spec,
            "next_at": row.next_at,
            "paused": row.paused,
            "state": row.state,
        }
        if row.rev == 0:
            return bool(await self._opened.all(_INSERT, {**args, "now": self._now}))
        return bool(await self._opened.all(_REPLACE, {**args, "rev": row.rev}))

    async def delete_schedule(self, id: str) -> bool:
        return bool(await self._opened.all(_DELETE, {"id": id}))

    async def schedules(
        self, id: str | None = None, definition: str | None = None
    ) -> Sequence[ScheduleRow]:
        found = await self._opened.all(_FIND, {"id": id, "definition": definition})
        return [schedule_row(each) for each in found]

    async def due_schedules(self, limit: int) -> tuple[Sequence[ScheduleRow], int | None]:
        found = await self._opened.all(_COMING, {"limit": limit + 1, "now": self._now})
        rows = [schedule_row(each) for each in found]
        due = min(sum(each[-1] for each in found), limit)
        return rows[:due], rows[due].next_at if len(rows) > due else None
