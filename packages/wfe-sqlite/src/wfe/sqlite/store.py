"""Workflow state, queue and locks in one SQLite file."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

import attrs

from wfe.core.clocks import SystemClock
from wfe.core.errors import StoreUnavailableError
from wfe.core.memory_queue import MemoryQueue
from wfe.core.providers import (
    Claimed,
    Clock,
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
    StoreInfo,
    WorkerInfo,
    WorkerRow,
)
from wfe.sqlite import ownership
from wfe.sqlite.commit import BulkFailedError, Commit
from wfe.sqlite.faults import check_library, check_place, locked, translate
from wfe.sqlite.gate import Gate, open_gate
from wfe.sqlite.reads import Reader
from wfe.sqlite.schema import ensure_schema
from wfe.sqlite.wake import Wake
from wfe.sqlite.writer import Stats, Writer

__all__ = ["SqliteStore"]

T = TypeVar("T")

_MEMORY: Final = ":memory:"
_PATIENCE: Final = timedelta(seconds=5)
_READERS_PATIENCE: Final = 250  # ms; a reader waits only while the log is being recovered
_DROP_CURRENT: Final = "UPDATE wfe_definitions SET current = 0 WHERE id = ? AND version = ?"
_PUT_DEFINITION: Final = """
INSERT INTO wfe_definitions (id, version, hash, body, current) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (id, version, hash) DO UPDATE SET current = 1 RETURNING d"""
_ALLOCATE: Final = """
UPDATE wfe_meta SET value = value + ? WHERE key = 'next_n' RETURNING value"""
_LOG: Final = """
INSERT INTO wfe_logs (instance, at, step, pointer, stream, line) VALUES (?, ?, ?, ?, ?, ?)"""


@attrs.frozen
class _Open:
    """What there is while the store is open.

    Attributes:
        reader: For short reads in the event loop.
        scanner: For long ones in a thread; in memory there is only one connection.
        wake: ``None`` in memory.
    """

    gate: Gate
    writer: Writer
    reader: Reader
    scanner: Reader
    wake: Wake | None


class SqliteStore:
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
    """

    features: frozenset[str] = frozenset({"queue", "lock"})

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        synchronous: Literal["full", "normal"] = "full",
        patience: timedelta = _PATIENCE,
        on_commit: Callable[[str], None] | None = None,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self._in_memory = str(path) == _MEMORY
        self.path: Path = Path(path) if self._in_memory else Path(path).absolute()
        self._synchronous = synchronous
        self._patience = patience.total_seconds()
        self._on_commit = on_commit
        self._queue = MemoryQueue(self.clock)
        self._stats = Stats()
        self._epochs: set[int] = set()
        self._state: _Open | None = None

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    @property
    def stats(self) -> Stats:
        """What this object has written; for benchmarks."""
        return self._stats

    @property
    def _opened(self) -> _Open:
        if self._state is None:
            problem = f"the store {self.path} is not open; await store.open() first"
            raise StoreUnavailableError("sqlite", problem, transient=False)
        return self._state

    # -- opening ------------------------------------------------------------------------------

    async def open(self) -> StoreInfo:
        if self._state is None:
            self._state = await asyncio.to_thread(self._open)
        return StoreInfo("sqlite", durable=not self._in_memory, version=sqlite3.sqlite_version)

    async def close(self) -> None:
        state, self._state = self._state, None
        if state is None:
            return
        if state.wake is not None:
            state.wake.close()
        await asyncio.to_thread(self._close, state)

    def _open(self) -> _Open:
        check_library()
        if not self._in_memory:
            check_place(self.path)
        try:
            gate = Gate() if self._in_memory else open_gate(self.path)
        except OSError as error:
            raise translate(error, self.path) from error
        try:
            return self._connect_all(gate)
        except BaseException:
            gate.close()
            raise

    def _connect_all(self, gate: Gate) -> _Open:
        if not gate.enter_within(self._patience):
            raise locked(self.path, self._patience, gate.holder())
        connections: list[sqlite3.Connection] = []
        try:
            db = self._connect(connections, busy_ms=int(self._patience * 1000))
            self._prepare(db)
            if self._in_memory:
                reader = scanner = Reader(db, self.path, gate)
            else:
                reader = self._connect_reader(connections)
                scanner = self._connect_reader(connections)
        except BaseException as error:
            for db in connections:
                db.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, self.path) from error
            raise
        finally:
            gate.leave()
        writer = Writer(
            db,
            self.path,
            gate,
            stats=self._stats,
            patience=self._patience,
            on_commit=self._on_commit,
        )
        wake = None if self._in_memory else Wake(self.path)
        return _Open(gate, writer, reader, scanner, wake)

    def _connect_reader(self, connections: list[sqlite3.Connection]) -> Reader:
        db = self._connect(connections, _READERS_PATIENCE)
        db.execute("PRAGMA query_only = 1")
        return Reader(db, self.path, threading.Lock())

    def _connect(self, connections: list[sqlite3.Connection], busy_ms: int) -> sqlite3.Connection:
        db = sqlite3.connect(
            str(self.path), isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connections.append(db)
        db.execute(f"PRAGMA busy_timeout = {busy_ms}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA mmap_size = 0")
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Make the file what it must be; waits for foreign writers, later it must not."""
        if not self._in_memory:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute(f"PRAGMA synchronous = {self._synchronous.upper()}")
        if sys.platform == "darwin":
            db.execute("PRAGMA fullfsync = 1")
        ensure_schema(db, self.path)
        db.execute("PRAGMA busy_timeout = 0")

    def _close(self, state: _Open) -> None:
        for epoch in self._epochs:
            state.gate.drop(epoch)
        self._epochs.clear()
        if not self._in_memory:
            state.reader.close()
            state.scanner.close()
        state.writer.close()
        state.gate.close()

    async def _write(self, work: Callable[[sqlite3.Connection, int], T], size: int = 1) -> T:
        """Run *work* with the connection and the time inside a write transaction."""
        writer = self._opened.writer
        return await writer.run(lambda: work(writer.db, self.clock.now()), size)

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

        def bulk(db: sqlite3.Connection, now: int) -> Sequence[Outcome]:
            return Commit(db, epoch, now, stats).bulk(items)

        def one_by_one(db: sqlite3.Connection, now: int) -> Sequence[Outcome]:
            return Commit(db, epoch, now, stats).one_by_one(items)

        try:
            return await self._write(bulk, len(items))
        except BulkFailedError:
            return await self._write(one_by_one, len(items))

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        if not self._opened.reader.claimable(definitions, hints, self.clock.now()):
            return []
        return await self._write(
            lambda db, now: ownership.claim(db, epoch, definitions, limit, hints, now)
        )

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
            db.executemany(_LOG, lines)

        await self._write(append, len(rows))

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
