"""Deletes finished families of runs, in transactions of bounded size that wait for nobody.

A family that is not deleted by the first transaction is marked in it: from then on nobody sees
it, and whoever purges next goes on where a crash interrupted.  Headers go last, those below before
those above, so that what is left of a family is always found from its root.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wfe.core.providers import PurgeQuery
from wfe.core.sql_columns import INSTANCE
from wfe.postgres.arrays import Ints
from wfe.postgres.finding import PURGED
from wfe.postgres.names import NOW

if TYPE_CHECKING:
    from wfe.postgres.database import Connection, Database
    from wfe.postgres.names import Names

__all__ = ["EVENTS", "FAMILY", "ROOTS", "purge", "purgeable"]

ROOTS: Final = 500
"""Families that are begun by one transaction."""
_MEMBERS: Final = 500  # runs, and
_BUDGET: Final = 10_000  # rows of each table that are deleted by one transaction

_BELOW: Final = """
WITH RECURSIVE below (root, n, depth) AS (
    SELECT n, n, 0 FROM unnest(%(roots)s::bigint[]) AS r (n) UNION ALL
    SELECT root, i.n, depth + 1 FROM below JOIN wfe_instances i ON i.parent = below.n)"""
FAMILY: Final = f"""{_BELOW}
SELECT {INSTANCE} FROM below JOIN wfe_instances USING (n) ORDER BY depth, n"""  # noqa: S608 - constants
"""A run and all below it; for :func:`~wfe.core.sql_columns.stored_instance`."""
# An accepted `retry` has made a final run due.  A marked one is due to nobody.
_OVER: Final = f"""
completed_at IS NOT NULL AND owner IS NULL AND (wake IS NULL OR status = '{PURGED}')"""
_WHOLLY_OVER: Final = f"""
parent IS NULL AND {_OVER} AND NOT EXISTS (
    WITH RECURSIVE below (n) AS (
        SELECT i.n FROM wfe_instances i WHERE i.parent = r.n UNION ALL
        SELECT i.n FROM below JOIN wfe_instances i ON i.parent = below.n)
    SELECT 1 FROM below JOIN wfe_instances m USING (n)
    WHERE m.completed_at IS NULL OR m.owner IS NOT NULL
        OR (m.wake IS NOT NULL AND m.status <> '{PURGED}'))"""  # noqa: S608 - constants

# Whom somebody else just tells something, or deletes, is left for later.
_LOCK_FAMILIES: Final = f"""{_BELOW}
SELECT n FROM wfe_instances WHERE n IN (SELECT n FROM below) ORDER BY n FOR UPDATE SKIP LOCKED"""  # noqa: S608 - constants
_LOCK: Final = """
SELECT n FROM wfe_instances WHERE n = ANY (%(part)s) ORDER BY n FOR UPDATE SKIP LOCKED"""
# A later statement than the lock: it sees what was committed until then.
_MEMBERS_OF: Final = f"""{_BELOW},
checked AS (
    SELECT root, n, depth, {_OVER} AND n IN (SELECT unnest(%(locked)s::bigint[])) AS fine
    FROM below JOIN wfe_instances USING (n))
SELECT n FROM checked
WHERE root NOT IN (SELECT root FROM checked WHERE NOT fine) ORDER BY depth DESC, n"""  # noqa: S608 - constants
_MARK: Final = f"""
UPDATE wfe_instances SET status = '{PURGED}', d = 0, wake = NULL
WHERE n = ANY (%(left)s) AND status <> '{PURGED}'"""  # noqa: S608 - constants
_LONG: Final = ("journal", "logs", "stream", "inbox", "activities", "artifacts")
_SHORT: Final = ("subscriptions", "holders", "waiters")  # few in any case
_SLICE: Final = """
{0} AS (
    DELETE FROM wfe_{0} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM wfe_{0} WHERE instance = ANY (%(part)s) LIMIT %(budget)s)) RETURNING 1)"""
_WHOLE: Final = """
{0} AS (DELETE FROM wfe_{0} WHERE instance = ANY (%(part)s))"""
_ROWS: Final = (
    "WITH"  # noqa: S608 - constants
    + ",".join([_SLICE.format(table) for table in _LONG])
    + ","
    + ",".join([_WHOLE.format(table) for table in _SHORT])
    + ", snapshots AS (DELETE FROM wfe_snapshots WHERE n = ANY (%(part)s))\nSELECT greatest("
    + ", ".join([f"(SELECT count(*) FROM {table})" for table in _LONG])  # noqa: S608 - constants
    + ")"
)
# Who follows the changes is told who is gone; nobody else keeps that.
_HEADERS: Final = """
WITH gone AS (
    DELETE FROM wfe_instances WHERE n = ANY (%(part)s) RETURNING n, id, created_at),
