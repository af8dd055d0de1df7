"""The part of the store that says what changed: a feed from which nothing is missing.

Each change bears the number of its transaction.  Only those before the oldest transaction of this
database that is still open are shown: what is committed later comes later, too.  Transactions of
other databases of the server hold nothing up.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.errors import DataTypeError
from wfe.core.providers import LogRow
from wfe.postgres.finding import PURGED
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.core.search import Changes, LogChanges
    from wfe.postgres.database import Connection

__all__ = ["FEED", "OPEN", "PostgresChanges", "settled"]

FEED: Final = "feed"
"""Key of ``wfe_meta`` that is there when somebody follows the changes: only then is it kept which
runs were deleted."""
_IS_FED: Final = f"SELECT 1 FROM wfe_meta WHERE key = '{FEED}'"  # noqa: S608 - a constant
# Whoever is deleting runs and keeps no note of it has ended; whoever begins after this does.
_ENABLE: Final = (
    "LOCK TABLE wfe_tombstones IN SHARE ROW EXCLUSIVE MODE",
    f"INSERT INTO wfe_meta (key, value) VALUES ('{FEED}', 'on') ON CONFLICT DO NOTHING",  # noqa: S608 - a constant
)
# Which transactions of this database are open, as numbers without their upper half, and the number
# before which all others have ended.  That one is of the statement's snapshot, which is older than
# the look at what runs: who is not seen running and has a lower number has ended, and whoever asks
# in a later statement sees what it did.  All roles see these numbers, also of others' transactions.
OPEN: Final = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, ARRAY(
    SELECT backend_xid::text::bigint FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL)"""
# After the others, for those become these.
_PREPARED: Final = """
SELECT transaction::text::bigint FROM pg_prepared_xacts WHERE database = current_database()"""
_ROUND: Final = 2**32
_SETTLED: Final = "rev < %(settled)s::bigint"
_AFTER: Final = "(rev, {0}) > (%(rev)s, %(key)s)"
_CHANGES: Final = f"""
SELECT rev, n, id, created_at FROM (
    (SELECT rev, n, NULL AS id, NULL::bigint AS created_at FROM wfe_instances
    WHERE {_SETTLED} AND {_AFTER.format("n")} ORDER BY rev, n LIMIT %(limit)s)
    UNION ALL
    (SELECT rev, n, id, created_at FROM wfe_tombstones
    WHERE {_SETTLED} AND {_AFTER.format("n")} ORDER BY rev, n LIMIT %(limit)s)) both_kinds
ORDER BY rev, n LIMIT %(limit)s"""  # noqa: S608 - constants
_LINES: Final = f"""
SELECT x.rev, x.instance, x.at, x.step, x.pointer, x.stream, x.line, x.l, i.id, i.definition
FROM (
    SELECT rev, instance, at, step, pointer, stream, line, l
    FROM wfe_logs WHERE {_SETTLED} AND {_AFTER.format("l")} ORDER BY rev, l LIMIT %(limit)s) x
LEFT JOIN wfe_instances i ON i.n = x.instance AND i.status <> '{PURGED}'
ORDER BY x.rev, x.l"""  # noqa: S608 - constants


def settled(limit: int, numbers: Sequence[int]) -> int:
    """Return the lowest of *limit* and the transactions that are open.

    Args:
        limit: A whole number of a transaction.
        numbers: The lower 32 bits of others, each less than half of a round away.
    """
    ages = [(limit - number) % _ROUND for number in numbers]
    return limit - max([age for age in ages if age < _ROUND // 2], default=0)


class PostgresChanges(PostgresPart):
    """The feed of a :class:`~wfe.postgres.store.PostgresStore`.

    Numbers of transactions are those of one server: the cursor of another one, which a database
    was moved from, is a new beginning.
    """

    _identity: tuple[Any, ...]
    _feeds: bool = False

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        from wfe.core.search import Changed, Changes, Gone  # noqa: PLC0415 - few follow them

        rev, key = self._place(cursor)
        if not self._feeds:
            await self._enable()
        args = {"rev": rev, "key": key, "limit": limit, "settled": await self._ended_before()}
        rows = await self._opened.all(_CHANGES, args)
        if rows:
            rev, key = rows[-1][0], rows[-1][1]
        return Changes(
            tuple([Changed(n, at) for at, n, id_, _ in rows if id_ is None]),
            tuple([Gone(n, at, id_, made) for at, n, id_, made in rows if id_ is not None]),
            f"{self._server}:{rev}:{key}",
            more=len(rows) == limit,
        )

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        from wfe.core.search import LogChanges, LoggedLine  # noqa: PLC0415 - few follow them

        rev, key = self._place(cursor)
        args = {"rev": rev, "key": key, "limit": limit, "settled": await self._ended_before()}
        rows = await self._opened.all(_LINES, args)
        lines: list[LoggedLine] = []
        for _, n, at, step, pointer, stream, line, l, id_, definition in rows:  # noqa: E741 - the column's name
            if id_ is not None:
                row = LogRow(n=n, at=at, step=step, pointer=pointer, stream=stream, line=line, l=l)
                lines.append(LoggedLine(row, id_, definition))
        if rows:
            rev, key = rows[-1][0], rows[-1][7]
        return LogChanges(tuple(lines), f"{self._server}:{rev}:{key}", more=len(rows) == limit)

    async def _ended_before(self) -> int:
        """Return a number below which no transaction of this database is open any more."""
        db = self._opened
        ((limit, numbers),), prepared = await db.run(
            lambda conn: db.pipeline(conn, [(OPEN, None), (_PREPARED, None)])
        )
        return settled(limit, [*numbers, *(number for (number,) in prepared)])

    @property
    def _server(self) -> str:
        return f"{zlib.crc32(repr(self._identity).encode()):08x}"

    def _place(self, cursor: str | None) -> tuple[int, int]:
        """Return transaction and number after which a page begins."""
        if cursor is None:
            return 0, 0
        server, _, place = cursor.partition(":")
        rev, _, key = place.partition(":")
        if not server or not rev.isdecimal() or not key.isdecimal():
            raise DataTypeError("cursor", f"{cursor!r} is no cursor of a feed of this store")
        return (int(rev), int(key)) if server == self._server else (0, 0)

    async def _enable(self) -> None:
        """Have it noted from now on which runs are deleted."""
        db = self._opened

        async def enable(conn: Connection) -> None:
            async with conn.transaction():
                for sql in _ENABLE:
                    await conn.execute(db.names.sql(sql))

        if not await db.all(_IS_FED):
            await db.run(enable)
        self._feeds = True
