"""Steps of a picture and their executions, and how events change them: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

import attrs

from wfe.core.definition import Node
from wfe.core.lean import define
from wfe.core.models import LifecycleEvent, from_micros
from wfe.host.cli.tails import Progress, Tail, progress_of

__all__ = ["ACTIVE", "FOLDS", "OVER", "State", "Step", "Visit", "error_text", "told_error"]

_REMEMBERED: Final = 100  # finished executions of each step


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

_ANEW: Final = frozenset({State.FAILED, State.CANCELLED, State.INTERRUPTED})
"""States after which a step that begins again is timed from there."""

OVER: Final = frozenset({State.COMPLETE, State.SKIPPED, State.FAILED, State.CANCELLED})


@define(kw_only=True)
class Visit:
    """One execution of a step: one pointer, with all its attempts.

    Attributes:
        number: From 1, counted per step of the run.
        note: Why it failed, what it waits for.
        wake: When it goes on by itself, ``None``: not by time.
        places: Limits under which it has no place yet.
        child: The run it started as sub-workflow.
        round: Which round of a loop it belongs to (``os=linux, py=3.12``), ``""``: not named.
        cached: Where its outputs came from instead of a run, ``""``: it ran.
        progress: How far it said it is.
        output: The last lines that it wrote.
    """

    pointer: int
    number: int
    state: State = State.PENDING
    attempt: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    note: str = ""
    wake: datetime | None = None
    places: frozenset[str] = frozenset()
    child: str | None = None
    round: str = ""
    cached: str = ""
    progress: Progress | None = None
    output: Tail = attrs.field(factory=Tail)

    @property
    def seconds(self) -> float | None:
        """How long it took, ``None`` while it is not over."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


@define
class Step:
    """A step of a definition with its executions.

    Attributes:
        visits: By pointer: the unfinished ones and the latest others.
        turns: A loop's.
        count: Of all executions.
        gone: How those ended that are no longer in *visits*.
        started: When the first of them began.
        ended: When the last of them ended.
    """

    name: str
    node: Node | None
    visits: dict[int, Visit] = attrs.field(factory=dict[int, Visit])
    turns: int = 0
    count: int = 0
    gone: Counter[State] = attrs.field(factory=Counter[State])
    started: datetime | None = None
    ended: datetime | None = None

    def visit(self, pointer: int) -> Visit:
        """Return the execution with this pointer, a new one when it is unknown."""
        if pointer not in self.visits:
            self.count += 1
            self.visits[pointer] = Visit(pointer=pointer, number=self.count)
            if len(self.visits) > _REMEMBERED:
                self._forget()
        return self.visits[pointer]

    def _forget(self) -> None:
        """Keep only the figures of the oldest execution that is over: loops may have millions."""
        oldest = next((visit for visit in self.visits.values() if visit.state in OVER), None)
        if oldest is None:
            return
        del self.visits[oldest.pointer]
        self.gone[oldest.state] += 1
        self.started = min(filter(None, (self.started, oldest.started)), default=None)
        self.ended = max(filter(None, (self.ended, oldest.ended)), default=None)

    def counts(self) -> Counter[State]:
        """Return how many executions stand where."""
        return self.gone + Counter(visit.state for visit in self.visits.values())

    def try_again(self) -> None:
        """The run is tried again: what came to nothing without an execution is to be seen."""
        container = self.node is not None and bool(self.node.blocks)
        for pointer, visit in list(self.visits.items()):
            if pointer < 0 or (container and visit.state is State.FAILED):
                del self.visits[pointer]
                self.count -= 1

    @property
    def state(self) -> State:
        """Where its executions stand together."""
        states = [visit.state for visit in self.visits.values()]
        if self.gone[State.FAILED]:
            states.insert(0, State.FAILED)
        return _of_visits(states)

    @property
    def over(self) -> int:
        """How many executions are over."""
        return self.count - sum(visit.state in ACTIVE for visit in self.visits.values())

    @property
    def span(self) -> tuple[datetime | None, datetime | None]:
        """When the first execution began and the last one ended."""
        starts = [self.started, *(visit.started for visit in self.visits.values())]
        ends = [self.ended, *(visit.ended for visit in self.visits.values())]
        return min(filter(None, starts), default=None), max(filter(None, ends), default=None)


