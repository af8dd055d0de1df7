"""When a schedule fires: pure functions of what it says, what it did and what time it is.

A schedule has *times*; it is due for one of them at that time plus its jitter, so that schedules
of the same time do not all start at once.  At most one run starts per decision: whatever else is
due then waits, is skipped, or was missed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import attrs

from wfe.core.lean import frozen

__all__ = [
    "LATE",
    "Every",
    "Firing",
    "Memory",
    "Spec",
    "Times",
    "due_at",
    "first",
    "jitter_of",
    "key_of",
    "plan",
]

LATE: Final = 60_000_000
"""µs after which a fire that is due counts as missed: no host was there for it."""


@frozen(kw_only=True)
class Spec:
    """What a schedule says; times and durations in µs.

    Attributes:
        cron: Five or six fields; ``None``: it fires every *every*.
        anchor: From where the intervals are counted.
        timezone: IANA name, of *cron*.
        catch_up: So many missed fires, the newest, are made up for; also how many may wait.
        jitter: A fire is up to this much later than its time.
        start: No time before it; ``None``: none before its creation.
        end: No time at or after it.
    """

    cron: str | None = None
    every: int | None = None
    anchor: int = 0
    timezone: str = "UTC"
    overlap: Literal["skip", "queue", "cancel"] = "skip"
    catch_up: int = 10
    jitter: int = 0
    start: int | None = None
    end: int | None = None

    def stored(self) -> dict[str, Any]:
        """Return its JSON form."""
        return attrs.asdict(self)

    @staticmethod
    def read(stored: Mapping[str, Any]) -> Spec:
        """Return what :meth:`stored` made; members of later versions are left out."""
        return Spec(**{name: stored[name] for name in _SPEC if name in stored})


@frozen(kw_only=True)
class Memory:
    """What a schedule remembers.

    Attributes:
        at: Its next time, µs; ``None``: never again.
        waiting: Times that are due and wait for the last run's end, in order.
        last_n: Number of the run that it started last; ``None``: none yet.
        last_id: That run's id.
        last_at: The time that this run was started for, µs.
        fired_at: When it was started, µs.
        skipped: Times that overlap forbade, so far.
        missed: Times that nobody was there for and that are not made up for, so far.
        failed: Times whose run could not be started, so far.
        error: Why the last of these could not; ``None`` after a start.
        actor: Who changed the schedule last; ``None``: not told.
    """

    at: int | None = None
    waiting: tuple[int, ...] = ()
    last_n: int | None = None
    last_id: str | None = None
    last_at: int | None = None
    fired_at: int | None = None
    skipped: int = 0
    missed: int = 0
    failed: int = 0
    error: str | None = None
    actor: str | None = None

    def stored(self) -> dict[str, Any]:
        """Return its JSON form."""
        return attrs.asdict(self)

    @staticmethod
    def read(stored: Mapping[str, Any]) -> Memory:
        """Return what :meth:`stored` made; members of later versions are left out."""
        known: dict[str, Any] = {name: stored[name] for name in _MEMORY if name in stored}
        known["waiting"] = tuple(known.get("waiting", ()))
        return Memory(**known)


_SPEC: Final = frozenset(field.name for field in attrs.fields(Spec))
_MEMORY: Final = frozenset(field.name for field in attrs.fields(Memory))


class Times(Protocol):
    """The times of a cron text or an interval, without beginning or end; all in µs."""

    def after(self, when: int) -> int | None:
        """Return the first time after *when*; ``None``: there is none."""
        ...

    def newest(self, start: int, end: int, most: int) -> tuple[int, ...]:
        """Return the last *most* times in [*start*, *end*), in order."""
        ...

    def count(self, start: int, end: int) -> int:
        """Return how many times there are in [*start*, *end*); of very many a lower bound."""
        ...


@frozen
class Every:
    """The times *anchor* + k x *interval*, for every whole k."""

    interval: int
    anchor: int

    def _first(self, start: int) -> int:
        """Return the first time at or after *start*."""
        return start + (self.anchor - start) % self.interval

    def after(self, when: int) -> int | None:
        """Return the first time after *when*."""
        return self._first(when + 1)

    def newest(self, start: int, end: int, most: int) -> tuple[int, ...]:
        """Return the last *most* times in [*start*, *end*)."""
        count = min(self.count(start, end), most)
        last = self._first(end)
        return tuple(last - k * self.interval for k in range(count, 0, -1))

    def count(self, start: int, end: int) -> int:
        """Return how many times there are in [*start*, *end*)."""
        return max((self._first(end) - self._first(start)) // self.interval, 0)


@frozen(kw_only=True)
class Firing:
    """What is to be done with a schedule, all or nothing.

    Attributes:
        start: The time for which a run starts; ``None``: none starts.
        cancel: Whether the last run is terminated.
        memory: What it remembers afterwards (but the started run).
        next_at: When it is to be looked at again, µs; in the past while something waits.
    """

    start: int | None
    cancel: bool
    memory: Memory
    next_at: int | None


def key_of(id: str, at: int) -> str:
    """Return the idempotency key of the run of schedule *id* for the time *at* (µs)."""
    return f"schedule:{id}:{at}"


def jitter_of(id: str, at: int, jitter: int) -> int:
    """Return by how much (µs, below *jitter*) the fire for *at* is late; the same on every host."""
    if jitter <= 0:
        return 0
    digest = hashlib.sha256(key_of(id, at).encode()).digest()
    return int.from_bytes(digest[:8], "big") % jitter


def due_at(id: str, spec: Spec, memory: Memory) -> int | None:
    """Return when the schedule's next time is due, µs; ``None``: never."""
    at = memory.at
    return None if at is None else at + jitter_of(id, at, spec.jitter)


