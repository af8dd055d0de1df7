"""The store that lives in this process: persistence, queue and lock; the reference provider."""

from __future__ import annotations

import itertools
import platform
import secrets
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from wfe.core.clocks import SystemClock
from wfe.core.errors import ProviderError
from wfe.core.memory_cache import MemoryArtifacts, MemoryCache, MemoryResults
from wfe.core.memory_keeping import MemoryKeeping, MemoryStreams
from wfe.core.memory_queue import MemoryQueue
from wfe.core.memory_run import MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_searching import MemorySearch
from wfe.core.providers import (
    ActivityRow,
    Claimed,
    Clock,
    DefinitionRow,
    Fenced,
    Hint,
    InboxRow,
    InstanceQuery,
    Item,
    Loaded,
    LogRow,
    Outcome,
    Row,
    ScheduleRow,
    Snapshot,
    StoredInstance,
    StoreInfo,
    WorkerInfo,
    WorkerRow,
    data_has,
)

__all__ = ["MemoryStore", "open_url"]

_DAY: Final = 86_400_000_000  # µs
_FENCED: Final = Fenced()


def open_url(url: str, **options: Any) -> MemoryStore:
    """Return a new, empty store for ``memory://``.

    Args:
        url: Only ``memory://``: such a store has no name by which to find it again.
        **options: Arguments of :class:`MemoryStore`.

    Raises:
        ProviderError: The URL says more than its scheme.
    """
    if url.removeprefix("memory:").strip("/"):
        problem = f"{url!r}: a memory store has no name; write memory://"
        raise ProviderError("memory", problem, transient=False)
    return MemoryStore(**options)


