"""Folds lifecycle events into a picture of a run: pure, and what every view draws."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import attrs

from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.models import HistoryEntry, LifecycleEvent, WorkflowStatus, from_micros

__all__ = [
    "ACTIVE",
    "Change",
    "Picture",
    "Run",
    "State",
    "Step",
    "Visit",
    "error_text",
    "hidden",
    "past",
]

_TAIL: Final = 20  # lines kept of each visit
_NOTHING: Final[Mapping[str, Any]] = {}


class State(StrEnum):
    """Where a step of the picture stands."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SLEEPING = "sleeping"
    WAITING = "waiting"
    COMPLETE = "complete"
    SKIPPED = "skipped"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


ACTIVE: Final = frozenset({State.RUNNING, State.RETRYING, State.SLEEPING, State.WAITING})
"""States of a step that is not over."""

_OVER: Final = frozenset({State.COMPLETE, State.SKIPPED, State.FAILED, State.CANCELLED})
_CHOOSING: Final = frozenset({Kind.IF, Kind.DECIDE, Kind.STEP})


def hidden(node: Node) -> bool:
    """Whether *node* was added by a front end and was written by nobody."""
    return (
        node.kind is Kind.SET and node.name == "outputs" and node.config.get("field") == "outputs"
    )


@attrs.define(kw_only=True)
class Visit:
    """One execution of a step: one pointer, with all its attempts.

    Attributes:
        number: From 1, counted per step of the run.
        note: Why it failed, what it waits for.
        wake: When it goes on by itself, ``None``: not by time.
        child: The run it started as sub-workflow.
        tail: The last lines that it wrote.
    """

    pointer: int
    number: int
    state: State = State.PENDING
    attempt: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    note: str = ""
    wake: datetime | None = None
    child: str | None = None
    tail: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_TAIL))


@attrs.define
class Step:
    """A step of a definition with its executions so far; *turns* counts a loop's."""

    name: str
    node: Node | None
    visits: dict[int, Visit] = attrs.field(factory=dict[int, Visit])
    turns: int = 0

    def visit(self, pointer: int) -> Visit:
        """Return the execution with this pointer, a new one when it is unknown."""
        if pointer not in self.visits:
            self.visits[pointer] = Visit(pointer=pointer, number=len(self.visits) + 1)
        return self.visits[pointer]


@attrs.define(kw_only=True)
class Run:
    """A run, with a step for each node of its definition.

    Attributes:
        definition: ``None`` when it is not known here: steps are then listed as they appear.
        parent: Run and step that started it, ``None`` for the root.
        error: Why it failed or was suspended, ``None``: it did not.
        culprit: The step that the error names.
        repeating: Names of the steps inside loops, which may run more than once.
    """

    id: str
    definition: WorkflowDefinition | None
    parent: tuple[Run, Step] | None = None
    status: WorkflowStatus = WorkflowStatus.RUNNABLE
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None
    culprit: str | None = None
    steps: dict[str, Step] = attrs.field(factory=dict[str, Step])
    repeating: frozenset[str] = frozenset()

    def step(self, name: str) -> Step:
        """Return the step called *name*, a new one when the definition does not have it."""
        if name not in self.steps:
            self.steps[name] = Step(name, None)
        return self.steps[name]

    def state(self, node: Node) -> State:
        """Return where *node* stands, containers by what they contain."""
        step = self.step(node.name)
        own = [visit.state for visit in step.visits.values()]
        if not node.blocks or node.kind is Kind.STEP:
            return _of_visits(own)
        if own and own[-1] in _OVER:
            return own[-1]
        return self._of_blocks(node, started=bool(own))

    def _of_blocks(self, node: Node, *, started: bool) -> State:
        blocks = [[self.state(inner) for inner in block.nodes] for block in node.blocks]
        states = [state for block in blocks for state in block]
        if any(state in ACTIVE for state in states):
            return State.RUNNING
        touched = [block for block in blocks if any(state is not State.PENDING for state in block)]
        if not touched:
            return State.RUNNING if started and not self.status.final else State.PENDING
        counted = touched if node.kind in _CHOOSING else blocks
        if State.FAILED in states:
            return State.FAILED
        over = all(state in _OVER for block in counted for state in block)
        if over or self.status is WorkflowStatus.COMPLETE:
            return State.COMPLETE
        return State.CANCELLED if self.status.final else State.RUNNING

    def span(self, node: Node) -> tuple[datetime | None, datetime | None]:
        """Return when *node*, or the first step inside it, began and the last one ended."""
        steps = [self.step(inner.name) for inner in _within(node)]
        visits = [visit for step in steps for visit in step.visits.values()]
        starts = [visit.started for visit in visits if visit.started is not None]
        ends = [visit.ended for visit in visits if visit.ended is not None]
        return min(starts, default=None), max(ends, default=None)


