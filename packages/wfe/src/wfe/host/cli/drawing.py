"""Turns the picture of a run into lines of text: pure, the same for every view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.lean import frozen
from wfe.core.models import WorkflowStatus
from wfe.core.policies import Retry
from wfe.host.cli.model import Picture, Run, hidden
from wfe.host.cli.reasons import skip_reason
from wfe.host.cli.visits import ACTIVE, State, Step, Visit

__all__ = [
    "GLYPHS",
    "STATUS_GLYPHS",
    "Line",
    "clock_time",
    "comparison",
    "duration",
    "tree",
]

GLYPHS: Final[Mapping[State, str]] = {
    State.PENDING: "○",
    State.RUNNING: "▶",
    State.RETRYING: "↻",
    State.SLEEPING: "◷",
    State.WAITING: "⏸",
    State.COMPLETE: "✔",
    State.SKIPPED: "⊘",
    State.FAILED: "✖",
    State.CANCELLED: "◌",
    State.INTERRUPTED: "↯",
}

STATUS_GLYPHS: Final[Mapping[WorkflowStatus, str]] = {
    WorkflowStatus.RUNNABLE: "▶",
    WorkflowStatus.SUSPENDED: "⏸",
    WorkflowStatus.COMPLETE: "✔",
    WorkflowStatus.FAILED: "✖",
    WorkflowStatus.TERMINATED: "■",
}

_NOTED: Final = frozenset(
    {State.FAILED, State.RETRYING, State.WAITING, State.SLEEPING, State.SKIPPED, State.CANCELLED}
)
_SHOWN_VISITS: Final = 5  # executions of one step that are shown one by one
_SHOWN_ROUNDS: Final = 24  # named rounds of a loop that are all shown
_WORTH_TELLING: Final = 1.0  # seconds by which a duration differs from last time's


def duration(seconds: float) -> str:
    """Return a duration for people: ``0.3s``, ``1m 05s``, ``2h 03m``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m"


def comparison(seconds: float, last: float | None, *, over: bool) -> str:
    """Return what to say of last time's duration: always while it runs, else when it differs."""
    if last is None or last < 0.1:
        return ""
    far = abs(seconds - last) >= max(_WORTH_TELLING, last / 5)
    return f" (last {duration(last)})" if far or not over else ""


def clock_time(when: datetime, now: datetime) -> str:
    """Return *when* in local time, with its date when that is not today's."""
    local, today = when.astimezone(), now.astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


@frozen(kw_only=True)
class Line:
    """A line of the tree.

    Attributes:
        guides: The branches of the tree in front of it.
        state: ``None`` for a line that only groups, and for lines of output.
        seconds: How long it took or takes, ``None``: nothing to say.
        last: What to say of how long it took last time.
        output: Whether it is a line that a step wrote.
        depth: Containers around it.
    """

    guides: str
    text: str
    state: State | None = None
    seconds: float | None = None
    note: str = ""
    last: str = ""
    output: bool = False
    depth: int = 0

    @property
    def active(self) -> bool:
        """Whether it is about something that is not over, or failed."""
        return self.state in ACTIVE or self.state is State.FAILED

    def __str__(self) -> str:
        glyph = f"{GLYPHS[self.state]} " if self.state is not None else ""
        took = "" if self.seconds is None else f"  {duration(self.seconds)}{self.last}"
        note = f"  {self.note}" if self.note else ""
        return f"{self.guides}{glyph}{self.text}{took}{note}"


@frozen
class _Item:
    """A line before its guides are known, and what hangs on it."""

    line: Line
    inner: Sequence[_Item] = ()


def tree(picture: Picture, now: datetime, tail: int = 0) -> list[Line]:
    """Return the steps of a run as an indented tree, with *tail* last lines of what is active."""
    items = _Drawing(picture, now, tail).run(picture.root)
    return list(_laid_out(items, ""))


def _laid_out(items: Sequence[_Item], before: str, depth: int = 0) -> Iterator[Line]:
    for position, item in enumerate(items):
        last = position == len(items) - 1
        joint, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if item.line.output:
            joint = "   "  # it has a bar of its own
        yield attrs.evolve(item.line, guides=before + joint, depth=depth)
        yield from _laid_out(item.inner, before + below, depth + 1)


