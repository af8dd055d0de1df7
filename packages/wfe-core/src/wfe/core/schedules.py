"""A schedule, as users see it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from wfe.core.lean import frozen

__all__ = ["Overlap", "Schedule"]

Overlap: TypeAlias = Literal["skip", "queue", "cancel"]
"""What a fire does while the last run is not final: nothing, wait for its end, or terminate it."""


@frozen(kw_only=True)
class Schedule:
    """When a workflow starts by itself, and what has come of it; as of one moment.

    Attributes:
        definition: Id of what it starts.
        version: Of it; ``None``: the highest that the firing host has registered.
        data: What its runs start with, as given.
        cron: ``None``: it fires every :attr:`every`.
        every: ``None``: it fires by :attr:`cron`.
        timezone: IANA name, of :attr:`cron`.
        catch_up: So many missed fires, the newest, are made up for; also how many may wait.
        jitter: Each fire is up to this much later than its time.
        start: It fires for no time before this; ``None``: for none before it was created.
        end: It fires for no time at or after this; ``None``: it never ends.
        next_at: When it fires next, jitter included; ``None``: never again.
        waiting: Times that wait for the last run's end, in order.
        last_run_id: The run that it started last; ``None``: none yet.
        last_scheduled_at: The time that this run was for.
        last_fired_at: When this run was started.
        skipped: How many times overlap forbade, so far.
        missed: How many times no host was there for, and which were not made up for; of more than
            a thousand at once only the first thousand are counted.
        failed: How many times the run could not be started.
        error: Why the last of these could not; ``None`` once a run was started again.
        actor: Who changed it last, as said then.
    """

    id: str
    definition: str
    version: int | None
    data: Any
    cron: str | None
    every: timedelta | None
    timezone: str
    overlap: Overlap
    catch_up: int
    jitter: timedelta
    start: datetime | None
    end: datetime | None
    next_at: datetime | None
    paused: bool
    waiting: tuple[datetime, ...]
    last_run_id: str | None
    last_scheduled_at: datetime | None
    last_fired_at: datetime | None
    skipped: int
    missed: int
    failed: int
    error: str | None
    actor: str | None
    created_at: datetime
