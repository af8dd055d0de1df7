"""What tables of stores in SQL databases have in common: columns, and records of their rows.

Each text names the columns in the order in which the function after it takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from wfe.core.records import StoredInstance
from wfe.core.side_records import ActivityRow, ScheduleRow

if TYPE_CHECKING:
    from wfe.core.artifact_index import ArtifactRow
    from wfe.core.cache_index import CacheEntry

__all__ = [
    "ACTIVITY",
    "ARTIFACT",
    "CACHE",
    "INSTANCE",
    "SCHEDULE",
    "activity_row",
    "artifact_row",
    "cache_entry",
    "schedule_row",
    "stored_instance",
]

INSTANCE: Final = """
n, id, d, definition, version, name, reference, status, wake, owner, poke, takeovers, faults,
parent, parent_pointer, parent_id, root_id, idem, error, created_at, completed_at, priority,
retain_until"""
"""Of a run, for :func:`stored_instance`."""
ACTIVITY: Final = """
a, instance, pointer, attempt, name, parameters, token, worker, lease_until, progress"""
"""Of an activity, for :func:`activity_row`."""
SCHEDULE: Final = """
id, definition, version, data, spec, next_at, paused, state, last_n, created_at, rev"""
"""Of a schedule, for :func:`schedule_row`."""
CACHE: Final = """
key, definition, step, run, document, result, created, expires, duration, artifacts"""
"""Of a cached result, for :func:`cache_entry`."""
ARTIFACT: Final = """
instance, root, run, step, name, digest, manifest, size, files, media_type, created"""
"""Of the name of an artifact, for :func:`artifact_row`."""


def stored_instance(row: Sequence[Any]) -> StoredInstance:
    """Return the header in a row of :data:`INSTANCE`; what follows in the row is not read."""
    return StoredInstance(
        n=row[0],
        id=row[1],
        d=row[2],
        definition=row[3],
        version=row[4],
        name=row[5],
        reference=row[6],
        status=row[7],
        wake=row[8],
        owner=row[9],
        poke=row[10],
        takeovers=row[11],
        faults=row[12],
        parent=row[13],
        parent_pointer=row[14],
        parent_id=row[15],
        root_id=row[16],
        idem=row[17],
        error=row[18],
        created_at=row[19],
        completed_at=row[20],
        priority=row[21],
        retain_until=row[22],
    )


def activity_row(row: Sequence[Any]) -> ActivityRow:
    """Return the activity in a row of :data:`ACTIVITY`."""
    return ActivityRow(
        a=row[0],
        n=row[1],
        pointer=row[2],
        attempt=row[3],
        name=row[4],
        parameters=row[5],
        token=row[6],
        worker=row[7],
        lease_until=row[8],
        progress=row[9],
    )


def schedule_row(row: Sequence[Any]) -> ScheduleRow:
    """Return the schedule in a row of :data:`SCHEDULE`; what follows in the row is not read."""
    return ScheduleRow(
        id=row[0],
        definition=row[1],
        version=row[2],
        data=row[3],
        spec=row[4],
        next_at=row[5],
        paused=bool(row[6]),  # some databases know numbers only
        state=row[7],
        last_n=row[8],
        created_at=row[9],
        rev=row[10],
    )


def cache_entry(row: Sequence[Any]) -> CacheEntry:
    """Return the result in a row of :data:`CACHE`; its artifacts are a JSON text, or ``None``."""
    from wfe.core.cache_index import CacheEntry  # noqa: PLC0415 - most stores have no results

    return CacheEntry(
        key=row[0],
        definition=row[1],
        step=row[2],
        run=row[3],
        document=row[4],
        result=row[5],
        created=row[6],
        expires=row[7],
        duration=row[8],
        artifacts=() if row[9] is None else tuple(orjson.loads(row[9])),
    )


def artifact_row(row: Sequence[Any]) -> ArtifactRow:
    """Return the name in a row of :data:`ARTIFACT`."""
    from wfe.core.artifact_index import ArtifactRow  # noqa: PLC0415 - as above

    return ArtifactRow(
        n=row[0],
        root=row[1],
        run=row[2],
        step=row[3],
        name=row[4],
        digest=row[5],
        manifest=row[6],
        size=row[7],
        files=row[8],
        media_type=row[9],
        created=row[10],
    )
