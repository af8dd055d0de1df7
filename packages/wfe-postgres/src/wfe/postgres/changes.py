"""The part of the store that says what changed: a feed from which nothing is missing.

Each change bears the number of its transaction.  Only those before the oldest transaction that is
still open are shown: what is committed later comes later, too.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Final

from wfe.core.errors import DataTypeError
from wfe.core.providers import LogRow
from wfe.core.search import Changed, Changes, Gone, LogChanges, LoggedLine
from wfe.postgres.finding import PURGED
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.postgres.database import Connection

__all__ = ["FEED", "PostgresChanges"]

FEED: Final = "feed"
"""Key of ``wfe_meta`` that is there when somebody follows the changes: only then is it kept which
runs were deleted."""
_IS_FED: Final = f"SELECT 1 FROM wfe_meta WHERE key = '{FEED}'"  # noqa: S608 - a constant
# Whoever is deleting runs and keeps no note of it has ended; whoever begins after this does.
_ENABLE: Final = (
    "LOCK TABLE wfe_tombstones IN SHARE ROW EXCLUSIVE MODE",
    f"INSERT INTO wfe_meta (key, value) VALUES ('{FEED}', 'on') ON CONFLICT DO NOTHING",  # noqa: S608 - a constant
)
_SETTLED: Final = "rev < (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint)"
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


class PostgresChanges(PostgresPart):
    """The feed of a :class:`~wfe.postgres.store.PostgresStore`.

    Numbers of transactions are those of one server: the cursor of another one, which a database
    was moved from, is a new beginning.
    """

    _identity: tuple[Any, ...]
    _feeds: bool = False

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        rev, key = self._place(cursor)
        if not self._feeds:
            await self._enable()
        rows = await self._opened.all(_CHANGES, {"rev": rev, "key": key, "limit": limit})
        if rows:
            rev, key = rows[-1][0], rows[-1][1]
        return Changes(
            tuple([Changed(n, at) for at, n, id_, _ in rows if id_ is None]),
            tuple([Gone(n, at, id_, made) for at, n, id_, made in rows if id_ is not None]),
            f"{self._server}:{rev}:{key}",
            more=len(rows) == limit,
        )

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        rev, key = self._place(cursor)
        rows = await self._opened.all(_LINES, {"rev": rev, "key": key, "limit": limit})
        lines: list[LoggedLine] = []
        for _, n, at, step, pointer, stream, line, l, id_, definition in rows:  # noqa: E741 - the column's name
            if id_ is not None:
                row = LogRow(n=n, at=at, step=step, pointer=pointer, stream=stream, line=line, l=l)
                lines.append(LoggedLine(row, id_, definition))
        if rows:
            rev, key = rows[-1][0], rows[-1][7]
        return LogChanges(tuple(lines), f"{self._server}:{rev}:{key}", more=len(rows) == limit)

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
