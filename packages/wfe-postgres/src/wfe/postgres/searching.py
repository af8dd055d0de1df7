"""The part of the store that is its own search index.

The words of texts are the engine's, so no configuration of the server's text search is used: a
vector is written literally, and what stands next to each other is looked up in the words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.lean import frozen
from wfe.postgres.arrays import Ints, Texts
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.core.search import (
        Gone,
        LogDocument,
        LogPage,
        SearchDocument,
        SearchPage,
        SearchQuery,
        Term,
    )
    from wfe.postgres.database import Connection

__all__ = ["PostgresSearch", "vector"]

_HOUR: Final = 3_600_000_000  # µs; how long it is known of a deleted run that it was
_LAST_POSITION: Final = 16_383  # of a word in a vector
_MOST_POSITIONS: Final = 255  # of one word
_LONGEST_FIELD: Final = 1000  # bytes in the index of fields; of longer ones it has a digest

_CURSORS: Final = "SELECT key, value FROM wfe_meta WHERE key IN ('search_runs', 'search_logs')"
_SET: Final = """
INSERT INTO wfe_meta (key, value) VALUES (%(key)s, %(cursor)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
_FORGET: Final = "DELETE FROM wfe_meta WHERE key IN ('search_runs', 'search_logs')"
_CLEAR: Final = "TRUNCATE wfe_search_runs, wfe_search_gone, wfe_search_lines"
_PUT: Final = """
INSERT INTO wfe_search_runs AS r (n, rev, id, definition, status, reference, created_at, fields,
    words, vector)
SELECT %(n)s, %(rev)s, %(id)s, %(definition)s, %(status)s, %(reference)s, %(created_at)s,
    %(fields)s::text[], %(words)s, %(vector)s::tsvector
WHERE NOT EXISTS (SELECT 1 FROM wfe_search_gone g WHERE g.n = %(n)s AND g.rev >= %(rev)s)
ON CONFLICT (n) DO UPDATE SET rev = excluded.rev, id = excluded.id,
    definition = excluded.definition, status = excluded.status, reference = excluded.reference,
    created_at = excluded.created_at, fields = excluded.fields, words = excluded.words,
    vector = excluded.vector WHERE r.rev <= excluded.rev"""
# One that has a later document is not gone.
_REMOVE: Final = f"""
WITH g AS MATERIALIZED (
    SELECT n, rev FROM unnest(%(numbers)s::bigint[], %(revs)s::bigint[]) AS g (n, rev)
    WHERE NOT EXISTS (SELECT 1 FROM wfe_search_runs r WHERE r.n = g.n AND r.rev > g.rev)),
runs AS (DELETE FROM wfe_search_runs r USING g WHERE r.n = g.n),
lines AS (DELETE FROM wfe_search_lines x USING g WHERE x.n = g.n)
INSERT INTO wfe_search_gone AS o (n, rev, at) SELECT n, rev, {NOW} FROM g ORDER BY n
ON CONFLICT (n) DO UPDATE SET rev = greatest(o.rev, excluded.rev), at = excluded.at"""  # noqa: S608 - constants
_LONG_GONE: Final = f"DELETE FROM wfe_search_gone WHERE at < {NOW} - {_HOUR}"  # noqa: S608 - constants
_PUT_LINE: Final = """
INSERT INTO wfe_search_lines (l, n, id, definition, at, step, pointer, stream, line, words, vector)
SELECT %(l)s, %(n)s, %(id)s, %(definition)s, %(at)s, %(step)s, %(pointer)s, %(stream)s, %(line)s,
    %(words)s, %(vector)s::tsvector
WHERE NOT EXISTS (SELECT 1 FROM wfe_search_gone g WHERE g.n = %(n)s)
ON CONFLICT (l) DO NOTHING"""
_LINE: Final = ("l", "n", "id", "definition", "at", "step", "pointer", "stream", "line")


@frozen
class _Side:
    """Names of one of the two indexes: of runs, or of lines."""

    table: str
    key: str
    at: str
    columns: tuple[str, ...]


_RUNS: Final = _Side("wfe_search_runs", "n", "created_at", ("n", "id"))
_LINES: Final = _Side("wfe_search_lines", "l", "at", _LINE)


def vector(text: str) -> str:
    """Return the words of *text* as a vector with their positions."""
    positions: dict[str, list[str]] = {}
    for k, word in enumerate(text.split(), start=1):
        places = positions.setdefault(word, [])
        if len(places) < _MOST_POSITIONS and k <= _LAST_POSITION:
            places.append(str(k))
    return " ".join(
        [f"'{word}':{','.join(at)}" if at else f"'{word}'" for word, at in positions.items()]
    )


class PostgresSearch(PostgresPart):
    """The search index in a :class:`~wfe.postgres.store.PostgresStore`."""

    # -- feeding ------------------------------------------------------------------------------

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        latest: dict[int, SearchDocument] = {}
        for each in documents:
            if each.n not in latest or each.rev >= latest[each.n].rev:
                latest[each.n] = each
        rows = [_document(latest[n]) for n in sorted(latest)]
        over: dict[int, int] = {}
        for one in gone:
            over[one.n] = max(one.rev, over.get(one.n, -1))
        removed = {"numbers": Ints(over), "revs": Ints(over.values()), "now": self._now}
        names, now = self._opened.names, {"now": self._now}

        async def apply(conn: Connection) -> None:
            async with conn.transaction():
                if over:
                    await conn.execute(names.sql(_REMOVE), removed)
                if rows:
                    await conn.cursor().executemany(names.sql(_PUT), rows)
                await conn.execute(names.sql(_LONG_GONE), now)
                await conn.execute(names.sql(_SET), {"key": "search_runs", "cursor": cursor})

        await self._opened.run(apply)

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        rows = [_line(each) for each in sorted(lines, key=lambda line: line.l)]
        names = self._opened.names

        async def apply(conn: Connection) -> None:
            async with conn.transaction():
                if rows:
                    await conn.cursor().executemany(names.sql(_PUT_LINE), rows)
                await conn.execute(names.sql(_SET), {"key": "search_logs", "cursor": cursor})

        await self._opened.run(apply)

    async def search_cursors(self) -> tuple[str | None, str | None]:
        found: dict[str, str] = dict(await self._opened.all(_CURSORS))
        return found.get("search_runs"), found.get("search_logs")

    async def search_clear(self) -> None:
        db = self._opened
        await db.run(lambda conn: db.pipeline(conn, [(_CLEAR, None), (_FORGET, None)]))

    # -- finding ------------------------------------------------------------------------------

    async def search_runs(self, query: SearchQuery) -> SearchPage:
        from wfe.core.search import SearchHit, SearchPage  # noqa: PLC0415 - most never search

        found, cursor = await self._search(_RUNS, query)
        return SearchPage(tuple([SearchHit(n, id_, score) for n, id_, _, score in found]), cursor)

    async def search_logs(self, query: SearchQuery) -> LogPage:
        from wfe.core.search import LogDocument, LogHit, LogPage  # noqa: PLC0415 - most never search

        found, cursor = await self._search(_LINES, query)
        hits = [(LogDocument(**dict(zip(_LINE, row, strict=False))), row[-1]) for row in found]
        return LogPage(tuple([LogHit(*hit) for hit in hits]), cursor)

    async def _search(
        self, side: _Side, query: SearchQuery
    ) -> tuple[Sequence[Sequence[Any]], str | None]:
        sql, args, by_score = _statement(side, query)
        texts = [each for each in args.values() if isinstance(each, str)]
        if any("\0" in text for text in texts):
            return [], None  # the server has no such texts
        rows = await self._planned(sql, args)
        shown = rows[: query.limit]
        if len(rows) <= query.limit:
            return shown, None
        from wfe.core.search import position_text  # noqa: PLC0415 - most never search

        key, (*_, at, score) = shown[-1][0], shown[-1]
        return shown, position_text([score, at, key] if by_score else [at, key])


def _document(document: SearchDocument) -> dict[str, Any]:
    return {
        "n": document.n,
        "rev": document.rev,
        "id": document.id,
        "definition": document.definition,
        "status": document.status,
        "reference": document.reference,
        "created_at": document.created_at,
        "fields": Texts(sorted({_field(path, value) for path, value in document.fields})),
        "words": f" {document.text} ",
        "vector": vector(document.text),
    }


def _line(line: LogDocument) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(line, name) for name in _LINE}
    row["line"] = line.line.replace("\0", "\u2400")
    return {**row, "words": f" {line.text} ", "vector": vector(line.text)}


