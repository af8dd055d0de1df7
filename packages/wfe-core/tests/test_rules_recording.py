"""What steps of files record of themselves, and what the hooks of an error are."""

from __future__ import annotations

from typing import Any

import pytest
from rules_run import Run, block, both, saga, step

from wfe.core.definition import Block, Kind, Node
from wfe.core.policies import Compensate, Continue
from wfe.core.rules.inputs import Completed, Failed, Items, Skipped, Writes

RECORDS: dict[str, Any] = {"meta": {"records": True}}


def loop(*nodes: Node, name: str = "loop", **config: Any) -> Node:
    kept = {"key": name, "results": True, **config}
    return step(name, Kind.FOR_EACH, blocks=(block(*nodes),), config=kept)


def output(run: Run, name: str, index: int, **outputs: Any) -> None:
    """Let a step of the round *index* complete with *outputs*."""
    (at,) = (
        p for p in run.state.pointers.values() if p.step == name and p.extra.get("index") == index
    )
    record = {"outputs": outputs, "status": "complete"}
    writes = Writes({f"steps.{name}[{index}]": record})
    run.feed(Completed(at.id, at.attempt, None, writes))


def items(run: Run, name: str, *found: Any) -> None:
    run.feed(Items(**run.place(name), items=list(found)))


# -- hooks of an error ----------------------------------------------------------------------------


def hooked(*names: str) -> Node:
    hooks = tuple((name, block(step(name))) for name in names)
    return step("work", hooks=hooks)


def errs(run: Run, name: str = "work") -> None:
    run.feed(Failed(**run.place(name), type="E", message="no", errored=True))


def test_an_error_runs_its_own_hook() -> None:
    run = Run(hooked("on_failure", "on_error"))

    errs(run)

    assert list(run.live) == ["on_error"]


def test_a_failure_does_not_run_the_hook_of_an_error() -> None:
    run = Run(hooked("on_failure", "on_error"))

    run.fail("work")

    assert list(run.live) == ["on_failure"]


def test_who_says_nothing_of_errors_takes_them_for_failures() -> None:
    run = Run(hooked("on_failure"))

    errs(run)

    assert list(run.live) == ["on_failure"]


def test_an_empty_hook_for_errors_says_that_they_are_no_failures() -> None:
    hooks = (("on_failure", block(step("told"))), ("on_error", Block()))
    run = Run(step("work", hooks=hooks))

    errs(run)

    assert run.status == "failed"


def test_what_is_around_an_error_has_an_error_as_well() -> None:
    outer = step("outer", Kind.SEQUENCE, blocks=(block(step("work")),))
    hooks = (("on_failure", block(step("f"))), ("on_error", block(step("e"))))
    run = Run(step("all", Kind.SEQUENCE, blocks=(block(outer),), hooks=hooks))

    errs(run)

    assert list(run.live) == ["e"]


def test_the_error_of_a_child_is_the_error_of_its_step() -> None:
    hooks = (("on_error", block(step("e"))),)
    run = Run(step("sub", Kind.SUB_WORKFLOW, hooks=hooks))
    run.begin_child("sub")

    error = {"type": "E", "message": "gone", "errored": True}
    run.child_over("sub", status="failed", error=error)

    assert list(run.live) == ["e"]


# -- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Continue(), Compensate()])
def test_a_failure_that_is_passed_over_is_recorded(policy: Any) -> None:
    run = Run(step("work", config={"key": "work"}, on_error=policy), **RECORDS)

    run.fail("work")

    assert run.state.data == {"steps.work": {"outputs": {}, "status": "failed"}}


@pytest.mark.parametrize(
    ("field", "data"),
    [("steps.sub", {"steps.sub": {"outputs": {}, "status": "failed"}}), ("sub", {})],
)
def test_a_child_that_fails_and_is_passed_over_is_recorded(field: str, data: Any) -> None:
    node = step("sub", Kind.SUB_WORKFLOW, config={"output": field}, on_error=Continue())
    run = Run(node, **RECORDS)
    run.begin_child("sub")

    run.child_over("sub", status="failed")

    assert run.state.data == data


