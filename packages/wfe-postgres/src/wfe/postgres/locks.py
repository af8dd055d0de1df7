"""The part of the store that knows who is alive, and lends named locks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import psycopg

from wfe.core.errors import StoreUnavailableError
from wfe.core.local_deaths import LocalDeaths
from wfe.postgres.arrays import Ints
from wfe.postgres.clock import ServerClock
from wfe.postgres.faults import translate
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart
from wfe.postgres.schema import SCHEMA

if TYPE_CHECKING:
    from wfe.postgres.database import Connection, Database

__all__ = ["Beater", "PostgresLocks"]

_LONGEST: Final = 10.0  # seconds that a beat may take, whatever the lease
# Of a version too old for the tables: as if it were fenced, and registering anew says why.
_BEAT: Final = f"""
UPDATE wfe_workers SET beat = greatest(beat, {NOW})
WHERE epoch = %(epoch)s AND fenced IS NULL
    AND (SELECT value::int FROM wfe_meta WHERE key = 'min_reader') <= {SCHEMA}
RETURNING (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"""  # noqa: S608 - constants
_DEAD: Final = f"""
SELECT e FROM unnest(%(epochs)s::bigint[]) WITH ORDINALITY AS asked (e, k)
WHERE NOT EXISTS (
    SELECT 1 FROM wfe_workers w
    WHERE w.epoch = e AND w.fenced IS NULL AND w.beat >= {NOW} - %(lease)s)
ORDER BY k"""  # noqa: S608 - constants
# Takes the lock if it is free, over, ours already, or its holder's epoch is.  The worker's row is
# locked against its fence: who is fenced takes none.
_ACQUIRE: Final = f"""
WITH me AS MATERIALIZED (
    SELECT epoch FROM wfe_workers WHERE epoch = %(epoch)s AND fenced IS NULL FOR KEY SHARE)
INSERT INTO wfe_locks AS l (name, epoch, until)
SELECT %(name)s, me.epoch, t.now + %(lease)s FROM me, {NOW} AS t (now)
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, until = excluded.until
    WHERE l.epoch = excluded.epoch OR l.until <= excluded.until - %(lease)s
        OR NOT EXISTS (SELECT 1 FROM wfe_workers w WHERE w.epoch = l.epoch AND w.fenced IS NULL)
RETURNING 1"""  # noqa: S608 - constants


class Beater:
    """Beats on connections that nobody else uses: one for each event loop that beats."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connections: dict[asyncio.AbstractEventLoop, Connection] = {}

    async def beat(self, args: dict[str, Any], seconds: float) -> tuple[int, int, int] | None:
        """Beat within *seconds*.

        Returns:
            The server's time (µs), and the monotonic clock before and after; ``None``: fenced.

        Raises:
            ProviderError: The server did not answer.
        """
        beating = asyncio.ensure_future(self._patient(args))
        try:
            await asyncio.wait({beating}, timeout=seconds)
        finally:
            if not beating.done():
                # Closed before it is cancelled: the driver would wait for a server that is gone.
                self._drop()
                beating.cancel()
                await asyncio.wait({beating})
        try:
            return beating.result()
        except asyncio.CancelledError as error:
            problem = f"{self._db.where} did not answer a heartbeat within {seconds:g} s"
            raise StoreUnavailableError("postgres", problem) from error
        except (psycopg.Error, OSError) as error:
            self._drop()
            raise translate(error, self._db.where, sent=False) from error

    async def _patient(self, args: dict[str, Any]) -> tuple[int, int, int] | None:
        try:
            return await self._beat(args)
        except psycopg.OperationalError:
            # The connection may have died while nobody used it; a new one says the truth.
            self._drop()
            return await self._beat(args)

    async def _beat(self, args: dict[str, Any]) -> tuple[int, int, int] | None:
        loop = asyncio.get_running_loop()
        connection = self._connections.get(loop)
        if connection is None:
            self._forget_ended()
            connection = self._connections[loop] = await self._db.connect_alone()
        before = time.monotonic_ns()
        found = await connection.execute(self._db.names.sql(_BEAT), args)
        row = await found.fetchone()
        after = time.monotonic_ns()
        return None if row is None else (int(row[0]), before, after)

    def _drop(self) -> None:
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None:
            connection.pgconn.finish()

    def _forget_ended(self) -> None:
        """Close the connections of loops that are over."""
        for loop in [loop for loop in list(self._connections) if loop.is_closed()]:
            self._connections.pop(loop).pgconn.finish()

    def close(self) -> None:
        """Close all connections, those of other loops too."""
        while self._connections:
            _, connection = self._connections.popitem()
            connection.pgconn.finish()


class PostgresLocks(PostgresPart):
    """Heartbeats and named locks of a :class:`~wfe.postgres.store.PostgresStore`."""

    _beater: Beater | None = None
    _deaths: LocalDeaths

    async def beat(self, epoch: int, lease: int) -> bool:
        """Say that *epoch* lives, and learn the server's time; ``False``: it was fenced.

        Has connections of its own, and ends (with an error) within a third of *lease*.
        """
        if self._beater is None:
            self._beater = Beater(self._opened)
        seconds = min(max(lease / 3_000_000, 0.5), _LONGEST)
        measured = await self._beater.beat({"epoch": epoch, "now": self._now}, seconds)
        if measured is None:
            return False
        if isinstance(self.clock, ServerClock):
            self.clock.sync(*measured)
        return True

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        """Return who is fenced or unknown, silent for *lease* µs, or died on this machine."""
        if not epochs:
            return []
        args = {"epochs": Ints(epochs), "lease": lease, "now": self._now}
        dead = [epoch for (epoch,) in await self._opened.all(_DEAD, args)]
        return dead + self._deaths.gone(epoch for epoch in epochs if epoch not in dead)

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        args = {"name": name, "epoch": epoch, "lease": lease, "now": self._now}
        return bool(await self._opened.all(_ACQUIRE, args))

    def _close_locks(self) -> None:
        """Close the connections of heartbeats; called when the store closes."""
        beater, self._beater = self._beater, None
        if beater is not None:
            beater.close()
