"""What users see of a run: statuses, instances, pointers, history, lifecycle events, pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic

from typing_extensions import TypeVar

from wfe.core.lean import frozen
from wfe.core.micros import from_micros, to_micros
from wfe.core.statuses import PointerStatus, WorkflowStatus

__all__ = [
    "Activity",
    "Approval",
    "ArchivedRun",
    "ErrorInfo",
    "ExecutionPointer",
    "HistoryEntry",
    "LifecycleEvent",
    "LogLine",
    "OpenActivity",
    "Page",
    "PointerStatus",
    "StoredDefinition",
    "WorkflowInstance",
    "WorkflowStatus",
    "from_micros",
    "to_micros",
]

T = TypeVar("T")
D = TypeVar("D", default=Any)


@frozen
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


@frozen(kw_only=True)
class ExecutionPointer:
    """One branch's place in a run.

    Attributes:
        index: Number of the for-each item or parallel branch that it belongs to.
        wake_at: When it goes on, or gives up waiting, by itself; ``None``: not by time.
        waits_for: What from outside it waits for: ``event`` and ``key``, ``signal``, ``activity``,
            ``approval`` with its ``options``, ``child`` (a run's id) or ``limits`` (keys);
            ``None``: nothing.
    """

    id: int
    step: str
    status: PointerStatus
    attempt: int = 0
    parent: int | None = None
    index: int | None = None
    wake_at: datetime | None = None
    waits_for: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class WorkflowInstance(Generic[D]):
    """A run, as of one moment.

    Attributes:
        name: As given at the start, else ``<definition>-<number>``.
        data: Typed by the definition's data type when it is registered here, else a ``dict``.
        error: Why it failed or was suspended; ``None`` otherwise.
        pointers: The live ones; empty when the run is final.
        completed_at: When it became final; ``None`` before.
        parent_id: The run that started this one as sub-workflow; ``None`` for a root.
        root_id: The topmost ancestor; the run's own id for a root.
    """

    id: str
    name: str
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


@frozen(kw_only=True)
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


@frozen(kw_only=True)
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


@frozen(kw_only=True)
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


@frozen(kw_only=True)
class Activity:
    """Work that an external worker claimed; it answers with the token.

    Attributes:
        token: Of this claim; once its lease has passed it counts no more.
        name: Of the activity.
        parameters: What the workflow asks with.
        attempt: Of the step, from 0.
        run_id: The run that waits.
        run_name: What it is called.
        pointer: The place in the run that waits.
        lease_until: When the claim ends unless there is a heartbeat.
    """

    token: str
    name: str
    parameters: Any
    attempt: int
    run_id: str
    run_name: str
    pointer: int
    lease_until: datetime

    @property
    def idempotency_key(self) -> str:
        """The same text for every claim and attempt of this step execution; as in ``ctx``."""
        return f"{self.run_id}:{self.pointer}"


@frozen(kw_only=True)
class OpenActivity:
    """An activity that is not done yet, as an operator sees it.

    Attributes:
        worker: Who claimed it last; ``None``: nobody did yet.
        lease_until: When that claim ends; ``None``: nobody did yet.
        claimed: Whether the claim counts now.
        progress: What the worker's last heartbeat said; ``None``: nothing.
    """

    name: str
    run_id: str
    run_name: str
    pointer: int
    attempt: int
    parameters: Any
    worker: str | None
    lease_until: datetime | None
    claimed: bool
    progress: Any


@frozen(kw_only=True)
class Approval:
    """A question that a run asks a person.

    Attributes:
        step: That waits, and its *pointer*.
        prompt: What is asked.
        options: The answers that it takes.
        since: When it began to wait.
        round: Name of the round of a loop that it stands in; ``""``: it stands in none.
    """

    run_id: str
    run_name: str
    definition: str
    step: str
    pointer: int
    prompt: str
    options: tuple[str, ...]
    since: datetime
    round: str = ""


@frozen(kw_only=True)
class StoredDefinition:
    """A definition in the store; running instances keep theirs, whatever is registered since.

    Attributes:
        hash: Of its contents.
        current: Whether new runs of this id and version get it.
        running: Runs of it that are not final.
        runnable: Whether this host has all the code that it needs.
    """

    id: str
    version: int
    hash: str
    current: bool
    running: int
    runnable: bool


@frozen(kw_only=True)
class StreamItem:
    """Something that a step emitted.

    Attributes:
        offset: Its position; growing, not without gaps.  Pass the last one as ``after`` to go on.
    """

    offset: int
    name: str
    payload: Any
    at: datetime
    step: str | None


@frozen
class ArchivedRun:
    """All that is known of a finished run that is about to be deleted."""

    instance: WorkflowInstance[Any]
    history: tuple[HistoryEntry, ...]
    logs: tuple[LogLine, ...]


@frozen
class Page(Generic[T]):
    """Some items and where to go on; ``cursor`` is ``None`` at the end."""

    items: tuple[T, ...]
    cursor: str | None = None
