"""How long a memory store keeps things: purging, and what steps emitted."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

import attrs

from wfe.core.memory_cache import MemoryArtifacts
from wfe.core.memory_run import MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import Clock, LogRow, PurgeQuery, StoredInstance, StreamRow

__all__ = ["MemoryKeeping", "MemoryStreams"]


class MemoryStreams:
    """What was emitted, by instance, in order."""

    def __init__(self) -> None:
        self._rows: defaultdict[int, list[StreamRow]] = defaultdict(list)
        self._last_s = 0

    def append(self, row: StreamRow) -> None:
        self._last_s += 1
        self._rows[row.n].append(attrs.evolve(row, s=self._last_s))

    def after(self, n: int, s: int, limit: int) -> list[StreamRow]:
        rows = self._rows.get(n, [])
        first = bisect_left(rows, s + 1, key=lambda row: row.s)
        return rows[first : first + limit]

    def forget(self, n: int) -> None:
        self._rows.pop(n, None)


class MemoryKeeping:
    """The part of :class:`~wfe.core.memory.MemoryStore` that keeps and forgets."""

    clock: Clock
    _runs: MemoryRuns
    _streams: MemoryStreams
    _artifacts: MemoryArtifacts
    _logs: defaultdict[int, list[LogRow]]

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        for row in rows:
            self._streams.append(row)

    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        return self._streams.after(n, after, limit)

    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        fits = [run for run in self._runs.by_n.values() if _fits(run, query)]
        fits.sort(key=lambda run: (_order(run, query), run.new.n))
        found: list[StoredInstance] = []
        for run in fits:
            if len(found) >= query.limit:
                break
            if all(map(_over, self._runs.family(run.new.n))):
                found.append(run.stored())
        return found

    async def family(self, n: int) -> Sequence[StoredInstance]:
        return [run.stored() for run in self._runs.family(n)]

    async def purge(self, roots: Sequence[int]) -> int:
        deleted = 0
        for root in roots:
            family = self._runs.family(root)
            if not all(map(_over, family)):
                continue
            for run in reversed(family):
                self._logs.pop(run.new.n, None)
                self._streams.forget(run.new.n)
                self._artifacts.forget(run.new.n)
                self._runs.forget(run)
            deleted += len(family)
        return deleted

    async def purge_events(self, limit: int) -> int:
        return self._runs.topics.purge(self.clock.now(), limit)


def _over(run: MemoryRun) -> bool:
    """Whether nothing happens to a run any more; an accepted ``retry`` has made it due."""
    return run.completed_at is not None and run.owner is None and run.wake is None


def _fits(run: MemoryRun, query: PurgeQuery) -> bool:
    ended, kept = run.completed_at, run.retain_until
    return (
        run.new.parent is None
        and ended is not None
        and query.definition in (None, run.new.definition)
        and query.status in (None, run.status)
        and (query.completed_before is None or ended < query.completed_before)
        and (query.retained_until is None or (kept is not None and kept <= query.retained_until))
    )


def _order(run: MemoryRun, query: PurgeQuery) -> int:
    by = run.completed_at if query.retained_until is None else run.retain_until
    return by or 0
