"""What a picture comes to in numbers: steps done, the slowest ones, what is left. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from wfe.core.definition import Kind
from wfe.core.lean import frozen
from wfe.host.cli.model import Change, Picture, leaves
from wfe.host.cli.visits import ACTIVE, State

__all__ = ["Tally", "share", "slowest", "tally", "time_left"]

_WORTH: Final = 1.0  # seconds that a step must take to be called slow
_WORKING: Final = frozenset({Kind.STEP, Kind.SUB_WORKFLOW, Kind.ACTIVITY, Kind.CALL})


@frozen(kw_only=True)
class Tally:
    """Executions of steps; *total* counts what has not begun once."""

    complete: int = 0
    cached: int = 0
    skipped: int = 0
    cancelled: int = 0
    failed: int = 0
    active: int = 0
    total: int = 0

    @property
    def over(self) -> int:
        """How many are over, however they ended."""
        return self.complete + self.cached + self.skipped + self.cancelled + self.failed

    def __str__(self) -> str:
        parts = [
            (self.complete, "complete"),
            (self.cached, "from the cache"),
            (self.skipped, "skipped"),
            (self.cancelled, "cancelled"),
            (self.failed, "failed"),
        ]
        return "steps: " + ", ".join(f"{number} {what}" for number, what in parts if number)


def tally(picture: Picture) -> Tally:
    """Count the executions of the steps that do something themselves."""
    found = dict.fromkeys(_COUNTED.values(), 0)
    cached = total = 0
    for run in picture.runs.values():
        for step in leaves(run):
            total += max(step.count, 1)
            cached += sum(bool(visit.cached) for visit in step.visits.values())
            for state, number in step.counts().items():
                found[_COUNTED[state]] += number
    found["complete"] -= cached
    return Tally(**found, cached=cached, total=total)


_COUNTED: Final[Mapping[State, str]] = {
    **dict.fromkeys(State, "active"),
    State.COMPLETE: "complete",
    State.SKIPPED: "skipped",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}


def slowest(picture: Picture, number: int = 3) -> list[tuple[str, float]]:
    """Return the steps that took longest, with seconds; nothing where all are quick."""
    found = sorted(_durations(picture), key=lambda row: -row[1])
    return [row for row in found if row[1] >= _WORTH][:number] if len(found) > number else []


def _durations(picture: Picture) -> Iterator[tuple[str, float]]:
    for run in picture.runs.values():
        for step in leaves(run):
            if step.node is not None and step.node.kind not in _WORKING:
                continue
            for visit in step.visits.values():
                if visit.seconds is not None and visit.child is None and not visit.cached:
                    yield Change(run, step, visit).path, visit.seconds


def share(picture: Picture, now: datetime) -> float:
    """Return how much of the run is done, 0 to 1: by time where that is known, else by steps."""
    root = picture.root
    if root.status.final:
        return 1.0
    expected = picture.times.runs.get(root.definition.id) if root.definition is not None else None
    if expected and root.started is not None and expected >= _WORTH:
        return min((now - root.started).total_seconds() / expected, 0.99)
    count = tally(picture)
    return min(count.over / count.total, 0.99) if count.total else 0.0


def time_left(picture: Picture, now: datetime) -> float | None:
    """Return how many seconds the run takes on if it takes as long as last time."""
    root = picture.root
    if root.status.final or root.started is None or root.definition is None:
        return None
    expected = picture.times.runs.get(root.definition.id)
    waits = any(
        v.state in ACTIVE - {State.RUNNING} for s in leaves(root) for v in s.visits.values()
    )
    if expected is None or expected < 2 * _WORTH or waits:
        return None
    left = expected - (now - root.started).total_seconds()
    return left if left > 0 else None
