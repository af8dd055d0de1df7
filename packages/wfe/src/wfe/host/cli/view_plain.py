"""A line for everything that happens: what a pipe and a CI log want."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TextIO

import attrs

from wfe.core.definition import Kind
from wfe.core.lean import define
from wfe.core.models import LifecycleEvent
from wfe.host.cli.cleaning import clean, clean_block
from wfe.host.cli.drawing import GLYPHS, clock_time, comparison, duration
from wfe.host.cli.model import Change, Picture, Times, hidden
from wfe.host.cli.output import Output
from wfe.host.cli.places import Places
from wfe.host.cli.reasons import skip_reason
from wfe.host.cli.result import Result, notice_line
from wfe.host.cli.tails import notice_of, progress_of
from wfe.host.cli.visits import State, Visit

__all__ = ["PlainView", "line_of"]

_TOLD: Final = frozenset(
    {Kind.STEP, Kind.DELAY, Kind.WAIT_FOR, Kind.SUB_WORKFLOW, Kind.ACTIVITY, Kind.APPROVAL}
)
"""Kinds whose steps are announced; the others only lead to them."""

_STEP: Final = 10  # percent points between two lines of progress


@define
class PlainView:
    """Writes lines; each is complete, so that nothing is lost when the process dies."""

    _stream: TextIO
    _out: Output = attrs.field(
        default=attrs.Factory(lambda self: Output(self._stream), takes_self=True), init=False
    )
    _places: Places = attrs.field(alias="places", factory=Places)
    _times: Times = attrs.field(factory=Times, init=False)
    _told: dict[tuple[str, int], tuple[int, str]] = attrs.field(
        factory=dict[tuple[str, int], tuple[int, str]], init=False
    )

    def begin(self, picture: Picture) -> None:
        """Name the run."""
        self._times = picture.times
        self._out.line(clean(headline(picture)))

    def tell(self, event: LifecycleEvent, change: Change) -> None:
        """Write the line for an event, if it has one."""
        if event.kind == "log" and (event.data or {}).get("stream") == "progress":
            self._progress(event, change)
        elif not self._places.silent(event, change):
            self._tell(event, change)

    def _tell(self, event: LifecycleEvent, change: Change) -> None:
        text = line_of(event, change, self._times)
        if text is not None:
            self._out.line(clean(text))

    def _progress(self, event: LifecycleEvent, change: Change) -> None:
        """Write progress when it has gone on a good bit, or says something new."""
        if change.visit is None:
            return
        progress = progress_of(str((event.data or {}).get("line", "")))
        now = (int((progress.percent or 0) // _STEP), progress.message)
        key = (change.run.id, change.visit.pointer)
        if self._told.get(key) != now:
            self._told[key] = now
            self._out.line(clean(f"{change.path} | {progress}"))

    def tick(self) -> None:
        """Tell what has waited a while; lines do not move."""
        for event, change in self._places.waiting():
            self._tell(event, change)

    def close(self) -> None:
        """Tell what still waits."""
        for event, change in self._places.waiting(at_once=True):
            self._tell(event, change)

    def finish(self, result: Result) -> None:
        """Write the summary."""
        first, *rest = result.summary()
        lines = [first, *report_lines(result), *rest]
        for line in lines:
            self._out.line(clean(line))


def headline(picture: Picture) -> str:
    """Return what is run, and the run's id."""
    root = picture.root
    known = root.definition
    what = f"{known.id} v{known.version}" if known is not None else "workflow"
    return f"{what}, run {root.id}"


def report_lines(result: Result) -> list[str]:
    """Return what the steps wrote about themselves, as text."""
    lines: list[str] = []
    for path, text in result.picture.summaries:
        lines.append(f"  summary of {path}:")
        lines += [f"  │ {line}" for line in clean_block(text).rstrip().split("\n")]
    return lines


def line_of(event: LifecycleEvent, change: Change, times: Times | None = None) -> str | None:
    """Return the line that tells of an event, ``None``: nothing is said of it."""
    step, visit = change.step, change.visit
    if step is None or visit is None:
        return _of_run(event, change)
    if event.kind == "log":
        return _of_output(event, change)
    if step.node is not None and (step.node.kind not in _TOLD or hidden(step.node)):
        return _of_control(event, change, visit)
    return _of_step(event, change, visit, (times or Times()).of(change.run, step))


def _of_output(event: LifecycleEvent, change: Change) -> str | None:
    data = event.data or {}
    line = str(data.get("line", ""))
    match data.get("stream"):
        case "annotation":
            return notice_line(notice_of(change.path, line))
        case "group":
            return f"{change.path} | ▾ {line}"
        case "endgroup" | "summary":
            return None
        case _:
            return f"{change.path} | {line}"


def _of_run(event: LifecycleEvent, change: Change) -> str | None:
    told = event.kind in {"workflow_suspended", "workflow_resumed"}
    where = f"{change.path} " if change.path else ""
    reason = (event.data or {}).get("reason")
    what = event.kind.replace("workflow_", "")
    return f"⏸ {where}{what}" + (f": {reason}" if reason else "") if told else None


def _of_control(event: LifecycleEvent, change: Change, visit: Visit) -> str | None:
    """A control node is told of only when it fails or is skipped itself, not a step inside it."""
    error: Mapping[str, Any] = (event.data or {}).get("error") or {}
    own = error.get("step") in {None, event.step}
    if event.kind == "step_failed" and own:
        return f"{GLYPHS[State.FAILED]} {change.path}: {visit.note}"
    if event.kind == "step_skipped":
        return f"{GLYPHS[State.SKIPPED]} {change.path} skipped{_because(change, visit)}"
    return None


def _of_step(event: LifecycleEvent, change: Change, visit: Visit, last: float | None) -> str | None:
    glyph, path = GLYPHS[visit.state], change.path
    match event.kind:
        case "step_started":
            again = f" (attempt {visit.attempt + 1})" if visit.attempt else ""
            return f"{glyph} {path}{again}"
        case "step_completed":
            cached = f" ({visit.cached})" if visit.cached else ""
            return f"{glyph} {path}{cached or _took(visit, last)}"
        case "step_failed":
            return f"{glyph} {path}{_took(visit, last)}: {visit.note}"
        case "step_retrying":
            when = f" at {clock_time(visit.wake, event.at)}" if visit.wake else ""
            return f"{glyph} {path}: attempt {visit.attempt + 1}{when} after {visit.note}"
        case "step_sleeping":
            until = f" until {clock_time(visit.wake, event.at)}" if visit.wake else ""
            return f"{glyph} {path} sleeps{until}"
        case "step_waiting" if visit.child is None:
            return f"{glyph} {path} {visit.note}"
        case "step_skipped" | "step_cancelled" | "step_interrupted":
            return f"{glyph} {path} {event.kind.removeprefix('step_')}{_because(change, visit)}"
        case "data_conflict":
            # Fields named steps.X are the language's own; loops write them again and again.
            fields = [f for f in (event.data or {}).get("fields", ()) if not f.startswith("steps.")]
            overwrote = f"! {path} overwrote what another step wrote meanwhile: "
            return overwrote + ", ".join(fields) if fields else None
        case _:
            return None


def _because(change: Change, visit: Visit) -> str:
    node = change.step.node if change.step is not None else None
    why = visit.note or (skip_reason(node) if visit.state is State.SKIPPED else "")
    return f": {why}" if why else ""


def _took(visit: Visit, last: float | None) -> str:
    if visit.seconds is None:
        return ""
    return f" {duration(visit.seconds)}{comparison(visit.seconds, last, over=True)}"
