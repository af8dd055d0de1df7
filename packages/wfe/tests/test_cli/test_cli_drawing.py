"""The tree of a run as text."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from cli_events import START, after, event

from wfe.core.definition import Block, Cel, Kind, Node, WorkflowDefinition
from wfe.core.models import LifecycleEvent, to_micros
from wfe.core.policies import Retry
from wfe.host.cli.drawing import Line, clock_time, duration, tree
from wfe.host.cli.fitting import fitted
from wfe.host.cli.model import Picture, Times
from wfe.host.cli.visits import State


def leaf(name: str) -> Node:
    return Node(name=name, kind=Kind.STEP)


def drawn(nodes: tuple[Node, ...], events: list[LifecycleEvent], tail: int = 0) -> list[str]:
    definition = WorkflowDefinition(id="main", root=Block(nodes))
    picture = Picture("r1", {"main": definition}, "main")
    for each in events:
        picture.apply(each)
    return [str(line) for line in tree(picture, after(10), tail)]


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
        event("step_started", "one", 1, 0),
        event("step_completed", "one", 1, 1.5),
        event("step_started", "two", 2, 2),
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
        event("step_started", "a", 2, 0),
        event("step_started", "b", 3, 0),
        event("step_failed", "b", 3, 1, error=error),
        event("step_cancelled", "a", 2, 2),
        event("step_failed", "both", 1, 2, error=error),
        event("workflow_failed", None, None, 2, error=error),
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
        event("step_started", "each", 1, 0),
        event("step_branched", "each", 1, 0),
        event("step_started", "a", 2, 0),
        event("step_started", "a", 3, 0),
        event("step_completed", "a", 2, 4),
    ]

    assert drawn((loop,), events) == [
        "└─ ▶ each  10.0s",
        "   └─ ▶ a  10.0s  1/2",
        "      └─ ▶ #2  10.0s",
    ]


def test_tree_counts_the_turns_of_a_while() -> None:
    loop = Node(name="again", kind=Kind.WHILE, blocks=(Block((leaf("a"),)),))
    events = [
        event("step_branched", "again", 1, 0),
        event("step_completed", "a", 2, 1),
        event("step_branched", "again", 1, 1),
        event("step_completed", "a", 3, 2),
        event("step_completed", "again", 1, 3),
    ]

    assert drawn((loop,), events)[0] == "└─ ✔ again  3.0s  turn 2"


def test_tree_shows_the_last_lines_of_what_runs() -> None:
    events = [event("step_started", "one", 1, 0)]
    events += [event("log", "one", 1, 1, line=text) for text in ("x", "y", "z")]

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


def test_fitted_to_one_line_keeps_one() -> None:
    lines = [line("a"), line("busy", State.RUNNING), line("b")]

    assert [each.text for each in fitted(lines, 1)] == ["busy"]


def test_fitted_folds_what_is_over_first() -> None:
    done = [Line(guides="", text=f"done {n}", state=State.COMPLETE, depth=1) for n in range(9)]
    lines = [line("box", State.COMPLETE), *done, line("busy", State.RUNNING), line("next")]

    assert [(each.text, each.note) for each in fitted(lines, 4)] == [
        ("box", "9 steps"),
        ("busy", ""),
        ("next", ""),
    ]


# -- rounds, hooks, retries, caches, last time


def test_rounds_of_a_matrix_have_names() -> None:
    loop = Node(name="test", kind=Kind.FOR_EACH, blocks=(Block((leaf("a"),)),))
    events = [
        event("step_branched", "test", 1, 0),
        event("step_started", "a", 2, 0, round="os=linux"),
        event("step_started", "a", 3, 0, round="os=mac"),
        event("step_completed", "a", 2, 4, round="os=linux"),
    ]

    assert drawn((loop,), events) == [
        "└─ ▶ test  10.0s",
        "   ├─ ✔ a [os=linux]  4.0s",
        "   └─ ▶ a [os=mac]  10.0s",
    ]


def test_rounds_of_several_steps_are_groups() -> None:
    loop = Node(name="test", kind=Kind.FOR_EACH, blocks=(Block((leaf("a"), leaf("b"))),))
    events = [
        event("step_branched", "test", 1, 0),
        event("step_started", "a", 2, 0, round="x"),
        event("step_completed", "a", 2, 4, round="x"),
        event("step_started", "b", 3, 4, round="x"),
        event("step_started", "a", 4, 4, round="y"),
        event("step_failed", "a", 4, 5, round="y", error={"type": "E", "message": "no"}),
    ]

    assert drawn((loop,), events) == [
        "└─ ▶ test  10.0s",
        "   ├─ ▶ [x]",
        "   │  ├─ ✔ a  4.0s",
        "   │  └─ ▶ b  6.0s",
        "   └─ ✖ [y]",
        "      ├─ ✖ a  1.0s  E: no",
        "      └─ ○ b",
    ]


def test_loops_in_loops_stand_inside_each_other() -> None:
    inner = Node(name="in", kind=Kind.FOR_EACH, blocks=(Block((leaf("a"),)),))
    outer = Node(name="out", kind=Kind.FOR_EACH, blocks=(Block((inner, leaf("b"))),))
    events = [
        event("step_branched", "out", 1, 0),
        event("step_branched", "in", 2, 0, round="1"),
        event("step_started", "a", 3, 0, round="1, x"),
        event("step_started", "a", 4, 0, round="1, y"),
    ]

    assert drawn((outer,), events) == [
        "└─ ▶ out  10.0s",
        "   └─ ▶ [1]",
        "      ├─ ▶ in",
        "      │  ├─ ▶ a [1, x]  10.0s",
        "      │  └─ ▶ a [1, y]  10.0s",
        "      └─ ○ b",
    ]


def test_many_rounds_show_those_that_run_and_count_the_others() -> None:
    loop = Node(name="all", kind=Kind.FOR_EACH, blocks=(Block((leaf("a"),)),))
    events = [event("step_branched", "all", 1, 0)]
    for number in range(40):
        events.append(event("step_started", "a", number + 2, 0, round=str(number)))
        if number != 7:
            events.append(event("step_completed", "a", number + 2, 1, round=str(number)))

    assert drawn((loop,), events) == [
        "└─ ▶ all  10.0s",
        "   ├─ ▶ a [7]  10.0s",
        "   └─ 39 rounds are over",
    ]


def test_hooks_and_undos_that_ran_stand_under_their_step() -> None:
    node = Node(
        name="a",
        kind=Kind.STEP,
        hooks=(("on_failure", Block((leaf("tell"),))), ("on_success", Block((leaf("cheer"),)))),
        undo=Block((leaf("back"),)),
    )
    events = [
        event("step_started", "a", 1, 0),
        event("step_failed", "a", 1, 1, error={"type": "E", "message": "no"}),
        event("step_started", "tell", 2, 1),
        event("step_started", "back", 3, 1),
    ]

    assert drawn((node,), events) == [
        "└─ ✖ a  1.0s  E: no",
        "   ├─ on_failure",
        "   │  └─ ▶ tell  9.0s",
        "   └─ compensate",
        "      └─ ▶ back  9.0s",
    ]


def test_a_retry_counts_down() -> None:
    node = Node(name="a", kind=Kind.STEP, on_error=Retry(max_retries=3))
    error = {"type": "E", "message": "no"}
    events = [
        event("step_started", "a", 1, 0),
        event("step_retrying", "a", 1, 1, error=error, wake=to_micros(after(14))),
    ]

    assert drawn((node,), events) == ["└─ ↻ a  10.0s  attempt 2 of 4 in 4.0s, E: no"]
    events.append(attrs.evolve(event("step_started", "a", 1, 9), attempt=1))
    assert drawn((node,), events) == ["└─ ▶ a  10.0s  attempt 2 of 4"]


def test_a_step_from_the_cache_a_skipped_one_and_one_that_waits() -> None:
    skipped = Node(name="b", kind=Kind.STEP, run_if=Cel("inputs.x"))
    events = [
        event("step_completed", "a", 1, 0, cached={"run": "r0"}),
        event("step_skipped", "b", 2, 0),
        event("step_skipped", "c", None, 0, why="need 'a' failed"),
        event("step_waiting", "d", 4, 0, limits=["db", "gpu"], wake=to_micros(after(3610))),
        event("step_waiting", "e", 5, 0, approval="ship?", options=["yes", "no"]),
        event("step_waiting", "f", 6, 0, signal="go"),
        event("step_waiting", "g", 7, 0, activity="paint"),
    ]
    nodes = (leaf("a"), skipped, *(leaf(name) for name in "cdefg"))

    assert drawn(nodes, events) == [
        "├─ ✔ a  from run r0",
        "├─ ⊘ b  when inputs.x is false",
        "├─ ⊘ c  need 'a' failed",
        "├─ ⏸ d  10.0s  waits for a free place: db, gpu",
        "├─ ⏸ e  10.0s  waits for an answer (yes|no): ship?",
        "├─ ⏸ f  10.0s  waits for signal go",
        "└─ ⏸ g  10.0s  waits for activity paint",
    ]


def test_progress_and_last_time() -> None:
    definition = WorkflowDefinition(id="main", root=Block((leaf("a"), leaf("b"), leaf("c"))))
    times = Times({}, {("main", "a"): 12.0, ("main", "b"): 2.0, ("main", "c"): 60.0})
    picture = Picture("r1", {"main": definition}, "main", times)
    for each in (
        event("step_started", "a", 1, 0),
        event("log", "a", 1, 1, stream="progress", line="40 half way"),
        event("step_started", "b", 2, 0),
        event("step_completed", "b", 2, 2.1),
        event("step_started", "c", 3, 0),
        event("step_completed", "c", 3, 5),
    ):
        picture.apply(each)

    assert [str(each) for each in tree(picture, after(10))] == [
        "├─ ▶ a  10.0s (last 12.0s)  40% half way",
        "├─ ✔ b  2.1s",
        "└─ ✔ c  5.0s (last 1m 00s)",
    ]


def test_what_a_front_end_put_around_steps_is_not_drawn() -> None:
    dag = Node(name="steps", kind=Kind.DAG, config={"hidden": True}, blocks=(Block((leaf("a"),)),))

    assert drawn((dag, leaf("b")), []) == ["├─ ○ a", "└─ ○ b"]


def test_a_branch_that_was_not_taken_says_so() -> None:
    choice = Node(name="choose", kind=Kind.IF, blocks=(Block((leaf("a"),)), Block((leaf("b"),))))
    events = [
        event("step_branched", "choose", 1, 0),
        event("step_started", "b", 2, 0),
        event("step_completed", "b", 2, 1),
        event("step_completed", "choose", 1, 1),
    ]

    assert drawn((choice,), events) == [
        "└─ ✔ choose  1.0s",
        "   ├─ then: not taken",
        "   └─ else",
        "      └─ ✔ b  1.0s",
    ]
