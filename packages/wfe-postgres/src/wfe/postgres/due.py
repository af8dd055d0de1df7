"""Claiming what is due: of the highest priority first, then the earliest; one statement.

Runs with a priority of their own stand in an index of theirs, looked at level by level, so that
neither sleeping ones nor those of definitions that nobody here can run cost anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wfe.core.providers import Claimed
from wfe.postgres.arrays import Ints
from wfe.postgres.database import Database

__all__ = ["claim"]

_CLAIM: Final = """
SELECT o_n, o_d, o_takeovers FROM wfe_claim_1(%(epoch)s::bigint, %(now)s::bigint,
    %(definitions)s::bigint[], %(limit)s::bigint, %(hints)s::bigint[])"""


async def claim(
    db: Database,
    epoch: int,
    definitions: Sequence[int],
    limit: int,
    hints: Sequence[int] | None,
    now: int | None,
) -> list[Claimed]:
    """Own up to *limit* runs that are due."""
    if not definitions or (hints is not None and not hints):
        return []
    args = {
        "now": now,
        "epoch": epoch,
        "definitions": Ints(dict.fromkeys(definitions)),
        "limit": limit,
        "hints": None if hints is None else Ints(hints),
    }
    # Never again when the connection is lost: what was claimed then would be nobody's.
    rows = await db.run(lambda conn: conn.ask(db.names.sql(_CLAIM), args))
    return [Claimed(n, d, takeovers) for n, d, takeovers in rows]
