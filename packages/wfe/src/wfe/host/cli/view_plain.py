"""A line for everything that happens: what a pipe and a CI log want."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TextIO

import attrs

from wfe.core.definition import Kind
from wfe.core.models import LifecycleEvent
from wfe.host.cli.drawing import GLYPHS, clock_time, duration
from wfe.host.cli.model import Change, Picture, hidden
from wfe.host.cli.output import Output
from wfe.host.cli.result import Result
from wfe.host.cli.visits import State, Visit

__all__ = ["PlainView"]

_TOLD: Final = frozenset({Kind.STEP, Kind.DELAY, Kind.WAIT_FOR, Kind.SUB_WORKFLOW})
"""Kinds whose steps are announced; the others only lead to them."""


@attrs.define
class PlainView:
    """Writes lines; each is complete, so that nothing is lost when the process dies."""

    _stream: TextIO
    _out: Output = attrs.field(
        default=attrs.Factory(lambda self: Output(self._stream), takes_self=True), init=False
    )

    def begin(self, picture: Picture) -> None:
        """Name the run."""
        root = picture.root
        known = root.definition
        what = f"{known.id} v{known.version}" if known is not None else "workflow"
        self._out.line(f"{what}, run {root.id}")

    def tell(self, event: LifecycleEvent, change: Change) -> None:
        """Write the line for an event, if it has one."""
        text = _line(event, change)
        if text is not None:
            self._out.line(text)

    def tick(self) -> None:
        """Lines do not move."""

    def close(self) -> None:
        """Nothing is held."""

    def finish(self, result: Result) -> None:
        """Write the summary."""
        for line in result.summary():
            self._out.line(line)


def _line(event: LifecycleEvent, change: Change) -> str | None:
    step, visit = change.step, change.visit
    if step is None or visit is None:
        return _of_run(event, change)
    if event.kind == "log":
        return f"{change.path} | {(event.data or {}).get('line', '')}"
    if step.node is not None and (step.node.kind not in _TOLD or hidden(step.node)):
        return _of_control(event, change, visit)
    return _of_step(event, change, visit)


def _of_run(event: LifecycleEvent, change: Change) -> str | None:
    told = event.kind in {"workflow_suspended", "workflow_resumed"}
    where = f"{change.path} " if change.path else ""
    reason = (event.data or {}).get("reason")
    what = event.kind.replace("workflow_", "")
    return f"⏸ {where}{what}" + (f": {reason}" if reason else "") if told else None


def _of_control(event: LifecycleEvent, change: Change, visit: Visit) -> str | None:
    """A control node is told of only when it fails itself, not through a step inside it."""
    error: Mapping[str, Any] = (event.data or {}).get("error") or {}
    own = error.get("step") in {None, event.step}
    if event.kind == "step_failed" and own:
        return f"{GLYPHS[State.FAILED]} {change.path}: {visit.note}"
    return None


def _of_step(event: LifecycleEvent, change: Change, visit: Visit) -> str | None:
    glyph, path = GLYPHS[visit.state], change.path
    match event.kind:
        case "step_started":
            again = f" (attempt {visit.attempt + 1})" if visit.attempt else ""
            return f"{glyph} {path}{again}"
        case "step_completed":
            return f"{glyph} {path}{_took(visit)}"
        case "step_failed":
            return f"{glyph} {path}{_took(visit)}: {visit.note}"
        case "step_retrying":
            when = f" at {clock_time(visit.wake, event.at)}" if visit.wake else ""
            return f"{glyph} {path}: attempt {visit.attempt + 1}{when} after {visit.note}"
        case "step_sleeping":
            until = f" until {clock_time(visit.wake, event.at)}" if visit.wake else ""
            return f"{glyph} {path} sleeps{until}"
        case "step_waiting" if visit.child is None:
            return f"{glyph} {path} {visit.note}"
        case "step_skipped" | "step_cancelled" | "step_interrupted":
            return f"{glyph} {path} {event.kind.removeprefix('step_')}"
        case "data_conflict":
            # Fields named steps.X are the language's own; loops write them again and again.
            fields = [f for f in (event.data or {}).get("fields", ()) if not f.startswith("steps.")]
            overwrote = f"! {path} overwrote what another step wrote meanwhile: "
            return overwrote + ", ".join(fields) if fields else None
        case _:
            return None


def _took(visit: Visit) -> str:
    if visit.started is None or visit.ended is None:
        return ""
    return f" {duration((visit.ended - visit.started).total_seconds())}"