def _field(path: str, value: str) -> str:
    """Return a field as one text without the character 0, and short enough for an index."""
    text = orjson.dumps([path, value])
    return text.decode() if len(text) <= _LONGEST_FIELD else hashlib.sha256(text).hexdigest()


def _statement(side: _Side, query: SearchQuery) -> tuple[str, dict[str, Any], bool]:
    """Return a statement, its arguments, and whether it is ordered by score.

    Its rows end with time and score.
    """
    from wfe.core.search import position_in  # noqa: PLC0415 - most never search

    wanted = [term for term in query.terms if not term.exclude]
    by_score = bool(wanted) and query.order == "relevance"
    conditions, args = _filters(side, query)
    for k, term in enumerate(query.terms):
        conditions.append(_term_condition(term, k, args))
    score = "NULL::float8"
    if by_score:
        args["wanted"] = " & ".join([_match(term) for term in wanted])
        score = "ts_rank(vector, %(wanted)s::tsquery)::float8"
    key, way = side.key, "ASC" if query.order == "oldest" else "DESC"
    where = " AND ".join(conditions) or "true"
    columns = ", ".join([*side.columns, f"{side.at} AS at_", f"{score} AS score_"])
    sql = f"SELECT {columns} FROM {side.table} WHERE {where}"  # noqa: S608 - constants
    order = f"at_ {way}, {key} {way}"
    if query.cursor is None:
        after = "true"
    elif by_score:
        args["score"], args["at"], args["key"] = position_in(query.cursor, (float, int, int))
        after = f"(score_, at_, {key}) < (%(score)s::float8, %(at)s, %(key)s)"
    else:
        args["at"], args["key"] = position_in(query.cursor, (int, int))
        after = f"(at_, {key}) {'>' if way == 'ASC' else '<'} (%(at)s, %(key)s)"
    if by_score:
        order = f"score_ DESC, {order}"
    # The limit is written out, or the planner would not believe that it is small.
    sql = f"SELECT * FROM ({sql}) found WHERE {after} ORDER BY {order} LIMIT {query.limit + 1:d}"  # noqa: S608 - constants
    return sql, args, by_score


