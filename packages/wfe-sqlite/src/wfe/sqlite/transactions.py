"""A transaction whose statements are a step's own: the writer is lent for its whole time.

The writer's thread enters the gate, begins the transaction on a connection of its own, and then
does nothing but wait for its end: the item that completes the step, or a rollback, or the time
that is up.  Everybody else who wants to write waits in line behind it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Literal, NoReturn, TypeVar

from wfe.core.errors import ProviderError, TransactionError, TransactionTimeoutError, WfeError
from wfe.core.lean import frozen
from wfe.core.providers import Done, Item, Outcome
from wfe.core.transaction_provider import errors_in
from wfe.sqlite.commit import Commit
from wfe.sqlite.faults import is_busy, is_the_disks, locked, translate
from wfe.sqlite.writer import Job, Loan, Stats

__all__ = ["Lending", "LentConnection", "SqliteTransaction"]

T = TypeVar("T")

_ENDS: Final = frozenset({sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH})
_ENDED: Final = "the transaction has ended"
_PAUSE: Final = 0.005  # seconds, before a foreign writer is asked again


class LentConnection(sqlite3.Connection):
    """A connection whose transaction the store ends, not whoever uses it.

    It is closed when nobody refers to it any more: the driver does not survive that it is closed
    while a thread is in the middle of a statement.
    """

    def __del__(self) -> None:
        """Close it."""
        with suppress(sqlite3.ProgrammingError):  # its making failed
            sqlite3.Connection.close(self)

    def commit(self) -> NoReturn:
        self._refuse("commit()")

    def rollback(self) -> NoReturn:
        self._refuse("rollback()")

    def close(self) -> NoReturn:
        self._refuse("close()")

    def executescript(self, sql_script: str, /) -> NoReturn:  # noqa: ARG002 - it commits first
        self._refuse("executescript()")

    def set_authorizer(self, authorizer_callback: object) -> NoReturn:  # noqa: ARG002 - as above
        self._refuse("set_authorizer()")

    def __exit__(self, *_: object) -> Literal[False]:
        return False  # `with connection:` neither commits nor rolls back

    def _refuse(self, what: str) -> NoReturn:
        problem = (
            f"{what} is not for a step's transaction: it is committed with the step's completion,"
            " and rolled back when the block raises; use SAVEPOINT for less"
        )
        raise TransactionError(problem)


@frozen(kw_only=True)
class Lending:
    """How a store lends its writer.

    Attributes:
        connect: Opens a connection.
        now: The store's time, µs.
        limit: Seconds that one transaction may last.
        patience: Seconds to wait for a foreign writer.
        on_commit: As of the store.
    """

    path: Path
    connect: Callable[[], sqlite3.Connection]
    now: Callable[[], int]
    limit: float
    patience: float
    stats: Stats
    on_commit: Callable[[str], None] | None


class SqliteTransaction(Loan):
    """One transaction, from its beginning in the writer's thread to its end there."""

    def __init__(self, lending: Lending, epoch: int) -> None:
        super().__init__(asyncio.get_running_loop().create_future())
        self._lending = lending
        self._epoch = epoch
        self._orders: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        self._over = False
        self._db: sqlite3.Connection | None = None
        self._thread = 0
        self.problem: TransactionError | None = None
        """Why it was ended already."""

    # -- of whoever borrowed it -----------------------------------------------------------------

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, inside the transaction."""
        db = self._db
        if db is None:
            raise self.problem or TransactionError(_ENDED)
        return db

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        """Return the disk's failure that ended what the body did; nothing else can be lost."""
        for each in errors_in(error):
            if isinstance(each, sqlite3.Error) and is_the_disks(each):
                return translate(each, self._lending.path)
        return None

    async def commit(self, item: Item) -> Outcome:
        """Apply *item* and commit everything, or nothing."""
        return await self._ask(lambda: self._commit(item))

    async def give_back(self) -> None:
        """Roll back unless it has ended; return when the writer is free."""
        if self._over or self.claim():  # it never began
            return
        with suppress(TransactionError):  # its time is up just now
            await self._ask(self._roll_back)

    async def _ask(self, work: Callable[[], T]) -> T:
        order = Job(work, asyncio.get_running_loop().create_future())
        with self._lock:
            if self._over:
                raise self.problem or TransactionError(_ENDED)
            self._orders.put(order)
        result: T = await order.future
        return result

    # -- in the writer's thread, inside the gate ------------------------------------------------

    def serve(self) -> int:
        """Begin, and wait for the end; return how many rows were changed by it."""
        if not self.claim():
            return 0
        try:
            db = self._begin()
        except BaseException as error:  # noqa: BLE001 - it belongs to who waits for it
            self.settle(None, error)
            self._answer_late()
            return 0
        self.settle(db)
        changes = 0
        try:
            order = self._orders.get(timeout=self._lending.limit)
        except Empty:
            self._expire(db)
        else:
            # Only then: whoever it wakes may want to write at once.
            self.afterwards: Callable[[], None] | None = self._done(order)
            changes = db.total_changes
        self._finish(db)
        return changes

    def _done(self, order: Job) -> Callable[[], None]:
        try:
            result = order.work()
        except BaseException as error:  # noqa: BLE001 - as above
            return partial(order.settle, None, error)
        return partial(order.settle, result)

    def _begin(self) -> sqlite3.Connection:
        lending = self._lending
        end = time.monotonic() + lending.patience
        self._thread = threading.get_ident()
        try:
            db = self._db = lending.connect()
            while True:
                try:
                    db.execute("BEGIN IMMEDIATE")
                except sqlite3.Error as error:
                    if not is_busy(error):
                        raise
                    if time.monotonic() > end:
                        raise locked(lending.path, lending.patience) from error
                    threading.Event().wait(_PAUSE)
                else:
                    break
        except BaseException as error:
            if self._db is not None:
                sqlite3.Connection.close(self._db)
            if isinstance(error, sqlite3.Error):
                raise translate(error, lending.path) from error
            raise
        sqlite3.Connection.set_authorizer(db, self._authorize)
        return db

    def _authorize(self, action: int, *_: object) -> int:
        """Allow the store everything, the step all that does not end the transaction."""
        if threading.get_ident() == self._thread:
            return sqlite3.SQLITE_OK
        # A statement `OR ROLLBACK` may have ended it: what came then would be committed at once.
        open_ = not self._over and self.connection.in_transaction
        return sqlite3.SQLITE_OK if open_ and action not in _ENDS else sqlite3.SQLITE_DENY

    def _commit(self, item: Item) -> Outcome:
        lending, db = self._lending, self.connection
        if not db.in_transaction:
            problem = (
                "a statement of the step ended the transaction (OR ROLLBACK, or the database was"
                " full), and nothing of it was kept; use OR ABORT"
            )
            raise TransactionError(problem)
        db.row_factory, db.text_factory = None, str
        try:
            (outcome,) = Commit(db, self._epoch, lending.now(), lending.stats).one_by_one([item])
        except sqlite3.Error as error:
            raise self._judged(error) from error
        if not isinstance(outcome, Done):
            self._roll_back()
            return outcome
        if lending.on_commit is not None:
            lending.on_commit("before")
        try:
            db.execute("COMMIT")
        except sqlite3.IntegrityError:  # a constraint that was deferred: the step's own
            raise
        except sqlite3.Error as error:
            raise self._judged(error) from error
        lending.stats.commits += 1
        if lending.on_commit is not None:
            lending.on_commit("after")
        return outcome

    def _judged(self, error: sqlite3.Error) -> WfeError:
        """Return our error; nobody else can be busy here."""
        if is_busy(error):
            problem = (
                "the step left a statement unfinished: fetch all rows of an INSERT, UPDATE or"
                " DELETE ... RETURNING, or close its cursor"
            )
            return TransactionError(problem)
        return translate(error, self._lending.path)

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def _expire(self, db: sqlite3.Connection) -> None:
        self.problem = TransactionTimeoutError(
            f"the transaction was rolled back: it kept everybody from writing to"
            f" {self._lending.path} for {self._lending.limit:g} s (transaction_limit); do what"
            " takes long before it, and wait in it for nothing that writes to the store itself"
        )
        self._over = True
        db.interrupt()

    def _finish(self, db: sqlite3.Connection) -> None:
        """Let nobody do anything more on the connection."""
        self._over = True
        with suppress(sqlite3.Error):  # closing it rolls back all the same
            # A thread that cannot be stopped may be between two rows of an executemany().
            db.execute("PRAGMA query_only = 1")
            self._roll_back()
        self._db = None  # it is closed when nobody has it any more
        self._answer_late()

    def _answer_late(self) -> None:
        """Refuse whatever is still asked for."""
        with self._lock:
            self._over = True
        late = self.problem or TransactionError(_ENDED)
        while not self._orders.empty():
            self._orders.get().settle(None, late)
