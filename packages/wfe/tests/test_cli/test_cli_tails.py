"""The last lines of a step, annotations, progress, and the figures of a run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cli_events import after, event

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.host.cli.figures import share, slowest, tally, time_left
from wfe.host.cli.github import annotation
from wfe.host.cli.model import Picture, Times
from wfe.host.cli.tails import Notice, Progress, Tail, notice_of, progress_of


def test_a_closed_group_is_one_line_and_an_open_one_shows_its_last_lines() -> None:
    tail = Tail()
    tail.add("before")
    tail.open("install")
    for number in range(4):
        tail.add(f"package {number}")

    assert tail.shown(3) == ["▾ install", "package 2", "package 3"]

    tail.close()
    tail.add("after")

    assert tail.shown(4) == ["before", "▸ install (4 lines)", "after"]
    assert list(tail.lines) == [
        "before",
        "▾ install",
        *(f"package {number}" for number in range(4)),
        "after",
    ]


def test_groups_do_not_nest() -> None:
    tail = Tail()
    tail.open("one")
    tail.add("x")
    tail.open("two")

    assert tail.shown(1) == ["▾ two"]

    tail.close()
    tail.close()

    assert tail.shown(9) == ["▸ one (1 line)", "▸ two (0 lines)"]
    assert tail.shown(0) == []


@pytest.mark.parametrize(
    ("text", "progress", "shown"),
    [
        ("40 half way", Progress(40, "half way"), "40% half way"),
        ("40%", Progress(40), "40%"),
        ("500", Progress(100), "100%"),
        ("-3 x", Progress(0, "x"), "0% x"),
        ("nan x", Progress(None, "x"), "x"),
        ("soon", Progress(None, "soon"), "soon"),
        ('{"percent": 12.6, "message": "m"}', Progress(12.6, "m"), "13% m"),
        ('{"percent": true}', Progress(None), ""),
        ("[1]", Progress(None, "[1]"), "[1]"),
    ],
)
def test_progress(text: str, progress: Progress, shown: str) -> None:
    assert progress_of(text) == progress
    assert str(progress) == shown


@pytest.mark.parametrize(
    ("text", "notice", "place"),
    [
        (
            {"level": "warning", "message": "m", "file": "a.py", "line": 3, "col": 5, "title": "t"},
            Notice(
                path="s", level="warning", message="m", file="a.py", line=3, column=5, title="t"
            ),
            "a.py:3:5",
        ),
        (
            {"level": "odd", "message": 5, "line": "7", "file": "a"},
            Notice(path="s", level="notice", message="5", file="a", line=7),
            "a:7",
        ),
        ({"message": "m", "line": 3}, Notice(path="s", level="notice", message="m", line=3), ""),
        ("no json", Notice(path="s", level="notice", message="no json"), ""),
    ],
)
def test_notices(text: Any, notice: Notice, place: str) -> None:
    written = text if isinstance(text, str) else json.dumps(text)

    assert notice_of("s", written) == notice
    assert notice.place == place


@pytest.mark.parametrize(
    ("notice", "command"),
    [
        (
            Notice(path="s", level="error", message="a%\nb", file="x,y:z", line=1, column=2),
            "::error file=x%2Cy%3Az,line=1,col=2,title=s::a%25%0Ab",
        ),
        (Notice(path="s", level="notice", message="m", line=3), "::notice title=s::m"),
        (
            Notice(path="s", level="warning", message="m", title="::error::x"),
            "::warning title=%3A%3Aerror%3A%3Ax::m",
        ),
    ],
)
def test_annotations_for_github(notice: Notice, command: str) -> None:
    assert annotation(notice) == command


# -- figures


def step(name: str, **options: Any) -> Node:
    return Node(name=name, kind=Kind.STEP, **options)


def picture(*events: Any, times: Times | None = None) -> Picture:
    both = Node(name="both", kind=Kind.PARALLEL, blocks=(Block((step("a"),)), Block((step("b"),))))
    outputs = Node(name="outputs", kind=Kind.SET, config={"field": "outputs"})
    nodes = (both, step("c"), step("d"), outputs)
    definition = WorkflowDefinition(id="main", root=Block(nodes))
    found = Picture("r1", {"main": definition}, "main", times)
    for each in events:
        found.apply(each)
    return found


EVENTS = (
    event("workflow_started", None, None, 0),
    event("step_started", "a", 2, 0),
    event("step_started", "b", 3, 0),
    event("step_completed", "a", 2, 5),
    event("step_completed", "b", 3, 3, cached={"run": "r0"}),
    event("step_skipped", "c", 4, 5),
    event("step_started", "d", 5, 5),
)


def test_a_tally_counts_leaves_once() -> None:
    count = tally(picture(*EVENTS))

    assert (count.over, count.total, count.active) == (3, 4, 1)
    assert str(count) == "steps: 1 complete, 1 from the cache, 1 skipped"


def test_the_share_is_by_steps_or_by_last_time() -> None:
    assert share(picture(*EVENTS), after(6)) == 0.75
    assert share(picture(*EVENTS, times=Times({"main": 12.0})), after(6)) == 0.5
    assert share(picture(*EVENTS, times=Times({"main": 12.0})), after(60)) == 0.99
    assert share(picture(*EVENTS, event("workflow_completed", None, None, 9)), after(9)) == 1.0


def test_what_is_left_is_told_only_while_nothing_waits() -> None:
    times = Times({"main": 20.0})

    assert time_left(picture(*EVENTS, times=times), after(6)) == 14.0
    assert time_left(picture(*EVENTS, times=times), after(21)) is None
    assert time_left(picture(*EVENTS), after(6)) is None
    waiting = event("step_waiting", "d", 5, 6, event="go")
    assert time_left(picture(*EVENTS, waiting, times=times), after(7)) is None


def test_the_slowest_steps_do_not_count_what_came_from_the_cache() -> None:
    more = [
        event("step_completed", "d", 5, 7),
        *(event("step_started", "d", n, 7) for n in (6, 7)),
        *(event("step_completed", "d", n, 9) for n in (6, 7)),
    ]

    assert slowest(picture(*EVENTS, *more)) == [("a", 5.0), ("d", 2.0), ("d #2", 2.0)]
    assert slowest(picture(*EVENTS)) == []
