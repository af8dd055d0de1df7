"""How long runs are kept, and what their steps emit; part of the host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

from wfe.core.micros import to_micros
from wfe.core.statuses import WorkflowStatus

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.models import StreamItem

__all__ = ["Keeping"]


class Keeping:
    """Purging and streams."""

    _engine: Engine

    async def purge(
        self,
        definition: str | None = None,
        status: WorkflowStatus | str | None = None,
        older_than: timedelta | None = None,
        batch: int = 100,
    ) -> int:
        """Delete finished runs with everything that is stored of them.

        A run goes together with all of its sub-workflow runs, when all of them are final; the
        criteria are about the topmost.  With an archive (``WorkflowHost(archive=...)``) each run
        is given to it first; where that fails, the run stays.

        Args:
            definition: Id of their definition; ``None``: any.
            status: A final one; ``None``: any final one.
            older_than: Only what ended longer ago; ``None``: all.
            batch: How many topmost runs are deleted at a time, at least 1.

        Returns:
            How many runs were deleted, sub-workflow runs included.

        Raises:
            HostStoppingError: The host is not running.
            ValueError: *status* is none.
        """
        self._engine.check_running()
        now = self._engine.clock.now()
        from wfe.core.providers import PurgeQuery  # noqa: PLC0415 - a host has imported it

        query = PurgeQuery(
            definition=definition,
            status=None if status is None else WorkflowStatus(status).value,
            completed_before=None if older_than is None else now - to_micros(older_than),
        )
        return await self._engine.retention.purge(query, max(batch, 1))

    def stream(
        self, id_or_name: str, after: int = 0, *, follow: bool = True
    ) -> AsyncIterator[StreamItem]:
        """Return what the steps of a run emitted (``ctx.emit``), in order.

        Args:
            id_or_name: Of the run.
            after: Offset of the last item that is known; 0: from the beginning.
            follow: Go on until the run is final, whichever host drives it; else end at the
                present end.

        Raises:
            WorkflowNotFoundError: There is no such run.
            HostStoppingError: The host is stopped meanwhile.
        """
        return self._engine.streams.items(id_or_name, after, follow=follow)