def _of_visits(states: list[State]) -> State:
    if not states:
        return State.PENDING
    for wanted in (State.RUNNING, State.RETRYING, State.WAITING, State.SLEEPING, State.FAILED):
        if wanted in states:
            return wanted
    return states[-1]


def _within(node: Node) -> Iterable[Node]:
    yield node
    for block in node.blocks:
        for inner in block.nodes:
            yield from _within(inner)


@attrs.frozen
class Change:
    """What an event changed; *step* and *visit* are ``None`` for what concerns a whole run."""

    run: Run
    step: Step | None = None
    visit: Visit | None = None

    @property
    def path(self) -> str:
        """The step's name behind those of the sub-workflow steps around its run."""
        names = [self.label] if self.step is not None else []
        run = self.run
        while run.parent is not None:
            run, step = run.parent
            names.append(step.name)
        return " > ".join(reversed(names))

    @property
    def label(self) -> str:
        """The step's name, numbered when it runs more than once."""
        if self.step is None or self.visit is None:
            return "" if self.step is None else self.step.name
        repeated = self.visit.number > 1 or self.step.name in self.run.repeating
        return f"{self.step.name} #{self.visit.number}" if repeated else self.step.name


class Picture:
    """A run and its sub-workflow runs, as far as events told of them."""

    def __init__(self, id: str, definitions: Mapping[str, WorkflowDefinition], main: str) -> None:
        """Begin with the run *id* of the definition *main*, one of *definitions* (by id)."""
        self._definitions = definitions
        self.runs: dict[str, Run] = {}
        self.root = self._add(id, main, None)

    def _add(self, id: str, definition: str, parent: tuple[Run, Step] | None) -> Run:
        known = self._definitions.get(definition)
        repeating = frozenset[str]() if known is None else _repeating(known)
        run = Run(id=id, definition=known, parent=parent, repeating=repeating)
        for node in known.walk() if known is not None else ():
            run.steps[node.name] = Step(node.name, node)
        self.runs[id] = run
        return run

    def apply(self, event: LifecycleEvent) -> Change | None:
        """Take in one event; ``None``: it is of another run, or changes nothing that is shown."""
        run = self.runs.get(event.instance_id)
        if run is None:
            return None
        if event.step is None or event.pointer is None:
            return self._of_run(run, event)
        step = run.step(event.step)
        visit = step.visit(event.pointer)
        fold = _STEP_KINDS.get(event.kind)
        if fold is None:
            return None
        fold(step, visit, event, event.data or _NOTHING)
        if event.kind == "step_waiting" and visit.child is not None:
            definition = step.node.config.get("definition", "") if step.node is not None else ""
            self._add(visit.child, definition, (run, step))
        return Change(run, step, visit)

    def _of_run(self, run: Run, event: LifecycleEvent) -> Change | None:
        status = _RUN_KINDS.get(event.kind)
        if status is None:
            return None
        run.status = status
        if event.kind == "workflow_started":
            run.started = event.at
        error = (event.data or _NOTHING).get("error")
        run.error, run.culprit = _text(error), error.get("step") if error else None
        if status.final:
            run.ended = event.at
            _close(run, event.at)
        return Change(run)

    def interrupt(self, at: datetime) -> None:
        """Take note that whatever ran was stopped, and will begin again."""
        for run in self.runs.values():
            for step in run.steps.values():
                for visit in step.visits.values():
                    if visit.state is State.RUNNING:
                        visit.state, visit.ended = State.INTERRUPTED, at


def _repeating(definition: WorkflowDefinition) -> frozenset[str]:
    loops = [node for node in definition.walk() if node.kind in {Kind.WHILE, Kind.FOR_EACH}]
    return frozenset(inner.name for loop in loops for inner in _within(loop) if inner is not loop)


def _close(run: Run, at: datetime) -> None:
    """A final run has nothing active, also when the end of a step was not told."""
    for step in run.steps.values():
        for visit in step.visits.values():
            if visit.state in ACTIVE and not (step.node is not None and step.node.blocks):
                visit.state, visit.ended = State.CANCELLED, at


