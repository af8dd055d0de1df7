"""A transaction whose statements are a step's own, on a connection that is lent to its body.

The body gets an object of the driver's own class over a connection of the pool.  That object ends
with the transaction: what is still done with it then, by a thread that cannot be stopped, is
refused before it reaches the server.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, cast

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from wfe.core.errors import (
    ProviderError,
    StoreUnavailableError,
    TransactionError,
    TransactionTimeoutError,
)
from wfe.core.providers import Done, Item, Outcome, Transaction
from wfe.core.transaction_provider import errors_in
from wfe.postgres.commit import commit_in
from wfe.postgres.database import Connection, Database
from wfe.postgres.faults import is_rival, lost, translate
from wfe.postgres.parts import PostgresPart

__all__ = ["LentAsyncConnection", "LentConnection", "PostgresTransaction", "PostgresTransactions"]

R = TypeVar("R")

_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL wfe.transaction = '{token}'"
)
# Whoever stops between the item and the commit would keep its fence waiting: the server ends it.
_CLOSE_IN: Final = """
SELECT current_setting('wfe.transaction', true),
    set_config('idle_in_transaction_session_timeout', %s::text, true),
    set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)"""
# What a body set is gone before somebody else gets the connection.
_CLEAN: Final = (
    "RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; DISCARD TEMP;"
    " SELECT pg_advisory_unlock_all()"
)
_FEWEST: Final = 2  # connections of the pool
_PATIENCE: Final = 5.0  # seconds until a statement that was cancelled is given up
_ENDS: Final = re.compile(
    rb"\s*(?:commit|end|abort|prepare\s+transaction"
    rb"|rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b",
    re.IGNORECASE,
)
_OURS: Final = (
    "a step's transaction is committed with the step's completion, and rolled back when the block"
    " raises; use connection.transaction() for a savepoint"
)
_ENDED: Final = "the transaction of this step has ended, and its connection with it"
_FATAL: Final = ("FATAL", "PANIC")
# What the server ends a session for that has a transaction open, by SQLSTATE.
_IDLE: Final = "25P03"
_TOO_LONG: Final = {
    _IDLE: "nothing happened in it for too long (idle_in_transaction_session_timeout)",
    "25P04": "it was open for too long (transaction_timeout)",
}


def _refuse(what: str) -> NoReturn:
    problem = f"{what} is not for the body: {_OURS}"
    raise TransactionError(problem)


def _check_text(query: object) -> None:
    """Refuse what would end the transaction; what is hidden better is found out at its end."""
    text = query.encode() if isinstance(query, str) else query
    if isinstance(text, bytes) and (found := _ENDS.match(text)) is not None:
        _refuse(found.group().decode().strip().upper())


class _Guard:
    """Whether the connection may be used.

    Attributes:
        over: Whether the transaction is, for the body.
        ended: Set when whoever still waits for an answer should give up.
        fault: What ended the connection while it was lent; ``None``: nothing did.
    """

    def __init__(self) -> None:
        self.over: bool = False
        self.ended: asyncio.Event = asyncio.Event()
        self.fault: psycopg.Error | OSError | None = None

    def check(self, status: int) -> None:
        if self.over:
            raise TransactionError(_ENDED)
        if status == TransactionStatus.IDLE:
            problem = f"a statement of the step ended the transaction: {_OURS}"
            raise TransactionError(problem)

    def note(self, error: psycopg.Error | OSError, *, closed: bool) -> None:
        """Remember what ended the connection; other errors are the statement's own."""
        # By its SQLSTATE alone one may be of a connection that the statement made, to elsewhere.
        if self.fault is None and not self.over and (closed or _is_fatal(error)):
            self.fault = error


def _too_long(error: BaseException) -> str | None:
    """Return for what the server ended the transaction, if it was for a time-out of its own."""
    return _TOO_LONG.get(getattr(error, "sqlstate", None) or "")


def _is_fatal(error: psycopg.Error | OSError) -> bool:
    """Whether the server said that it ends the connection."""
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized in _FATAL


class _AsyncCursor(psycopg.AsyncCursor[Any]):
    async def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        _check_text(query)
        return await super().execute(query, *args, **options)


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        _check_text(query)
        return super().execute(query, *args, **options)


