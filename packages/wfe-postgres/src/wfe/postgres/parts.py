"""What the parts of the store stand on: its database and its clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from wfe.core.providers import Clock

if TYPE_CHECKING:
    from wfe.postgres.database import Args, Database, Row

__all__ = ["PostgresPart"]

# Else a plan is made once, for all values.
_BY_VALUES: Final = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"


class PostgresPart(ABC):
    """A part of :class:`~wfe.postgres.store.PostgresStore`, which has what is abstract here."""

    clock: Clock

    @property
    @abstractmethod
    def _opened(self) -> Database:
        """The open database; raises when the store is not open."""

    @property
    @abstractmethod
    def _now(self) -> int | None:
        """What ``wfe.postgres.names.NOW`` is given; ``None``: the time is the server's."""

    async def _planned(self, sql: str, args: Args) -> list[Row]:
        """Return what a statement finds whose best plan depends on what is asked for."""
        db = self._opened
        _, rows = await db.run(lambda conn: db.pipeline(conn, [(_BY_VALUES, None), (sql, args)]))
        return rows
