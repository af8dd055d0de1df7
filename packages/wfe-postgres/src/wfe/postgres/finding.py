"""The statement that lists runs, put together from what is asked for."""

from __future__ import annotations

from typing import Final

import orjson

from wfe.core.providers import InstanceQuery
from wfe.core.sql_columns import INSTANCE

__all__ = ["PURGED", "statement"]

PURGED: Final = "purged"
"""Status of a family that is being deleted in several transactions: nobody sees it any more."""

# JSON allows the character 0 in texts, jsonb does not: on both sides another text stands for it.
_NUL: Final = (r"\u0000", r"\ue000\uf8ff\ue000")
_HAS: Final = f"""
EXISTS (
    SELECT 1 FROM (
        SELECT replace(s.data, '{_NUL[0]}', '{_NUL[1]}')::jsonb AS has
        FROM wfe_snapshots s WHERE s.n = r.n OFFSET 0) stored
    WHERE jsonb_typeof(has) = 'object' AND NOT EXISTS (
        SELECT 1 FROM jsonb_each(%(data)s::jsonb) wanted
        WHERE has -> wanted.key IS DISTINCT FROM wanted.value))"""  # noqa: S608 - constants
# Of one index every definition and status is a range in order of time, but not several together.
# So if only one of the two is given, the ranges that exist are found by skipping from one to the
# next, and merged.
_KINDS: Final = """
WITH RECURSIVE kinds (kind) AS (
    SELECT min({0}) FROM wfe_instances WHERE {1}
    UNION ALL
    SELECT (SELECT min(i.{0}) FROM wfe_instances i WHERE {1} AND i.{0} > kinds.kind)
    FROM kinds WHERE kind IS NOT NULL)"""
_STATUSES: Final = _KINDS.format("status", "definition = %(definition)s")
_DEFINITIONS: Final = _KINDS.format("definition", "true")


def statement(query: InstanceQuery) -> tuple[str, dict[str, object]]:
    """Return the statement for *query*, with rows of ``INSTANCE``, and its arguments."""
    conditions, args = _conditions(query)
    way = "DESC" if query.newest_first else "ASC"
    # The limit is written out: for an unknown one the planner would read and sort everything.
    order = f"ORDER BY created_at {way}, n {way} LIMIT {query.limit:d}"
    among = ""
    if query.reference is None and (query.definition is None) != (query.status is None):
        any_status = query.status is None
        missing, among = ("status", _STATUSES) if any_status else ("definition", _DEFINITIONS)
        conditions.append(f"{missing} = kinds.kind")
    where = " AND ".join(conditions)
    sql = f"SELECT {INSTANCE} FROM wfe_instances r WHERE {where} {order}"  # noqa: S608 - constants
    if among:
        sql = f"{among} SELECT each.* FROM kinds CROSS JOIN LATERAL ({sql}) each {order}"  # noqa: S608 - constants
    return sql, args


def _conditions(query: InstanceQuery) -> tuple[list[str], dict[str, object]]:
    args: dict[str, object] = {}
    conditions = [f"status <> '{PURGED}'"]

    def want(condition: str, **values: object) -> None:
        conditions.append(condition)
        args.update(values)

    if query.definition is not None:
        want("definition = %(definition)s", definition=query.definition)
    if query.status is not None:
        want("status = %(status)s", status=query.status)
    if query.reference is not None:
        want("reference = %(reference)s", reference=query.reference)
    if query.since is not None:
        want("created_at >= %(since)s", since=query.since)
    if query.after is not None:
        at, n = query.after
        way = "<" if query.newest_first else ">"
        want(f"(created_at, n) {way} (%(after_at)s, %(after_n)s)", after_at=at, after_n=n)
    if query.data is not None:
        data = orjson.dumps(dict(query.data)).decode().replace(*_NUL)
        want(_HAS, data=data)
    return conditions, args
