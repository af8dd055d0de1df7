"""The part of the store that keeps and forgets: lines, streams, paused definitions, purging."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wfe.core.providers import LogRow, PurgeQuery, StoredInstance, StreamRow
from wfe.core.sql_columns import stored_instance
from wfe.postgres import purging
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.names import APPENDS
from wfe.postgres.parts import PostgresPart

__all__ = ["PostgresKeeping"]

_BUCKETS: Final = 64
_APPENDED: Final = 1000  # rows of one statement
# The character 0, which texts of the server cannot have; and how it is shown instead.
_NUL: Final = ("\0", "\u2400")
# Positions are taken after the lock, and it is held until they can be seen: who reads on from a
# position misses no smaller one that is committed later.
_IN_ORDER: Final = """
WITH turn AS MATERIALIZED (
    SELECT count(pg_advisory_xact_lock(%(lock)s::int, bucket::int))
    FROM (SELECT b FROM unnest(%(buckets)s::bigint[]) AS b ORDER BY b OFFSET 0) AS x (bucket))
"""
_LOG: Final = f"""{_IN_ORDER}
INSERT INTO wfe_logs (instance, at, step, pointer, stream, line)
SELECT instance, at, step, pointer, stream, line
FROM turn, unnest(%(n)s::bigint[], %(at)s::bigint[], %(step)s::text[], %(pointer)s::bigint[],
    %(stream)s::text[], %(line)s::text[])
    WITH ORDINALITY AS r (instance, at, step, pointer, stream, line, k) ORDER BY k"""  # noqa: S608 - constants
_EMIT: Final = f"""{_IN_ORDER}
INSERT INTO wfe_stream (instance, at, step, pointer, name, payload)
SELECT instance, at, step, pointer, name, payload
FROM turn, unnest(%(n)s::bigint[], %(at)s::bigint[], %(step)s::text[], %(pointer)s::bigint[],
    %(name)s::text[], %(payload)s::text[])
    WITH ORDINALITY AS r (instance, at, step, pointer, name, payload, k) ORDER BY k"""  # noqa: S608 - constants
_STREAM: Final = """
SELECT instance, at, step, pointer, name, payload, s FROM wfe_stream
WHERE instance = %(n)s AND s > %(after)s ORDER BY s LIMIT %(limit)s"""
_PAUSED: Final = "SELECT definition FROM wfe_paused ORDER BY definition"


class PostgresKeeping(PostgresPart):
    """Lines, streams and purging of a :class:`~wfe.postgres.store.PostgresStore`."""

    # -- lines and streams --------------------------------------------------------------------

    async def append_logs(self, rows: Sequence[LogRow]) -> None:
        """Store log lines; the character 0 in one is stored as the symbol for it."""
        for k in range(0, len(rows), _APPENDED):
            some = rows[k : k + _APPENDED]
            texts = {
                "stream": Texts([r.stream for r in some]),
                "line": Texts([_shown(r.line) for r in some]),
            }
            await self._append(_LOG, some, texts)

    async def append_stream(self, rows: Sequence[StreamRow]) -> None:
        for k in range(0, len(rows), _APPENDED):
            some = rows[k : k + _APPENDED]
            texts = {
                "name": Texts([r.name for r in some]),
                "payload": Texts([r.payload for r in some]),
            }
            await self._append(_EMIT, some, texts)

    async def _append(
        self, sql: str, rows: Sequence[LogRow] | Sequence[StreamRow], texts: dict[str, Texts]
    ) -> None:
        numbers = [row.n for row in rows]
        args = {
            "lock": self._opened.names.lock(APPENDS),
            "buckets": Ints(sorted({n % _BUCKETS for n in numbers})),
            "n": Ints(numbers),
            "at": Ints([row.at for row in rows]),
            "step": Texts([row.step for row in rows]),
            "pointer": Ints([row.pointer for row in rows]),
        }
        await self._opened.all(sql, {**args, **texts})

    async def stream(self, n: int, after: int, limit: int) -> Sequence[StreamRow]:
        rows = await self._opened.all(_STREAM, {"n": n, "after": after, "limit": limit})
        return [
            StreamRow(n=n, at=at, step=step, pointer=pointer, name=name, payload=payload, s=s)
            for n, at, step, pointer, name, payload, s in rows
        ]

    async def paused(self) -> Sequence[str]:
        return [id_ for (id_,) in await self._opened.all(_PAUSED, {})]

    # -- purging ------------------------------------------------------------------------------

    async def purgeable(self, query: PurgeQuery) -> Sequence[StoredInstance]:
        sql, args = purging.purgeable(query)
        return [stored_instance(row) for row in await self._planned(sql, args)]

    async def family(self, n: int) -> Sequence[StoredInstance]:
        rows = await self._opened.all(purging.FAMILY, {"roots": Ints([n])})
        return [stored_instance(row) for row in rows]

    async def purge(self, roots: Sequence[int]) -> int:
        deleted = 0
        for k in range(0, len(roots), purging.ROOTS):
            some = list(roots[k : k + purging.ROOTS])
            deleted += await purging.purge(self._opened, some)
        return deleted

    async def purge_events(self, limit: int) -> int:
        args = {"limit": limit, "now": self._now}
        return len(await self._opened.all(purging.EVENTS, args))


def _shown(line: str) -> str:
    return line.replace(*_NUL) if "\0" in line else line
