"""Activities: work for whoever claims it.  What writes is the inside of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from wfe.core.providers import (
    ActivityRow,
    ActivityStart,
    Message,
    Outcome,
    Refused,
    activity_payload,
)
from wfe.core.sql_columns import ACTIVITY, activity_row
from wfe.sqlite.reads import Reader
from wfe.sqlite.tx import Tx

__all__ = ["beat", "claim", "claimable", "drop", "end", "finish", "offer", "rows"]

_OFFER: Final = """
INSERT OR REPLACE INTO wfe_activities (instance, pointer, attempt, name, parameters)
VALUES (?, ?, ?, ?, ?)"""
_DROP: Final = "DELETE FROM wfe_activities WHERE instance = ? AND pointer = ?"
_END: Final = "DELETE FROM wfe_activities WHERE instance = ?"
_FREE: Final = """
SELECT a FROM wfe_activities WHERE name = ? AND (lease_until IS NULL OR lease_until < ?)
ORDER BY a LIMIT 1"""
_CLAIM: Final = f"""
UPDATE wfe_activities SET token = ?, worker = ?, lease_until = ? WHERE a = ?
RETURNING {ACTIVITY}"""  # noqa: S608 - a constant
_BEAT: Final = """
UPDATE wfe_activities SET lease_until = ?, progress = coalesce(?, progress)
WHERE token = ? AND lease_until >= ?"""
_FINISH: Final = """
DELETE FROM wfe_activities WHERE token = ? AND lease_until >= ?
RETURNING instance, pointer, attempt, worker"""
_ROWS_OF: Final = f"SELECT {ACTIVITY} FROM wfe_activities WHERE instance = ? ORDER BY a"  # noqa: S608 - a constant
_ALL_ROWS: Final = f"SELECT {ACTIVITY} FROM wfe_activities ORDER BY a"  # noqa: S608 - a constant


def offer(tx: Tx, n: int, start: ActivityStart) -> None:
    """Add an activity; one of the same pointer is replaced."""
    tx.run(_OFFER, (n, start.pointer, start.attempt, start.name, start.parameters))


def drop(tx: Tx, n: int, pointer: int) -> None:
    """Delete the activity of a pointer, if there is one."""
    tx.run(_DROP, (n, pointer))


def end(tx: Tx, n: int) -> None:
    """Delete the activities of a run."""
    tx.run(_END, (n,))


def claimable(reader: Reader, names: Sequence[str], now: int) -> bool:
    """Whether a claim may find something."""
    return any(reader.all(_FREE, name, now) for name in names)


def claim(
    db: sqlite3.Connection, names: Sequence[str], worker: str, token: str, until: int, now: int
) -> ActivityRow | None:
    """Give the oldest free activity of *names* to *worker* until then."""
    free = [row for name in names for row in db.execute(_FREE, (name, now)).fetchall()]
    if not free:
        return None
    ((a,), *_) = sorted(free)
    (row,) = db.execute(_CLAIM, (token, worker, until, a)).fetchall()
    return activity_row(row)


def beat(db: sqlite3.Connection, token: str, until: int, progress: str | None, now: int) -> bool:
    """Prolong a claim; ``None`` leaves the progress as it is."""
    return db.execute(_BEAT, (until, progress, token, now)).rowcount == 1


def finish(tx: Tx, token: str, result: str) -> Outcome:
    """Delete a claimed activity and tell its run."""
    found = tx.run(_FINISH, (token, tx.now)).fetchall()
    if not found:
        return Refused("missing")
    ((n, pointer, attempt, worker),) = found
    payload = activity_payload(pointer, attempt, result)
    # Its run is not final, or is just being retried.
    message = Message(
        target=n,
        kind="activity_done",
        payload=payload,
        actor=worker,
        strict=True,
        allow_final=True,
    )
    tx.deliver(n, message)
    return tx.done()


def rows(reader: Reader, n: int | None) -> list[ActivityRow]:
    found = reader.all(_ALL_ROWS) if n is None else reader.all(_ROWS_OF, n)
    return [activity_row(row) for row in found]
