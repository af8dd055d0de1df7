"""The database of a store: opening and closing it, its clock, and whatever owns and writes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import psycopg

from wfe.core.cancelling import cancelled
from wfe.core.clocks import SystemClock
from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.local_deaths import LocalDeaths
from wfe.core.providers import Claimed, Clock, Item, Outcome, StoreInfo, WorkerInfo, WorkerRow
from wfe.postgres import due, ownership
from wfe.postgres.clock import ServerClock
from wfe.postgres.commit import commit
from wfe.postgres.database import Connection, Database, Stats
from wfe.postgres.faults import translate
from wfe.postgres.locks import PostgresLocks
from wfe.postgres.names import NOW, NUMBERS, Names
from wfe.postgres.outbox import IDENTITY, PostgresOutbox
from wfe.postgres.schema import ensure_schema
from wfe.postgres.wake import PostgresQueue

__all__ = ["PostgresBase"]

_PATIENCE: Final = timedelta(seconds=5)
_LOOKS: Final = 2  # at the server's clock, beside the first answer; the fastest says most
# All that is asked before the tables' version; each question is a turn that opening waits for.
_ABOUT: Final = f"""
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, current_schema()::text,
    current_setting('server_encoding'), current_setting('server_version'), ARRAY(
        SELECT nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE relname = %(table)s::name AND nspname = ANY (
            CASE WHEN %(schema)s::name IS NULL THEN current_schemas(false)
            ELSE ARRAY[%(schema)s::name] END)
        ORDER BY nspname), {IDENTITY}
