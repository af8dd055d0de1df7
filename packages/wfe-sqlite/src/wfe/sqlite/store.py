"""Workflow state, queue and locks in one SQLite file."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from wfe.core.clocks import SystemClock
from wfe.core.providers import (
    ActivityRow,
    Claimed,
    DefinitionRow,
    Hint,
    InboxRow,
    InstanceQuery,
    Item,
    Loaded,
    LogRow,
    Outcome,
    Row,
    StoredInstance,
    WorkerInfo,
    WorkerRow,
)
from wfe.sqlite import activities, ownership, purging
from wfe.sqlite.commit import BulkFailedError, Commit
from wfe.sqlite.faults import translate
from wfe.sqlite.file import SqliteFile
from wfe.sqlite.keeping import SqliteKeeping
from wfe.sqlite.results import SqliteResults
from wfe.sqlite.schedules import SqliteSchedules
from wfe.sqlite.searching import SqliteChanges, SqliteSearch
from wfe.sqlite.tx import Tx
from wfe.sqlite.writer import NotNowError

if TYPE_CHECKING:
    from wfe.core.examining import Finding

__all__ = ["SqliteStore"]

_FEATURES: Final = frozenset(
    {
        "queue",
        "lock",
        "deaths",
        "outbox",
        "cache",
        "artifacts",
        "changes",
        "search",
        "transaction",
    }
)
_DROP_CURRENT: Final = "UPDATE wfe_definitions SET current = 0 WHERE id = ? AND version = ?"
_PUT_DEFINITION: Final = """
INSERT INTO wfe_definitions (id, version, hash, body, current) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (id, version, hash) DO UPDATE SET current = 1 RETURNING d"""
_PAUSE: Final = "INSERT INTO wfe_paused VALUES (?, ?) ON CONFLICT DO NOTHING"
_RESUME: Final = "DELETE FROM wfe_paused WHERE definition = ?"
_PAUSED: Final = "SELECT definition FROM wfe_paused ORDER BY definition"
_ALLOCATE: Final = """
UPDATE wfe_meta SET value = value + ? WHERE key = 'next_n' RETURNING value"""
_LOG: Final = """
INSERT INTO wfe_logs (l, instance, at, step, pointer, stream, line) VALUES (?, ?, ?, ?, ?, ?, ?)"""


class SqliteStore(
    SqliteFile, SqliteKeeping, SqliteSchedules, SqliteResults, SqliteChanges, SqliteSearch
):
    """Persistence, queue and lock in one file; several processes may share it.

    Nothing touches the disk before :meth:`open`.  Writing may be done from any thread's event
    loop; waiting for hints belongs to one.

    Args:
        path: Of the database file, or ``:memory:``.
        clock: The store's clock; ``None``: the machine's.
        synchronous: ``full``: what is acknowledged survives a power failure.  ``normal``: it
            survives the death of the process only.
        patience: How long to wait for a file that somebody keeps locked.
        on_commit: Called with ``before`` and ``after`` around each COMMIT of a transaction that
            changed something; for crash tests.
        transaction_limit: How long a step's transaction may keep everybody from writing.
    """

    @property
    def features(self) -> frozenset[str]:
        return _FEATURES - {"transaction"} if self._in_memory else _FEATURES

    # -- workers ------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> int:
        state = self._opened
        epoch = secrets.randbits(63) or 1
        try:
            # Its lock is held before its row can be seen, or it would look dead.
            state.gate.hold(epoch)
            await self._write(lambda db, now: ownership.register(db, epoch, worker, now))
        except OSError as error:
            raise translate(error, self.path) from error
        except BaseException:
            state.gate.drop(epoch)
            raise
        self._epochs.add(epoch)
        if state.wake is not None:
            state.wake.bind(epoch)
        return epoch

    async def unregister(self, epoch: int) -> None:
        state = self._opened
        await self._write(lambda db, now: ownership.unregister(db, epoch, now))
        self._queue.forget(epoch)
        if epoch in self._epochs:
            self._epochs.remove(epoch)
            state.gate.drop(epoch)
            if state.wake is not None:
                state.wake.unbind(epoch)

    async def workers(self) -> Sequence[WorkerRow]:
        return self._opened.reader.workers()

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        if not epochs:
            return []
        return await self._write(lambda db, now: ownership.fence(db, epochs, lease, now))

    async def orphans(self, limit: int) -> int:
        if not self._opened.reader.orphaned():
            return 0
        return await self._write(lambda db, now: ownership.release_lost(db, limit, now))

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        if not items:
            return []
        stats = self._stats

        def one_by_one(db: sqlite3.Connection, now: int) -> Sequence[Outcome]:
            return Commit(db, epoch, now, stats).one_by_one(items)

        try:
            return await self._write(self._bulk(epoch, items), len(items))
        except BulkFailedError:
            return await self._write(one_by_one, len(items))

    def commit_now(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome] | None:
        """Do what :meth:`commit` does; ``None``: that needs waiting, or one item is refused.

        Raises:
            ProviderError: The database failed, and nothing was written.
        """
        try:
            return self._write_now(self._bulk(epoch, items), len(items))
        except (BulkFailedError, NotNowError):
            return None

    def _bulk(
        self, epoch: int | None, items: Sequence[Item]
    ) -> Callable[[sqlite3.Connection, int], Sequence[Outcome]]:
        return lambda db, now: Commit(db, epoch, now, self._stats).bulk(items)

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        if not self._opened.reader.claimable(definitions, hints, self.clock.now()):
            return []
        return await self._write(
            lambda db, now: ownership.claim(db, epoch, definitions, limit, hints, now)
        )

    async def owned(self, epoch: int) -> Sequence[Claimed]:
        return self._opened.reader.owned(epoch)

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        await self._write(lambda db, _: ownership.fault(db, epoch, n, wake, reason, limit))

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        known = self._opened.reader.current_definition(id, version, hash)
        if known is not None:
            return known

        def put(db: sqlite3.Connection, _: int) -> int:
            db.execute(_DROP_CURRENT, (id, version))
            ((d,),) = db.execute(_PUT_DEFINITION, (id, version, hash, body)).fetchall()
            return int(d)

        return await self._write(put)

    async def pause_definition(self, id: str, *, paused: bool) -> bool:
        def pause(db: sqlite3.Connection, now: int) -> bool:
            done = db.execute(_PAUSE, (id, now)) if paused else db.execute(_RESUME, (id,))
            return done.rowcount == 1

        return await self._write(pause)

    async def paused(self) -> Sequence[str]:
        return [id_ for (id_,) in self._opened.reader.all(_PAUSED)]

    async def allocate(self, count: int) -> int:
        def allocate(db: sqlite3.Connection, _: int) -> int:
            ((after,),) = db.execute(_ALLOCATE, (count,)).fetchall()
            return int(after) - count

        return await self._write(allocate)

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        if not rows:
            return
        lines = [(r.n, r.at, r.step, r.pointer, r.stream, r.line) for r in rows]

        def append(db: sqlite3.Connection, _: int) -> None:
            ((last,),) = db.execute(purging.LAST_LINE).fetchall()
            db.executemany(_LOG, [(last + k, *line) for k, line in enumerate(lines, start=1)])

        await self._write(append, len(rows))

    # -- activities -----------------------------------------------------------------------------

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        if not activities.claimable(self._opened.reader, names, self.clock.now()):
            return None
        return await self._write(
            lambda db, now: activities.claim(db, names, worker, token, now + lease, now)
        )

    async def beat_activity(self, token: str, lease: int, progress: str | None) -> bool:
        return await self._write(
            lambda db, now: activities.beat(db, token, now + lease, progress, now)
        )

    async def finish_activity(self, token: str, result: str) -> Outcome:
        stats = self._stats
        return await self._write(
            lambda db, now: activities.finish(Tx(db, None, now, stats), token, result)
        )

    async def activities(self, n: int | None = None) -> Sequence[ActivityRow]:
        return activities.rows(self._opened.reader, n)

    # -- reading --------------------------------------------------------------------------------

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        return self._opened.reader.load(numbers)

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        return self._opened.reader.inbox(numbers)

    async def due(self, definitions: Sequence[int]) -> int | None:
        return self._opened.reader.due(definitions)

    async def waiting(self, roots: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        return self._opened.reader.waiting(roots)

    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        return self._opened.reader.history(n, after, limit)

    async def get(self, id_or_name: str) -> StoredInstance | None:
        return self._opened.reader.get(id_or_name)

    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        # It may look at many rows, and at their data.
        return await asyncio.to_thread(self._opened.scanner.find, query)

    async def definitions(self, id: str | None = None) -> Sequence[DefinitionRow]:
        return self._opened.reader.definitions(id)

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        return self._opened.reader.logs(n, after, limit)

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know; see :class:`~wfe.core.examining.Examined`."""
        from wfe.sqlite.examining import examined  # noqa: PLC0415 - only for `wfe doctor`

        return await examined(self.path, self._opened.reader)

    # -- lock -----------------------------------------------------------------------------------

    async def beat(self, epoch: int, lease: int) -> bool:  # noqa: ARG002 - the lease is judged in dead()
        if isinstance(self.clock, SystemClock):
            self.clock.sync()
        return await self._write(lambda db, now: ownership.beat(db, epoch, now))

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        """Return who is fenced or unknown, whose lock is free, or who is silent for *lease* µs."""
        state = self._opened
        silent = self.clock.now() - lease
        beats = state.reader.beats(epochs)
        return [e for e in epochs if beats.get(e, silent - 1) < silent or state.gate.gone(e)]

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        return await self._write(lambda db, now: ownership.acquire(db, name, epoch, lease, now))

    # -- queue ----------------------------------------------------------------------------------

    async def hint(self, hints: Sequence[Hint]) -> None:
        await self._queue.hint(hints)
        wake = self._opened.wake
        if wake is not None:
            wake.send(hints)

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        state = self._opened
        if state.wake is not None:
            state.wake.listen(epoch, self._queue.put)
        numbers = await self._queue.wait(epoch, timeout)
        if not numbers and timeout > 0:
            state.writer.idle()
        return numbers
