"""The one writing connection of a store: transactions inline or in a thread, checkpoints."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from wfe.core.lean import define
from wfe.sqlite.faults import is_busy, locked, translate
from wfe.sqlite.gate import Gate
from wfe.sqlite.log_file import lengthen

__all__ = ["Job", "Loan", "NotNowError", "Stats", "Writer"]

T = TypeVar("T")

_FAST: Final = 0.001  # seconds; while COMMIT takes less, the loop may do it itself
_WEIGHT: Final = 0.05  # of the newest in the moving average
_SMALL: Final = 256  # items
_CHECKPOINT_BYTES: Final = 4 << 20
_FIRST_CHECKPOINT: Final = 200.0  # changes; then it is measured how many make 4 MB


@define
class Stats:
    """What a store has written.

    Attributes:
        commits: Transactions that changed something.
        items: Items of :meth:`~wfe.core.providers.PersistenceProvider.commit`.
        rows: Journal rows.
        statements: SQL statements run by commits, each set of parameters counted.
        handed_over: Transactions done by the thread instead of the event loop.
    """

    commits: int = 0
    items: int = 0
    rows: int = 0
    statements: int = 0
    handed_over: int = 0


class _BusyError(Exception):
    """A foreign program holds SQLite's write lock; nothing was written."""


class NotNowError(Exception):
    """A transaction has to wait: for others, for the disk, or because it is big."""


