"""The store: the memory store of ``wfe.core``, and a journal of all calls that change it.

A call is written down before it is made, with its time; the memory store goes by nothing else, so
the same calls at the same times make the same store again.  That is short, durable and slow: each
call waits for the disk, opening reads everything that ever happened, and one process at a time
has the directory.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from wfe.core.artifact_index import ArtifactRow
from wfe.core.cache_index import CacheEntry
from wfe.core.durable_files import directory_of
from wfe.core.memory import MemoryStore
from wfe.core.providers import (
    ActivityRow,
    Claimed,
    Clock,
    Item,
    LogRow,
    Outcome,
    ScheduleRow,
    StoreInfo,
    StreamRow,
    WorkerInfo,
)
from wfe_files_provider.calls import Call, line_of, read
from wfe_files_provider.journal import Journal

__all__ = ["FilesStore", "open_url"]


def open_url(url: str, **options: Any) -> FilesStore:
    """Return the store in the directory that *url* names: ``files:///absolute/directory``.

    Raises:
        ProviderError: It names none.
    """
    return FilesStore(directory_of(url, "files"), **options)


@attrs.frozen
class _Then:
    """A clock that stands still: the time of one call."""

    at: int
    clock: Clock

    def now(self) -> int:
        return self.at

    async def sleep_until(self, when: int) -> None:
        await self.clock.sleep_until(when)


class FilesStore(MemoryStore):
    """Persistence, queue and lock of one process, in a directory.

    Args:
        directory: Made when the store is opened.
        clock: The store's clock; ``None``: the machine's.
    """

    PROVIDER_API = 1
    features = frozenset({"queue", "lock", "cache", "artifacts"})

    def __init__(self, directory: str | Path, *, clock: Clock | None = None) -> None:
        self._given = clock
        self._journal = Journal(Path(directory) / "journal")
        self._mutex = threading.RLock()  # the heartbeat is another thread
        self._calling = False
        self._empty()

    def _empty(self) -> None:
        super().__init__(self._given, epochs=lambda: self._epoch)
        self._epoch = 0
        self._registered_here: set[int] = set()

    async def open(self) -> StoreInfo:
        if not self._journal.opened:
            self._empty()
            try:
                await self._repeat()
            except BaseException:
                self._journal.close()
                raise
        return StoreInfo("files", durable=True, version="1")

    async def close(self) -> None:
        self._journal.close()

    async def _repeat(self) -> None:
        """Do all again that was ever done."""
        clock, self._calling = self.clock, True
        try:
            for line in self._journal.open():
                call = read(line)
                self.clock = _Then(call.at, clock)
                await getattr(self, call.name)(*call.arguments)
        finally:
            self.clock, self._calling = clock, False
        self._registered_here.clear()

    @contextmanager
    def _call(self, name: str, *arguments: Any, durable: bool = True) -> Iterator[None]:
        """Write a call down, and let time stand still while it is made.

        A call that another one makes is part of that.
        """
        with self._mutex:
            if self._calling:
                yield
                return
            clock = self.clock
            at = clock.now()
            self._journal.append(line_of(Call(at, name, arguments)), durable=durable)
            self.clock, self._calling = _Then(at, clock), True
            try:
                yield
            finally:
                self.clock, self._calling = clock, False

    # -- workers --------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> int:
        return await self.enrol(worker, secrets.randbits(62) + 1)

    async def enrol(self, worker: WorkerInfo, epoch: int) -> int:
        """Register a worker under an epoch that was drawn before."""
        with self._call("enrol", worker, epoch):
            self._epoch = epoch
            self._registered_here.add(epoch)
            return await super().register(worker)

    async def unregister(self, epoch: int) -> None:
        with self._call("unregister", epoch):
            await super().unregister(epoch)

    async def fence(self, epochs: Sequence[int], lease: int | None) -> Sequence[int]:
        with self._call("fence", list(epochs), lease):
            return await super().fence(epochs, lease=lease)

    async def orphans(self, limit: int) -> int:
        with self._call("orphans", limit):
            return await super().orphans(limit)

    # -- runs -----------------------------------------------------------------------------------

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        with self._call("commit", epoch, list(items)):
            return await super().commit(epoch, items)

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        hinted = None if hints is None else list(hints)
        with self._call("claim", epoch, list(definitions), limit, hinted):
            return await super().claim(epoch, definitions, limit, hinted)

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        with self._call("fault", epoch, n, wake, reason, limit):
            await super().fault(epoch, n, wake, reason, limit)

    async def allocate(self, count: int) -> int:
        with self._call("allocate", count):
            return await super().allocate(count)

    async def purge(self, roots: Sequence[int]) -> int:
        with self._call("purge", list(roots)):
            return await super().purge(roots)

    async def purge_events(self, limit: int) -> int:
        with self._call("purge_events", limit):
            return await super().purge_events(limit)

    # -- definitions, schedules, activities -----------------------------------------------------

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        with self._call("put_definition", id, version, hash, body):
            return await super().put_definition(id, version, hash, body)

    async def pause_definition(self, id: str, paused: bool) -> bool:
        with self._call("pause_definition", id, paused):
            return await super().pause_definition(id, paused=paused)

    async def put_schedule(self, row: ScheduleRow) -> bool:
        with self._call("put_schedule", row):
            return await super().put_schedule(row)

    async def delete_schedule(self, id: str) -> bool:
        with self._call("delete_schedule", id):
            return await super().delete_schedule(id)

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        with self._call("claim_activity", list(names), worker, token, lease):
            return await super().claim_activity(names, worker, token, lease)

    async def beat_activity(self, token: str, lease: int, progress: str | None) -> bool:
        with self._call("beat_activity", token, lease, progress):
            return await super().beat_activity(token, lease, progress)

    async def finish_activity(self, token: str, result: str) -> Outcome:
        with self._call("finish_activity", token, result):
            return await super().finish_activity(token, result)

    # -- what steps leave behind ----------------------------------------------------------------

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        with self._call("append_stream", list(rows)):
            await super().append_stream(rows)

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        with self._call("append_logs", list(rows)):
            await super().append_logs(rows)

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        with self._call("cache_put", entry, holder):
            await super().cache_put(entry, holder)

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        with self._call("cache_claim", key, holder, lease):
            return await super().cache_claim(key, holder, lease)

    async def cache_release(self, key: str, holder: str) -> None:
        with self._call("cache_release", key, holder):
            await super().cache_release(key, holder)

    async def cache_purge(
        self,
        limit: int,
        definition: str | None = None,
        step: str | None = None,
        expired: int | None = None,
    ) -> Sequence[str]:
        with self._call("cache_purge", limit, definition, step, expired):
            return await super().cache_purge(
                limit, definition=definition, step=step, expired=expired
            )

    async def put_artifact(self, row: ArtifactRow) -> None:
        with self._call("put_artifact", row):
            await super().put_artifact(row)

    # -- lock -----------------------------------------------------------------------------------

    async def beat(self, epoch: int, lease: int) -> bool:
        # A beat that is lost with the machine is no loss: its worker is lost, too.
        with self._call("beat", epoch, lease, durable=False):
            return await super().beat(epoch, lease)

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        """Return who is silent, and all of earlier processes: only one can have the directory."""
        silent = await super().dead(epochs, lease)
        return [e for e in epochs if e in silent or e not in self._registered_here]

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        with self._call("try_acquire", name, epoch, lease):
            return await super().try_acquire(name, epoch, lease)