_RUN_KINDS: Final[Mapping[str, WorkflowStatus]] = {
    "workflow_started": WorkflowStatus.RUNNABLE,
    "workflow_completed": WorkflowStatus.COMPLETE,
    "workflow_failed": WorkflowStatus.FAILED,
    "workflow_suspended": WorkflowStatus.SUSPENDED,
    "workflow_resumed": WorkflowStatus.RUNNABLE,
    "workflow_terminated": WorkflowStatus.TERMINATED,
}


def _text(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    return error_text(str(error.get("type")), str(error.get("message")))


def error_text(kind: str, message: str) -> str:
    """Return an error for people; our own errors say in their message what they are."""
    return message if kind in _SPEAKING else f"{kind}: {message}"


_SPEAKING: Final = frozenset(
    {
        "DataTypeError",
        "DefinitionError",
        "DefinitionNotFoundError",
        "ShellCommandError",
        "ShellStartError",
        "StepFailedError",
        "StepOutputError",
        "StepTimeoutError",
        "WorkflowTerminatedError",
    }
)

_Fold = Callable[[Step, Visit, LifecycleEvent, Mapping[str, Any]], None]


def _started(_step: Step, visit: Visit, event: LifecycleEvent, _data: Mapping[str, Any]) -> None:
    visit.state, visit.ended, visit.wake, visit.note = State.RUNNING, None, None, ""
    visit.attempt = event.attempt or 0
    visit.started = visit.started or event.at


def _over(state: State) -> _Fold:
    def fold(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
        visit.state, visit.ended, visit.wake = state, event.at, None
        if visit.started is None and "started" in data:
            visit.started = from_micros(data["started"])
        visit.note = _text(data.get("error")) or ""

    return fold


def _retrying(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state, visit.wake = State.RETRYING, _wake(data)
    visit.attempt = (event.attempt or 0) + 1
    visit.note = _text(data.get("error")) or ""
    if visit.started is None and "started" in data:
        visit.started = from_micros(data["started"])


def _sleeping(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state, visit.wake = State.SLEEPING, _wake(data)
    visit.started = visit.started or event.at


def _waiting(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state = State.WAITING
    visit.started = visit.started or event.at
    if "child" in data:
        visit.child, visit.note = data["child"], ""
    else:
        key = f" (key {data['key']})" if data.get("key") else ""
        visit.note = f"waits for event {data.get('event')}{key}"


def _branched(step: Step, visit: Visit, event: LifecycleEvent, _data: Mapping[str, Any]) -> None:
    visit.state = State.RUNNING
    visit.started = visit.started or event.at
    step.turns += 1


def _again(_step: Step, visit: Visit, _event: LifecycleEvent, _data: Mapping[str, Any]) -> None:
    visit.state, visit.note = State.RUNNING, ""


def _logged(_step: Step, visit: Visit, _event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.tail.append(str(data.get("line", "")))


def _wake(data: Mapping[str, Any]) -> datetime | None:
    wake = data.get("wake")
    return from_micros(wake) if isinstance(wake, int) else None


def _unchanged(*_: object) -> None:
    """Events that are told to the user, but leave the step where it is."""


_STEP_KINDS: Final[Mapping[str, _Fold]] = {
    "step_started": _started,
    "step_completed": _over(State.COMPLETE),
    "step_failed": _over(State.FAILED),
    "step_skipped": _over(State.SKIPPED),
    "step_cancelled": _over(State.CANCELLED),
    "step_interrupted": _over(State.INTERRUPTED),
    "step_retrying": _retrying,
    "step_sleeping": _sleeping,
    "step_waiting": _waiting,
    "step_branched": _branched,
    "event_received": _again,
    "data_conflict": _unchanged,
    "progress": _unchanged,
    "log": _logged,
}


def past(id: str, definition: str, entries: Iterable[HistoryEntry]) -> Iterable[LifecycleEvent]:
    """Yield a run's history as the events that told of it when it happened."""
    for entry in entries:
        data = dict(entry.data or {})
        if entry.error is not None:
            data["error"] = attrs.asdict(entry.error)
        yield LifecycleEvent(
            kind=entry.kind,
            instance_id=id,
            definition=definition,
            at=entry.at,
            step=entry.step,
            pointer=entry.pointer,
            attempt=entry.attempt,
            data=data,
        )
