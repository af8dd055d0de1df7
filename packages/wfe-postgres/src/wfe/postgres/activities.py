"""The part of the store that keeps activities: work for whoever claims it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from wfe.core.providers import ActivityRow, Done, Outcome, Refused
from wfe.core.sql_columns import ACTIVITY, activity_row
from wfe.postgres.arrays import Texts
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.postgres.database import Args

__all__ = ["PostgresActivities"]

# The oldest that are free, of each name and of both kinds; of these the first that nobody else is
# just taking.  Several of each, or who comes at the same time as another would get nothing.
_CLAIM: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
free AS MATERIALIZED (
    SELECT f.a FROM t, unnest(%(names)s::text[]) AS wanted (name) CROSS JOIN LATERAL (
        (SELECT a FROM wfe_activities x WHERE x.name = wanted.name AND token IS NULL
        ORDER BY a LIMIT 32)
        UNION ALL
        (SELECT a FROM (
            SELECT a FROM wfe_activities x WHERE x.name = wanted.name AND token IS NOT NULL
                AND lease_until < t.now
            ORDER BY lease_until LIMIT 32) lapsed)) f),
mine AS MATERIALIZED (
    SELECT y.a, t.now FROM t, wfe_activities y
    WHERE y.a = ANY (ARRAY(SELECT a FROM free)) AND (lease_until IS NULL OR lease_until < t.now)
    ORDER BY y.a LIMIT 1 FOR NO KEY UPDATE OF y SKIP LOCKED)
UPDATE wfe_activities x
SET token = %(token)s, worker = %(worker)s, lease_until = mine.now + %(lease)s
FROM mine WHERE x.a = mine.a
RETURNING x.a, instance, pointer, attempt, name, parameters, token, worker, lease_until,
    progress"""  # noqa: S608 - constants
_BEAT: Final = f"""
UPDATE wfe_activities
SET lease_until = {NOW} + %(lease)s, progress = coalesce(%(progress)s, progress)
WHERE token = %(token)s AND lease_until >= {NOW} RETURNING 1"""  # noqa: S608 - constants
# Headers are locked before all else: the item that ends a run does so too.
_LOCK: Final = """
SELECT n FROM wfe_instances
WHERE n = (SELECT instance FROM wfe_activities WHERE token = %(token)s) FOR NO KEY UPDATE"""
# The run is not final, or is just being retried: its end deletes its activities.
_FINISH: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
gone AS (
    DELETE FROM wfe_activities USING t
    WHERE token = %(token)s AND lease_until >= t.now
    RETURNING instance, pointer, attempt, worker, t.now),
told AS (
    INSERT INTO wfe_inbox (instance, kind, at, actor, payload)
    SELECT instance, 'activity_done', now, worker,
        '{{"pointer":' || pointer || ',"attempt":' || attempt || ',' || substr(%(result)s::text, 2)
    FROM gone)
UPDATE wfe_instances SET poke = poke + 1,
    wake = CASE WHEN owner IS NULL THEN least(coalesce(wake, gone.now), gone.now) ELSE wake END
FROM gone WHERE n = gone.instance
RETURNING gone.now, n, d, owner"""  # noqa: S608 - constants
_ROWS: Final = f"""
SELECT {ACTIVITY} FROM wfe_activities WHERE instance = %(n)s ORDER BY a"""  # noqa: S608 - a constant
_ALL_ROWS: Final = f"SELECT {ACTIVITY} FROM wfe_activities ORDER BY a"  # noqa: S608 - a constant


class PostgresActivities(PostgresPart):
    """The activities of a :class:`~wfe.postgres.store.PostgresStore`."""

    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        args = {
            "names": Texts(names),
            "worker": worker,
            "token": token,
            "lease": lease,
            "now": self._now,
        }
        rows = await self._opened.all(_CLAIM, args) if names else []
        return activity_row(rows[0]) if rows else None

    async def beat_activity(self, token: str, lease: int, progress: str | None) -> bool:
        args = {"token": token, "lease": lease, "progress": progress, "now": self._now}
        return bool(await self._opened.all(_BEAT, args))

    async def finish_activity(self, token: str, result: str) -> Outcome:
        args = {"token": token, "result": result, "now": self._now}
        db = self._opened
        batch: list[tuple[str, Args]] = [(_LOCK, {"token": token}), (_FINISH, args)]
        _, found = await db.run(lambda conn: db.pipeline(conn, batch))
        if not found:
            return Refused("missing")
        ((at, n, d, owner),) = found
        return Done(at, ((n, d, owner),))

    async def activities(self, n: int | None = None) -> Sequence[ActivityRow]:
        if n is None:
            return [activity_row(row) for row in await self._opened.all(_ALL_ROWS, {})]
        return [activity_row(row) for row in await self._opened.all(_ROWS, {"n": n})]