def first(spec: Spec, times: Times, after: int) -> int | None:
    """Return the first time after *after* within the schedule's start and end."""
    found = times.after(after if spec.start is None else max(after, spec.start - 1))
    return None if found is None or (spec.end is not None and found >= spec.end) else found


def plan(
    id: str, spec: Spec, memory: Memory, *, now: int, running: bool, times: Times
) -> Firing | None:
    """Decide what a schedule does now.

    Args:
        id: Of the schedule.
        spec: What it says.
        memory: What it remembers.
        now: µs.
        running: Whether the last run that it started is not final.
        times: Of *spec*.

    Returns:
        What to do; ``None``: nothing, not even to remember something.
    """
    late, fresh, missed, at = _due(id, spec, memory, now, times)
    start, waiting, skipped, missed_too = _OVERLAPS[spec.overlap](
        spec, memory.waiting, late, fresh, running
    )
    if at == memory.at and start is None and waiting == memory.waiting:
        return None
    after = attrs.evolve(
        memory,
        at=at,
        waiting=waiting,
        skipped=memory.skipped + skipped,
        missed=memory.missed + missed + missed_too,
    )
    next_at = waiting[0] if waiting else due_at(id, spec, after)
    cancel = spec.overlap == "cancel" and running and start is not None
    return Firing(start=start, cancel=cancel, memory=after, next_at=next_at)


def _due(
    id: str, spec: Spec, memory: Memory, now: int, times: Times
) -> tuple[tuple[int, ...], tuple[int, ...], int, int | None]:
    """Return late times to make up for, those on time, how many were missed, and the next."""
    at = memory.at
    kept: tuple[int, ...] = ()
    missed = 0
    surely = now - LATE - spec.jitter
    if at is not None and at < surely:
        # A host that was away for years must not go through every time in between.
        end = surely if spec.end is None else min(surely, spec.end)
        kept = times.newest(at, end, spec.catch_up)
        missed = times.count(at, kept[0] if kept else end)
        at = first(spec, times, end - 1)
    fresh: list[int] = []
    late: list[int] = list(kept)
    while at is not None and (due := at + jitter_of(id, at, spec.jitter)) <= now:
        (late if due < now - LATE else fresh).append(at)
        at = first(spec, times, at)
    keep = len(late) - spec.catch_up
    if keep > 0:
        missed += keep
        late = late[keep:]
    return tuple(late), tuple(fresh), missed, at


_Overlapped = tuple[int | None, tuple[int, ...], int, int]
"""The time to start for, times that wait then, how many were skipped, how many missed."""


def _skip(
    spec: Spec,
    waiting: tuple[int, ...],
    late: tuple[int, ...],
    fresh: tuple[int, ...],
    running: bool,
) -> _Overlapped:
    """What was missed is made up for, one run after the other; what comes meanwhile is skipped."""
    pending = (*waiting, *late)
    start: int | None = None
    if not running and pending:
        start, *rest = pending
        pending = tuple(rest)
    elif not running and fresh:
        start, *rest = fresh
        fresh = tuple(rest)
    dropped = max(len(pending) - spec.catch_up, 0)
    return start, pending[dropped:], len(fresh), dropped


def _queue(
    spec: Spec,
    waiting: tuple[int, ...],
    late: tuple[int, ...],
    fresh: tuple[int, ...],
    running: bool,
) -> _Overlapped:
    pending = (*waiting, *late, *fresh)
    start: int | None = None
    if not running and pending:
        start, *rest = pending
        pending = tuple(rest)
    dropped = max(len(pending) - spec.catch_up, 0)
    return start, pending[dropped:], dropped, 0


def _cancel(
    spec: Spec,  # noqa: ARG001 - as the others
    waiting: tuple[int, ...],
    late: tuple[int, ...],
    fresh: tuple[int, ...],
    running: bool,  # noqa: ARG001 - as the others
) -> _Overlapped:
    """Only the newest would outlive the others."""
    pending = (*waiting, *late, *fresh)
    return (pending[-1], (), len(pending) - 1, 0) if pending else (None, (), 0, 0)


_OVERLAPS: Final = {"skip": _skip, "queue": _queue, "cancel": _cancel}
