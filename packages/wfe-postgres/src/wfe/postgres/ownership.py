"""Who owns what: registering and fencing workers, releasing and setting aside instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wfe.core.models import WorkflowStatus
from wfe.core.providers import Claimed, WorkerInfo, WorkerRow
from wfe.postgres.database import Database
from wfe.postgres.faults import newer
from wfe.postgres.names import NOW
from wfe.postgres.schema import SCHEMA

__all__ = ["fault", "fence", "owned", "register", "release_lost", "unregister", "workers"]

_DAY: Final = 86_400_000_000  # µs
_MANY: Final = 5000  # instances that one statement hands back
# Forgets those that are over since a day.  No row: the tables are of a version too new for us.
_REGISTER: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
old AS (
    DELETE FROM wfe_workers w USING t WHERE w.fenced < t.now - {_DAY}
        AND NOT EXISTS (SELECT 1 FROM wfe_instances i WHERE i.owner = w.epoch))
INSERT INTO wfe_workers (epoch, name, host, pid, format, started, beat)
SELECT %(epoch)s::bigint, %(name)s::text, %(host)s::text, %(pid)s::bigint, {SCHEMA}, now, now
FROM t WHERE (SELECT value::int FROM wfe_meta WHERE key = 'min_reader') <= {SCHEMA}
RETURNING epoch"""  # noqa: S608 - constants
_NEEDS: Final = "SELECT value::int FROM wfe_meta WHERE key = 'min_reader'"
# FOR UPDATE waits for the commits that hold the row FOR KEY SHARE; an UPDATE alone would not.
# Beats are looked at again after the wait.
_FENCE: Final = f"""
WITH t AS MATERIALIZED (SELECT {NOW} AS now),
silent AS MATERIALIZED (
    SELECT epoch FROM wfe_workers w
    WHERE epoch = %(epoch)s::bigint AND fenced IS NULL
        AND (%(lease)s::bigint IS NULL OR beat < (SELECT now FROM t) - %(lease)s::bigint)
    FOR UPDATE)
UPDATE wfe_workers w SET fenced = t.now FROM silent, t WHERE w.epoch = silent.epoch
RETURNING w.epoch"""  # noqa: S608 - constants
# An array, here and in other statements with a limit: as a set the planner may look it up anew for
# each row, and a look that locks gives others each time, beyond the limit.
_HAND_BACK: Final = f"""
UPDATE wfe_instances SET owner = NULL, wake = {NOW} WHERE n = ANY (ARRAY(
    SELECT n FROM wfe_instances WHERE owner = %(epoch)s::bigint
    ORDER BY n LIMIT {_MANY} FOR NO KEY UPDATE))"""  # noqa: S608 - constants
# A later statement than the fence: it sees also what a commit under way then had just claimed.
_RELEASE_LOST: Final = f"""
UPDATE wfe_instances SET owner = NULL, wake = {NOW}, takeovers = takeovers + 1 WHERE n = ANY (ARRAY(
    SELECT i.n FROM wfe_workers w JOIN wfe_instances i ON i.owner = w.epoch
    WHERE w.fenced IS NOT NULL ORDER BY i.n LIMIT %(limit)s::bigint FOR NO KEY UPDATE OF i))"""  # noqa: S608 - constants