@frozen
class _Drawing:
    """Draws runs; of a loop's inside, when *only* is set, what belongs to this round."""

    picture: Picture
    now: datetime
    tail: int
    only: str | None = None

    def run(self, run: Run) -> list[_Item]:
        if run.definition is not None:
            return self.nodes(run, run.definition.root.nodes)
        return [self.leaf(run, step) for step in run.steps.values()]

    def nodes(self, run: Run, nodes: Sequence[Node]) -> list[_Item]:
        return [item for node in nodes for item in self._shown(run, node)]

    def _shown(self, run: Run, node: Node) -> list[_Item]:
        """Draw a node; of one that nobody wrote only what is inside, if there is anything."""
        if not hidden(node):
            return [self.node(run, node)]
        return [item for block in node.blocks for item in self.nodes(run, block.nodes)]

    def node(self, run: Run, node: Node) -> _Item:
        step = run.step(node.name)
        item = self.container(run, node) if node.blocks else self.leaf(run, step)
        around = [*self._hooks(run, node), *self._undo(run, node)]
        return _Item(item.line, [*item.inner, *around]) if around else item

    def container(self, run: Run, node: Node) -> _Item:
        step = run.step(node.name)
        inner = self._inside(run, node)
        state = run.state(node) if self.only is None else _together(inner)
        started, ended = run.span(node) if self.only is None else (None, None)
        visits = self._of_round(step)
        failures = [visit.note for visit in visits if visit.state is State.FAILED]
        why = visits[-1].note if visits and state in {State.SKIPPED, State.CANCELLED} else ""
        if state is State.SKIPPED:
            why = why or skip_reason(node)
        note = f"turn {step.turns}" if node.kind is Kind.WHILE and step.turns else why
        line = Line(
            guides="",
            text=node.name,
            state=state,
            seconds=self._seconds(started, ended, state),
            note=note or (failures[-1] if failures and not _failed_inside(run, node) else ""),
        )
        return _Item(line, inner)

    def _of_round(self, step: Step) -> list[Visit]:
        visits = list(step.visits.values())
        return visits if self.only is None else [v for v in visits if v.round == self.only]

    def _inside(self, run: Run, node: Node) -> list[_Item]:
        names = _rounds(run, node, self.only) if node.kind is Kind.FOR_EACH else []
        if names:
            return self._by_round(run, node, names)
        return [
            item for number in range(len(node.blocks)) for item in self.block(run, node, number)
        ]

    def _by_round(self, run: Run, node: Node, names: Sequence[str]) -> list[_Item]:
        """Draw a loop whose rounds have names: one after the other, the finished ones folded."""
        items: list[_Item] = []
        for name in names:
            inner = attrs.evolve(self, only=name).block(run, node, 0)
            shown = [each for each in inner if each.line.state is not State.PENDING]
            if len(inner) == 1:
                line = attrs.evolve(inner[0].line, text=f"{inner[0].line.text} [{name}]")
                items.append(_Item(line, inner[0].inner))
            elif shown:
                line = Line(guides="", text=f"[{name}]", state=_together(inner))
                items.append(_Item(line, inner))
        if len(items) <= _SHOWN_ROUNDS:
            return items
        told = [each for each in items if each.line.active]
        over = len(items) - len(told)
        return [*told[:_SHOWN_ROUNDS], _Item(Line(guides="", text=f"{over} rounds are over"))]

    def block(self, run: Run, node: Node, number: int) -> list[_Item]:
        items = self.nodes(run, node.blocks[number].nodes)
        label = _label(node, number)
        idle = all(item.line.state in {State.PENDING, None} for item in items)
        if label and idle and self.only is None and run.state(node) is State.COMPLETE:
            return [_Item(Line(guides="", text=f"{label}: not taken"))]
        return [_Item(Line(guides="", text=label), items)] if label and items else items

    def _hooks(self, run: Run, node: Node) -> list[_Item]:
        """Draw the hooks of a node that began; one that never ran is nothing to look at."""
        items: list[_Item] = []
        for name, block in node.hooks:
            inner = [self.node(run, each) for each in block.nodes]
            if any(item.line.state is not State.PENDING for item in inner):
                items.append(_Item(Line(guides="", text=name), inner))
        return items

    def _undo(self, run: Run, node: Node) -> list[_Item]:
        inner = [self.node(run, each) for each in node.undo.nodes] if node.undo else []
        begun = any(item.line.state is not State.PENDING for item in inner)
        return [_Item(Line(guides="", text="compensate"), inner)] if begun else []

    def leaf(self, run: Run, step: Step) -> _Item:
        visits = self._of_round(step)
        if self.only is None and step.count > 1:
            return self._repeated(run, step)
        if not visits:
            return _Item(Line(guides="", text=step.name, state=State.PENDING))
        return self._visit(run, step, visits[-1], step.name)

    def _repeated(self, run: Run, step: Step) -> _Item:
        visits = step.visits.values()
        notes = [visit.note for visit in visits if visit.state is State.FAILED and visit.note]
        state = State.RUNNING if step.state in ACTIVE else step.state
        line = Line(
            guides="",
            text=step.name,
            state=state,
            seconds=self._seconds(*step.span, state),
            note=f"{step.over}/{step.count}" + (f"  {notes[-1]}" if notes else ""),
        )
        told = [v for v in visits if v.state in ACTIVE or (v.child and v.state is State.FAILED)]
        inner = [self._visit(run, step, v, _numbered(v)) for v in told[:_SHOWN_VISITS]]
        return _Item(line, inner)

    def _visit(self, run: Run, step: Step, visit: Visit, text: str) -> _Item:
        runs = self.picture.runs
        child = runs.get(visit.child) if visit.child is not None else None
        busy = visit.state is State.WAITING and child is not None
        state = State.RUNNING if busy else visit.state
        seconds = self._seconds(visit.started, visit.ended, state)
        last = self.picture.times.of(run, step)
        told = seconds is not None and not visit.cached and state is not State.WAITING
        line = Line(
            guides="",
            text=text,
            state=state,
            seconds=seconds,
            note=self._note(run, step, visit, state),
            last=comparison(seconds or 0, last, over=state not in ACTIVE) if told else "",
        )
        inner = [] if child is None else self.run_of_child(child)
        if state in ACTIVE:
            lines = visit.output.shown(self.tail)
            inner += [_Item(Line(guides="", text=text, output=True)) for text in lines]
        return _Item(line, inner)

    def run_of_child(self, child: Run) -> list[_Item]:
        return attrs.evolve(self, only=None).run(child)

    def _note(self, run: Run, step: Step, visit: Visit, state: State) -> str:
        parts: list[str] = []
        if visit.cached:
            parts.append(visit.cached)
        if state is State.RUNNING and visit.attempt and visit.child is None:
            parts.append(f"attempt {_attempt(run, step, visit)}")
        if visit.progress is not None and state in ACTIVE:
            parts.append(str(visit.progress))
        if state in _NOTED:
            parts.append(self._until(run, step, visit))
            skipped = state is State.SKIPPED and step.node is not None
            parts.append(visit.note or (skip_reason(step.node) if skipped else ""))
        return ", ".join(part for part in parts if part)

    def _until(self, run: Run, step: Step, visit: Visit) -> str:
        if visit.wake is None:
            return ""
        left = max((visit.wake - self.now).total_seconds(), 0)
        when = f"in {duration(left)}" if left < 60 else f"at {clock_time(visit.wake, self.now)}"
        if visit.state is State.RETRYING:
            return f"attempt {_attempt(run, step, visit)} {when}"
        return f"gives up {when}" if visit.state is State.WAITING else when

    def _seconds(
        self, started: datetime | None, ended: datetime | None, state: State
    ) -> float | None:
        if started is None or state is State.SKIPPED:
            return None
        end = self.now if state in ACTIVE or ended is None else ended
        return (end - started).total_seconds()


