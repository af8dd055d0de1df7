"""Folds lifecycle events into a picture of a run: pure, and what every view draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.models import HistoryEntry, LifecycleEvent, WorkflowStatus
from wfe.host.cli.visits import ACTIVE, FOLDS, OVER, State, Step, Visit, told_error

__all__ = ["Change", "Picture", "Run", "hidden", "past"]

_NOTHING: Final[Mapping[str, Any]] = {}
_CHOOSING: Final = frozenset({Kind.IF, Kind.DECIDE, Kind.STEP})


def hidden(node: Node) -> bool:
    """Whether *node* was added by a front end and was written by nobody."""
    return (
        node.kind is Kind.SET and node.name == "outputs" and node.config.get("field") == "outputs"
    )


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
        if not node.blocks or node.kind is Kind.STEP:
            return step.state
        last = next(reversed(step.visits.values()), None)
        if last is not None and last.state in OVER:
            return last.state
        return self._of_blocks(node, started=last is not None)

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
        over = all(state in OVER for block in counted for state in block)
        if over or self.status is WorkflowStatus.COMPLETE:
            return State.COMPLETE
        return State.CANCELLED if self.status.final else State.RUNNING

    def span(self, node: Node) -> tuple[datetime | None, datetime | None]:
        """Return when *node*, or the first step inside it, began and the last one ended."""
        spans = [self.step(inner.name).span for inner in _within(node)]
        starts = [started for started, _ in spans if started is not None]
        ends = [ended for _, ended in spans if ended is not None]
        return min(starts, default=None), max(ends, default=None)


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
        self.root: Run = self._add(id, main, None)

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
        fold = FOLDS.get(event.kind)
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
        run.error, run.culprit = told_error(error), error.get("step") if error else None
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
