"""Deletes finished families of runs, in transactions of bounded size.

A family that is too big for one transaction is marked first: from then on nobody sees it, and
whoever purges next goes on where a crash interrupted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from wfe.core.providers import PurgeQuery, StoredInstance
from wfe.core.sql_columns import INSTANCE, stored_instance
from wfe.sqlite.events import LAST_EVENT
from wfe.sqlite.listing import PURGED
from wfe.sqlite.reads import Reader

__all__ = [
    "BUDGET",
    "LAST_LINE",
    "family",
    "has_expired",
    "purge_events",
    "purge_slice",
    "purgeable",
]

BUDGET: Final = 10_000
"""Rows of one transaction."""
LAST_LINE: Final = """
SELECT max(coalesce((SELECT max(l) FROM wfe_logs), 0),
    coalesce((SELECT value FROM wfe_meta WHERE key = 'last_l'), 0))"""
"""The last number of a line; those of deleted lines are never given out again."""
_KEEP_LAST_LINE: Final = f"INSERT OR REPLACE INTO wfe_meta SELECT 'last_l', ({LAST_LINE})"
_BELOW: Final = """
WITH RECURSIVE below (n, depth) AS (
    SELECT ?, 0 UNION ALL
    SELECT i.n, depth + 1 FROM below CROSS JOIN wfe_instances i ON i.parent = below.n)"""
_FAMILY: Final = f"""{_BELOW}
SELECT {INSTANCE} FROM below JOIN wfe_instances USING (n) ORDER BY depth, n"""  # noqa: S608 - constants
# An accepted `retry` has made a final run due.  A marked one is due to nobody.
_OVER: Final = f"""
completed_at IS NOT NULL AND owner IS NULL AND (wake IS NULL OR status = '{PURGED}')"""
_MEMBERS: Final = f"""{_BELOW}
SELECT n, {_OVER} FROM below JOIN wfe_instances USING (n) ORDER BY depth, n"""  # noqa: S608 - constants
_MARK: Final = f"UPDATE wfe_instances SET status = '{PURGED}', d = 0, wake = NULL WHERE n = ?"  # noqa: S608 - a constant
_WHOLLY_OVER: Final = f"""
parent IS NULL AND {_OVER} AND NOT EXISTS (
    WITH RECURSIVE below (n) AS (
        SELECT i.n FROM wfe_instances i WHERE i.parent = r.n UNION ALL
        SELECT i.n FROM below CROSS JOIN wfe_instances i ON i.parent = below.n)
    SELECT 1 FROM below CROSS JOIN wfe_instances m ON m.n = below.n
    WHERE m.completed_at IS NULL OR m.owner IS NOT NULL
        OR (m.wake IS NOT NULL AND m.status <> '{PURGED}'))"""  # noqa: S608 - constants
_LONG: Final = (
    "wfe_journal",
    "wfe_logs",
    "wfe_stream",
    "wfe_inbox",
    "wfe_activities",
    "wfe_artifacts",
)
_SHORT: Final = ("wfe_subscriptions", "wfe_holders", "wfe_waiters")  # few in any case
_SLICE: Final = """
DELETE FROM {0} WHERE rowid IN (SELECT rowid FROM {0} WHERE instance = ? LIMIT ?)"""
_SLICES: Final = tuple(_SLICE.format(table) for table in _LONG)
_WHOLES: Final = (
    *(f"DELETE FROM {table} WHERE instance = ?" for table in _SHORT),  # noqa: S608 - constants
    "DELETE FROM wfe_snapshots WHERE n = ?",
)
_HEADER: Final = "DELETE FROM wfe_instances WHERE n = ?"
_EXPIRED: Final = "SELECT e FROM wfe_events WHERE expires <= ? LIMIT ?"
_KEEP_LAST_EVENT: Final = f"INSERT OR REPLACE INTO wfe_meta SELECT 'last_e', ({LAST_EVENT})"
_DELETE_EVENTS: Final = f"DELETE FROM wfe_events WHERE e IN ({_EXPIRED})"  # noqa: S608 - a constant


def purgeable(reader: Reader, query: PurgeQuery) -> list[StoredInstance]:
    conditions = [_WHOLLY_OVER]
    args: list[object] = []
    if query.definition is not None:
        conditions.append("definition = ?")
        args.append(query.definition)
    if query.status is not None:
        conditions.append(f"status IN (?, '{PURGED}')")
        args.append(query.status)
    if query.completed_before is not None:
        conditions.append("completed_at < ?")
        args.append(query.completed_before)
    order = "completed_at"
    if query.retained_until is not None:
        conditions.append("retain_until <= ?")
        args.append(query.retained_until)
        order = "retain_until"
    sql = f"""
SELECT {INSTANCE} FROM wfe_instances r WHERE {" AND ".join(reversed(conditions))}
ORDER BY {order}, n LIMIT ?"""  # noqa: S608 - constants
    return [stored_instance(row) for row in reader.all(sql, *reversed(args), query.limit)]


def family(reader: Reader, n: int) -> list[StoredInstance]:
    return [stored_instance(row) for row in reader.all(_FAMILY, n)]


def has_expired(reader: Reader, now: int) -> bool:
    return bool(reader.all(_EXPIRED, now, 1))


def purge_events(db: sqlite3.Connection, limit: int, now: int) -> int:
    db.execute(_KEEP_LAST_EVENT)
    return db.execute(_DELETE_EVENTS, (now, limit)).rowcount


def purge_slice(
    db: sqlite3.Connection, roots: Sequence[int], budget: int = BUDGET
) -> tuple[int, int]:
    """Delete up to about *budget* rows of families; the inside of one transaction.

    Returns:
        How many of *roots* are done with, and how many instances were deleted.
    """
    left, deleted = budget, 0
    db.execute(_KEEP_LAST_LINE)
    for k, root in enumerate(roots):
        if left <= 0:
            return k, deleted
        members: list[tuple[int, int]] = db.execute(_MEMBERS, (root,)).fetchall()
        if not all(over for _, over in members):
            continue
        while members and left > 0:
            n, _ = members[-1]  # those below first, the root last
            left -= _remove_rows(db, n, left)
            if left > 0:
                left -= db.execute(_HEADER, (n,)).rowcount
                members.pop()
                deleted += 1
        if members:
            db.executemany(_MARK, [(n,) for n, _ in members])
            return k, deleted
    return len(roots), deleted


def _remove_rows(db: sqlite3.Connection, n: int, limit: int) -> int:
    """Delete up to *limit* rows of an instance; return how many."""
    left = limit
    for sql in _SLICES:
        left -= db.execute(sql, (n, left)).rowcount
        if left <= 0:
            return limit
    for sql in _WHOLES:
        left -= db.execute(sql, (n,)).rowcount
    return limit - max(left, 1)
