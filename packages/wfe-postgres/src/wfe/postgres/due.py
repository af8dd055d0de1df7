"""Claiming what is due: of the highest priority first, then the earliest; one statement.

Runs with a priority of their own stand in an index of theirs, looked at level by level, so that
neither sleeping ones nor those of definitions that nobody here can run cost anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from wfe.core.providers import Claimed
from wfe.postgres.arrays import Ints
from wfe.postgres.database import Database
from wfe.postgres.names import NOW

__all__ = ["claim"]

# The worker's row is locked only when there is something: an idle host writes nothing.  A fenced
# host claims nothing, or it would strand what it claims.
_OWN: Final = """
me AS MATERIALIZED (
    SELECT epoch FROM wfe_workers
    WHERE epoch = %(epoch)s::bigint AND fenced IS NULL AND EXISTS (SELECT 1 FROM found)
    FOR KEY SHARE),
mine AS (
    UPDATE wfe_instances i SET owner = me.epoch FROM found, me WHERE i.n = found.n
    RETURNING i.n, i.d, i.takeovers, i.priority, i.wake)
SELECT n, d, takeovers FROM mine ORDER BY priority DESC, wake, n"""
# The limit is part of the text: were it a parameter, the plan would be one for many rows, which
# sorts a whole backlog.  Nor is the statement prepared: a plan made while there were few runs
# would do the same, until the server gathers statistics.
# Each definition's own first, locked as they are found: what another host is just claiming is
# passed over, and the next one taken.
_DUE: Final = f"""
WITH RECURSIVE t AS MATERIALIZED (SELECT {NOW} AS now),
levels AS (
    SELECT w.d, (SELECT i.priority FROM wfe_instances i
        WHERE i.d = w.d AND i.owner IS NULL AND i.wake IS NOT NULL AND i.priority <> 0
        ORDER BY i.priority DESC LIMIT 1) AS priority
    FROM unnest(%(definitions)s::bigint[]) AS w (d)
    UNION ALL
    SELECT l.d, (SELECT i.priority FROM wfe_instances i
        WHERE i.d = l.d AND i.owner IS NULL AND i.wake IS NOT NULL AND i.priority <> 0
            AND i.priority < l.priority
        ORDER BY i.priority DESC LIMIT 1)
    FROM levels l WHERE l.priority IS NOT NULL),
ranked AS MATERIALIZED (
    SELECT i.n, i.priority, i.wake FROM levels l CROSS JOIN LATERAL (
        SELECT n, priority, wake FROM wfe_instances
        WHERE d = l.d AND owner IS NULL AND wake IS NOT NULL AND priority <> 0
            AND priority = l.priority AND wake <= (SELECT now FROM t)
        ORDER BY wake, n LIMIT {{limit}} FOR NO KEY UPDATE SKIP LOCKED) i
    WHERE l.priority IS NOT NULL),
usual AS MATERIALIZED (
    SELECT i.n, i.priority, i.wake FROM unnest(%(definitions)s::bigint[]) AS w (d)
    CROSS JOIN LATERAL (
        SELECT n, priority, wake FROM wfe_instances
        WHERE d = w.d AND owner IS NULL AND wake IS NOT NULL AND priority = 0
            AND wake <= (SELECT now FROM t)
        ORDER BY wake, n LIMIT {{limit}} FOR NO KEY UPDATE SKIP LOCKED) i),
found AS MATERIALIZED (
    SELECT n FROM (SELECT * FROM ranked UNION ALL SELECT * FROM usual) both_kinds
    ORDER BY priority DESC, wake, n LIMIT {{limit}}),
{_OWN}"""  # noqa: S608 - constants
_HINTED: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
found AS MATERIALIZED (
    SELECT n FROM wfe_instances
    WHERE n = ANY (%(hints)s::bigint[]) AND d = ANY (%(definitions)s::bigint[])
        AND owner IS NULL AND wake <= (SELECT now FROM t)
    ORDER BY priority DESC, wake, n LIMIT {{limit}} FOR NO KEY UPDATE SKIP LOCKED),
{_OWN}"""  # noqa: S608 - constants


@lru_cache(maxsize=1024)
def _statement(limit: int, *, hinted: bool) -> str:
    return (_HINTED if hinted else _DUE).format(limit=limit)


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
        "hints": Ints(hints or ()),
    }
    rows = await db.all(_statement(limit, hinted=hints is not None), args, prepare=False)
    return [Claimed(n, d, takeovers) for n, d, takeovers in rows]