def test_a_failure_that_is_passed_over_is_recorded_in_files_only() -> None:
    run = Run(step("work", config={"key": "work"}, on_error=Continue()))

    run.fail("work")

    assert run.state.data == {}


def test_a_step_without_a_key_records_nothing() -> None:
    run = Run(step("work", on_error=Continue()), **RECORDS)

    run.fail("work")

    assert (run.status, run.state.data) == ("complete", {})


def test_a_saga_records_that_it_is_done() -> None:
    node = saga(step("work"), config={"key": "booking"})
    run = Run(node, **RECORDS)

    run.done("work")

    assert run.state.data == {"steps.booking": {"outputs": {}, "status": "complete"}}


def test_a_loop_gives_the_outputs_of_each_round_in_the_order_of_its_items() -> None:
    run = Run(loop(step("build"), step("test")), **RECORDS)
    items(run, "loop", "a", "b")

    output(run, "build", 1, digest="b1")
    output(run, "test", 1, passed=2)
    output(run, "build", 0, digest="a1")
    output(run, "test", 0)

    found = run.state.data["steps.loop"]
    assert found["results"] == [{"digest": "a1"}, {"digest": "b1", "passed": 2}]
    assert found["status"] == "complete"
    assert "steps.build[0]" not in run.state.data
    assert "steps.build[1]" in run.state.data


@pytest.mark.parametrize(("parts", "told"), [(RECORDS, False), ({}, True)])
def test_rounds_of_a_file_share_their_flat_fields(parts: Any, told: bool) -> None:
    run = Run(loop(step("build")), **parts)
    items(run, "loop", "a", "b")
    before = run.state.seq
    for index in (0, 1):
        (at,) = (p for p in run.state.pointers.values() if p.extra.get("index") == index)
        run.feed(Completed(at.id, at.attempt, None, Writes({"digest": index}, base=before)))

    assert any(row[1] == "data_conflict" for row in run.rows) is told


def test_a_loop_without_items_has_no_results() -> None:
    run = Run(loop(step("build")), **RECORDS)

    items(run, "loop")

    assert run.state.data["steps.loop"]["results"] == []


def test_a_loop_in_a_loop_has_results_of_its_own() -> None:
    run = Run(loop(loop(step("build"), name="inner"), name="outer"), **RECORDS)
    items(run, "outer", "a")
    items(run, "inner", 1)

    record = {"outputs": {"x": 1}, "status": "complete"}
    run.done("build", writes=Writes({"steps.build[0/0]": record}))

    assert run.state.data["steps.inner[0]"]["results"] == [{"x": 1}]
    assert run.state.data["steps.outer"]["results"] == [{}]


def test_a_loop_that_keeps_no_results_has_none() -> None:
    run = Run(loop(step("build"), results=False), **RECORDS)
    items(run, "loop", "a")

    output(run, "build", 0, digest="a1")

    assert "results" not in run.state.data["steps.loop"]


def test_an_answer_is_an_output() -> None:
    config = {"key": "ask", "record": "choice"}
    run = Run(step("ask", Kind.APPROVAL, config=config), **RECORDS)
    run.ask("ask")

    run.message("approve", {"pointer": run.at("ask").id, "answer": "yes"})

    record = {"outputs": {"choice": "yes"}, "status": "complete"}
    assert run.state.data == {"steps.ask": record, "choice": "yes"}


@pytest.mark.parametrize(
    ("who", "comment", "message"),
    [
        ({}, None, "answered 'no'"),
        ({"actor": "ann"}, "too late", "answered 'no' by ann: too late"),
    ],
)
def test_an_answer_may_fail_the_step(who: Any, comment: Any, message: str) -> None:
    run = Run(step("ask", Kind.APPROVAL, config={"fails": ["no"]}), **RECORDS)
    run.ask("ask")

    answer = {"pointer": run.at("ask").id, "answer": "no", "comment": comment}
    run.message("approve", answer, **who)

    assert run.status == "failed"
    assert run.state.error is not None
    assert run.state.error["message"] == message
    assert run.info("step_failed")["outcome"] == "no"


