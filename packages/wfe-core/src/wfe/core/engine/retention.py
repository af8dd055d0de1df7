"""Deletes finished runs: when somebody asks, and by themselves when their time has come."""

from __future__ import annotations

import asyncio
import inspect
import logging
import random  # noqa: TID251 - the shell draws when it sweeps; the rules draw nothing
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from wfe.core.cancelling import cancelled
from wfe.core.engine.moments import LATEST
from wfe.core.errors import ProviderError
from wfe.core.models import ArchivedRun, WorkflowStatus, to_micros
from wfe.core.payloads import StoredTexts
from wfe.core.providers import LockProvider, PurgeQuery, StoredInstance

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun

__all__ = ["Archive", "Retention"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs
_HOUR: Final = 3600 * _SECOND
_DAY: Final = 24 * _HOUR
_FIRST: Final = 60 * _SECOND  # a host looks for the first time within so long
_SPREAD: Final = 0.1  # part of an hour by which hosts differ, so that they do not look together
_FOUND: Final = 5000  # roots looked up at a time
_BATCH: Final = 100
_LONGEST: Final = 1.0  # seconds between two batches
_EVENTS: Final = 10_000

Archive: TypeAlias = Callable[[ArchivedRun], Awaitable[Any] | Any]
"""Gets each run before it is deleted."""


class Retention:
    """Purges, and sweeps about once an hour; one host of a store sweeps at a time."""

    def __init__(self, engine: Engine, lock: LockProvider, archive: Archive | None) -> None:
        """Delete runs of *engine*'s store, each after *archive* has it."""
        self._engine = engine
        self._lock = lock
        self._archive = archive
        self._pause = int(_HOUR * random.uniform(1 - _SPREAD, 1 + _SPREAD))  # noqa: S311 - no secret
        self._task: asyncio.Task[None] | None = None

    # -- what is kept for how long

    def until(self, run: LiveRun, status: str) -> int | None:
        """Return when *run* may be deleted if it ends now, µs; ``None``: never, or with its root.

        A definition's own retention, for *status* before that for any, wins over the host's.
        """
        if run.parent is not None:
            return None
        definition = run.ready.definition
        own = definition.retentions.get(status, definition.retention)
        kept = self._engine.settings.retention if own is None else own
        return None if kept is None or kept < 0 else self._after(kept)

    def event_until(self, expires: timedelta | None) -> int | None:
        """Return when an event that is published now is over, µs; ``None``: never."""
        kept = self._engine.settings.event_retention
        if expires is not None:
            kept = to_micros(expires)
        return None if kept is None else self._after(kept)

    def _after(self, kept: int) -> int | None:
        """Return the time *kept* µs from now; ``None`` when the calendar ends before it."""
        until = self._engine.clock.now() + kept
        return None if until > LATEST else until

    # -- purging

    async def purge(self, query: PurgeQuery, batch: int = _BATCH) -> int:
        """Delete all families that fit; return the number of instances.

        A family whose archiving failed stays, and is logged.  Between batches the store is left
        to others for as long as the batch took, so that their commits do not wait in line.
        """
        loop = asyncio.get_running_loop()
        store, report = self._engine.store, self._engine.report
        await report.flush()  # or lines would be stored after their run is gone
        await report.streams.flush()
        seen: set[int] = set()
        deleted = 0
        while True:
            # Who stayed is found again: look beyond them.
            wide = attrs.evolve(query, limit=_FOUND + len(seen))
            roots = [r for r in await store.purgeable(wide) if r.n not in seen]
            if not roots:
                return deleted
            for k in range(0, len(roots), batch):
                began, some = loop.time(), roots[k : k + batch]
                ready = [root.n for root in some if await self._archived(root)]
                gone = await store.purge(ready) if ready else 0
                deleted += gone
                if gone < len(some):
                    seen.update(root.n for root in some)
                await asyncio.sleep(min(loop.time() - began, _LONGEST))

    async def _archived(self, root: StoredInstance) -> bool:
        """Give a family to the archive; ``False``: it did not take it."""
        if self._archive is None or root.status not in _STATUSES:
            return True  # deleting it has begun already, after it was archived
        for header in await self._engine.store.family(root.n):
            try:
                run = await self._engine.reads.whole(header)
                taken = self._archive(run)
                if inspect.isawaitable(taken):
                    await taken
            except ProviderError:
                raise
            except Exception:  # noqa: BLE001 - the archive is a guest
                _LOG.exception("the archive failed on run %s; its family is kept", header.id)
                return False
        return True

    # -- sweeping

    def start(self) -> None:
        """Begin to sweep; the first time soon, for hosts that do not live for an hour."""
        self._next(int(_FIRST * random.random()))  # noqa: S311 - no secret

    def _next(self, pause: int) -> None:
        self._engine.timers.at(self._engine.clock.now() + pause, self._due)

    def _due(self) -> None:
        self._task = asyncio.create_task(self._run(), name="wfe-retention")

    @property
    def busy(self) -> bool:
        """Whether a sweep is under way."""
        return self._task is not None and not self._task.done()

    async def close(self) -> None:
        """Stop sweeping; what is not deleted is deleted another time."""
        await cancelled(self._task)

    async def _run(self) -> None:
        try:
            await self.sweep()
        except ProviderError as error:
            _LOG.warning("deleting what is over failed, trying again in an hour: %s", error)
        except Exception:  # noqa: BLE001 - a host must not stop sweeping for ever
            _LOG.exception("internal error while deleting what is over")
        self._next(self._pause)

    async def sweep(self) -> int:
        """Delete the runs, events and blobs whose time has come; return the number of runs.

        Nothing is written when nothing is over.  A host without definitions, for example one that
        only looks, sweeps nothing; one that drives its own runs only, those of its definitions:
        others may have an archive for the rest.
        """
        engine, store = self._engine, self._engine.store
        given = engine.registry.given
        if not given:
            return 0
        more = True
        while more:
            more = await store.purge_events(_EVENTS) >= _EVENTS
        if isinstance(store, StoredTexts):
            await store.sweep(_DAY)
        await self._sweep_results()
        now, deleted = engine.clock.now(), 0
        mine = (None,) if engine.runs.roots is None else tuple({each.id for each in given})
        for id_ in mine:
            query = PurgeQuery(definition=id_, retained_until=now)
            if await store.purgeable(attrs.evolve(query, limit=1)) and await self._alone():
                deleted += await self.purge(query)
        if deleted:
            _LOG.info("deleted %d run(s) whose retention is over", deleted)
        return deleted

    async def _sweep_results(self) -> None:
        """Delete results that have expired, and artifacts that nothing names any more."""
        engine = self._engine
        if engine.results.index is not None:
            now = engine.clock.now()
            while len(await engine.results.index.cache_purge(_EVENTS, expired=now)) >= _EVENTS:
                pass
        if engine.artifacts.used and await self._alone():
            await engine.artifacts.sweep()

    async def _alone(self) -> bool:
        """Whether no other host deletes now."""
        epoch = self._engine.epoch  # a guest has none
        return bool(epoch) and await self._lock.try_acquire("retention", epoch, self._pause)


_STATUSES: Final[Sequence[str]] = tuple(WorkflowStatus)