class LentAsyncConnection(psycopg.AsyncConnection[Any]):
    """A connection whose transaction the store ends, not whoever uses it."""

    def __init__(self, lender: Connection) -> None:
        super().__init__(lender.pgconn)
        self.guard: _Guard = _Guard()
        self.prepare_threshold = None  # the lender's statements have these names
        self.cursor_factory: type[psycopg.AsyncCursor[Any]] = _AsyncCursor

    def __del__(self, *_: object) -> None:
        """Leave it to the pool to close what this was made of."""

    async def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        self.guard.check(self.pgconn.transaction_status)
        try:
            return await self._while_lent(super().wait(gen, *args, **options))
        except (psycopg.Error, OSError) as error:
            self.guard.note(error, closed=self.closed)
            raise

    async def _while_lent(self, work: Coroutine[Any, Any, R]) -> R:
        """Return what *work* gives, unless the transaction ends before it does.

        The driver waits on when it is cancelled, until the server has answered that: for ever if
        the connection was closed under it.  So it does that in a task that can be left behind.
        """
        task = asyncio.ensure_future(work)
        ended = asyncio.ensure_future(self.guard.ended.wait())
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise TransactionError(_ENDED)
        finally:
            ended.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_PATIENCE)
                if not task.done():
                    _cut(self)

    async def commit(self) -> None:
        _refuse("commit()")

    async def rollback(self) -> None:
        _refuse("rollback()")

    async def close(self) -> None:
        _refuse("close()")

    async def __aexit__(self, *_: object) -> None:
        """Neither commit nor close."""


class LentConnection(psycopg.Connection[Any]):
    """The same for bodies that block."""

    def __init__(self, lender: Connection) -> None:
        super().__init__(lender.pgconn)
        self.guard: _Guard = _Guard()
        self.prepare_threshold = None
        self.cursor_factory: type[psycopg.Cursor[Any]] = _Cursor

    def __del__(self, *_: object) -> None:
        """As above."""

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        self.guard.check(self.pgconn.transaction_status)
        try:
            return super().wait(gen, *args, **options)
        except (psycopg.Error, OSError) as error:
            self.guard.note(error, closed=self.closed)
            raise

    def commit(self) -> None:
        _refuse("commit()")

    def rollback(self) -> None:
        _refuse("rollback()")

    def close(self) -> None:
        _refuse("close()")

    def __exit__(self, *_: object) -> None:
        """Neither commit nor close."""


Lent: TypeAlias = LentAsyncConnection | LentConnection


