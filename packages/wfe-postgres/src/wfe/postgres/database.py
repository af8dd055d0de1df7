"""The connections of a store, and running statements on them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.lazy import importing
from wfe.core.lean import define
from wfe.postgres.arrays import register
from wfe.postgres.faults import is_demoted, is_rival, lost, translate
from wfe.postgres.names import Names
from wfe.postgres.wire import Args, Row, Wire

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

__all__ = ["Args", "Connection", "Database", "Row", "Stats"]

T = TypeVar("T")
Connection: TypeAlias = Wire

# Every statement is right under READ COMMITTED, and its plan does not depend on what it is given.
_SESSION: Final = (
    "-c plan_cache_mode=force_generic_plan -c jit=off"
    r" -c default_transaction_isolation=read\ committed"
)
_DEFAULTS: Final[Mapping[str, str]] = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "wfe",
}
_OLDEST: Final = 130_000  # the first server with transaction numbers of 64 bits
_RIVALS: Final = 12  # times that the same is tried when other transactions are in the way
_PREPARED: Final = 200  # statements that a connection keeps
_LIFETIME: Final = 3600.0  # seconds, after which a connection is replaced


@define
class Stats:
    """What a store has asked of its server.

    Attributes:
        commits: Transactions of :meth:`~wfe.core.providers.PersistenceProvider.commit`.
        items: Their items.
        rows: Journal rows.
        statements: Statements that commits ran.
        round_trips: How often commits waited for the server.
        repeated: Transactions that had to be run again because others were in the way.
    """

    commits: int = 0
    items: int = 0
    rows: int = 0
    statements: int = 0
    round_trips: int = 0
    repeated: int = 0


class _Context:
    """How values are sent."""

    connection: None = None

    def __init__(self) -> None:
        self.adapters = AdaptersMap(psycopg.adapters)
        register(self.adapters)


class Database:
    """A pool of connections to one database; belongs to one event loop.

    Args:
        conninfo: URL or text for libpq.
        names: The tables of the store.
        size: Most connections of the pool.
        patience: Seconds to wait for a connection.
        prepare: Whether statements are prepared; not behind a proxy that shares connections.
    """

    def __init__(
        self, conninfo: str, names: Names, *, size: int, patience: float, prepare: bool = True
    ) -> None:
        try:
            given = conninfo_to_dict(conninfo)
        except psycopg.ProgrammingError as error:
            # Other words of libpq quote from the URL, maybe the password; so no cause either.
            said = str(error).strip()
            if not said.startswith("invalid URI query parameter"):
                said = "libpq cannot read the URL; escape special characters (%25 for %)"
            raise ProviderError("postgres", said, transient=False) from None
        options = f"{_SESSION} {given.pop('options', None) or ''}".strip()
        merged: dict[str, Any] = {**_DEFAULTS, **given}
        self._conninfo = make_conninfo("", **merged, options=options, client_encoding="utf8")
        self.names = names
        self.where: str = _where(given)
        self.stats: Stats = Stats()
        self._context = _Context()
        self._prepare = 0 if prepare else None
        self.size = size
        self._patience = patience
        self._pool: AsyncConnectionPool[Connection] | None = None
        # One that came back when nobody waited: most of what a host does is done on it.
        self._spare: Connection | None = None
        self._first: list[Connection] = []  # before the pool has taken it
        self._wanting = 0  # who wait for the pool
        self._drained = 0.0  # monotonic seconds; older connections lead nowhere

    # -- connections ----------------------------------------------------------------------------

    async def connect_alone(self) -> Connection:
        """Return a connection that is in no pool; whoever asks closes it.

        Raises:
            ProviderError: There is none to be had; the driver's error is the cause.
        """
        try:
            made = await Wire.connect(self._conninfo, **self._settings())
        except (psycopg.Error, OSError) as error:
            raise translate(error, self.where, sent=False) from error
        await self._configure(made)
        return made

    async def connect_first(self) -> Connection:
        """Do as :meth:`connect_alone`, and import what pools connections while the server is busy.

        A server takes as long to begin a process for a client as that import.
        """
        loading = asyncio.to_thread(_load_pool)
        made, _ = await asyncio.gather(self.connect_alone(), loading)
        return made

    async def open(self, first: Connection | None = None) -> None:
        """Begin to keep connections; once it does, only close *first*.

        Args:
            first: One that is there already and nobody else's.
        """
        if self._pool is not None:
            if first is not None:
                await first.close()
            return
        from psycopg_pool import AsyncConnectionPool, PoolTimeout  # noqa: PLC0415 - see _load_pool

        self._first = [] if first is None else [first]
        pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            min_size=1,
            max_size=self.size,
            open=False,
            connection_class=_beginning_with(self._first),
            kwargs=self._settings(),
            configure=self._configure,
            max_lifetime=_LIFETIME,
            timeout=self._patience,
            reconnect_timeout=1.0,  # whoever needs one asks anew
            name=f"wfe {self.where}",
        )
        # What it tells of every try to connect would come on stderr where nobody takes it: whoever
        # wants a connection is told, too.
        logger = logging.getLogger("psycopg")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        self._pool = pool  # whoever closes this before it is open closes it, too
        await pool.open()
        if first is not None:
            # Until the pool has it, or who asks next would have it make another one.
            try:
                await pool.wait(self._patience)
            except PoolTimeout as error:  # it was lost just then; the pool is closed
                self._pool = None
                problem = f"no connection to {self.where}"
                raise StoreUnavailableError("postgres", problem) from error

    async def close(self) -> None:
        """Close all connections of the pool."""
        pool, self._pool = self._pool, None
        spare, self._spare = self._spare, None
        if pool is not None:
            if spare is not None:
                await pool.putconn(spare)
            await pool.close()
        while self._first:
            await self._first.pop().close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection in autocommit; the driver's errors become ours.

        Raises:
            ProviderError: There is none to be had, or what was done with it failed.
        """
        conn = self._taken() or await self._take()
        try:
            yield conn
        except (psycopg.Error, OSError) as error:
            raise translate(error, self.where) from error
        finally:
            if not self._keeps(conn):
                await self._give(conn)

    # -- statements -----------------------------------------------------------------------------

    async def all(self, sql: str, args: Args = None) -> list[Row]:
        """Return what a statement of its own finds; it is repeated when others are in the way.

        Args:
            sql: Names tables ``wfe_x``.  One that begins with SELECT changes nothing that matters:
                when its connection is lost, it is tried once more on a new one.
            args: By name.

        Raises:
            ProviderError: It failed.
        """

        async def run(conn: Connection) -> list[Row]:
            return await conn.ask(self.names.sql(sql), args)

        try:
            return await self.run(run)
        except StoreUnavailableError as error:
            if not error.unknown or not sql.lstrip().startswith("SELECT"):
                raise
        return await self.run(run)

    async def one(self, sql: str, args: Args = None) -> Row | None:
        """Return the first row of what :meth:`all` finds."""
        rows = await self.all(sql, args)
        return rows[0] if rows else None

    async def count(self, sql: str, args: Args = None) -> int:
        """Run a statement of its own and return how many rows it changed."""

        async def run(conn: Connection) -> int:
            return (await conn.execute(self.names.sql(sql), args)).rowcount

        return await self.run(run)

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run *work* with a connection, again when other transactions are in its way.

        Raises:
            ProviderError: It failed.
        """
        try:
            return await self.repeated(work)
        except (psycopg.Error, OSError) as error:
            raise translate(error, self.where) from error

    async def repeated(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do as :meth:`run`, but raise the driver's own errors."""
        for attempt in range(_RIVALS):
            try:
                return await self._attempt(work)
            except psycopg.Error as error:
                if not is_rival(error):
                    raise
            self.stats.repeated += 1
            await asyncio.sleep(secrets.randbelow(5 + 5 * attempt) / 1000)
        return await self._attempt(work)

    async def pipeline(
        self, conn: Connection, batch: Sequence[tuple[str, Args]]
    ) -> list[list[Row]]:
        """Send all of *batch* at once; in autocommit they are one transaction.

        Raises:
            psycopg.Error: One of them failed: none was done.
        """
        return await conn.ask_all([(self.names.sql(sql), args) for sql, args in batch])

    async def server_time(self, conn: Connection) -> tuple[int, int, int]:
        """Return the server's time (µs), and the monotonic clock before and after the answer."""
        before = time.monotonic_ns()
        cursor = await conn.execute(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", prepare=False
        )
        row = await cursor.fetchone()
        after = time.monotonic_ns()
        return (0 if row is None else int(row[0])), before, after

    # -- the rest -------------------------------------------------------------------------------

    def _settings(self) -> dict[str, Any]:
        return {
            "autocommit": True,
            "prepare_threshold": self._prepare,
            "context": self._context,
        }

    async def _configure(self, conn: Connection) -> None:
        conn.prepared_max = _PREPARED
        if conn.info.server_version < _OLDEST:
            await conn.close()
            problem = (
                f"{self.where} is PostgreSQL {conn.info.server_version // 10000}; 13 is needed"
            )
            raise StoreUnavailableError("postgres", problem, transient=False)

    def _taken(self) -> Connection | None:
        """Return the connection that is at hand, which is somebody's from now on."""
        conn, self._spare = self._spare, None
        return conn

    def _keeps(self, conn: Connection) -> bool:
        """Keep *conn* at hand, unless somebody waits for it or it should be replaced."""
        if (
            self._spare is not None
            or self._wanting
            or not self._is_ours(conn)
            or conn.pgconn.transaction_status != TransactionStatus.IDLE
            or conn.made <= max(self._drained, time.monotonic() - _LIFETIME)
        ):
            return False
        self._spare = conn
        return True

    def _is_ours(self, conn: Connection) -> bool:
        """Whether *conn* is of this pool: the store may have been closed and opened meanwhile."""
        return self._pool is not None and getattr(conn, "_pool", None) is self._pool

    async def _take(self) -> Connection:
        pool = self._pool
        if pool is None:
            problem = f"the store in {self.where} is not open; await store.open() first"
            raise StoreUnavailableError("postgres", problem, transient=False)
        from psycopg_pool import PoolClosed, PoolTimeout  # noqa: PLC0415 - see _load_pool

        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        self._wanting += 1
        try:
            conn = await pool.getconn()
        except PoolTimeout as error:
            problem = (
                f"no connection to {self.where} within {self._patience:g} s: it cannot be reached,"
                f" or all {self.size} connections of this host are busy (?pool=N)"
            )
            raise StoreUnavailableError("postgres", problem) from error
        except PoolClosed as error:
            problem = f"the store in {self.where} was closed; await store.open() to go on with it"
            raise StoreUnavailableError("postgres", problem, transient=False) from error
        finally:
            self._wanting -= 1
        if task is not None and task.cancelling() > cancelled:
            # The pool waits by asyncio.wait_for, which forgets a cancellation that comes together
            # with the connection (Python 3.11): a loop that was to end would go on for ever.
            await pool.putconn(conn)
            raise asyncio.CancelledError
        return conn

    async def _give(self, conn: Connection) -> None:
        pool = self._pool
        if pool is None or not self._is_ours(conn):
            await conn.close()
        else:
            await pool.putconn(conn)

    async def _attempt(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        conn = self._taken() or await self._take()
        try:
            return await work(conn)
        except psycopg.Error as error:
            await self.distrust(error)
            raise
        finally:
            if not self._keeps(conn):
                await self._give(conn)

    async def distrust(self, error: psycopg.Error) -> None:
        """Make new connections when *error* says that those that there are lead nowhere.

        Nobody should find out one by one: a dead server may take long to be known as such.
        """
        if self._pool is not None and (lost(error) or is_demoted(error)):
            self._drained = time.monotonic()
            await self._pool.drain()
            spare = self._taken()
            if spare is not None:
                await self._give(spare)


def _load_pool() -> None:
    """Import what is not needed before there is a connection."""
    with importing():
        import_module("psycopg_pool")


def _beginning_with(first: list[Connection]) -> type[Connection]:
    """Return the class of connections for a pool, which makes new ones when *first* is empty."""

    class Made(Wire):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            return first.pop() if first else await Wire.connect(*args, **kwargs)

    return Made


def _where(given: Mapping[str, Any]) -> str:
    host = given.get("host") or given.get("hostaddr") or "the local socket"
    port = given.get("port") or 5432
    name = given.get("dbname") or given.get("user") or "the default database"
    return f"{host}:{port}/{name}"