FROM pg_database d WHERE datname = current_database()"""  # noqa: S608 - constants
_KNOWN: Final = """
SELECT d FROM wfe_definitions
WHERE id = %(id)s::text AND version = %(version)s::bigint AND hash = %(hash)s::text AND current"""
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(%(class)s::int, hashtext(%(id)s::text))"
_DROP_CURRENT: Final = """
UPDATE wfe_definitions SET current = false
WHERE id = %(id)s::text AND version = %(version)s::bigint AND current AND hash <> %(hash)s::text"""
_PUT_DEFINITION: Final = """
INSERT INTO wfe_definitions (id, version, hash, body, current)
VALUES (%(id)s::text, %(version)s::bigint, %(hash)s::text, %(body)s::text, true)
ON CONFLICT (id, version, hash) DO UPDATE SET current = true RETURNING d"""
_PAUSE: Final = f"""
INSERT INTO wfe_paused VALUES (%(id)s::text, {NOW}) ON CONFLICT DO NOTHING"""  # noqa: S608 - constants
_RESUME: Final = "DELETE FROM wfe_paused WHERE definition = %(id)s::text"
_TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(%(class)s::int, 0)"
# Mostly without a gap: only who takes a single number takes no turn.
_ALLOCATE: Final = """
SELECT min(n), max(n) FROM (
    SELECT nextval('wfe_numbers') AS n FROM generate_series(1, %(count)s::bigint)) taken"""


class PostgresBase(PostgresOutbox, PostgresLocks, PostgresQueue):
    """What all parts of a :class:`~wfe.postgres.store.PostgresStore` stand on."""

    def __init__(  # noqa: PLR0913 - options
        self,
        url: str,
        *,
        clock: Clock | None = None,
        schema: str | None = None,
        prefix: str = "wfe_",
        pool: int = 10,
        patience: timedelta = _PATIENCE,
        prepare: bool = True,
        notify: bool = True,
        create: bool = True,
    ) -> None:
        self._server_clock = ServerClock() if clock is None else None
        self.clock: Clock = self._server_clock or clock or SystemClock()
        self._database = Database(
            url,
            Names(schema, prefix),
            size=pool,
            patience=patience.total_seconds(),
            prepare=prepare,
        )
        self.notify: bool = notify
        self._deaths = LocalDeaths()
        self._create = create
        self._is_open = False
        self._version = ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._database.where!r})"

    @property
    def stats(self) -> Stats:
        """What this object has asked of its server; for benchmarks."""
        return self._database.stats

    @property
    def _opened(self) -> Database:
        if not self._is_open:
            problem = f"the store in {self._database.where} is not open; await store.open() first"
            raise StoreUnavailableError("postgres", problem, transient=False)
        return self._database

    @property
    def _now(self) -> int | None:
        return self.clock.now() if self._server_clock is None else None

    # -- opening ------------------------------------------------------------------------------

    async def open(self) -> StoreInfo:
        if not self._is_open:
            db = self._database
            conn = await db.connect_first()
            try:
                await self._prepare(conn)
            except BaseException as error:
                await conn.close()
                if isinstance(error, psycopg.Error):
                    raise translate(error, db.where) from error
                raise
            await db.open(conn)
            self._is_open = True
        return StoreInfo("postgres", durable=True, version=self._version)

    async def close(self) -> None:
        if self._is_open:
            await self._close_queue()
            self._close_locks()
            self._deaths.close()
            self._is_open = False
        await self._database.close()

    async def _prepare(self, conn: Connection) -> None:
        db = self._database
        args = {"table": f"{db.names.prefix}meta", "schema": db.names.schema}
        before = time.monotonic_ns()
        cursor = await conn.execute(_ABOUT, args, prepare=False)
        ((now, schema, encoding, self._version, there, *own),) = await cursor.fetchall()
        after = time.monotonic_ns()
        self._identity = tuple(own)
        if encoding != "UTF8":
            problem = f"{db.where} is encoded as {encoding}; make a database with ENCODING 'UTF8'"
            raise ProviderError("postgres", problem, transient=False)
        if db.names.schema is None:
            db.names = Names(self._standing(there, schema), db.names.prefix)
        await ensure_schema(conn, db.names, db.where, there=bool(there), create=self._create)
        if self._server_clock is not None:
            self._server_clock.sync(now, before, after)
            for _ in range(_LOOKS):
                self._server_clock.sync(*await db.server_time(conn))

    def _standing(self, there: Sequence[str], first: str | None) -> str:
        """Return the schema of the search_path where the tables are, else the *first* of all.

        A later schema may come to stand before it: "$user" does, once somebody makes one that is
        called as the user is.  The store must not seem empty then.
        """
        where = self._database.where
        if len(there) > 1:
            problem = (
                f"{where}: the schemas {' and '.join(there)} of the search_path both have"
                f" tables of WFE; say which: ?schema={there[0]}"
            )
            raise ProviderError("postgres", problem, transient=False)
        if not there and first is None:
            problem = f"{where}: no schema of its search_path exists; name one: ?schema=wfe"
            raise ProviderError("postgres", problem, transient=False)
        return there[0] if there else str(first)

    # -- workers ------------------------------------------------------------------------------

    async def register(self, worker: WorkerInfo) -> int:
        epoch = secrets.randbits(63) or 1
        # Together, as a connection takes long; nobody can hint anything to this worker as yet.
        listening = asyncio.create_task(self._start_queue())
        try:
            await ownership.register(self._opened, epoch, worker, self._now)
            self._deaths.hold(epoch)
            await listening
        finally:
            await cancelled(listening)
        return epoch

    async def unregister(self, epoch: int) -> None:
        await ownership.unregister(self._opened, epoch, self._now)
        self._deaths.drop(epoch)
        self._forget_mail(epoch)

    async def workers(self) -> Sequence[WorkerRow]:
        return await ownership.workers(self._opened)

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        return await ownership.fence(self._opened, epochs, lease, self._now)

    async def orphans(self, limit: int) -> int:
        return await ownership.release_lost(self._opened, limit, self._now)

    # -- writing ------------------------------------------------------------------------------

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        if not items:
            return []
        return await commit(self._opened, epoch, items, self._now)

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        return await due.claim(self._opened, epoch, definitions, limit, hints, self._now)

    async def owned(self, epoch: int) -> Sequence[Claimed]:
        return await ownership.owned(self._opened, epoch)

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        await ownership.fault(self._opened, epoch, n, wake, reason, limit)

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        db = self._opened
        args = {"id": id, "version": version, "hash": hash, "body": body}
        known = await db.one(_KNOWN, args)
        if known is not None:
            return int(known[0])
        turn = {"class": db.names.lock("definitions"), "id": id}

        async def put(conn: Connection) -> int:
            statements = [(_ONE_AT_A_TIME, turn), (_DROP_CURRENT, args), (_PUT_DEFINITION, args)]
            *_, ((d,),) = await db.pipeline(conn, statements)
            return int(d)

        return await db.run(put)

    async def pause_definition(self, id: str, *, paused: bool) -> bool:
        args = {"now": self._now, "id": id}
        return await self._opened.count(_PAUSE if paused else _RESUME, args) == 1

    async def allocate(self, count: int) -> int:
        db = self._opened
        turn = {"class": db.names.lock(NUMBERS)}

        async def take(conn: Connection) -> tuple[int, int]:
            statements = [(_TAKE_TURNS, turn), (_ALLOCATE, {"count": count})]
            *_, ((first, last),) = await db.pipeline(conn, statements)
            return int(first), int(last)

        while True:
            first, last = await db.run(take)
            if last - first == count - 1:
                return first