class _Asked:
    """Something for the thread; either it begins, or its caller withdraws it."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self._loop = future.get_loop()
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        """Begin it or withdraw it: ``True`` for whoever comes first."""
        return self._claimed.acquire(blocking=False)

    def settle(self, result: object, error: BaseException | None = None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    def _settle(self, result: object, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Job(_Asked):
    """A transaction that the thread does by itself."""

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        super().__init__(future)
        self.work = work


class Loan(_Asked, ABC):
    """A transaction on another connection, for which the thread keeps everybody out.

    Attributes:
        afterwards: What to do when others may write again; ``None``: nothing.
    """

    afterwards: Callable[[], None] | None = None

    @abstractmethod
    def serve(self) -> int:
        """Do it to its end, inside the gate; return how many rows it changed."""


class Writer:
    """Runs transactions one after another, each inside the file's gate.

    Args:
        db: Autocommitting connection (``isolation_level=None``) without a busy timeout.
        path: Of the database, for messages.
        stats: Where to count.
        patience: Seconds to wait for the gate or for a foreign writer.
        on_commit: Called with ``before`` and ``after`` around each COMMIT that changes something.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        path: Path,
        gate: Gate,
        *,
        stats: Stats,
        patience: float,
        on_commit: Callable[[str], None] | None = None,
    ) -> None:
        self.db = db
        self.gate = gate
        self.stats = stats
        self._path = path
        self._patience = patience
        self._on_commit = on_commit
        self._average = 0.0
        self._jobs: SimpleQueue[_Asked | str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._changes = 0.0  # since the last checkpoint
        self._idle_at = 0.0
        self._checkpoint_at = _FIRST_CHECKPOINT
        self._shortening = False  # a checkpoint waits for the thread, or is being done

    async def run(self, work: Callable[[], T], size: int = 1) -> T:
        """Run *work* in a write transaction and return its result when that is durable.

        Small ones run at once if nothing need be waited for; others in the thread.

        Raises:
            ProviderError: The database failed, and nothing was written.
        """
        try:
            return self.run_now(work, size)
        except NotNowError:
            return await self._hand_over(work)

    def run_now(self, work: Callable[[], T], size: int = 1) -> T:
        """Run *work* in a write transaction here, if it is small and nothing need be waited for.

        Raises:
            NotNowError: It is not, or something does; nothing was written.
            ProviderError: The database failed, and nothing was written.
        """
        # The thread waits for the gate to shorten the log: when it waits in vain, go behind it.
        behind = self._shortening and self._changes >= 2 * self._checkpoint_at
        if behind or size > _SMALL or self._average >= _FAST or not self.gate.try_enter():
            raise NotNowError
        try:
            return self._transact(work)
        except _BusyError:
            raise NotNowError from None
        finally:
            self.gate.leave()
            if self._changes >= self._checkpoint_at and not self._shortening:
                self._checkpoint_later("PASSIVE")

    async def lend(self, loan: Loan) -> None:
        """Return when *loan* has begun; it waits in line.

        Raises:
            ProviderError: The file is locked.
        """
        await self._begun(loan)

    def idle(self) -> None:
        """Nothing happens just now; if nothing was written since the last time, empty the log."""
        if self._changes and self._changes == self._idle_at:
            self._checkpoint_later("TRUNCATE")
        self._idle_at = self._changes

    def close(self) -> None:
        """End the thread and close the connection, which empties the log; blocks."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(self._patience)
        entered = self.gate.enter_within(self._patience)
        try:
            self.db.close()
        finally:
            if entered:
                self.gate.leave()

    def _transact(self, work: Callable[[], T]) -> T:
        db = self.db
        before = db.total_changes
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                result = work()
                changes = db.total_changes - before
                if changes and self._on_commit is not None:
                    self._on_commit("before")
                started = time.perf_counter()
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if is_busy(error):
                raise _BusyError from error
            raise translate(error, self._path) from error
        if changes:
            self._average += (time.perf_counter() - started - self._average) * _WEIGHT
            self._changes += changes + 4  # each commit writes some pages anyway
            self.stats.commits += 1
            if self._on_commit is not None:
                self._on_commit("after")
        return result

    # -- the thread ---------------------------------------------------------------------------

    async def _hand_over(self, work: Callable[[], T]) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._begun(Job(work, future))
        return future.result()

    async def _begun(self, job: _Asked) -> None:
        """Hand *job* over and wait for its answer; one that never begins is withdrawn."""
        self._send(job)
        done, _ = await asyncio.wait({job.future}, timeout=self._patience)
        while not done and self.gate.lent:  # that ends soon
            done, _ = await asyncio.wait({job.future}, timeout=self._patience)
        if not done and job.claim():
            raise locked(self._path, self._patience, self.gate.holder())
        await job.future

    def _send(self, job: _Asked | str) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._serve, name=f"wfe-sqlite-{self._path.name}", daemon=True
            )
            self._thread.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                self.gate.enter()
            except OSError as error:
                self._shortening = False
                if isinstance(job, _Asked) and job.claim():
                    job.settle(None, translate(error, self._path))
                continue
            answer: Callable[[], None] | None = None
            try:
                if isinstance(job, str):
                    self._checkpoint(job)
                    self._shortening = False
                elif isinstance(job, Loan):
                    answer = self._lent(job)
                elif isinstance(job, Job) and job.claim():
                    answer = self._done(job)
                if self._changes >= self._checkpoint_at:
                    self._checkpoint("PASSIVE")
            finally:
                self.gate.leave()
            # Only now: whom it wakes may want the gate at once.
            if answer is not None:
                answer()

    def _lent(self, loan: Loan) -> Callable[[], None] | None:
        """Keep everybody out until *loan* has ended; return how to tell its caller."""
        self.gate.lent = True
        try:
            changes = loan.serve()
        finally:
            self.gate.lent = False
        if changes:
            self._changes += changes + 4
        return loan.afterwards

    def _done(self, job: Job) -> Callable[[], None]:
        """Do the transaction of *job*; return how to tell its caller."""
        self.stats.handed_over += 1
        end = time.monotonic() + self._patience
        pause = threading.Event()
        while True:
            try:
                result = self._transact(job.work)
            except _BusyError as error:
                if time.monotonic() > end:
                    problem = locked(self._path, self._patience)
                    problem.__cause__ = error.__cause__
                    return partial(job.settle, None, problem)
                pause.wait((1 + secrets.randbelow(25)) / 1000)
            except BaseException as error:  # noqa: BLE001 - it belongs to the caller
                return partial(job.settle, None, error)
            else:
                return partial(job.settle, result)

    # -- checkpoints: only inside the gate, or a race with a commit may lose pages --------------

    def _checkpoint_later(self, mode: str) -> None:
        self._shortening = True
        self._send(mode)

    def _checkpoint(self, mode: str) -> None:
        changes, self._changes = self._changes, 0.0
        try:
            _, frames, _ = self.db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            (page,) = self.db.execute("PRAGMA page_size").fetchone()
            if mode == "TRUNCATE":
                lengthen(self.db, self._path)
        except sqlite3.Error:
            return  # a full disk, a reader: the log is kept, and the next one tries again
        if mode == "PASSIVE" and frames > 0 and changes:
            per_change = max(frames * page / changes, 16.0)
            self._checkpoint_at = min(max(_CHECKPOINT_BYTES / per_change, 50.0), 100_000.0)
