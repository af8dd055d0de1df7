"""What callers look at: runs, their histories, their logs; part of the host."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from wfe.core.errors import WorkflowNotFoundError
from wfe.core.statuses import WorkflowStatus

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.models import HistoryEntry, LogLine, Page, WorkflowInstance

__all__ = ["Reads"]


class Reads:
    """The read side of a host; a run is named by its id or name."""

    _engine: Engine

    async def get(self, id_or_name: str) -> WorkflowInstance[Any]:
        """Return a run as stored.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        found = await self._engine.reads.get(id_or_name)
        if found is None:
            raise WorkflowNotFoundError(id_or_name)
        return found

    async def find(  # noqa: PLR0913 - the criteria of a search
        self,
        *,
        definition: str | None = None,
        status: WorkflowStatus | str | None = None,
        reference: str | None = None,
        since: datetime | None = None,
        data: Mapping[str, Any] | None = None,
        order: Literal["newest", "oldest"] = "newest",
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[WorkflowInstance[Any]]:
        """Return the runs that fit, a page at a time.

        Args:
            definition: Id of their definition.
            status: One status.
            reference: As given at the start.
            since: Created at or after.
            data: Top-level fields and the values they must have; of live runs as of their last
                snapshot.
            order: By creation.
            limit: Of the page, at least 1.
            cursor: Of the page before.

        Raises:
            DataTypeError: The cursor is not one that this method returned.
        """
        if order not in ("newest", "oldest"):
            problem = f'order must be "newest" or "oldest", got {order!r}'
            raise ValueError(problem)
        return await self._engine.reads.find(
            definition=definition,
            status=None if status is None else WorkflowStatus(status).value,
            reference=reference,
            since=since,
            data=data,
            newest_first=order == "newest",
            limit=max(limit, 1),
            cursor=cursor,
        )

    async def history(
        self, id_or_name: str, *, after: int = -1, limit: int | None = None
    ) -> list[HistoryEntry]:
        """Return what happened in a run, in order and without gaps.

        Args:
            id_or_name: Of the run.
            after: ``seq`` of the last entry that is known; -1: from the beginning.
            limit: How many entries at most; ``None``: all.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        return await self._engine.reads.history(id_or_name, after, limit)

    async def logs(self, id_or_name: str) -> list[LogLine]:
        """Return the lines that the steps of a run wrote, in order.

        Raises:
            WorkflowNotFoundError: There is none with this id or name.
        """
        await self._engine.report.flush()
        return (await self._engine.reads.logs(id_or_name))[0]