# -- rounds have names ----------------------------------------------------------------------------


def test_rows_of_a_loop_have_the_name_of_the_round() -> None:
    run = Run(loop(step("build")), **RECORDS)
    items(run, "loop", {"os": "linux", "py": 3.12}, "b")

    output(run, "build", 0)
    output(run, "build", 1)

    names = [row[5]["round"] for row in run.rows if row[1] == "step_completed"]
    assert names == ["os=linux, py=3.12", "b"]


def test_what_is_cancelled_in_a_loop_has_the_name_of_its_round() -> None:
    run = Run(both(loop(step("build")), step("fails")), **RECORDS)
    items(run, "loop", "a")

    run.fail("fails")
    run.stop("build")

    assert run.info("step_cancelled")["round"] == "a"


def test_rows_outside_of_a_loop_and_those_of_no_file_have_none() -> None:
    run = Run(step("work"), **RECORDS)
    plain = Run(loop(step("build")))
    items(plain, "loop", "a")

    run.done("work")
    plain.feed(Skipped(**plain.place("build")))

    assert run.info("step_completed") is None
    assert plain.info("step_skipped") is None


# -- why a step of a graph never begins -----------------------------------------------------------


def graph(*nodes: Node, **config: Any) -> Node:
    return step("graph", Kind.DAG, blocks=(block(*nodes),), config=config)


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (step("c", needs=("a",)), "need 'a' failed"),
        (step("c", needs=("b",)), "need 'b' could not run"),
        (step("c", needs_any=("a",)), "need 'a' failed"),
    ],
)
def test_a_step_that_never_begins_says_why(node: Node, why: str) -> None:
    run = Run(graph(step("a"), step("b", needs=("a",)), node, fail_fast=False), **RECORDS)

    run.fail("a")

    said = {row[3]: row[5]["why"] for row in run.rows if row[1] == "step_skipped"}
    assert said == {"b": "need 'a' failed", "c": why}


def test_a_step_whose_need_was_skipped_says_so() -> None:
    last = step("b", needs=("a",), config={"propagates": ["a"]})
    run = Run(graph(step("a"), last), **RECORDS)

    run.feed(Skipped(**run.place("a")))

    assert run.info("step_skipped") == {"why": "need 'a' was skipped"}


def test_a_handler_that_nothing_failed_for_needs_no_reason() -> None:
    run = Run(graph(step("a"), step("b", needs=("a",), trigger="any_failed")), **RECORDS)

    run.done("a")

    assert run.info("step_skipped") is None


def test_what_the_shell_notes_of_a_step_stands_in_its_row() -> None:
    run = Run(step("work"))

    run.done("work", notes={"cached": {"run": "r-1"}})

    assert run.info("step_completed") == {"cached": {"run": "r-1"}}


def test_such_a_note_is_kept_of_a_step_that_another_follows() -> None:
    run = Run(step("work"), step("rest"))

    run.done("work", notes={"cached": {"run": "r-1"}})

    assert run.info("step_completed") == {"cached": {"run": "r-1"}}
    assert run.place("rest")["pointer"] == 2


def test_a_step_that_another_follows_writes_what_was_written_meanwhile() -> None:
    one = step("one", Kind.SEQUENCE, blocks=(block(step("a"), step("b")),))
    two = step("two", Kind.SEQUENCE, blocks=(block(step("c"), step("d")),))
    run = Run(both(one, two))
    began = run.state.seq
    run.done("a", writes=Writes({"x": 1}, base=began))

    run.done("c", writes=Writes({"x": 2}, base=began))

    assert run.state.data["x"] == 2
    assert any(row[1] == "data_conflict" for row in run.rows)
