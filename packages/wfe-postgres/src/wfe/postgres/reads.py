"""The read path: each question is one statement, so that its answer is of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from wfe.core.providers import (
    DefinitionRow,
    InboxRow,
    InstanceQuery,
    Loaded,
    LogRow,
    Row,
    Snapshot,
    StoredInstance,
)
from wfe.core.sql_columns import INSTANCE, stored_instance
from wfe.postgres import finding
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.finding import PURGED
from wfe.postgres.parts import PostgresPart

__all__ = ["PostgresReads"]

_FIRST_PAGE: Final = 32  # instances; then as many as had so many bytes in the page before
_LONGEST_PAGE: Final = 200
_PAGE_BYTES: Final = 8 << 20
_SELECT: Final = f"SELECT {INSTANCE} FROM wfe_instances"  # noqa: S608 - constants
_MESSAGES: Final = """
LEFT JOIN LATERAL (
    SELECT array_agg(i) AS i, array_agg(kind) AS kind, array_agg(at) AS at,
        array_agg(payload) AS payload, array_agg(actor) AS actor, array_agg(reason) AS reason
    FROM (SELECT * FROM wfe_inbox b WHERE b.instance = r.n ORDER BY b.i) sorted) m ON true"""
_LOAD: Final = f"""
SELECT {INSTANCE}, s.snapshot_seq, s.state, s.data, t.seqs, t.ats, t.events,
    m.i, m.kind, m.at, m.payload, m.actor, m.reason
FROM wfe_instances r
LEFT JOIN LATERAL (
    SELECT seq AS snapshot_seq, state, data FROM wfe_snapshots x WHERE x.n = r.n) s ON true
LEFT JOIN LATERAL (
    SELECT array_agg(seq) AS seqs, array_agg(at) AS ats, array_agg(event) AS events
    FROM (SELECT seq, at, event FROM wfe_journal j
        WHERE j.instance = r.n AND j.seq > coalesce(s.snapshot_seq, -1) ORDER BY seq) sorted
    ) t ON true
{_MESSAGES}
WHERE n = ANY (%(numbers)s) AND status <> '{PURGED}'"""  # noqa: S608 - constants
_INBOX: Final = f"""
SELECT n, poke, m.i, m.kind, m.at, m.payload, m.actor, m.reason
FROM wfe_instances r {_MESSAGES}
WHERE n = ANY (%(numbers)s)"""  # noqa: S608 - constants
_WAITS: Final = "i.owner IS NULL AND i.wake IS NOT NULL"
# The beginning of an index range of each definition, and of each of its priorities if it has any.
_DUE: Final = f"""
WITH RECURSIVE levels (d, priority) AS (
    SELECT mine.d, (SELECT i.priority FROM wfe_instances i
        WHERE i.d = mine.d AND {_WAITS} AND i.priority <> 0 ORDER BY i.priority DESC LIMIT 1)
    FROM unnest(%(definitions)s::bigint[]) AS mine (d)
    UNION ALL
    SELECT l.d, (SELECT i.priority FROM wfe_instances i
        WHERE i.d = l.d AND {_WAITS} AND i.priority <> 0 AND i.priority < l.priority
        ORDER BY i.priority DESC LIMIT 1)
    FROM levels l WHERE l.priority IS NOT NULL)