class PostgresTransaction:
    """One transaction on a connection of the pool.

    Args:
        db: Whose connection it is.
        epoch: The worker that commits.
        lease: Of its host, µs.
        now: As in :func:`~wfe.postgres.commit.commit_in`.
    """

    def __init__(self, db: Database, epoch: int, lease: int, now: int | None) -> None:
        self._db = db
        self._epoch = epoch
        self._lease = lease
        self._now = now
        self._token = secrets.token_hex(8)
        self._stack = AsyncExitStack()
        self._lender: Connection | None = None
        self._lent: Lent | None = None
        self._closing = False

    @property
    def connection(self) -> Any:
        """The driver's connection, inside the transaction."""
        return self._lent

    @property
    def problem(self) -> TransactionError | None:
        """Why the server ended it already."""
        fault = self._fault
        return None if fault is None else _timeout(fault)

    @property
    def _fault(self) -> psycopg.Error | OSError | None:
        return None if self._lent is None else self._lent.guard.fault

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        """Return the store's failure that ended what the body did."""
        fault = self._fault
        if fault is not None:
            return None if _too_long(fault) else translate(fault, self._db.where, sent=False)
        full = (each for each in errors_in(error) if isinstance(each, errors.DiskFull))
        found = next(full, None)
        return None if found is None else translate(found, self._db.where, sent=False)

    async def open(self, *, blocking: bool) -> None:
        """Take a connection and begin.

        Raises:
            ProviderError: There is none, or it failed.
        """
        for last in (False, True):
            conn = await self._stack.enter_async_context(self._db.connection())
            try:
                await conn.execute(cast("Any", _BEGIN.format(token=self._token)), prepare=False)
            except psycopg.Error as error:
                await self._db.distrust(error)
                await self._stack.aclose()
                if last or not lost(error):
                    raise translate(error, self._db.where, sent=False) from error
            else:
                self._lender = conn
                self._lent = LentConnection(conn) if blocking else LentAsyncConnection(conn)
                return

    async def commit(self, item: Item) -> Outcome:
        """Apply *item* and commit everything, or nothing."""
        conn = await self._alone()
        status = conn.pgconn.transaction_status
        if status == TransactionStatus.INERROR:
            problem = (
                "a statement failed in the transaction, so that nothing of it can be kept, and the"
                " body went on; let the error end the block, or use connection.transaction() around"
                " what may fail"
            )
            raise TransactionError(problem)
        try:
            outcome = await self._applied(conn, item)
        except (psycopg.Error, OSError) as error:
            self._judge(error)
            raise translate(error, self._db.where, sent=False) from error
        if isinstance(outcome, Done):
            await self._commit(conn)
        else:
            with suppress(psycopg.Error, OSError):  # else it is rolled back as its connection ends
                await conn.execute("ROLLBACK", prepare=False)
        return outcome

    async def _applied(self, conn: Connection, item: Item) -> Outcome:
        silence = str(max(self._lease // 3000, 1))
        found = await (await conn.execute(_CLOSE_IN, [silence])).fetchone()
        if found is None or found[0] != self._token:
            problem = f"a statement of the step ended the transaction: {_OURS}"
            raise TransactionError(problem)
        self._closing = True
        (outcome,) = await commit_in(self._db, conn, self._epoch, [item], self._now)
        return outcome

    async def _commit(self, conn: Connection) -> None:
        try:
            await conn.execute("COMMIT", prepare=False)
        except (psycopg.Error, OSError) as error:
            self._judge(error)
            gone = isinstance(error, OSError) or lost(error)
            if gone or is_rival(error) or isinstance(error, psycopg.OperationalError):
                raise translate(error, self._db.where, sent=gone) from error
            raise  # a constraint that was deferred: the step's own

    def _judge(self, error: Exception) -> None:
        if self._closing and getattr(error, "sqlstate", None) == _IDLE:
            where = self._db.where
            problem = f"{where} ended a transaction whose host stopped just before its commit"
            raise StoreUnavailableError("postgres", problem) from error
        timeout = _timeout(error)
        if timeout is not None:
            raise timeout from error

    async def give_back(self) -> None:
        """Roll back unless it was committed, and give the connection back."""
        try:
            conn = await self._alone()
            if isinstance(self._fault, psycopg.Error):
                await self._db.distrust(self._fault)
            if conn.pgconn.transaction_status in _OPEN:
                await conn.execute("ROLLBACK", prepare=False)
            await conn.execute(_CLEAN, prepare=False)
        except (psycopg.Error, OSError, ProviderError):
            if self._lender is not None:
                await self._lender.close()
        except BaseException:  # cancelled, too: nobody else gets it with what the body set
            if self._lender is not None:
                self._lender.pgconn.finish()
            raise
        finally:
            await self._stack.aclose()

    async def _alone(self) -> Connection:
        """Let nobody else use the connection from here on; return it.

        Raises:
            ProviderError: Somebody does, and cannot be stopped.
        """
        lender, lent = self._lender, self._lent
        if lender is None or lent is None:
            raise ProviderError("postgres", "the transaction is not open", transient=False)
        if lent.guard.over:
            return lender
        lent.guard.over = True
        if lent.lock.locked():
            with suppress(psycopg.Error, OSError):
                await lender.cancel_safe(timeout=_PATIENCE)
            if not await _unused(lent):
                lent.guard.ended.set()
                _cut(lender)
                if not await _unused(lent):
                    raise ProviderError("postgres", "a step does not let go of its connection")
        return lender


def _timeout(error: Exception) -> TransactionTimeoutError | None:
    """Return our error for a time-out of the server that ended a transaction."""
    found = _too_long(error)
    if found is None:
        return None
    return TransactionTimeoutError(f"the server ended the transaction: {found}")


_OPEN: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR, TransactionStatus.ACTIVE)


async def _unused(lent: Lent) -> bool:
    """Return whether the statement that runs has ended in time."""
    if isinstance(lent, LentConnection):
        free = await asyncio.to_thread(lent.lock.acquire, True, _PATIENCE)
        if free:
            lent.lock.release()
        return free
    try:
        async with asyncio.timeout(_PATIENCE), lent.lock:
            return True
    except TimeoutError:
        return False


def _cut(conn: psycopg.AsyncConnection[Any]) -> None:
    """End a connection that somebody waits for, who then finds it closed."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.pgconn.socket)) as cut:
        cut.shutdown(socket.SHUT_RDWR)


class PostgresTransactions(PostgresPart):
    """What makes the store a :class:`~wfe.core.providers.TransactionProvider`.

    Half of the pool is for transactions: the others commit what these wait for.
    """

    _places: asyncio.Semaphore | None = None

    @property
    def exclusive_transactions(self) -> bool:
        return False

    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Transaction]:
        """Lend a connection; see :class:`~wfe.core.providers.TransactionProvider`."""
        db = self._opened
        if db.size < _FEWEST:
            problem = f"a step's transaction needs a pool of {_FEWEST} connections; write ?pool=10"
            raise ProviderError("postgres", problem, transient=False)
        if self._places is None:
            self._places = asyncio.Semaphore(db.size // 2)
        async with self._places:
            lent = PostgresTransaction(db, epoch, lease, self._now)
            try:
                await lent.open(blocking=blocking)
                yield lent
            finally:
                await lent.give_back()