def _of_visits(states: list[State]) -> State:
    if not states:
        return State.PENDING
    for wanted in (State.RUNNING, State.RETRYING, State.WAITING, State.SLEEPING, State.FAILED):
        if wanted in states:
            return wanted
    return states[-1]


def told_error(error: Mapping[str, Any] | None) -> str | None:
    """Return an error as events hold it, for people; ``None`` stays."""
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
    if visit.state in _ANEW:
        visit.started = None
    visit.state, visit.ended, visit.wake, visit.note = State.RUNNING, None, None, ""
    visit.progress = None
    visit.attempt = event.attempt or 0
    visit.started = visit.started or event.at


def _over(state: State) -> _Fold:
    def fold(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
        visit.state, visit.ended, visit.wake = state, event.at, None
        if visit.started is None and "started" in data:
            visit.started = from_micros(data["started"])
        visit.note = told_error(data.get("error")) or _why(data)
        visit.progress = None
        visit.cached = _cached(data.get("cached"))

    return fold


def _why(data: Mapping[str, Any]) -> str:
    """Return why something was skipped or cancelled, as far as that was recorded."""
    why = data.get("why") or data.get("reason")
    return why if isinstance(why, str) else ""


def _cached(told: Any) -> str:
    if isinstance(told, Mapping):
        run = cast("Mapping[str, Any]", told).get("run")
        return f"from run {run}" if run else "cached"
    return (told if isinstance(told, str) else "cached") if told else ""


def _retrying(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state, visit.wake = State.RETRYING, _wake(data)
    visit.attempt = (event.attempt or 0) + 1
    visit.note = told_error(data.get("error")) or ""
    if visit.started is None and "started" in data:
        visit.started = from_micros(data["started"])


def _sleeping(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state, visit.wake = State.SLEEPING, _wake(data)
    visit.started = visit.started or event.at


def _waiting(_step: Step, visit: Visit, event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.state = State.WAITING
    visit.started = visit.started or event.at
    visit.places = frozenset(map(str, data.get("limits", ())))
    if "child" in data:
        visit.child, visit.note = data["child"], ""
    else:
        visit.note = f"waits for {_awaited(data)}"


def _awaited(data: Mapping[str, Any]) -> str:
    if "signal" in data:
        return f"signal {data['signal']}"
    if "approval" in data:
        options = "|".join(str(option) for option in data.get("options", ()))
        return f"an answer ({options}): {data['approval']}"
    if "activity" in data:
        return f"activity {data['activity']}"
    if "limits" in data:
        return "a free place: " + ", ".join(str(key) for key in data["limits"])
    key = f" (key {data['key']})" if data.get("key") else ""
    return f"event {data.get('event')}{key}"


def _branched(step: Step, visit: Visit, event: LifecycleEvent, _data: Mapping[str, Any]) -> None:
    visit.state = State.RUNNING
    visit.started = visit.started or event.at
    step.turns += 1


def _granted(_step: Step, visit: Visit, _event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    visit.places -= {str(data.get("limit"))}
    if visit.state is State.WAITING and not visit.places:
        visit.state, visit.note = State.RUNNING, ""


def _again(_step: Step, visit: Visit, _event: LifecycleEvent, _data: Mapping[str, Any]) -> None:
    visit.state, visit.note = State.RUNNING, ""


def _logged(_step: Step, visit: Visit, _event: LifecycleEvent, data: Mapping[str, Any]) -> None:
    line = str(data.get("line", ""))
    match data.get("stream"):
        case "group":
            visit.output.open(line)
        case "endgroup":
            visit.output.close()
        case "progress":
            visit.progress = progress_of(line)
        case "annotation" | "summary":
            pass  # the picture keeps these: they outlive the execution
        case _:
            visit.output.add(line)


def _wake(data: Mapping[str, Any]) -> datetime | None:
    wake = data.get("wake")
    return from_micros(wake) if isinstance(wake, int) else None


def _unchanged(*_: object) -> None:
    """Events that are told to the user, but leave the step where it is."""


FOLDS: Final[Mapping[str, _Fold]] = {
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
    "places_granted": _granted,
    "data_conflict": _unchanged,
    "progress": _unchanged,
    "log": _logged,
}
