"""The schedules of a memory store."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import attrs

from wfe.core.providers import Fire, Refused, ScheduleRow

__all__ = ["MemorySchedules"]


class MemorySchedules:
    """Schedules by id."""

    def __init__(self) -> None:
        self.rows: dict[str, ScheduleRow] = {}

    def check(self, fire: Fire) -> Refused | None:
        """Return why *fire* cannot be applied: changed meanwhile, paused or deleted."""
        row = self.rows.get(fire.id)
        if row is None or row.rev != fire.rev or row.paused:
            return Refused("schedule")
        return None

    def apply(self, fire: Fire, n: int) -> None:
        """Change the schedule, after :meth:`check`; *n* is the run that the same item starts."""
        row = self.rows[fire.id]
        self.rows[fire.id] = attrs.evolve(
            row,
            next_at=fire.next_at,
            state=fire.state,
            rev=row.rev + 1,
            last_n=n if fire.started else row.last_n,
        )

    def put(self, row: ScheduleRow, now: int) -> bool:
        """Insert or replace; ``False``: it is not at ``row.rev``."""
        known = self.rows.get(row.id)
        if (0 if known is None else known.rev) != row.rev:
            return False
        created_at, last_n = (now, None) if known is None else (known.created_at, known.last_n)
        self.rows[row.id] = attrs.evolve(row, created_at=created_at, last_n=last_n, rev=row.rev + 1)
        return True

    def delete(self, id: str) -> bool:
        """Delete; ``False``: there is none."""
        return self.rows.pop(id, None) is not None

    def find(self, id: str | None, definition: str | None) -> Sequence[ScheduleRow]:
        """Return those that fit, by id."""
        fitting = (
            row
            for row in self.rows.values()
            if id in (None, row.id) and definition in (None, row.definition)
        )
        return sorted(fitting, key=attrgetter("id"))

    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        """Return up to *limit* that are due at *now*, and when the next one after these is."""
        coming = sorted(
            (row.next_at, row.id)
            for row in self.rows.values()
            if row.next_at is not None and not row.paused
        )
        due = [id for at, id in coming[:limit] if at <= now]
        following = coming[len(due)][0] if len(due) < len(coming) else None
        return [self.rows[id] for id in due], following
