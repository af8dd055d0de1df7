"""The database file of a store: opening, closing, and writing in transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, TypeVar

from wfe.core.clocks import SystemClock
from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.lean import frozen
from wfe.core.memory_queue import MemoryQueue
from wfe.core.providers import Clock, StoreInfo, Transaction
from wfe.sqlite.faults import check_library, check_place, locked, translate
from wfe.sqlite.gate import Gate, open_gate
from wfe.sqlite.log_file import lengthen
from wfe.sqlite.reads import Reader
from wfe.sqlite.schema import ensure_schema
from wfe.sqlite.transactions import Lending, LentConnection, SqliteTransaction
from wfe.sqlite.wake import Wake
from wfe.sqlite.writer import Stats, Writer

__all__ = ["SqliteFile"]

T = TypeVar("T")

_MEMORY: Final = ":memory:"
_PATIENCE: Final = timedelta(seconds=5)
_TRANSACTION_LIMIT: Final = timedelta(seconds=5)
_READERS_PATIENCE: Final = 250  # ms; a reader waits only while the log is being recovered


@frozen
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


class SqliteFile:
    """What all parts of a :class:`~wfe.sqlite.store.SqliteStore` stand on."""

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        synchronous: Literal["full", "normal"] = "full",
        patience: timedelta = _PATIENCE,
        on_commit: Callable[[str], None] | None = None,
        transaction_limit: timedelta = _TRANSACTION_LIMIT,
    ) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self._in_memory = str(path) == _MEMORY
        self.path: Path = Path(path) if self._in_memory else Path(path).absolute()
        self._synchronous = synchronous
        self._patience = patience.total_seconds()
        self._on_commit = on_commit
        self._transaction_limit = transaction_limit.total_seconds()
        self._queue = MemoryQueue(self.clock)
        self._stats = Stats()
        self._epochs: set[int] = set()
        self._state: _Open | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

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

    def _connect(
        self,
        connections: list[sqlite3.Connection],
        busy_ms: int,
        *,
        kind: type[sqlite3.Connection] = sqlite3.Connection,
        cached: int = 256,
    ) -> sqlite3.Connection:
        db = sqlite3.connect(
            str(self.path),
            isolation_level=None,
            check_same_thread=False,
            cached_statements=cached,
            factory=kind,
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
        self._make_durable(db)
        ensure_schema(db, self.path)
        if not self._in_memory:
            lengthen(db, self.path)
        db.execute("PRAGMA busy_timeout = 0")

    def _make_durable(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA synchronous = {self._synchronous.upper()}")
        if sys.platform == "darwin":
            db.execute("PRAGMA fullfsync = 1")

    # -- transactions of steps ------------------------------------------------------------------

    @property
    def exclusive_transactions(self) -> bool:
        return True

    @asynccontextmanager
    async def transaction(
        self,
        epoch: int,
        lease: int,  # noqa: ARG002 - whoever is dead lets go of the file
        *,
        blocking: bool = False,  # noqa: ARG002 - the same connection serves loops and threads
    ) -> AsyncGenerator[Transaction]:
        """Lend the writer; see :class:`~wfe.core.providers.TransactionProvider`."""
        if self._in_memory:
            problem = "a store in memory has one connection and lends it to nobody; use a file"
            raise ProviderError("sqlite", problem, transient=False)
        state = self._opened
        lending = Lending(
            path=self.path,
            connect=self._connect_lent,
            now=self.clock.now,
            limit=self._transaction_limit,
            patience=self._patience,
            stats=self._stats,
            on_commit=self._on_commit,
        )
        lent = SqliteTransaction(lending, epoch)
        try:
            await state.writer.lend(lent)
            yield lent
        finally:
            await lent.give_back()

    def _connect_lent(self) -> sqlite3.Connection:
        made: list[sqlite3.Connection] = []
        try:
            # No statement is kept: each is looked at anew when it is run again.
            db = self._connect(made, 0, kind=LentConnection, cached=0)
            self._make_durable(db)
        except BaseException:
            for db in made:
                sqlite3.Connection.close(db)
            raise
        return db

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

    def _write_now(self, work: Callable[[sqlite3.Connection, int], T], size: int = 1) -> T:
        """Do it here and now.

        Raises:
            NotNowError: Something has to be waited for; nothing was written.
        """
        writer = self._opened.writer
        return writer.run_now(lambda: work(writer.db, self.clock.now()), size)
