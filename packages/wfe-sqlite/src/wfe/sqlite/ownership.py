"""Who owns what: registering and fencing workers, claiming and releasing instances.

Each function is the inside of one write transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from wfe.core.models import WorkflowStatus
from wfe.core.providers import Claimed, WorkerInfo
from wfe.sqlite import due

__all__ = [
    "acquire",
    "beat",
    "claim",
    "fault",
    "fence",
    "register",
    "release_lost",
    "unregister",
]

_DAY: Final = 86_400_000_000  # µs
_MANY: Final = "(SELECT value FROM json_each(?))"
_FORGET: Final = """
DELETE FROM wfe_workers
WHERE fenced < ? AND NOT EXISTS (SELECT 1 FROM wfe_instances WHERE owner = wfe_workers.epoch)"""
_REGISTER: Final = """
INSERT INTO wfe_workers (epoch, name, host, pid, started, beat) VALUES (?, ?, ?, ?, ?, ?)"""
_BEAT: Final = "UPDATE wfe_workers SET beat = max(beat, ?) WHERE epoch = ? AND fenced IS NULL"
_FENCE: Final = f"""
UPDATE wfe_workers SET fenced = ?
WHERE epoch IN {_MANY} AND fenced IS NULL AND (? IS NULL OR beat < ?) RETURNING epoch"""  # noqa: S608 - a constant
_HAND_BACK: Final = "UPDATE wfe_instances SET owner = NULL, wake = ? WHERE owner = ?"
# CROSS JOIN: from the few workers to what they own, not over all that is owned.
_RELEASE_LOST: Final = """
UPDATE wfe_instances SET owner = NULL, wake = ?, takeovers = takeovers + 1
WHERE n IN (SELECT i.n FROM wfe_workers w CROSS JOIN wfe_instances i ON i.owner = w.epoch
    WHERE w.fenced IS NOT NULL LIMIT ?)"""
_ALIVE: Final = "SELECT 1 FROM wfe_workers WHERE epoch = ? AND fenced IS NULL"
_HINTED: Final = f"""
SELECT wake, n, takeovers, d FROM wfe_instances
WHERE n IN {_MANY} AND d IN {_MANY} AND owner IS NULL AND wake <= ?
ORDER BY priority DESC, wake, n LIMIT ?"""  # noqa: S608 - a constant
_OWN: Final = "UPDATE wfe_instances SET owner = ? WHERE n = ?"
_FAULT: Final = """
UPDATE wfe_instances SET owner = NULL, faults = faults + 1, wake = ?
WHERE n = ? AND owner = ? RETURNING faults"""
_POISONED: Final = """
UPDATE wfe_instances
SET status = ?, error = ?, wake = NULL, completed_at = NULL, retain_until = NULL WHERE n = ?"""
# It was final, and another has its deduplication text by now.
_YIELD_DEDUP: Final = """
UPDATE wfe_instances SET dedup = NULL
WHERE n = ? AND completed_at IS NOT NULL AND dedup IS NOT NULL AND EXISTS (
    SELECT 1 FROM wfe_instances other WHERE other.definition = wfe_instances.definition
        AND other.dedup = wfe_instances.dedup AND other.completed_at IS NULL)"""
# Takes the lock if it is free, over, ours already, or its holder's epoch is.
_ACQUIRE: Final = """
INSERT INTO wfe_locks VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch, until = excluded.until
    WHERE epoch = excluded.epoch OR until <= ?
        OR NOT EXISTS (SELECT 1 FROM wfe_workers w
            WHERE w.epoch = wfe_locks.epoch AND w.fenced IS NULL)
RETURNING epoch"""


def register(db: sqlite3.Connection, epoch: int, worker: WorkerInfo, now: int) -> None:
    """Insert a worker, and forget those that are over since a day."""
    db.execute(_FORGET, (now - _DAY,))
    db.execute(_REGISTER, (epoch, worker.name, worker.host, worker.pid, now, now))


def unregister(db: sqlite3.Connection, epoch: int, now: int) -> None:
    fence(db, [epoch], None, now)
    db.execute(_HAND_BACK, (now, epoch))


def beat(db: sqlite3.Connection, epoch: int, now: int) -> bool:
    return db.execute(_BEAT, (now, epoch)).rowcount == 1


def fence(db: sqlite3.Connection, epochs: Sequence[int], lease: int | None, now: int) -> list[int]:
    silent = None if lease is None else now - lease
    rows = db.execute(_FENCE, (now, _json(epochs), silent, silent)).fetchall()
    return [epoch for (epoch,) in rows]


def release_lost(db: sqlite3.Connection, limit: int, now: int) -> int:
    """Release up to *limit* instances of fenced workers; return how many."""
    return db.execute(_RELEASE_LOST, (now, limit)).rowcount


def claim(
    db: sqlite3.Connection,
    epoch: int,
    definitions: Sequence[int],
    limit: int,
    hints: Sequence[int] | None,
    now: int,
) -> list[Claimed]:
    if not _alive(db, epoch):
        return []
    if hints is None:

        def query(sql: str, args: tuple[Any, ...]) -> list[Any]:
            return db.execute(sql, args).fetchall()

        rows = due.first(query, definitions, now, limit)
    else:
        rows = db.execute(_HINTED, (_json(hints), _json(definitions), now, limit)).fetchall()
    db.executemany(_OWN, [(epoch, n) for _, n, _, _ in rows])
    return [Claimed(n, d, takeovers) for _, n, takeovers, d in rows]


def fault(db: sqlite3.Connection, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
    if not _alive(db, epoch):
        return
    for (faults,) in db.execute(_FAULT, (wake, n, epoch)).fetchall():
        if faults >= limit:
            db.execute(_YIELD_DEDUP, (n,))
            db.execute(_POISONED, (WorkflowStatus.SUSPENDED.value, reason, n))


def acquire(db: sqlite3.Connection, name: str, epoch: int, lease: int, now: int) -> bool:
    if not _alive(db, epoch):
        return False
    return bool(db.execute(_ACQUIRE, (name, epoch, now + lease, now)).fetchall())


def _alive(db: sqlite3.Connection, epoch: int) -> bool:
    return db.execute(_ALIVE, (epoch,)).fetchone() is not None


def _json(numbers: Sequence[int]) -> str:
    return orjson.dumps(list(numbers)).decode()
