"""A write transaction while items are applied in it: its time, and whom it woke."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from wfe.core.providers import Done, Message
from wfe.sqlite.writer import Stats

__all__ = ["Tx"]

_MESSAGE: Final = """
INSERT INTO wfe_inbox (instance, kind, dedupe, at, actor, reason, payload)
SELECT n, ?, ?, ?, ?, ?, ? FROM wfe_instances WHERE n = ? AND (completed_at IS NULL OR ?)
ON CONFLICT DO NOTHING"""
_POKE: Final = """
UPDATE wfe_instances SET poke = poke + 1,
    wake = CASE WHEN owner IS NULL THEN min(coalesce(wake, ?), ?) ELSE wake END
WHERE n = ? RETURNING d, owner"""


class Tx:
    """One write transaction.

    Args:
        db: Its connection, in a transaction.
        epoch: The worker that owns the items; ``None``: a client.
        now: The store's time, µs.
        stats: Where to count.

    Attributes:
        woken: By number, whom the present item woke.
    """

    def __init__(self, db: sqlite3.Connection, epoch: int | None, now: int, stats: Stats) -> None:
        self.db = db
        self.epoch = epoch
        self.now = now
        self.stats = stats
        self.woken: dict[int, tuple[int, int, int | None]] = {}

    def run(self, sql: str, args: Sequence[Any]) -> sqlite3.Cursor:
        self.stats.statements += 1
        return self.db.execute(sql, args)

    def wake(self, n: int, d: int, owner: int | None = None) -> None:
        """Note that *n* has work."""
        self.woken[n] = (n, d, owner)

    def done(self) -> Done:
        """Return the outcome of the present item, and begin the next."""
        woken, self.woken = self.woken, {}
        return Done(self.now, tuple(woken.values()))

    def deliver(self, n: int, message: Message) -> bool:
        """Put a message into an inbox and wake its run.

        Returns:
            ``False``: it was there already, or nobody is there.
        """
        final_too = message.strict and message.allow_final
        args = (
            message.kind,
            message.dedupe,
            self.now,
            message.actor,
            message.reason,
            message.payload,
            n,
            final_too,
        )
        if self.run(_MESSAGE, args).rowcount == 0:
            return False
        ((d, owner),) = self.run(_POKE, (self.now, self.now, n)).fetchall()
        self.wake(n, d, owner)
        return True
