"""The plain records of what stands beside instances: activities, places, schedules, lines.

Rules as in ``wfe.core.records``: times are µs by the store's clock, texts are JSON stored unread.
"""

from __future__ import annotations

import orjson

from wfe.core.lean import frozen

__all__ = [
    "ActivityRow",
    "ActivityStart",
    "Fire",
    "Hold",
    "LogRow",
    "ScheduleRow",
    "StreamRow",
    "activity_payload",
    "granted_payload",
]


@frozen(kw_only=True)
class ActivityStart:
    """Work for whoever claims it; at most one per (instance, pointer).

    Attributes:
        parameters: JSON.
    """

    pointer: int
    attempt: int
    name: str
    parameters: str = "null"


@frozen(kw_only=True)
class ActivityRow:
    """An activity as stored.

    Attributes:
        token: Of the present claim; ``None``: nobody has claimed it yet.
        lease_until: µs; after it the claim does not count and anybody may claim it anew.
        progress: JSON that the worker's last heartbeat said; ``None``: nothing.
    """

    a: int
    n: int
    pointer: int
    attempt: int
    name: str
    parameters: str
    token: str | None
    worker: str | None
    lease_until: int | None
    progress: str | None


def activity_payload(pointer: int, attempt: int, result: str) -> str:
    """Return the payload of the ``activity_done`` message: *result* with whose it is.

    Args:
        pointer: That waits.
        attempt: Of the pointer when the activity was issued.
        result: A JSON object with at least one member.
    """
    return f'{{"pointer":{pointer},"attempt":{attempt},{result[1:]}'


@frozen(kw_only=True)
class Hold:
    """A place under a limit that a pointer wants.

    The store answers with a message of kind ``granted`` as soon as there is a place: at once, in
    the same commit, or when another holder frees it; first come, first served per key.

    Attributes:
        limit: At most so many holders of *key* (of those who ask now: the latest limit counts).
        per: µs; a rate: at most *limit* grants within any time of this length.  A grant of a rate
            is given at once, with the time ``at`` from which it counts, and never freed.
            ``None``: a place that is held until it is freed.
        on_conflict: When there is no place: ``queue``: it is waited for; ``skip``: the store
            answers at once, with a ``granted`` message that says ``taken``, and nothing waits;
            ``cancel_running``: the oldest holders, as many as are too many, and all who wait are
            told to ``terminate``, unless they are of the same instance; then it is waited for.
    """

    pointer: int
    attempt: int
    key: str
    limit: int
    per: int | None = None
    on_conflict: str = "queue"


def granted_payload(hold: Hold, at: int, *, taken: bool = False) -> str:
    """Return the payload of the ``granted`` message.

    Args:
        hold: What was asked for.
        at: µs: from when it counts.
        taken: There was no place, and none will come.
    """
    key = orjson.dumps(hold.key).decode()
    more = ',"taken":true' if taken else ""
    return f'{{"pointer":{hold.pointer},"attempt":{hold.attempt},"key":{key},"at":{at}{more}}}'


@frozen(kw_only=True)
class ScheduleRow:
    """A schedule as stored.

    Attributes:
        data: JSON of what its runs start with.
        spec: JSON: when and how it fires; the engine's.
        next_at: When it fires next, µs; ``None``: never again.
        state: JSON: what the engine remembers (waiting fires, the last run …).
        last_n: The run that it started last.
        rev: Grows with every change; 0 when not stored yet.
    """

    id: str
    definition: str
    version: int | None
    data: str
    spec: str
    next_at: int | None
    paused: bool = False
    state: str = "null"
    last_n: int | None = None
    created_at: int = 0
    rev: int = 0


@frozen(kw_only=True)
class Fire:
    """A change of a schedule, made only if it is still at *rev*; its ``rev`` then grows by one.

    Attributes:
        next_at: Its new value.
        state: Its new value.
        started: Whether the item's own ``new`` becomes ``last_n``.
    """

    id: str
    rev: int
    next_at: int | None
    state: str = "null"
    started: bool = True


@frozen(kw_only=True)
class LogRow:
    """A line that a step wrote.

    Attributes:
        l: Position in the store, growing; 0 when not stored yet.
    """

    n: int
    at: int
    step: str | None
    pointer: int | None
    stream: str
    line: str
    l: int = 0  # noqa: E741 - the column's name


@frozen(kw_only=True)
class StreamRow:
    """Something that a step emitted.

    Attributes:
        s: Position in the store, growing; 0 when not stored yet.
        payload: JSON.
    """

    n: int
    at: int
    step: str | None
    pointer: int | None
    name: str
    payload: str
    s: int = 0
