"""Turns the picture of a run into lines of text: pure, the same for every view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs

from wfe.core.definition import Kind, Node
from wfe.core.models import WorkflowStatus
from wfe.host.cli.model import Picture, Run, hidden
from wfe.host.cli.visits import ACTIVE, State, Step, Visit

__all__ = ["GLYPHS", "STATUS_GLYPHS", "Line", "clock_time", "duration", "fitted", "tree"]

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

_NOTED: Final = frozenset({State.FAILED, State.RETRYING, State.WAITING, State.SLEEPING})
_SHOWN_VISITS: Final = 5  # executions of a sub-workflow step that are shown one by one


def duration(seconds: float) -> str:
    """Return a duration for people: ``0.3s``, ``1m 05s``, ``2h 03m``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02}m"


def clock_time(when: datetime, now: datetime) -> str:
    """Return *when* in local time, with its date when that is not today's."""
    local, today = when.astimezone(), now.astimezone().date()
    return f"{local:%H:%M:%S}" if local.date() == today else f"{local:%Y-%m-%d %H:%M:%S}"


@attrs.frozen(kw_only=True)
class Line:
    """A line of the tree.

    Attributes:
        guides: The branches of the tree in front of it.
        state: ``None`` for a line that only groups, and for lines of output.
        seconds: How long it took or takes, ``None``: nothing to say.
        output: Whether it is a line that a step wrote.
    """

    guides: str
    text: str
    state: State | None = None
    seconds: float | None = None
    note: str = ""
    output: bool = False

    @property
    def active(self) -> bool:
        """Whether it is about something that is not over, or failed."""
        return self.state in ACTIVE or self.state is State.FAILED

    def __str__(self) -> str:
        glyph = f"{GLYPHS[self.state]} " if self.state is not None else ""
        took = "" if self.seconds is None else f"  {duration(self.seconds)}"
        note = f"  {self.note}" if self.note else ""
        return f"{self.guides}{glyph}{self.text}{took}{note}"


@attrs.frozen
class _Item:
    """A line before its guides are known, and what hangs on it."""

    line: Line
    inner: Sequence[_Item] = ()


def tree(picture: Picture, now: datetime, tail: int = 0) -> list[Line]:
    """Return the steps of a run as an indented tree, with *tail* last lines of what is active."""
    items = _Drawing(picture, now, tail).run(picture.root)
    return list(_laid_out(items, ""))


def _laid_out(items: Sequence[_Item], before: str) -> Iterator[Line]:
    for position, item in enumerate(items):
        last = position == len(items) - 1
        joint, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if item.line.output:
            joint = "   "  # it has a bar of its own
        yield attrs.evolve(item.line, guides=before + joint)
        yield from _laid_out(item.inner, before + below)


@attrs.frozen
class _Drawing:
    picture: Picture
    now: datetime
    tail: int

    def run(self, run: Run) -> list[_Item]:
        if run.definition is not None:
            return self.nodes(run, run.definition.root.nodes)
        return [self.leaf(step) for step in run.steps.values()]

    def nodes(self, run: Run, nodes: Sequence[Node]) -> list[_Item]:
        return [self.node(run, node) for node in nodes if not hidden(node)]

    def node(self, run: Run, node: Node) -> _Item:
        step = run.step(node.name)
        if not node.blocks:
            return self.leaf(step)
        state = run.state(node)
        inner = [
            item for number in range(len(node.blocks)) for item in self.block(run, node, number)
        ]
        note = f"turn {step.turns}" if node.kind is Kind.WHILE and step.turns else ""
        failures = [visit.note for visit in step.visits.values() if visit.state is State.FAILED]
        line = Line(
            guides="",
            text=node.name,
            state=state,
            seconds=self._container_seconds(run, node, state),
            note=note or (failures[-1] if failures and not _failed_inside(run, node) else ""),
        )
        return _Item(line, inner)

    def block(self, run: Run, node: Node, number: int) -> list[_Item]:
        items = self.nodes(run, node.blocks[number].nodes)
        label = _label(node, number)
        return [_Item(Line(guides="", text=label), items)] if label and items else items

    def leaf(self, step: Step) -> _Item:
        if step.count > 1:
            return self._repeated(step)
        visits = list(step.visits.values())
        if not visits:
            return _Item(Line(guides="", text=step.name, state=State.PENDING))
        return self._visit(visits[0], step.name)

    def _repeated(self, step: Step) -> _Item:
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
        inner = [self._visit(visit, f"#{visit.number}") for visit in told[:_SHOWN_VISITS]]
        return _Item(line, inner)

    def _visit(self, visit: Visit, text: str) -> _Item:
        runs = self.picture.runs
        child = runs.get(visit.child) if visit.child is not None else None
        busy = visit.state is State.WAITING and child is not None
        state = State.RUNNING if busy else visit.state
        line = Line(
            guides="",
            text=text,
            state=state,
            seconds=self._seconds(visit.started, visit.ended, state),
            note=self._note(visit) if state in _NOTED else "",
        )
        inner = [] if child is None else self.run(child)
        if state in ACTIVE:
            lines = list(visit.tail)[-self.tail :] if self.tail else []
            inner += [_Item(Line(guides="", text=text, output=True)) for text in lines]
        return _Item(line, inner)

    def _note(self, visit: Visit) -> str:
        attempt = f"attempt {visit.attempt + 1} " if visit.state is State.RETRYING else ""
        until = f"{attempt}at {clock_time(visit.wake, self.now)}" if visit.wake else ""
        return ", ".join(part for part in (until, visit.note) if part)

    def _container_seconds(self, run: Run, node: Node, state: State) -> float | None:
        started, ended = run.span(node)
        return self._seconds(started, ended, state)

    def _seconds(
        self, started: datetime | None, ended: datetime | None, state: State
    ) -> float | None:
        if started is None or state is State.SKIPPED:
            return None
        end = self.now if state in ACTIVE or ended is None else ended
        return (end - started).total_seconds()


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


def fitted(lines: Sequence[Line], height: int) -> list[Line]:
    """Return at most *height* of the lines: what is active stays, what is cut is counted."""
    if len(lines) <= height:
        return list(lines)
    keep = _kept(lines, max(height - 1, 1))
    shown = [line for position, line in enumerate(lines) if position in keep]
    return [*shown, Line(guides="", text=f"… {len(lines) - len(shown)} more")]


def _kept(lines: Sequence[Line], height: int) -> set[int]:
    """Choose lines by rank: active ones, their output, then their neighbours."""
    busy = [position for position, line in enumerate(lines) if line.active or line.output]
    near = busy or [0]

    def distance(position: int) -> int:
        return min(abs(position - other) for other in near)

    ranked = sorted(range(len(lines)), key=distance)
    return set(ranked[:height])