def _filters(side: _Side, query: SearchQuery) -> tuple[list[str], dict[str, Any]]:
    given = {
        "definition": ("definition = %(definition)s", query.definition),
        "status": ("status = %(status)s", query.status),
        "reference": ("reference = %(reference)s", query.reference),
        "run": ("id = %(run)s", query.run),
        "since": (f"{side.at} >= %(since)s", query.since),
        "until": (f"{side.at} < %(until)s", query.until),
    }
    if query.fields:
        fields = Texts([_field(path, value) for path, value in query.fields])
        given["fields"] = ("fields @> %(fields)s::text[]", fields)  # type: ignore[assignment]
    there = {name: each for name, each in given.items() if each[1] is not None}
    return [each[0] for each in there.values()], {name: each[1] for name, each in there.items()}


def _term_condition(term: Term, k: int, args: dict[str, Any]) -> str:
    """Return the condition for one term, and add its arguments."""
    args[f"words{k}"] = _match(term)
    condition = f"vector @@ %(words{k})s::tsquery"
    if len(term.words) > 1:
        args[f"text{k}"] = f"% {' '.join(term.words)}{'%' if term.prefix else ' %'}"
        condition = f"({condition} AND words LIKE %(text{k})s)"
    return f"NOT {condition}" if term.exclude else condition


def _match(term: Term) -> str:
    """Return a term as the server wants it: words are letters and digits, nothing is escaped."""
    quoted = [f"'{word}'" for word in term.words]
    return " & ".join(quoted) + (":*" if term.prefix else "")
