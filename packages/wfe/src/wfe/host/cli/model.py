"""Folds lifecycle events into a picture of a run: pure, and what every view draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from wfe.core.definition import Kind, Node, WorkflowDefinition
from wfe.core.lean import define, frozen
from wfe.core.models import HistoryEntry, LifecycleEvent, WorkflowStatus
from wfe.core.rules.plan import WHOLE
from wfe.host.cli.tails import Notice, notice_of
from wfe.host.cli.visits import ACTIVE, FOLDS, OVER, State, Step, Visit, told_error

__all__ = ["Change", "Picture", "Run", "Times", "hidden", "leaves", "past", "within"]

_NOTICES: Final = 1000  # annotations kept of a run; the others are counted
_SUMMARIES: Final = 100

_NOTHING: Final[Mapping[str, Any]] = {}
_CHOOSING: Final = frozenset({Kind.IF, Kind.DECIDE, Kind.STEP})


def leaves(run: Run) -> Iterator[Step]:
    """Yield the steps of a run that do something themselves, in order."""
    for step in run.steps.values():
        node = step.node
        if node is None or not (hidden(node) or (node.blocks and node.kind is not Kind.STEP)):
            yield step


def hidden(node: Node) -> bool:
    """Whether *node* was added by a front end and was written by nobody."""
    if node.config.get("hidden"):
        return True
    return (
        node.kind is Kind.SET and node.name == "outputs" and node.config.get("field") == "outputs"
    )


@define(kw_only=True)
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
        spans = [self.step(inner.name).span for inner in within(node)]
        starts = [started for started, _ in spans if started is not None]
        ends = [ended for _, ended in spans if ended is not None]
        return min(starts, default=None), max(ends, default=None)


def within(node: Node) -> Iterable[Node]:
    """Yield *node* and everything inside it, hooks too."""
    yield node
    for block in node.inner():
        for inner in block.nodes:
            yield from within(inner)


@frozen
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
        if self.visit.round:
            return f"{self.step.name} [{self.visit.round}]"
        repeated = self.visit.number > 1 or self.step.name in self.run.repeating
        return f"{self.step.name} #{self.visit.number}" if repeated else self.step.name


@frozen
class Times:
    """How long things took in earlier runs: what to expect, in seconds.

    Attributes:
        runs: By definition.
        steps: By definition and step: of one execution on average.
    """

    runs: Mapping[str, float] = attrs.field(factory=dict[str, float])
    steps: Mapping[tuple[str, str], float] = attrs.field(factory=dict[tuple[str, str], float])

    def of(self, run: Run, step: Step) -> float | None:
        """Return how long one execution of *step* took last time, ``None``: not known."""
        return self.steps.get((run.definition.id, step.name)) if run.definition else None


class Picture:
    """A run and its sub-workflow runs, as far as events told of them.

    Attributes:
        notices: Annotations of steps, in order; *dropped* more are not kept.
        summaries: (path, Markdown) that steps wrote about themselves.
        times: What to expect, from earlier runs.
    """

    def __init__(
        self,
        id: str,
        definitions: Mapping[str, WorkflowDefinition],
        main: str,
        times: Times | None = None,
    ) -> None:
        """Begin with the run *id* of the definition *main*, one of *definitions* (by id)."""
        self._definitions = definitions
        self.times: Times = times or Times()
        self.notices: list[Notice] = []
        self.dropped: int = 0
        self.summaries: list[tuple[str, str]] = []
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
        if event.step is None:
            return self._of_run(run, event)
        if event.step == WHOLE and event.kind != "step_waiting":
            run.steps.pop(WHOLE, None)  # it is there only while the run waits for its place
            return None
        step = run.step(event.step)
        # A step of a DAG that nothing could make begin never had a pointer.
        visit = step.visit(-1 if event.pointer is None else event.pointer)
        fold = FOLDS.get(event.kind)
        if fold is None:
            return None
        data = event.data or _NOTHING
        if data.get("round"):
            visit.round = str(data["round"])
        fold(step, visit, event, data)
        change = Change(run, step, visit)
        if event.kind == "log":
            self._keep(change.path, data)
        if event.kind == "step_waiting" and visit.child is not None:
            definition = step.node.config.get("definition", "") if step.node is not None else ""
            self._add(visit.child, definition, (run, step))
        return change

    def _keep(self, path: str, data: Mapping[str, Any]) -> None:
        """Keep what a step said about itself for the end."""
        line = str(data.get("line", ""))
        if data.get("stream") == "annotation":
            if len(self.notices) < _NOTICES:
                self.notices.append(notice_of(path, line))
            else:
                self.dropped += 1
        elif data.get("stream") == "summary":
            if self.summaries and self.summaries[-1][0] == path:
                self.summaries[-1] = (path, f"{self.summaries[-1][1]}\n{line}")
            elif len(self.summaries) < _SUMMARIES:
                self.summaries.append((path, line))

    def _of_run(self, run: Run, event: LifecycleEvent) -> Change | None:
        status = _RUN_KINDS.get(event.kind)
        if status is None:
            return None
        run.status = status
        if event.kind == "workflow_started":
            run.started = event.at
        if event.kind == "workflow_retried":
            for step in run.steps.values():
                step.try_again()
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
    bodies = [node for loop in loops for block in loop.blocks for node in block.nodes]
    return frozenset(inner.name for node in bodies for inner in within(node))


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
    "workflow_retried": WorkflowStatus.RUNNABLE,
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
