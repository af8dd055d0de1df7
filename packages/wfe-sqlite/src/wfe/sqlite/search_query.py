"""A search, as a statement, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from wfe.core.lean import frozen
from wfe.core.search import (
    LogDocument,
    LogHit,
    LogPage,
    SearchHit,
    SearchPage,
    SearchQuery,
    Term,
    position_in,
    position_text,
)
from wfe.sqlite.reads import Reader

__all__ = ["LINES", "RUNS", "Side", "find_lines", "find_runs", "statement"]

_RUN: Final = "x.n, x.id"
_LINE: Final = "x.l, x.n, x.id, x.definition, x.at, x.step, x.pointer, x.stream, x.line"


@frozen
class Side:
    """Names of one of the two indexes: of runs, or of lines."""

    table: str
    words: str
    key: str
    at: str
    columns: str


RUNS: Final = Side("wfe_search_runs", "wfe_search_run_words", "n", "created_at", _RUN)
LINES: Final = Side("wfe_search_lines", "wfe_search_line_words", "l", "at", _LINE)


def find_runs(reader: Reader, query: SearchQuery, *, full: bool) -> SearchPage:
    """Return the runs that fit; *full*: the index has FTS5."""
    found, cursor = _find(reader, RUNS, query, full)
    return SearchPage(tuple([SearchHit(n, id_, score) for n, id_, _, score in found]), cursor)


def find_lines(reader: Reader, query: SearchQuery, *, full: bool) -> LogPage:
    """Return the lines that fit; *full*: the index has FTS5."""
    found, cursor = _find(reader, LINES, query, full)
    return LogPage(tuple([_line_hit(row) for row in found]), cursor)


def _find(
    reader: Reader, side: Side, query: SearchQuery, full: bool
) -> tuple[list[Any], str | None]:
    sql, args, by_score = statement(side, query, full=full)
    rows = reader.all(sql, *args)
    shown = rows[: query.limit]
    if len(rows) <= query.limit:
        return shown, None
    key, (*_, at, score) = shown[-1][0], shown[-1]
    return shown, position_text([score, at, key] if by_score else [at, key])


def statement(side: Side, query: SearchQuery, *, full: bool) -> tuple[str, list[object], bool]:
    """Return a statement, its arguments, and whether it is ordered by score.

    Its rows end with time and score.
    """
    wanted = [term for term in query.terms if not term.exclude]
    by_score = full and bool(wanted) and query.order == "relevance"
    conditions, args = _filters(side, query)
    for condition, value in _term_conditions(side, query.terms, full, by_score):
        conditions.append(condition)
        args.append(value)
    source, score = f"{side.table} x", "NULL"
    if by_score:
        source += f" JOIN {side.words} w ON w.rowid = x.{side.key}"
        score = f"-bm25({side.words})"
    where = " AND ".join(conditions) or "1"
    sql = f"SELECT {side.columns}, x.{side.at} at_, {score} score FROM {source} WHERE {where}"  # noqa: S608 - constants
    key, way = side.key, "ASC" if query.order == "oldest" else "DESC"
    after = "1"
    if query.cursor is not None and by_score:
        last, at, last_key = position_in(query.cursor, (float, int, int))
        after = f"(score < ? OR (score = ? AND (at_, {key}) < (?, ?)))"
        args += [last, last, at, last_key]
    elif query.cursor is not None:
        after = f"(at_, {key}) {'>' if way == 'ASC' else '<'} (?, ?)"
        args += position_in(query.cursor, (int, int))
    order = "score DESC, " if by_score else ""
    args.append(query.limit + 1)
    sql = f"SELECT * FROM ({sql}) WHERE {after} ORDER BY {order}at_ {way}, {key} {way} LIMIT ?"  # noqa: S608 - constants
    return sql, args, by_score


def _filters(side: Side, query: SearchQuery) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    args: list[object] = []
    given = (
        ("x.definition = ?", query.definition),
        ("x.status = ?", query.status),
        ("x.reference = ?", query.reference),
        ("x.id = ?", query.run),
        (f"x.{side.at} >= ?", query.since),
        (f"x.{side.at} < ?", query.until),
    )
    for condition, value in given:
        if value is not None:
            conditions.append(condition)
            args.append(value)
    for path, value in query.fields:
        conditions.append("x.n IN (SELECT n FROM wfe_search_fields WHERE path = ? AND value = ?)")
        args += [path, value]
    return conditions, args


def _term_conditions(
    side: Side, terms: Sequence[Term], full: bool, by_score: bool
) -> list[tuple[str, str]]:
    """Return conditions with one argument each."""
    if not full:
        return [(f"x.words {'NOT ' * term.exclude}LIKE ?", _like(term)) for term in terms]
    wanted = " AND ".join(_match(term) for term in terms if not term.exclude)
    unwanted = " OR ".join(_match(term) for term in terms if term.exclude)
    found: list[tuple[str, str]] = []
    among = f"IN (SELECT rowid FROM {side.words} WHERE {side.words} MATCH ?)"  # noqa: S608 - constants
    if wanted:
        condition = f"{side.words} MATCH ?" if by_score else f"x.{side.key} {among}"
        found.append((condition, wanted))
    if unwanted:
        found.append((f"x.{side.key} NOT {among}", unwanted))
    return found


def _match(term: Term) -> str:
    """Return a term as FTS5 wants it: words are letters and digits, nothing need be escaped."""
    return f'"{" ".join(term.words)}"{"*" * term.prefix}'


def _like(term: Term) -> str:
    return f"% {' '.join(term.words)}{'%' if term.prefix else ' %'}"


def _line_hit(row: Sequence[Any]) -> LogHit:
    l, n, id_, definition, at, step, pointer, stream, line, _, score = row  # noqa: E741 - the column's name
    document = LogDocument(
        l=l,
        n=n,
        id=id_,
        definition=definition,
        at=at,
        step=step,
        pointer=pointer,
        stream=stream,
        line=line,
    )
    return LogHit(document, score)
