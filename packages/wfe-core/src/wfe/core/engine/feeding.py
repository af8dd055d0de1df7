"""Keeps a search index up to date: on demand, or all the time when it is not the store itself.

The index keeps where the feed stands: one that was emptied fills itself again.  Any number of
hosts may feed; a named lock only saves them double work.  Who fills the index anew takes it too,
so that nobody moves on where the feed stands meanwhile; whoever feeds lets go of it when asked.
"""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251 - the shell draws when it looks; the rules draw nothing
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from wfe.core.cancelling import cancelled
from wfe.core.engine.documents import line_document, run_document
from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.search import ChangesProvider, SearchDocument, SearchProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from wfe.core.engine.engine import Engine
    from wfe.core.providers import LockProvider

__all__ = ["Feeder", "SearchSettings"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs
_LOCK: Final = "search-feeder"
_WISH: Final = "search-rebuild"  # somebody wants the other lock, or has it to fill the index anew
_LEASE: Final = 30 * _SECOND
_GLANCE: Final = _SECOND // 100  # for which the wish is taken to see whether nobody has it
_PATIENCE: Final = 2 * _LEASE  # until whoever feeds has let go
_POLL: Final = _SECOND  # between looks of the host that feeds
_OTHERS: Final = 20 * _SECOND  # between looks of the hosts that do not
_LONGEST: Final = 60 * _SECOND  # between tries while the index is down
_LAST: Final = 2.0  # seconds for the last changes when the host stops
_RUNS: Final = 200  # a batch
_LOADED: Final = 50  # at a time: each may be as big as a run's data
_LINES: Final = 1000  # a batch


@frozen(kw_only=True)
class SearchSettings:
    """How runs are searched.

    Attributes:
        index: ``None``: the store's own.
        fields: By definition, the paths of the data that can be searched; a definition that is
            not in it: all scalars.
        coded: The store's texts are encoded: data is indexed only where *fields* say so, and
            lines are not.
    """

    index: SearchProvider | None = None
    fields: Mapping[str, Collection[str]] = attrs.field(factory=dict[str, Collection[str]])
    coded: bool = False


class Feeder:
    """Brings what changed in a store to an index."""

    def __init__(
        self, engine: Engine, lock: LockProvider, index: SearchProvider, settings: SearchSettings
    ) -> None:
        """Feed *index* from *engine*'s store."""
        self._engine = engine
        self._lock = lock
        self._index = index
        self._settings = settings
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._open = False
        self._feeds = False  # this host was the last to feed
        self._away = False  # another host is
        self._cursors: tuple[str | None, str | None] = (None, None)
        self._looked: int | None = None
        self._held_until = 0
        self._fed: int | None = None
        self._trouble: str | None = None
        self._resting = True

    @property
    def busy(self) -> bool:
        """Whether it is this turn's work that goes on, not the wait for the next."""
        return not self._resting

    @property
    def _store(self) -> ChangesProvider:
        return cast("ChangesProvider", self._engine.store)

    # -- on demand

    async def catch_up(self, *, logs: bool, told: Callable[[int], None] | None = None) -> int:
        """Bring all that changed to the index; return how many runs and lines that were.

        Args:
            logs: Lines too.
            told: Called after each batch with how many it were so far.
        """
        async with self._turn:
            return await self._catch_up(logs, told)

    async def _catch_up(self, logs: bool, told: Callable[[int], None] | None) -> int:
        started = self._engine.clock.now()
        runs, lines = await self._asked()
        fed = await self._feed_runs(runs, told)
        if logs and not self._settings.coded:
            fed += await self._feed_lines(lines, fed, told)
        self._fed, self._trouble = started, None
        return fed

    async def open(self) -> None:
        """Open the index once."""
        if not self._open:
            await self._index.open()
            self._open = True

    async def rebuild(self, told: Callable[[int], None] | None = None) -> int:
        """Empty the index and fill it anew; return how many runs and lines are in it.

        Raises:
            ProviderError: Another host feeds the index and does not let go, or it or the store
                failed.
        """
        await self._engine.join()  # only workers hold locks
        async with self._turn:
            await self.open()
            await self._take_over()
            await self._index.search_clear()
            return await self._catch_up(True, told)

    async def _take_over(self) -> None:
        """Take the lock, and let whoever has it know.

        Raises:
            ProviderError: It does not let go.
        """
        clock, epoch = self._engine.clock, self._engine.epoch
        end = clock.now() + _PATIENCE
        while True:
            wished = await self._lock.try_acquire(_WISH, epoch, _LEASE)
            if wished and await self._hold():
                return
            if clock.now() >= end:
                what = "feeds" if wished else "is filling"
                problem = (
                    f"another host {what} the search index, and did not let go of it within"
                    f" {_PATIENCE // _SECOND} s; try again when that is over"
                )
                raise ProviderError("search", problem)
            await clock.sleep_until(clock.now() + _POLL // 2)

    async def _hold(self) -> bool:
        """Take or keep the lock."""
        now = self._engine.clock.now()
        self._feeds = await self._lock.try_acquire(_LOCK, self._engine.epoch, _LEASE)
        self._away = not self._feeds
        self._held_until = now + _LEASE if self._feeds else 0
        return self._feeds

    async def _keep(self) -> None:
        """Keep the lock in a long feed; who lost it goes on, which costs no more than work."""
        if 0 < self._held_until < self._engine.clock.now() + _LEASE // 2:
            await self._hold()

    async def _feed_runs(self, cursor: str | None, told: Callable[[int], None] | None) -> int:
        fed, more = 0, True
        while more:
            changes = await self._store.changes(cursor, _RUNS)
            revs = {each.n: each.rev for each in changes.changed}
            documents = await self._documents(revs)
            if changes.cursor != cursor:
                await self._keep()
                await self._index.search_apply(documents, changes.gone, changes.cursor)
                fed += len(documents) + len(changes.gone)
                if told is not None:
                    told(fed)
            cursor, more = changes.cursor, changes.more
        return fed

    async def _documents(self, revs: Mapping[int, int]) -> list[SearchDocument]:
        """Return the documents of runs; those deleted meanwhile are left out, a change says so."""
        numbers = list(revs)
        found: list[SearchDocument] = []
        for k in range(0, len(numbers), _LOADED):
            for each in await self._engine.store.load(numbers[k : k + _LOADED]):
                only = self._settings.fields.get(each.header.definition)
                if only is None and self._settings.coded:
                    only = ()
                found.append(run_document(each, revs[each.header.n], only))
            await asyncio.sleep(0)
        return found

    async def _feed_lines(
        self, cursor: str | None, before: int, told: Callable[[int], None] | None
    ) -> int:
        fed, more = 0, True
        while more:
            changes = await self._store.log_changes(cursor, _LINES)
            if changes.cursor != cursor:
                lines = [line_document(each) for each in changes.lines]
                await self._keep()
                await self._index.search_apply_logs(lines, changes.cursor)
                fed += len(lines)
                if told is not None:
                    told(before + fed)
            cursor, more = changes.cursor, changes.more
        return fed

    # -- all the time

    def start(self) -> None:
        """Begin to feed."""
        self._resting = False
        self._task = asyncio.create_task(self._run(), name="wfe-search-feeder")

    async def close(self) -> None:
        """Stop feeding; what this host fed is brought up to its last change if that is quick."""
        await cancelled(self._task)
        self._resting = True
        try:
            if self._task is not None and self._feeds and self._trouble is None:
                async with asyncio.timeout(_LAST):
                    await self.catch_up(logs=True)
        except Exception as error:  # noqa: BLE001 - a guest must not keep the host from stopping
            problem = str(error) or "it takes too long"
            _LOG.warning("the last changes are not in the search index yet: %s", problem)
        if self._open:
            try:
                await self._index.close()
            except Exception as error:  # noqa: BLE001 - as above
                _LOG.warning("the search index did not close: %s", error)
        self._task, self._open, self._feeds, self._held_until = None, False, False, 0

    async def _run(self) -> None:
        pause = 0
        while True:
            self._resting = False
            pause = await self._round(pause)
            self._resting = True
            wait = int(pause * random.uniform(0.5, 1)) if self._away else pause  # noqa: S311 - no secret
            await self._engine.clock.sleep_until(self._engine.clock.now() + wait)

    async def _round(self, pause: int) -> int:
        """Feed if it is this host's turn; return how long to wait then, µs."""
        try:
            if await self._is_mine():
                await self.catch_up(logs=True)
        except ProviderError as error:
            if self._trouble is None:
                _LOG.warning("the search index waits, it is tried again: %s", error)
            self._trouble = str(error)
            return min(max(2 * pause, _POLL), _LONGEST)
        except Exception as error:  # noqa: BLE001 - a host must not stop feeding for ever
            if self._trouble is None:
                _LOG.exception("internal error while feeding the search index")
            self._trouble = str(error)
            return _LONGEST
        return _OTHERS if self._away else _POLL

    async def _is_mine(self) -> bool:
        """Whether there is something to feed and this host is to do it; no write if there is not.

        Whoever fed last goes on without asking while its lease lasts.
        """
        now = self._engine.clock.now()
        if not await self._has_news(now):
            return False
        if now < self._held_until - _LEASE // 2:
            return True
        if await self._lock.try_acquire(_WISH, self._engine.epoch, _GLANCE):
            return await self._hold()
        self._feeds, self._away, self._held_until = False, True, 0
        return False

    async def _has_news(self, now: int) -> bool:
        """Whether something is not in the index yet; the index itself is asked now and then only.

        That is for when it was emptied, or was fed by another host.
        """
        lately = self._looked is not None and now - self._looked < _OTHERS
        if lately and not await self._after(self._cursors, 1):
            return False
        self._cursors = await self._asked()
        self._looked = now
        return await self._after(self._cursors, 1) > 0

    async def pending(self, most: int) -> int:
        """Return how many changes are not in the index yet, counted up to *most*."""
        return await self._after(await self._asked(), most)

    async def _asked(self) -> tuple[str | None, str | None]:
        await self.open()
        return await self._index.search_cursors()

    async def _after(self, cursors: tuple[str | None, str | None], most: int) -> int:
        """Return how many changes come after *cursors*, counted up to *most*."""
        runs, lines = cursors
        changes = await self._store.changes(runs, most)
        found = len(changes.changed) + len(changes.gone)
        if not found and changes.more:
            found = 1
        if found < most and not self._settings.coded:
            found += len((await self._store.log_changes(lines, most - found)).lines)
        return found

    def told(self) -> dict[str, Any]:
        """Return how the feed does: ``feeds``, ``fed`` (µs), ``trouble``."""
        return {"feeds": self._feeds, "fed": self._fed, "trouble": self._trouble}
