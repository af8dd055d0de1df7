"""Lists of runs: in the order of their creation, from the one index of definition and status.

An index of all runs by creation time alone would cost a page in each transaction that starts one.
So a list over several definitions or statuses is merged from one list for each pair of them: of the
pairs, the index tells without looking at the runs.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from typing import Any, Final

import orjson

from wfe.core.providers import InstanceQuery
from wfe.core.sql_columns import INSTANCE

__all__ = ["PURGED", "rows"]

PURGED: Final = "purged"
"""Status of a family that is being deleted in several transactions: nobody sees it any more."""
_N: Final = 0
_CREATED_AT: Final = 19
"""Positions in a row of :data:`INSTANCE`."""

# From one name to the next: a look into the index for each that there is.
_NAMES: Final = """
names (definition) AS (
    SELECT min(definition) FROM wfe_instances UNION ALL
    SELECT (SELECT min(definition) FROM wfe_instances WHERE definition > names.definition)
    FROM names WHERE definition IS NOT NULL)"""
_NAME: Final = "names (definition) AS (SELECT :definition)"
_KINDS: Final = """
kinds (definition, status) AS (
    SELECT definition, (
        SELECT min(i.status) FROM wfe_instances i WHERE i.definition = names.definition)
    FROM names WHERE definition IS NOT NULL UNION ALL
    SELECT definition, (
        SELECT min(i.status) FROM wfe_instances i
        WHERE i.definition = kinds.definition AND i.status > kinds.status)
    FROM kinds WHERE status IS NOT NULL)"""
_KIND: Final = """
kinds (definition, status) AS (
    SELECT definition, :status FROM names WHERE definition IS NOT NULL)"""
# Whether the last snapshot has the data that is asked for.
_HAS: Final = """
(SELECT wfe_has(s.data, :data) FROM wfe_snapshots s WHERE s.n = wfe_instances.n)"""


def rows(db: sqlite3.Connection, query: InstanceQuery) -> list[Any]:
    """Return the columns of :data:`INSTANCE` of the runs that fit, in order."""
    args: dict[str, object] = {
        "definition": query.definition,
        "status": query.status,
        "reference": query.reference,
        "since": query.since,
        "limit": query.limit,
    }
    if query.after is not None:
        args["after_at"], args["after_n"] = query.after
    if query.data is not None:
        args["data"] = orjson.dumps(dict(query.data)).decode()
    with ExitStack() as stack:
        found: Iterable[Any]
        if query.reference is not None:
            found = _stream(db, stack, _referenced(query), args)
        elif query.definition is not None and query.status is not None:
            found = _stream(db, stack, _kind(query), args)
        else:
            found = _merged(db, stack, query, args)
        if query.data is not None:
            found = (row for row in found if row[-1])
        return list(islice(found, query.limit))


def _stream(
    db: sqlite3.Connection, stack: ExitStack, sql: str, args: dict[str, object]
) -> Iterator[Any]:
    """Return the rows of a statement, which are read as far as they are taken."""
    return stack.enter_context(closing(db.execute(sql, args)))


def _merged(
    db: sqlite3.Connection, stack: ExitStack, query: InstanceQuery, args: dict[str, object]
) -> Iterator[Any]:
    sql = _kind(query)
    # Who comes after as many others as are wanted has nothing to add, unless some do not fit.
    most = query.limit if query.data is None else -1
    kinds = db.execute(_firsts(query), {**args, "limit": most}).fetchall()
    streams = [
        _stream(db, stack, sql, {**args, "definition": definition, "status": status})
        for definition, status in kinds
    ]
    return heapq.merge(*streams, key=_place, reverse=query.newest_first)


def _place(row: Any) -> tuple[int, int]:
    return row[_CREATED_AT], row[_N]


def _firsts(query: InstanceQuery) -> str:
    """Return how to find definition and status of those whose first runs come first."""
    names = _NAMES if query.definition is None else _NAME
    kinds = _KINDS if query.status is None else _KIND
    return f"""
WITH RECURSIVE {names}, {kinds},
firsts (definition, status, n) AS (
    SELECT definition, status, (
        SELECT i.n FROM wfe_instances i INDEXED BY wfe_instances_kind
        WHERE i.definition = kinds.definition AND i.status = kinds.status{_between(query)}
        {_order(query)} LIMIT 1)
    FROM kinds WHERE status <> '{PURGED}')
SELECT firsts.definition, firsts.status
FROM firsts CROSS JOIN wfe_instances i ON i.n = firsts.n {_order(query, "i.")} LIMIT :limit"""  # noqa: S608 - constants


def _kind(query: InstanceQuery) -> str:
    return f"""
SELECT {_columns(query)} FROM wfe_instances INDEXED BY wfe_instances_kind
WHERE definition = :definition AND status = :status AND status <> '{PURGED}'{_between(query)}
{_order(query)}"""  # noqa: S608 - constants


def _referenced(query: InstanceQuery) -> str:
    definition = "" if query.definition is None else " AND definition = :definition"
    status = "" if query.status is None else " AND status = :status"
    return f"""
SELECT {_columns(query)} FROM wfe_instances INDEXED BY wfe_instances_reference
WHERE reference = :reference AND status <> '{PURGED}'{definition}{status}{_between(query)}
{_order(query)}"""  # noqa: S608 - constants


def _columns(query: InstanceQuery) -> str:
    return INSTANCE if query.data is None else f"{INSTANCE}, {_HAS}"


def _between(query: InstanceQuery) -> str:
    since = "" if query.since is None else " AND created_at >= :since"
    if query.after is None:
        return since
    return f"{since} AND (created_at, n) {'<' if query.newest_first else '>'} (:after_at, :after_n)"


def _order(query: InstanceQuery, of: str = "") -> str:
    way = "DESC" if query.newest_first else "ASC"
    return f"ORDER BY {of}created_at {way}, {of}n {way}"
