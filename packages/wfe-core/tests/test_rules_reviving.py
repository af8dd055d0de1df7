"""Retry, rewind and fork by the pure rules: what goes on from an earlier state."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from random import Random  # noqa: TID251 - seeded, and only here
from typing import Any

import attrs
import pytest
from rules_run import SECOND, Run, block, step

from wfe.core.definition import Kind, Limit, Node
from wfe.core.policies import Retry
from wfe.core.rules.decide import begin_from
from wfe.core.rules.inputs import Restored, Slept
from wfe.core.rules.reopening import before_failures
from wfe.core.rules.reviving import as_of, before_step, restored
from wfe.core.rules.state import State, folded

PENDING, BLOCKED = "pending", "pending_predecessor"
ONE = Limit(None, 1)


def ended(run: Run) -> Restored:
    """Return the state that a retry goes on from, as the shell looks it up."""
    assert run.state.origin is not None
    seq, failed = run.state.origin
    state, failures = before_failures(run.rows, seq, failed)
    return restored(state, None, failures)


def before(run: Run, name: str, **data: Any) -> Restored:
    """Return the state in which a step was about to begin last, with other data."""
    state = before_step(run.rows, name)
    assert state is not None
    return restored(state, {**state.data, **data})


def retried(run: Run) -> None:
    run.back("retry", ended(run), from_step=None)


def test_a_failed_step_is_tried_again_as_another_attempt() -> None:
    run = Run(step("a"), step("b"), data={"x": 1})
    run.done("a")
    run.fail("b")
    retried(run)
    assert run.kinds == ["workflow_retried"]
    assert (run.status, run.state.error, run.live) == ("runnable", None, {"b": PENDING})
    assert run.at("b").attempt == 1
    assert run.state.since == run.now
    run.done("b")
    assert (run.status, run.state.data) == ("complete", {"x": 1})


def test_all_its_retries_are_there_again() -> None:
    run = Run(step("a", on_error=Retry(max_retries=1, interval=timedelta(0))))
    run.fail("a")
    run.fail("a")
    assert run.status == "failed"
    retried(run)
    run.fail("a")
    assert run.live == {"a": "sleeping"}


def test_what_a_failure_cut_off_goes_on_too() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(step("a")), block(step("boom")))))
    run.fail("boom")
    run.stop("a")
    retried(run)
    assert run.live == {"a": PENDING, "boom": PENDING}
    run.done("a")
    run.done("boom")
    assert run.status == "complete"


def test_what_slept_sleeps_on() -> None:
    run = Run(step("p", Kind.PARALLEL, blocks=(block(step("d", Kind.DELAY)), block(step("boom")))))
    run.feed(Slept(run.at("d").id, 0, 50))
    run.fail("boom")
    retried(run)
    assert (run.live["d"], run.at("d").wake) == ("sleeping", 50)


def test_what_was_being_cancelled_still_is() -> None:
    """A rewind to a moment in which a branch waited for the end of a body."""
    inner = step("p", Kind.PARALLEL, blocks=(block(step("a")), block(step("boom"))))
    other = block(inner)
    run = Run(step("q", Kind.PARALLEL, blocks=(other, block(step("x"), step("y")))))
    run.fail("boom")
    run.done("x")
    run.message("suspend")
    run.back("rewind", before(run, "y"), to_step="y")
    assert run.live == {"a": "cancelled", "y": PENDING}


def test_a_timed_container_gets_its_whole_time_again() -> None:
    inner = step("seq", Kind.SEQUENCE, blocks=(block(step("a")),), timeout=10)
    run = Run(step("p", Kind.PARALLEL, blocks=(block(inner), block(step("boom")))))
    run.feed(now=7)
    run.fail("boom")
    run.stop("a")
    retried(run)
    assert run.at("seq").wake == 17


def test_a_time_that_a_definition_has_no_more_is_over_at_once() -> None:
    run = Run(step("seq", Kind.SEQUENCE, blocks=(block(step("a")),), timeout=10))
    run.fail("a")
    found = ended(run)
    again = Run(step("seq", Kind.SEQUENCE, blocks=(block(step("a")),)))
    again.commit(begin_from(again.plan, found, 5, {}))


def test_what_waited_waits_anew() -> None:
    run = Run(step("w", Kind.WAIT_FOR))
    run.wait("w")
    run.message("terminate")
    retried(run)
    assert run.live == {"w": PENDING}
    assert run.at("w").extra == {"since": 1}


def test_a_rewind_lets_go_of_what_waits_now() -> None:
    run = Run(step("a"), step("act", Kind.ACTIVITY), data={"x": 1})
    run.done("a")
    run.offer("act")
    run.message("suspend")
    run.back("rewind", before(run, "a", x=2), to_step="a", data={"x": 2})
    assert run.kinds == ["workflow_rewound"]
    assert run.last.end_activities == (2,)
    assert (run.status, run.live, run.state.data) == ("runnable", {"a": PENDING}, {"x": 2})


def test_a_rewind_forgets_the_fields_that_were_written_since() -> None:
    run = Run(step("a"), step("w", Kind.WAIT_FOR, config={"output": "got"}), step("b"))
    run.done("a")
    run.wait("w")
    run.event("w", 1)
    run.message("suspend")
    run.back("rewind", before(run, "a"), to_step="a")
    assert run.state.data == {}


def test_a_failed_run_is_rewound_by_a_retry() -> None:
    run = Run(step("a"), step("b"))
    run.done("a")
    run.fail("b")
    run.back("retry", before(run, "a"), to_step="a")
    assert run.kinds == ["workflow_rewound"]
    assert run.info("workflow_rewound") == {"from": "a"}


@pytest.mark.parametrize("kind", ["retry", "rewind"])
def test_what_comes_too_late_is_ignored(kind: str) -> None:
    run = Run(step("a"))
    found = before(run, "a")
    run.back("rewind", None, to_step="a")
    assert run.kinds == ["message_ignored"]
    run.back("retry", found, from_step=None)
    assert run.kinds == ["message_ignored"], "it did not fail"
    run.done("a")
    run.back(kind, found, from_step="a")
    assert run.kinds == ["message_ignored"], "it is complete"


def test_undo_logs_come_back() -> None:
    undo = block(step("undo-a"))
    run = Run(step("saga", Kind.SAGA, blocks=(block(step("a", undo=undo), step("b"), step("c")),)))
    run.done("a")
    run.done("b")
    run.message("suspend")
    run.back("rewind", before(run, "b"), to_step="b")
    run.fail("b")
    assert run.live == {"undo-a": PENDING}


def test_the_retry_of_an_undone_saga_begins_it_anew() -> None:
    undo = block(step("undo-a"))
    run = Run(step("saga", Kind.SAGA, blocks=(block(step("a", undo=undo), step("b")),)))
    run.done("a")
    run.fail("b")
    run.done("undo-a")
    assert run.status == "failed"
    retried(run)
    assert run.live == {"saga": PENDING}
    run.branch("saga", 0)
    assert run.live == {"a": PENDING}


def test_a_fork_is_a_run_of_its_own() -> None:
    run = Run(step("a"), step("b"), data={"x": 1})
    run.done("a")
    decision = begin_from(run.plan, before(run, "b", x=2), 9, {"run": "r"})
    fork = folded(State(), decision.rows)
    assert [row[1] for row in decision.rows] == ["workflow_forked"]
    assert fork.data == {"x": 2}
    assert [(p.step, p.status, p.attempt) for p in fork.pointers.values()] == [("b", PENDING, 1)]


def test_a_step_that_never_began_is_not_found() -> None:
    assert before_step(Run(step("a"), step("b")).rows, "b") is None


# -- places


def limited(*nodes: Node, **parts: Any) -> Run:
    run = Run(step("seq", Kind.SEQUENCE, blocks=(block(*nodes),), limits=(ONE,)), **parts)
    run.places("seq", ("k", 1, None))
    run.grant("seq", "k")
    run.branch("seq", 0)
    return run


def test_what_stood_in_a_container_waits_until_that_has_its_places_again() -> None:
    run = limited(step("p", Kind.PARALLEL, blocks=(block(step("d")), block(step("boom")))))
    run.feed(Slept(run.at("d").id, 0, 50))
    run.fail("boom")
    retried(run)
    assert run.live == {"d": BLOCKED, "boom": BLOCKED}
    assert run.at("seq").status == BLOCKED
    (hold,) = run.last.hold
    assert (hold.key, hold.limit) == ("k", 1)
    run.grant("seq", "k")
    assert run.live == {"d": "sleeping", "boom": PENDING}
    assert run.at("d").wake == 50


def test_what_waited_for_its_own_places_asks_anew() -> None:
    run = Run(step("a", limits=(ONE,)))
    run.places("a", ("r", 1, SECOND), ("k", 1, None))
    run.grant("a", "k")
    run.grant("a", "r", at=SECOND)
    assert run.live == {"a": "sleeping"}
    run.message("terminate")
    retried(run)
    assert run.live == {"a": PENDING}


def test_what_waits_behind_a_container_and_for_an_event_waits_on() -> None:
    done = step("p", Kind.PARALLEL, blocks=(block(step("c")), block(step("boom"))))
    run = limited(step("q", Kind.PARALLEL, blocks=(block(done), block(step("x"), step("y")))))
    run.fail("boom")
    run.done("x")
    run.message("suspend")
    run.back("rewind", before(run, "y"), to_step="y")
    assert run.live == {"c": "cancelled", "y": BLOCKED}


def test_limits_of_the_definition_are_a_container_too() -> None:
    run = Run(step("a"), limits=(ONE,))
    assert run.live == {"(workflow)": PENDING}
    run.places("(workflow)", ("k", 1, None))
    run.grant("(workflow)", "k")
    run.branch("(workflow)", 0)
    run.fail("a")
    retried(run)
    assert run.live == {"a": BLOCKED}


def test_the_state_after_the_last_row_is_the_present_one() -> None:
    run = Run(step("a"), step("b"))
    run.done("a")
    assert as_of(run.rows, 99) == run.state


# -- branches that failed while the others went on ------------------------------------------------


def test_what_completed_after_a_failure_stays_completed() -> None:
    branches = (block(step("boom"), step("after")), block(step("b"), step("c")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config={"fail_fast": False}), step("end"))
    run.fail("boom")
    run.done("b")
    run.done("c")
    assert run.status == "failed"
    retried(run)
    assert run.live == {"boom": PENDING}
    run.done("boom")
    run.done("after")
    assert run.live == {"end": PENDING}


def test_every_branch_that_failed_begins_again_where_it_failed() -> None:
    inner = step("seq", Kind.SEQUENCE, blocks=(block(step("a"), step("boom")),))
    branches = (block(inner), block(step("bang")), block(step("c")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config={"fail_fast": False}))
    run.done("a")
    run.fail("boom")
    run.done("c")
    run.fail("bang")
    retried(run)
    assert run.live == {"boom": PENDING, "bang": PENDING}
    run.done("bang")
    run.fail("boom")
    assert run.status == "failed"
    retried(run)
    assert run.live == {"boom": PENDING}
    run.done("boom")
    assert run.status == "complete"


def test_failures_inside_of_a_branch_that_failed_are_tried_again_too() -> None:
    config = {"fail_fast": False}
    inner = step("q", Kind.PARALLEL, blocks=(block(step("x")), block(step("y"))), config=config)
    branches = (block(inner), block(step("z")))
    run = Run(step("p", Kind.PARALLEL, blocks=branches, config=config))
    run.fail("x")
    run.done("y")
    run.done("z")
    retried(run)
    assert run.live == {"x": PENDING}


def test_in_a_graph_what_could_not_run_waits_again() -> None:
    nodes = block(
        step("a"), step("b", needs=("a",)), step("c", needs=("b",)), step("other"),
        step("late", needs=("c",), trigger="all_done"),
    )  # fmt: skip
    run = Run(step("g", Kind.DAG, blocks=(nodes,), config={"fail_fast": False}))
    run.done("a")
    run.fail("b")
    run.done("late")
    run.done("other")
    assert run.status == "failed"
    retried(run)
    assert run.live == {"b": PENDING}
    run.done("b")
    assert run.live == {"c": PENDING}
    run.done("c")
    assert run.status == "complete"


def test_a_failure_that_stops_the_others_keeps_those_before_it() -> None:
    config = {"fail_fast": False}
    inner = step("q", Kind.PARALLEL, blocks=(block(step("x")), block(step("y"))), config=config)
    run = Run(step("p", Kind.PARALLEL, blocks=(block(inner), block(step("boom")))))
    run.fail("x")
    run.fail("boom")
    run.stop("y")
    retried(run)
    assert run.live == {"x": PENDING, "y": PENDING, "boom": PENDING}


def test_what_completed_in_a_container_that_timed_out_stays_completed() -> None:
    inner = step("seq", Kind.SEQUENCE, blocks=(block(step("a"), step("b")),), timeout=10)
    run = Run(inner)
    run.done("a")
    run.due("seq", 10)
    run.stop("b")
    assert run.status == "failed"
    retried(run)
    assert run.live == {"b": PENDING}
    assert run.at("seq").wake == run.now + 10
    run.done("b")
    assert run.status == "complete"


def grown(random: Random, names: Iterator[str], depth: int) -> Node:
    """Return a node of steps that run side by side, one after the other, or as a graph."""
    name = next(names)
    if depth == 0 or random.random() < 0.25:
        return step(name)
    inner = [grown(random, names, depth - 1) for _ in range(random.randint(1, 3))]
    kind = random.choice([Kind.SEQUENCE, Kind.PARALLEL, Kind.DAG])
    if kind is Kind.SEQUENCE:
        return step(name, kind, blocks=(block(*inner),))
    config: dict[str, Any] = {"fail_fast": random.random() < 0.3}
    if kind is Kind.PARALLEL:
        config["limit"] = random.choice([None, 1, 2])
        return step(name, kind, blocks=tuple(block(each) for each in inner), config=config)
    nodes: list[Node] = []
    for each in inner:
        needs = tuple(other.name for other in nodes if random.random() < 0.4)
        late = bool(needs) and random.random() < 0.3
        nodes.append(attrs.evolve(each, needs=needs, trigger="all_done" if late else "all"))
    return step(name, kind, blocks=(block(*nodes),), config=config)


@pytest.mark.parametrize("seed", range(150))
def test_however_it_failed_every_step_completes_once(seed: int) -> None:
    random = Random(seed)
    run = Run(grown(random, (f"n{i}" for i in itertools.count()), 3), step("end"))
    done: list[str] = []
    failures = 6
    while run.status != "complete":
        name, status = random.choice(sorted(run.live.items()))
        if status == "cancelled":
            run.stop(name)
        elif failures and random.random() < 0.4:
            failures -= 1
            run.fail(name)
        else:
            run.done(name)
            done.append(name)
        if run.status == "failed":
            retried(run)

    steps = {row[3] for row in run.rows if row[1] == "step_completed"}
    assert sorted(done) == sorted(steps)
