"""The picture of a run, folded from hand-made events."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cli_events import START, event

from wfe.core.definition import Block, Kind, Node, WorkflowDefinition
from wfe.core.models import (
    ErrorInfo,
    HistoryEntry,
    LifecycleEvent,
    WorkflowStatus,
    to_micros,
)
from wfe.host.cli.model import Change, Picture, past
from wfe.host.cli.visits import State, Visit

ERROR = {"type": "ValueError", "message": "no", "step": "a"}


def step(name: str, **options: Any) -> Node:
    return Node(name=name, kind=Kind.STEP, **options)


def defined(*nodes: Node, id: str = "main") -> WorkflowDefinition:
    return WorkflowDefinition(id=id, root=Block(nodes))


def picture(*definitions: WorkflowDefinition) -> Picture:
    return Picture("r1", {each.id: each for each in definitions}, definitions[0].id)


def only(view: Picture, name: str) -> Visit:
    (visit,) = view.root.steps[name].visits.values()
    return visit


STARTED = event("step_started", "a", 1)


@pytest.mark.parametrize(
    ("events", "state", "note"),
    [
        pytest.param([STARTED], State.RUNNING, "", id="started"),
        pytest.param([STARTED, event("step_completed", "a", 1)], State.COMPLETE, "", id="done"),
        pytest.param(
            [STARTED, event("step_failed", "a", 1, error=ERROR)],
            State.FAILED,
            "ValueError: no",
            id="failed",
        ),
        pytest.param(
            [STARTED, event("step_retrying", "a", 1, error=ERROR, wake=0)],
            State.RETRYING,
            "ValueError: no",
            id="retrying",
        ),
        pytest.param(
            [event("step_retrying", "a", 1, error=ERROR, wake=0), STARTED],
            State.RUNNING,
            "",
            id="started-again",
        ),
        pytest.param([event("step_skipped", "a", 1)], State.SKIPPED, "", id="skipped"),
        pytest.param([event("step_cancelled", "a", 1)], State.CANCELLED, "", id="cancelled"),
        pytest.param([event("step_interrupted", "a", 1)], State.INTERRUPTED, "", id="interrupted"),
        pytest.param([event("step_sleeping", "a", 1, wake=0)], State.SLEEPING, "", id="sleeping"),
        pytest.param(
            [event("step_waiting", "a", 1, event="go", key="7")],
            State.WAITING,
            "waits for event go (key 7)",
            id="waiting-with-key",
        ),
        pytest.param(
            [event("step_waiting", "a", 1, event="go", key="")],
            State.WAITING,
            "waits for event go",
            id="waiting-without-key",
        ),
        pytest.param(
            [event("step_waiting", "a", 1, event="go"), event("event_received", "a", 1)],
            State.RUNNING,
            "",
            id="woken",
        ),
        pytest.param(
            [
                event("step_waiting", "a", 1, limits=["db", "gpu"]),
                event("places_granted", "a", 1, limit="db"),
            ],
            State.WAITING,
            "waits for a free place: db, gpu",
            id="one-place-of-two",
        ),
        pytest.param(
            [
                event("step_waiting", "a", 1, limits=["db", "gpu"]),
                event("places_granted", "a", 1, limit="gpu"),
                event("places_granted", "a", 1, limit="db"),
            ],
            State.RUNNING,
            "",
            id="all-places",
        ),
    ],
)
def test_a_step_follows_its_events(events: list[LifecycleEvent], state: State, note: str) -> None:
    view = picture(defined(step("a")))

    for each in events:
        view.apply(each)

    assert (only(view, "a").state, only(view, "a").note) == (state, note)


def test_times_come_from_the_events() -> None:
    view = picture(defined(step("a")))

    view.apply(event("step_started", "a", 1, at=1))
    view.apply(event("step_completed", "a", 1, at=3))

    visit = only(view, "a")
    assert (visit.started, visit.ended) == (
        START + timedelta(seconds=1),
        START + timedelta(seconds=3),
    )


def test_a_retry_keeps_the_first_start() -> None:
    view = picture(defined(step("a")))

    view.apply(event("step_started", "a", 1, at=1))
    view.apply(event("step_retrying", "a", 1, at=2, wake=0, error=ERROR))
    view.apply(event("step_started", "a", 1, at=3, attempt=1))

    assert only(view, "a").started == START + timedelta(seconds=1)
    assert only(view, "a").attempt == 1


def test_history_gives_the_start_that_it_stored() -> None:
    view = picture(defined(step("a")))
    began = START - timedelta(seconds=4)
    row = HistoryEntry(
        seq=1,
        at=START,
        kind="step_failed",
        step="a",
        pointer=1,
        attempt=0,
        error=ErrorInfo("ValueError", "no", "a"),
        data={"started": to_micros(began)},
    )

    for each in past("r1", "main", [row]):
        view.apply(each)

    assert only(view, "a").started == began
    assert only(view, "a").note == "ValueError: no"


def test_other_runs_are_passed_over() -> None:
    view = picture(defined(step("a")))

    assert view.apply(event("step_started", "a", 1, run="other")) is None
    assert not view.root.steps["a"].visits


def test_unknown_kinds_are_passed_over() -> None:
    view = picture(defined(step("a")))

    assert view.apply(event("host_fenced")) is None
    assert view.apply(event("something_new", "a", 1)) is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("workflow_completed", WorkflowStatus.COMPLETE),
        ("workflow_failed", WorkflowStatus.FAILED),
        ("workflow_terminated", WorkflowStatus.TERMINATED),
        ("workflow_suspended", WorkflowStatus.SUSPENDED),
        ("workflow_resumed", WorkflowStatus.RUNNABLE),
    ],
)
def test_a_run_follows_its_events(kind: str, status: WorkflowStatus) -> None:
    view = picture(defined(step("a")))

    change = view.apply(event(kind))

    assert change == Change(view.root)
    assert view.root.status is status


def test_a_failed_run_names_the_culprit() -> None:
    view = picture(defined(step("a")))

    view.apply(event("workflow_failed", error=ERROR))

    assert (view.root.error, view.root.culprit) == ("ValueError: no", "a")


def test_the_tail_keeps_the_last_lines() -> None:
    view = picture(defined(step("a")))

    for number in range(30):
        view.apply(event("log", "a", 1, stream="stdout", line=f"line {number}"))

    assert list(only(view, "a").output.lines) == [f"line {number}" for number in range(10, 30)]


# -- containers

PARALLEL = Node(name="both", kind=Kind.PARALLEL, blocks=(Block((step("a"),)), Block((step("b"),))))
CHOICE = Node(name="which", kind=Kind.IF, blocks=(Block((step("a"),)), Block((step("b"),))))
A_RUNS, A_DONE = event("step_started", "a", 2), event("step_completed", "a", 2)
B_RUNS, B_DONE = event("step_started", "b", 3), event("step_completed", "b", 3)


@pytest.mark.parametrize(
    ("node", "events", "state"),
    [
        pytest.param(PARALLEL, [], State.PENDING, id="parallel-untouched"),
        pytest.param(PARALLEL, [A_RUNS], State.RUNNING, id="parallel-first"),
        pytest.param(PARALLEL, [A_RUNS, A_DONE], State.RUNNING, id="parallel-half"),
        pytest.param(PARALLEL, [A_DONE, B_DONE], State.COMPLETE, id="parallel-all"),
        pytest.param(
            PARALLEL, [A_DONE, event("step_failed", "b", 3)], State.FAILED, id="parallel-failed"
        ),
        pytest.param(
            PARALLEL,
            [A_RUNS, event("step_cancelled", "a", 2), event("workflow_terminated")],
            State.CANCELLED,
            id="parallel-terminated",
        ),
        pytest.param(CHOICE, [event("step_started", "which", 1)], State.RUNNING, id="if-asked"),
        pytest.param(CHOICE, [A_DONE], State.COMPLETE, id="if-one-side-is-enough"),
        pytest.param(CHOICE, [event("step_completed", "which", 1)], State.COMPLETE, id="if-none"),
        pytest.param(CHOICE, [event("step_skipped", "which", 1)], State.SKIPPED, id="if-skipped"),
    ],
)
def test_a_container_is_what_it_contains(
    node: Node, events: list[LifecycleEvent], state: State
) -> None:
    view = picture(defined(node))

    for each in events:
        view.apply(each)

    assert view.root.state(node) is state


def test_a_container_spans_its_steps() -> None:
    view = picture(defined(PARALLEL))

    view.apply(event("step_started", "a", 2, at=1))
    view.apply(event("step_started", "b", 3, at=2))
    view.apply(event("step_completed", "a", 2, at=5))
    view.apply(event("step_completed", "b", 3, at=4))

    assert view.root.span(PARALLEL) == (START + timedelta(seconds=1), START + timedelta(seconds=5))


def test_steps_in_loops_are_numbered() -> None:
    loop = Node(name="each", kind=Kind.FOR_EACH, blocks=(Block((step("a"),)),))
    view = picture(defined(loop, step("b")))

    labels = [
        change.label
        for change in (
            view.apply(event("step_started", "a", 2)),
            view.apply(event("step_started", "a", 3)),
            view.apply(event("step_started", "b", 4)),
        )
        if change is not None
    ]

    assert labels == ["a #1", "a #2", "b"]


def test_a_sub_workflow_is_part_of_the_picture() -> None:
    sub = Node(name="kid", kind=Kind.SUB_WORKFLOW, config={"definition": "child"})
    view = picture(defined(sub), defined(step("c"), id="child"))

    view.apply(event("step_waiting", "kid", 1, child="r2"))
    change = view.apply(event("step_started", "c", 1, run="r2"))

    assert change is not None
    assert change.path == "kid > c"
    assert view.runs["r2"].parent == (view.root, view.root.steps["kid"])


def test_an_interruption_stops_what_runs_only() -> None:
    view = picture(defined(step("a"), step("b")))
    view.apply(event("step_started", "a", 1))
    view.apply(event("step_waiting", "b", 2, event="go"))

    view.interrupt(START)

    assert only(view, "a").state is State.INTERRUPTED
    assert only(view, "b").state is State.WAITING


def test_nothing_is_active_in_a_final_run() -> None:
    view = picture(defined(step("a")))
    view.apply(event("step_started", "a", 1))

    view.apply(event("workflow_failed", at=2))

    assert only(view, "a").state is State.CANCELLED
    assert only(view, "a").ended == START + timedelta(seconds=2)


def test_without_a_definition_steps_appear_as_they_come() -> None:
    view = Picture("r1", {}, "gone")

    view.apply(event("step_started", "x", 1))

    assert list(view.root.steps) == ["x"]


def test_a_long_loop_keeps_figures_and_forgets_the_rest() -> None:
    loop = Node(name="each", kind=Kind.FOR_EACH, blocks=(Block((step("a"),)),))
    view = picture(defined(loop))
    view.apply(event("step_started", "a", 1, at=1))
    view.apply(event("step_failed", "a", 1, at=2, error=ERROR))

    for pointer in range(2, 1001):
        view.apply(event("step_started", "a", pointer, at=pointer))
        view.apply(event("step_completed", "a", pointer, at=pointer + 1))
    running = view.apply(event("step_started", "a", 1001, at=2000))

    looped = view.root.steps["a"]
    assert running is not None
    assert running.label == "a #1001"
    assert len(looped.visits) <= 101
    assert (looped.count, looped.over, looped.gone[State.FAILED]) == (1001, 1000, 1)
    assert looped.span == (START + timedelta(seconds=1), START + timedelta(seconds=1001))
    assert looped.state is State.RUNNING


def test_a_forgotten_failure_still_shows() -> None:
    view = picture(defined(step("a")))
    view.apply(event("step_failed", "a", 1, error=ERROR))

    for pointer in range(2, 300):
        view.apply(event("step_completed", "a", pointer))

    assert view.root.steps["a"].state is State.FAILED