noted AS (
    INSERT INTO wfe_tombstones (n, id, created_at)
    SELECT n, id, created_at FROM gone
    WHERE EXISTS (SELECT 1 FROM wfe_meta WHERE key = 'feed') ON CONFLICT (n) DO NOTHING)
SELECT n FROM gone"""
EVENTS: Final = f"""
DELETE FROM wfe_events WHERE e = ANY (ARRAY(
    SELECT e FROM wfe_events WHERE expires <= {NOW}
    ORDER BY expires LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING 1"""  # noqa: S608 - constants
"""Deletes some events that have expired."""


def purgeable(query: PurgeQuery) -> tuple[str, dict[str, Any]]:
    """Return the statement for the roots that *query* wants, and its arguments."""
    conditions = [_WHOLLY_OVER]
    args: dict[str, Any] = {}
    if query.definition is not None:
        conditions.append("definition = %(definition)s")
        args["definition"] = query.definition
    if query.status is not None:
        conditions.append(f"status IN (%(status)s, '{PURGED}')")
        args["status"] = query.status
    if query.completed_before is not None:
        conditions.append("completed_at < %(before)s")
        args["before"] = query.completed_before
    order = "completed_at"
    if query.retained_until is not None:
        conditions.append("retain_until <= %(until)s")
        args["until"] = query.retained_until
        order = "retain_until"
    # The limit is written out, or the planner would not believe that it is small.
    sql = f"""
SELECT {INSTANCE} FROM wfe_instances r WHERE {" AND ".join(conditions)}
ORDER BY {order}, n LIMIT {query.limit:d}"""  # noqa: S608 - constants
    return sql, args


async def purge(db: Database, roots: Sequence[int]) -> int:
    """Delete the families of these roots that are wholly over; return the number of runs."""
    deleted = 0
    left: Sequence[int] | None = None
    while left is None or left:
        gone, left = await db.run(partial(_slice, db.names, roots, left))
        deleted += gone
    return deleted


async def _slice(
    names: Names, roots: Sequence[int], left: Sequence[int] | None, conn: Connection
) -> tuple[int, Sequence[int]]:
    """Delete the next of *left* in one transaction.

    Args:
        names: Of the tables.
        roots: Whose families.
        left: Members that are not deleted yet; ``None``: they are found out first.
        conn: In autocommit.

    Returns:
        How many were deleted, and who is left.
    """

    async def ask(sql: str, **args: object) -> list[Any]:
        return await (await conn.execute(names.sql(sql), args)).fetchall()

    deleted = 0
    first = left is None
    async with conn.transaction():
        if left is None:
            locked = [n for (n,) in await ask(_LOCK_FAMILIES, roots=Ints(roots))]
            left = [n for (n,) in await ask(_MEMBERS_OF, roots=Ints(roots), locked=Ints(locked))]
            part = left[:_MEMBERS]
        else:
            part = [n for (n,) in await ask(_LOCK, part=Ints(left[:_MEMBERS]))]
        ((most,),) = await ask(_ROWS, part=Ints(part), budget=_BUDGET)
        if most < _BUDGET:
            left = left[_MEMBERS:]
            deleted = len(await ask(_HEADERS, part=Ints(part)))
        if first and left:
            await conn.execute(names.sql(_MARK), {"left": Ints(left)})
    return deleted, left