def _numbered(visit: Visit) -> str:
    return f"[{visit.round}]" if visit.round else f"#{visit.number}"


def _attempt(run: Run, step: Step, visit: Visit) -> str:
    """Return ``2 of 4``, or ``2`` where there is no end."""
    policy = step.node.on_error if step.node is not None else None
    if policy is None and run.definition is not None:
        policy = run.definition.default_error
    most = policy.max_retries if isinstance(policy, Retry) else None
    number = visit.attempt + 1
    return f"{number} of {most + 1}" if most is not None and number <= most + 1 else str(number)


def _rounds(run: Run, node: Node, outer: str | None) -> list[str]:
    """Return the names of a loop's rounds (within one of the loop around it), oldest first."""
    names: dict[str, None] = {}
    waiting = [inner for block in reversed(node.blocks) for inner in reversed(block.nodes)]
    while waiting:
        inner = waiting.pop()
        names.update((visit.round, None) for visit in run.step(inner.name).visits.values())
        if inner.kind is not Kind.FOR_EACH:  # the rounds of a loop inside have longer names
            waiting += [each for block in reversed(inner.blocks) for each in reversed(block.nodes)]
    return [name for name in names if name and (outer is None or name.startswith(f"{outer}, "))]


def _together(inner: Sequence[_Item]) -> State:
    """Return where the steps of a round stand together."""
    states = [item.line.state for item in inner if item.line.state is not None]
    for wanted in (State.FAILED, State.RUNNING, State.RETRYING, State.WAITING, State.SLEEPING):
        if wanted in states:
            return wanted
    if all(state is State.PENDING for state in states):
        return State.PENDING
    over = all(state not in {State.PENDING, State.INTERRUPTED} for state in states)
    return State.COMPLETE if over else State.RUNNING


def _failed_inside(run: Run, node: Node) -> bool:
    inner = (each for block in node.blocks for each in block.nodes)
    return any(run.state(each) is State.FAILED for each in inner)


def _label(node: Node, number: int) -> str:
    """Return the heading of a block, empty where the steps stand for themselves."""
    block = node.blocks[number]
    match node.kind:
        case Kind.IF if len(node.blocks) > 1:
            return ("then", "else")[number]
        case Kind.DECIDE | Kind.STEP:
            return "otherwise" if block.default else f"when {block.label}"
        case Kind.PARALLEL if any(len(each.nodes) > 1 for each in node.blocks):
            return f"branch {number + 1}"
        case _:
            return ""