class MemoryStore(MemoryKeeping, MemoryResults, MemorySearch):
    """Persistence, queue and lock in dictionaries, for one event loop; nothing survives it.

    Args:
        clock: The store's clock; ``None``: the machine's.
        epochs: Issues the epochs of new workers (63 bits, none twice); ``None``: random ones.
    """

    features: frozenset[str] = frozenset(
        {"queue", "lock", "cache", "artifacts", "changes", "search"}
    )

    def __init__(
        self, clock: Clock | None = None, *, epochs: Callable[[], int] | None = None
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self._new_epoch = epochs or _random_epoch
        self._runs = MemoryRuns()
        self._queue = MemoryQueue(self.clock)
        self._workers: dict[int, WorkerRow] = {}
        self._definitions: list[DefinitionRow] = []
        self._paused: set[str] = set()
        self._logs: defaultdict[int, list[LogRow]] = defaultdict(list)
        self._streams = MemoryStreams()
        self._cache = MemoryCache()
        self._artifacts = MemoryArtifacts()
        self._locks: dict[str, tuple[int, int]] = {}
        self._last_n = self._last_l = 0

    async def open(self) -> StoreInfo:
        return StoreInfo("memory", durable=False, version=platform.python_version())

    async def close(self) -> None:
        """Nothing to let go of: the store can be used again."""

    # -- workers ------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> int:
        now = self.clock.now()
        for old in list(self._workers.values()):
            if (
                old.fenced is not None
                and old.fenced < now - _DAY
                and not self._runs.owned[old.epoch]
            ):
                del self._workers[old.epoch]
        epoch = self._new_epoch()
        while not epoch or epoch in self._workers:
            epoch = self._new_epoch()
        self._workers[epoch] = WorkerRow(
            epoch=epoch,
            name=worker.name,
            host=worker.host,
            pid=worker.pid,
            started=now,
            beat=now,
            fenced=None,
        )
        return epoch

    async def unregister(self, epoch: int) -> None:
        await self.fence([epoch], lease=None)
        for run in list(self._runs.owned[epoch].values()):
            self._runs.release(run, self.clock.now())
        self._queue.forget(epoch)

    async def workers(self) -> Sequence[WorkerRow]:
        rows = [
            attrs.evolve(w, owns=bool(self._runs.owned[w.epoch])) for w in self._workers.values()
        ]
        return [w for w in rows if w.fenced is None or w.owns]

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        now = self.clock.now()
        fenced: list[int] = []
        for epoch in epochs:
            worker = self._workers.get(epoch)
            if worker is None or worker.fenced is not None:
                continue
            if lease is None or worker.beat < now - lease:
                self._workers[epoch] = attrs.evolve(worker, fenced=now)
                fenced.append(epoch)
        return fenced

    async def orphans(self, limit: int) -> int:
        now = self.clock.now()
        lost = [
            run
            for worker in self._workers.values()
            if worker.fenced is not None
            for run in self._runs.owned[worker.epoch].values()
        ][:limit]
        for run in lost:
            run.takeovers += 1
            self._runs.release(run, now)
        return len(lost)

    def _alive(self, epoch: int) -> bool:
        worker = self._workers.get(epoch)
        return worker is not None and worker.fenced is None

    # -- commit -------------------------------------------------------------------------------

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        return self.commit_now(epoch, items)

    def commit_now(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Do what :meth:`commit` does, in no task."""
        if epoch is not None and not self._alive(epoch):
            return [_FENCED] * len(items)
        return self._runs.commit(epoch, items, self.clock.now())

    # -- claim and load -------------------------------------------------------------------------

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        if not self._alive(epoch):
            return []
        now = self.clock.now()
        if hints is None:
            runs = self._runs.due.take(definitions, now, limit)
        else:
            hinted = (self._runs.by_n.get(n) for n in dict.fromkeys(hints))
            due = [
                (-run.new.priority, run.wake, run.new.n, run)
                for run in hinted
                if run is not None and run.owner is None and run.new.d in definitions
                if run.wake is not None and run.wake <= now
            ]
            runs = [run for *_, run in sorted(due, key=lambda entry: entry[:3])[:limit]]
        for run in runs:
            self._runs.own(run, epoch)
        return [Claimed(run.new.n, run.new.d, run.takeovers) for run in runs]

    async def owned(self, epoch: int) -> Sequence[Claimed]:
        runs = sorted(self._runs.owned[epoch].items())
        return [Claimed(n, run.new.d, run.takeovers) for n, run in runs]

    async def due(self, definitions: Sequence[int]) -> int | None:
        heads = [wake for d in definitions if (wake := self._runs.due.earliest(d)) is not None]
        return min(heads, default=None)

    async def waiting(self, roots: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        return sorted(
            (run.wake, n, run.new.d)
            for n, run in self._runs.by_n.items()
            if run.new.root_id in roots and run.owner is None and run.wake is not None
        )

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        run = self._runs.by_n.get(n)
        if run is None or run.owner != epoch or not self._alive(epoch):
            return
        run.faults += 1
        if run.faults < limit:
            self._runs.release(run, wake)
            return
        self._runs.suspend(run, reason)

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        runs = [self._runs.by_n[n] for n in numbers if n in self._runs.by_n]
        return [
            Loaded(
                header=run.stored(),
                snapshot=run.snapshot,
                tail=run.after(-1 if run.snapshot is None else run.snapshot.seq),
                inbox=run.messages(),
            )
            for run in runs
        ]

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        runs = [self._runs.by_n[n] for n in numbers if n in self._runs.by_n]
        return [(run.new.n, run.poke, run.messages()) for run in runs]

    # -- activities -----------------------------------------------------------------------------

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        now = self.clock.now()
        return self._runs.activities.claim(names, worker, token, now + lease, now)

    async def beat_activity(self, token: str, lease: int, progress: str | None) -> bool:
        now = self.clock.now()
        return self._runs.activities.beat(token, now + lease, progress, now)

    async def finish_activity(self, token: str, result: str) -> Outcome:
        return self._runs.finish_activity(token, result, self.clock.now())

    async def activities(self, n: int | None = None) -> Sequence[ActivityRow]:
        return self._runs.activities.rows(n)

    # -- reading --------------------------------------------------------------------------------

    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        run = self._runs.by_n.get(n)
        return () if run is None else run.after(after, limit)

    async def get(self, id_or_name: str) -> StoredInstance | None:
        run = self._runs.by_id.get(id_or_name) or self._runs.by_name.get(id_or_name)
        return None if run is None else run.stored()

    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        newest_first = query.newest_first
        runs = self._runs.order.runs(query.after, query.since, newest_first=newest_first)
        fitting = (run.stored() for run in runs if _fits(run, query))
        return list(itertools.islice(fitting, query.limit))

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        same = None
        for k, row in enumerate(self._definitions):
            if (row.id, row.version) == (id, version):
                current = row.hash == hash
                self._definitions[k] = attrs.evolve(row, current=current)
                same = row if current else same
        if same is None:
            d = len(self._definitions) + 1
            same = DefinitionRow(d, id, version, hash, body, current=True)
            self._definitions.append(same)
        return same.d

    async def definitions(self, id: str | None = None) -> Sequence[DefinitionRow]:
        return [row for row in self._definitions if id is None or row.id == id]

    async def pause_definition(self, id: str, *, paused: bool) -> bool:
        before = id in self._paused
        (self._paused.add if paused else self._paused.discard)(id)
        return before != paused

    async def paused(self) -> Sequence[str]:
        return sorted(self._paused)

    async def allocate(self, count: int) -> int:
        first = self._last_n + 1
        self._last_n += count
        return first

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        for row in rows:
            self._last_l += 1
            self._logs[row.n].append(attrs.evolve(row, l=self._last_l))

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        rows = self._logs.get(n, [])
        first = bisect_left(rows, after + 1, key=lambda row: row.l)
        return rows[first : first + limit]

    # -- schedules ------------------------------------------------------------------------------

    async def put_schedule(self, row: ScheduleRow) -> bool:
        return self._runs.schedules.put(row, self.clock.now())

    async def delete_schedule(self, id: str) -> bool:
        return self._runs.schedules.delete(id)

    async def schedules(
        self, id: str | None = None, definition: str | None = None
    ) -> Sequence[ScheduleRow]:
        return self._runs.schedules.find(id, definition)

    async def due_schedules(self, limit: int) -> tuple[Sequence[ScheduleRow], int | None]:
        return self._runs.schedules.due(limit, self.clock.now())

    # -- lock -----------------------------------------------------------------------------------

    async def beat(self, epoch: int, lease: int) -> bool:  # noqa: ARG002 - the lease is judged in dead()
        if not self._alive(epoch):
            return False
        self._workers[epoch] = attrs.evolve(self._workers[epoch], beat=self.clock.now())
        return True

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        silent = self.clock.now() - lease
        return [e for e in epochs if not self._alive(e) or self._workers[e].beat < silent]

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        now = self.clock.now()
        holder, until = self._locks.get(name, (epoch, 0))
        if not self._alive(epoch) or (holder != epoch and until > now and self._alive(holder)):
            return False
        self._locks[name] = (epoch, now + lease)
        return True

    # -- queue ----------------------------------------------------------------------------------

    async def hint(self, hints: Sequence[Hint]) -> None:
        await self._queue.hint(hints)

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        return await self._queue.wait(epoch, timeout)


def _random_epoch() -> int:
    return secrets.randbits(63)


def _fits(run: MemoryRun, query: InstanceQuery) -> bool:
    new = run.new
    return (
        query.definition in (None, new.definition)
        and query.status in (None, run.status)
        and query.reference in (None, new.reference)
        and (query.data is None or _folded_has(run.snapshot, query.data))
    )


def _folded_has(snapshot: Snapshot | None, wanted: Mapping[str, object]) -> bool:
    return snapshot is not None and data_has(snapshot.data, wanted)
