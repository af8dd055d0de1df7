"""Who waits for the end of a run in this process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from wfe.core.models import WorkflowInstance, WorkflowStatus
from wfe.core.providers import StoredInstance

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun

__all__ = ["Waits"]

_TURNS: Final = frozenset({"resume", "retry", "rewind", "skip", "terminate"})
_POLL: Final = (0.02, 0.5)  # seconds between looks at a run that another process drives


class Waits:
    """Futures by run id."""

    def __init__(self, engine: Engine) -> None:
        """Wait for runs of *engine*."""
        self._engine = engine
        self._futures: dict[str, set[asyncio.Future[LiveRun | None]]] = {}

    def told(self, run: LiveRun) -> None:
        """*run* is final, suspended, or not driven here any more: whoever waits looks again."""
        for future in self._futures.pop(run.ref.id, ()):
            if not future.done():
                future.set_result(run)

    def again(self, id: str) -> None:
        """Something changed about a run that is not driven here: whoever waits looks again."""
        for future in self._futures.pop(id, ()):
            if not future.done():
                future.set_result(None)

    def close(self) -> None:
        """The host stops: whoever waits looks again, and finds it stopped."""
        for futures in self._futures.values():
            for future in futures:
                if not future.done():
                    future.set_result(None)
        self._futures.clear()

    async def ended(self, id: str, *, suspended: bool) -> WorkflowInstance[Any]:
        """Return the run with this id once it is final (or, if wanted, suspended).

        Raises:
            WorkflowNotFoundError: There is no such run.
            HostStoppingError: The host was stopped meanwhile.
        """
        pause = _POLL[0]
        while True:
            # Listen first, then look: an end between the two is not missed.
            future: asyncio.Future[LiveRun | None] = asyncio.get_running_loop().create_future()
            self._futures.setdefault(id, set()).add(future)
            try:
                found = await self._look(id, future, pause, suspended=suspended)
            finally:
                self._forget(id, future)
            if found is not None:
                return found
            pause = min(pause * 2, _POLL[1])

    def _forget(self, id: str, future: asyncio.Future[LiveRun | None]) -> None:
        waiting = self._futures.get(id)
        if waiting is not None:
            waiting.discard(future)
            if not waiting:
                del self._futures[id]

    async def _look(
        self, id: str, future: asyncio.Future[LiveRun | None], pause: float, *, suspended: bool
    ) -> WorkflowInstance[Any] | None:
        """Look at a run, then wait for news of it; return it when it has ended."""
        run = self._engine.runs.driven(id)
        if run is None:
            self._engine.check_running()
            complete = self._engine.delivering.lately(id)
            if complete is not None:
                return complete.view()
            header = await self._engine.reads.header(id)
            if _over(header, suspended=suspended) and not await self._asked(header):
                return await self._engine.reads.get(id)
        aside = suspended and run is not None and run.state.status == WorkflowStatus.SUSPENDED
        if run is not None and aside and not _undecided(run):
            return run.view()
        # Another process may drive it, or what was asked of it may leave it as it is.
        if aside or (run is None and self._engine.durable):
            await asyncio.wait({future}, timeout=pause)
            ended = future.result() if future.done() else None
        else:
            ended = await future
        return ended.view() if ended is not None and ended.final_at is not None else None

    async def _asked(self, header: StoredInstance) -> bool:
        """Whether a suspended run, which another host may drive, was asked to turn."""
        if WorkflowStatus(header.status).final:
            return False
        found = await self._engine.store.load([header.n])
        return any(row.kind in _TURNS for loaded in found for row in loaded.inbox)


def _undecided(run: LiveRun) -> bool:
    """Whether *run* may not stay as it is, for what was asked of it before."""
    return bool(run.poked or run.inputs or run.in_flight or run.looking_up)


def _over(header: StoredInstance, *, suspended: bool) -> bool:
    status = WorkflowStatus(header.status)
    if header.wake is not None:  # somebody asked it to go on, and it has not been looked at yet
        return False
    if status.final:
        return header.owner is None
    return suspended and status is WorkflowStatus.SUSPENDED