SELECT least(
    (SELECT min(first.wake) FROM unnest(%(definitions)s::bigint[]) AS mine (d)
    CROSS JOIN LATERAL (
        SELECT i.wake FROM wfe_instances i
        WHERE i.d = mine.d AND {_WAITS} AND i.priority = 0 ORDER BY i.wake LIMIT 1) first),
    (SELECT min(first.wake) FROM levels l CROSS JOIN LATERAL (
        SELECT i.wake FROM wfe_instances i
        WHERE i.d = l.d AND {_WAITS} AND i.priority <> 0 AND i.priority = l.priority
        ORDER BY i.wake LIMIT 1) first))"""  # noqa: S608 - constants
_BELOW: Final = """
SELECT wake, n, d FROM wfe_instances
WHERE root_id = ANY (%(roots)s) AND owner IS NULL AND wake IS NOT NULL ORDER BY wake, n"""
_ROWS: Final = """
SELECT seq, at, event FROM wfe_journal WHERE instance = %(n)s AND seq > %(after)s
ORDER BY seq LIMIT %(limit)s"""
_GET: Final = f"""
{_SELECT} WHERE (id = %(text)s OR name = %(text)s) AND status <> '{PURGED}'
ORDER BY id = %(text)s DESC LIMIT 1"""
_DEFINITIONS: Final = """
SELECT d, id, version, hash, body, current FROM wfe_definitions
WHERE %(id)s::text IS NULL OR id = %(id)s ORDER BY d"""
_LOGS: Final = """
SELECT instance, at, step, pointer, stream, line, l FROM wfe_logs
WHERE instance = %(n)s AND l > %(after)s ORDER BY l LIMIT %(limit)s"""


class PostgresReads(PostgresPart):
    """What is read of a :class:`~wfe.postgres.store.PostgresStore`; nothing here writes."""

    # -- instances ----------------------------------------------------------------------------

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        loaded: list[Loaded] = []
        page = _FIRST_PAGE
        while len(numbers) > 0:
            rows = await self._opened.all(_LOAD, {"numbers": Ints(numbers[:page])})
            numbers = numbers[page:]
            some = [_loaded(row) for row in rows]
            loaded += some
            size = sum(map(_size, some)) // max(len(some), 1)
            page = min(max(_PAGE_BYTES // max(size, 1), 1), _LONGEST_PAGE)
        return loaded

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        if not numbers:
            return []
        rows = await self._opened.all(_INBOX, {"numbers": Ints(numbers)})
        return [(row[0], row[1], _messages(row[0], *row[2:])) for row in rows]

    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        rows = await self._opened.all(_ROWS, {"n": n, "after": after, "limit": limit})
        return [Row(*row) for row in rows]

    async def get(self, id_or_name: str) -> StoredInstance | None:
        if "\0" in id_or_name:
            return None  # the server has no such texts
        rows = await self._opened.all(_GET, {"text": id_or_name})
        return stored_instance(rows[0]) if rows else None

    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        texts = (query.definition, query.status, query.reference)
        if any(text is not None and "\0" in text for text in texts):
            return []
        sql, args = finding.statement(query)
        return [stored_instance(row) for row in await self._planned(sql, args)]

    # -- what is due --------------------------------------------------------------------------

    async def due(self, definitions: Sequence[int]) -> int | None:
        if not definitions:
            return None
        ((wake,),) = await self._opened.all(_DUE, {"definitions": Ints(definitions)})
        return wake if wake is None else int(wake)

    async def waiting(self, roots: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        if not roots:
            return []
        rows = await self._opened.all(_BELOW, {"roots": Texts(roots)})
        return [(wake, n, d) for wake, n, d in rows]

    # -- the rest -----------------------------------------------------------------------------

    async def definitions(self, id: str | None = None) -> Sequence[DefinitionRow]:
        if id is not None and "\0" in id:
            return []
        return [DefinitionRow(*row) for row in await self._opened.all(_DEFINITIONS, {"id": id})]

    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        rows = await self._opened.all(_LOGS, {"n": n, "after": after, "limit": limit})
        return [
            LogRow(n=n, at=at, step=step, pointer=pointer, stream=stream, line=line, l=l)
            for n, at, step, pointer, stream, line, l in rows  # noqa: E741 - the column's name
        ]


def _loaded(row: Sequence[Any]) -> Loaded:
    header = stored_instance(row)
    seq, state, data, seqs, ats, events = row[23:29]
    return Loaded(
        header=header,
        snapshot=None if seq is None else Snapshot(seq, state, data),
        tail=() if seqs is None else tuple(map(Row, seqs, ats, events)),
        inbox=_messages(header.n, *row[29:]),
    )


def _size(loaded: Loaded) -> int:
    """Return about how many bytes there are of an instance."""
    fold = loaded.snapshot
    folded = 0 if fold is None else len(fold.state) + len(fold.data)
    return (
        folded
        + sum([len(r.event) for r in loaded.tail])
        + sum([len(m.payload) for m in loaded.inbox])
    )


def _messages(
    n: int, numbers: Sequence[int] | None, *columns: Sequence[Any]
) -> tuple[InboxRow, ...]:
    if numbers is None:
        return ()
    return tuple(
        [
            InboxRow(i=i, n=n, kind=kind, at=at, payload=payload, actor=actor, reason=reason)
            for i, kind, at, payload, actor, reason in zip(numbers, *columns, strict=True)
        ]
    )