# As a range in order, so that no statistics, however old, talk the planner out of the index: this
# is asked by each host at each look.
_WORKERS: Final = """
SELECT epoch, name, host, pid, started, beat, fenced, owns FROM (
    SELECT *, coalesce((
        SELECT true FROM wfe_instances i WHERE i.owner >= w.epoch AND i.owner <= w.epoch
        ORDER BY i.owner LIMIT 1), false) AS owns
    FROM wfe_workers w) AS known
WHERE fenced IS NULL OR owns
ORDER BY started, epoch"""
_OWNED: Final = """
SELECT n, d, takeovers FROM wfe_instances WHERE owner = %(epoch)s::bigint ORDER BY n"""
# Who was final, and whose deduplication text another has by now, gives it up.
_OVER: Final = "i.faults + 1 >= %(limit)s::bigint"
_FAULT: Final = f"""
WITH me AS MATERIALIZED (
    SELECT epoch FROM wfe_workers WHERE epoch = %(epoch)s::bigint AND fenced IS NULL FOR KEY SHARE)
UPDATE wfe_instances i SET owner = NULL, faults = i.faults + 1,
    wake = CASE WHEN {_OVER} THEN NULL ELSE %(wake)s::bigint END,
    status = CASE WHEN {_OVER} THEN %(suspended)s::text ELSE i.status END,
    error = CASE WHEN {_OVER} THEN %(reason)s::text ELSE i.error END,
    completed_at = CASE WHEN {_OVER} THEN NULL ELSE i.completed_at END,
    retain_until = CASE WHEN {_OVER} THEN NULL ELSE i.retain_until END,
    dedup = CASE WHEN {_OVER} AND i.completed_at IS NOT NULL AND EXISTS (
            SELECT 1 FROM wfe_instances other WHERE other.definition = i.definition
                AND other.dedup = i.dedup AND other.completed_at IS NULL)
        THEN NULL ELSE i.dedup END,
    rev = CASE WHEN {_OVER} THEN pg_current_xact_id()::text::bigint ELSE i.rev END
FROM me WHERE i.n = %(n)s::bigint AND i.owner IS NOT DISTINCT FROM me.epoch"""  # noqa: S608 - constants


async def register(db: Database, epoch: int, worker: WorkerInfo, now: int | None) -> None:
    """Insert a worker.

    Raises:
        StoreVersionError: A later version has migrated the tables meanwhile.
    """
    args = {
        "now": now,
        "epoch": epoch,
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
    }
    if not await db.all(_REGISTER, args):
        row = await db.one(_NEEDS)
        raise newer(db.where, needs=0 if row is None else row[0], ours=SCHEMA)


async def unregister(db: Database, epoch: int, now: int | None) -> None:
    """Fence a worker and hand back what it owns."""
    await fence(db, [epoch], None, now)
    while await db.count(_HAND_BACK, {"now": now, "epoch": epoch}) == _MANY:
        pass


async def workers(db: Database) -> list[WorkerRow]:
    """Return those that are not fenced, or still own something."""
    return [
        WorkerRow(
            epoch=epoch,
            name=name,
            host=host,
            pid=pid,
            started=started,
            beat=beat,
            fenced=fenced,
            owns=owns,
        )
        for epoch, name, host, pid, started, beat, fenced, owns in await db.all(_WORKERS)
    ]


async def fence(
    db: Database, epochs: Sequence[int], lease: int | None, now: int | None
) -> list[int]:
    """Fence workers, each in a transaction of its own: who waits for one holds nothing else."""
    fenced: list[int] = []
    for epoch in dict.fromkeys(epochs):
        rows = await db.all(_FENCE, {"now": now, "epoch": epoch, "lease": lease})
        fenced.extend(each for (each,) in rows)
    return fenced


async def release_lost(db: Database, limit: int, now: int | None) -> int:
    """Release up to *limit* instances of fenced workers; return how many."""
    return await db.count(_RELEASE_LOST, {"now": now, "limit": limit})


async def owned(db: Database, epoch: int) -> list[Claimed]:
    """Return what a worker owns."""
    return [Claimed(*row) for row in await db.all(_OWNED, {"epoch": epoch})]


async def fault(db: Database, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
    """Release *n* until *wake* and count a fault; at *limit* it is suspended."""
    args = {
        "epoch": epoch,
        "n": n,
        "wake": wake,
        "reason": reason,
        "limit": limit,
        "suspended": WorkflowStatus.SUSPENDED.value,
    }
    await db.all(_FAULT, args)
