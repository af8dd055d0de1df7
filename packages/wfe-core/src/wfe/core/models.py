"""What users see of a run: statuses, instances, pointers, history, lifecycle events, pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic

import attrs
from typing_extensions import TypeVar

__all__ = [
    "ErrorInfo",
    "ExecutionPointer",
    "HistoryEntry",
    "LifecycleEvent",
    "LogLine",
    "Page",
    "PointerStatus",
    "WorkflowInstance",
    "WorkflowStatus",
    "from_micros",
    "to_micros",
]

T = TypeVar("T")
D = TypeVar("D", default=Any)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)


def to_micros(when: datetime | timedelta) -> int:
    """Return an aware datetime as µs since 1970 (UTC), or a duration as µs.

    Raises:
        ValueError: The datetime is naive.
    """
    if isinstance(when, timedelta):
        return when // _MICRO
    if when.tzinfo is None:
        problem = f"{when!r} has no time zone; use an aware datetime, for example datetime.now(UTC)"
        raise ValueError(problem)
    return (when - _EPOCH) // _MICRO


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime for *micros* (µs since 1970)."""
    return _EPOCH + timedelta(microseconds=micros)


class WorkflowStatus(StrEnum):
    """State of a run; the values are stored, so they never change."""

    RUNNABLE = "runnable"
    SUSPENDED = "suspended"
    COMPLETE = "complete"
    FAILED = "failed"
    TERMINATED = "terminated"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen (but ``retry`` and retention)."""
        return self in _FINAL


_FINAL = frozenset({WorkflowStatus.COMPLETE, WorkflowStatus.FAILED, WorkflowStatus.TERMINATED})


class PointerStatus(StrEnum):
    """State of one branch's place in a run; the values are stored, so they never change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    SKIPPED = "skipped"
    SLEEPING = "sleeping"
    WAITING_FOR_EVENT = "waiting_for_event"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    PENDING_PREDECESSOR = "pending_predecessor"


@attrs.frozen
class ErrorInfo:
    """Why something failed.

    Attributes:
        type: Class name of the error, for example ``ValueError``.
        message: Its text.
        step: The step that failed, ``None`` when no single step is to blame.
    """

    type: str
    message: str
    step: str | None = None


@attrs.frozen(kw_only=True)
class ExecutionPointer:
    """One branch's place in a run."""

    id: int
    step: str
    status: PointerStatus
    attempt: int = 0
    parent: int | None = None
    index: int | None = None
    wake_at: datetime | None = None


@attrs.frozen(kw_only=True)
class WorkflowInstance(Generic[D]):
    """A run, as of one moment.

    Attributes:
        data: Typed by the definition's data type when it is registered here, else a ``dict``.
        error: Why it failed or was suspended; ``None`` otherwise.
        pointers: The live ones; empty when the run is final.
        completed_at: When it became final; ``None`` before.
        parent_id: The run that started this one as sub-workflow; ``None`` for a root.
        root_id: The topmost ancestor; the run's own id for a root.
    """

    id: str
    name: str | None
    definition: str
    version: int
    status: WorkflowStatus
    data: D
    reference: str | None
    error: ErrorInfo | None
    pointers: tuple[ExecutionPointer, ...]
    created_at: datetime
    completed_at: datetime | None
    parent_id: str | None
    root_id: str


@attrs.frozen(kw_only=True)
class HistoryEntry:
    """One thing that happened in a run; entries are immutable, ``seq`` is gapless per run."""

    seq: int
    at: datetime
    kind: str
    step: str | None = None
    pointer: int | None = None
    attempt: int | None = None
    error: ErrorInfo | None = None
    actor: str | None = None
    reason: str | None = None
    data: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class LifecycleEvent:
    """What observers see, sent after the commit that made it true."""

    kind: str
    instance_id: str
    definition: str
    at: datetime
    step: str | None = None
    pointer: int | None = None
    attempt: int | None = None
    data: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class LogLine:
    """One line that a step wrote.

    Attributes:
        stream: ``stdout``, ``stderr`` or a logging level such as ``info``.
    """

    instance_id: str
    at: datetime
    step: str | None
    pointer: int | None
    stream: str
    line: str


@attrs.frozen
class Page(Generic[T]):
    """Some items and where to go on; ``cursor`` is ``None`` at the end."""

    items: tuple[T, ...]
    cursor: str | None = None
