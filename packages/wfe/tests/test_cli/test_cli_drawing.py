"""The tree of a run as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.models import LifecycleEvent
from wfe.host.cli.drawing import Line, clock_time, duration, fitted, tree
from wfe.host.cli.model import Picture
from wfe.host.cli.visits import State

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def leaf(name: str) -> Node:
    return Node(name=name, kind=Kind.STEP)


def told(
    kind: str, step: str | None, pointer: int | None, seconds: float, **data: Any
) -> LifecycleEvent:
    return LifecycleEvent(
        kind=kind,
        instance_id="r",
        definition="main",
        at=at(seconds),
        step=step,
        pointer=pointer,
        attempt=0,
        data=data,
    )


def drawn(nodes: tuple[Node, ...], events: list[LifecycleEvent], tail: int = 0) -> list[str]:
    definition = WorkflowDefinition(id="main", root=Block(nodes))
    picture = Picture("r", {"main": definition}, "main")
    for event in events:
        picture.apply(event)
    return [str(line) for line in tree(picture, at(10), tail)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0s"),
        (0.04, "0.0s"),
        (1.25, "1.2s"),
        (59.9, "59.9s"),
        (65, "1m 05s"),
        (3599, "59m 59s"),
        (7380, "2h 03m"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_time_of_another_day_has_its_date() -> None:
    later = START + timedelta(days=1)

    assert len(clock_time(START, START)) == len("12:00:00")
    assert clock_time(later, START).startswith(f"{later.astimezone():%Y-%m-%d}")


def test_tree_of_a_sequence() -> None:
    events = [
        told("step_started", "one", 1, 0),
        told("step_completed", "one", 1, 1.5),
        told("step_started", "two", 2, 2),
    ]

    assert drawn((leaf("one"), leaf("two"), leaf("three")), events) == [
        "├─ ✔ one  1.5s",
        "├─ ▶ two  8.0s",
        "└─ ○ three",
    ]


def test_tree_nests_containers_and_shows_why_a_step_failed() -> None:
    both = Node(name="both", kind=Kind.PARALLEL, blocks=(Block((leaf("a"),)), Block((leaf("b"),))))
    error = {"type": "ValueError", "message": "no", "step": "b"}
    events = [
        told("step_started", "a", 2, 0),
        told("step_started", "b", 3, 0),
        told("step_failed", "b", 3, 1, error=error),
        told("step_cancelled", "a", 2, 2),
        told("step_failed", "both", 1, 2, error=error),
        told("workflow_failed", None, None, 2, error=error),
    ]

    assert drawn((both, leaf("c")), events) == [
        "├─ ✖ both  2.0s",
        "│  ├─ ◌ a  2.0s",
        "│  └─ ✖ b  1.0s  ValueError: no",
        "└─ ○ c",
    ]


def test_tree_names_the_sides_of_a_decision() -> None:
    choice = Node(
        name="which",
        kind=Kind.DECIDE,
        blocks=(Block((leaf("a"),), label="x"), Block((leaf("b"),), default=True)),
    )

    assert drawn((choice,), []) == [
        "└─ ○ which",
        "   ├─ when x",
        "   │  └─ ○ a",
        "   └─ otherwise",
        "      └─ ○ b",
    ]


def test_tree_counts_the_executions_of_a_step_in_a_loop() -> None:
    loop = Node(name="each", kind=Kind.FOR_EACH, blocks=(Block((leaf("a"),)),))
    events = [
        told("step_started", "each", 1, 0),
        told("step_branched", "each", 1, 0),
        told("step_started", "a", 2, 0),
        told("step_started", "a", 3, 0),
        told("step_completed", "a", 2, 4),
    ]

    assert drawn((loop,), events) == [
        "└─ ▶ each  10.0s",
        "   └─ ▶ a  10.0s  1/2",
        "      └─ ▶ #2  10.0s",
    ]


def test_tree_counts_the_turns_of_a_while() -> None:
    loop = Node(name="again", kind=Kind.WHILE, blocks=(Block((leaf("a"),)),))
    events = [
        told("step_branched", "again", 1, 0),
        told("step_completed", "a", 2, 1),
        told("step_branched", "again", 1, 1),
        told("step_completed", "a", 3, 2),
        told("step_completed", "again", 1, 3),
    ]

    assert drawn((loop,), events)[0] == "└─ ✔ again  3.0s  turn 2"


def test_tree_shows_the_last_lines_of_what_runs() -> None:
    events = [told("step_started", "one", 1, 0)]
    events += [told("log", "one", 1, 1, line=text) for text in ("x", "y", "z")]

    assert drawn((leaf("one"),), events, tail=2) == ["└─ ▶ one  10.0s", "      y", "      z"]


def test_tree_hides_what_a_front_end_added() -> None:
    outputs = Node(name="outputs", kind=Kind.SET, config={"field": "outputs"})

    assert drawn((leaf("one"), outputs), []) == ["└─ ○ one"]


def line(text: str, state: State = State.PENDING) -> Line:
    return Line(guides="", text=text, state=state)


def test_fitted_keeps_everything_that_fits() -> None:
    lines = [line("a"), line("b")]

    assert fitted(lines, 2) == lines


def test_fitted_keeps_what_is_active_and_counts_the_rest() -> None:
    lines = [line(str(number)) for number in range(50)]
    lines[30] = line("busy", State.RUNNING)

    shown = [each.text for each in fitted(lines, 4)]

    assert "busy" in shown
    assert shown[-1] == "… 47 more"
    assert len(shown) == 4
