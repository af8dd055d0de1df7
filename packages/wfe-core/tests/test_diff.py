"""Comparing definitions, and whether instances could go from one to the other."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.definition import (
    Block,
    Call,
    Cel,
    Kind,
    Limit,
    Node,
    Value,
    WorkflowDefinition,
)
from wfe.core.diff import Change, Moved, StepDiff, compare
from wfe.core.moving import obstacles
from wfe.core.policies import Fail, Retry, Suspend


def step(name: str, **options: Any) -> Node:
    return Node(name=name, kind=options.pop("kind", Kind.STEP), **options)


def steps(*names: str) -> tuple[Node, ...]:
    return tuple(step(name) for name in names)


def inside(name: str, kind: Kind, *nodes: Node, **options: Any) -> Node:
    return Node(name=name, kind=kind, blocks=(Block(nodes),), **options)


def flow(*nodes: Node, **options: Any) -> WorkflowDefinition:
    return WorkflowDefinition(id="flow", root=Block(nodes), **options)


# -- comparing


def test_equal_definitions_are_the_same() -> None:
    diff = compare(flow(*steps("a", "b")), flow(*steps("a", "b"), version=2))

    assert diff.same
    assert (diff.added, diff.removed, diff.moved, diff.changed) == ((), (), (), ())


def test_steps_come_and_go_by_name() -> None:
    diff = compare(flow(*steps("a", "b")), flow(*steps("b", "c")))

    assert diff.added == ("c",)
    assert diff.removed == ("a",)
    assert diff.moved == ()
    assert not diff.same


NODE = step("a", inputs=(("amount", Cel("data.x")),), config={"limit": 1}, timeout=5)


@pytest.mark.parametrize(
    ("changed", "changes"),
    [
        (attrs.evolve(NODE, kind=Kind.FUNCTION), [("kind", "step", "function")]),
        (attrs.evolve(NODE, timeout=None), [("timeout", 5, None)]),
        (attrs.evolve(NODE, needs=("z",)), [("needs", None, ["z"])]),
        (
            attrs.evolve(NODE, inputs=(("amount", Cel("data.y")), ("more", Value(1)))),
            [
                ("inputs.amount", {"cel": "data.x"}, {"cel": "data.y"}),
                ("inputs.more", None, {"v": 1}),
            ],
        ),
        (attrs.evolve(NODE, config={"limit": True}), [("config.limit", 1, True)]),
        (attrs.evolve(NODE, exprs=(("key", Call()),)), [("key", None, {"call": True})]),
        (attrs.evolve(NODE, run_if=Cel("true")), [("run_if", None, {"cel": "true"})]),
        (attrs.evolve(NODE, limits=(Limit(None, 2),)), [("limits", None, [[None, 2, None]])]),
        (attrs.evolve(NODE, trigger="any"), [("trigger", None, "any")]),
        (attrs.evolve(NODE, cancel_when=Cel("x")), [("cancel_when", None, {"cel": "x"})]),
        (
            attrs.evolve(NODE, blocks=(Block(label="yes"), Block(default=True))),
            [("blocks", None, ["yes", ["otherwise"]])],
        ),
        (attrs.evolve(NODE, undo=Block()), [("undo", None, True)]),
        (attrs.evolve(NODE, hooks=(("ensure", Block()),)), [("hooks", None, ["ensure"])]),
    ],
)
def test_what_changed_of_a_step_is_named(
    changed: Node, changes: list[tuple[str, Any, Any]]
) -> None:
    diff = compare(flow(NODE), flow(changed))

    assert diff.changed == (StepDiff("a", tuple(Change(*each) for each in changes)),)


def test_policies_are_compared() -> None:
    old, new = step("a", on_error=Fail()), step("a", on_error=Retry(max_retries=3, then=Suspend()))

    (found,) = compare(flow(old), flow(new)).changed

    assert [change.what for change in found.changes] == ["on_error"]


def test_settings_of_the_whole_definition_are_compared() -> None:
    old = flow(timeout=1, meta={"description": "x"})
    new = flow(retention=-1, meta={"description": "y"}, limits=(Limit(None, 3),))

    assert compare(old, new).settings == (
        Change("timeout", 1, None),
        Change("meta.description", "x", "y"),
        Change("limits", None, [[None, 3, None]]),
        Change("retention", None, -1),
    )


def test_a_step_that_enters_a_container_has_moved() -> None:
    old = flow(step("a"), step("b"), inside("loop", Kind.WHILE, step("c")))
    new = flow(step("a"), inside("loop", Kind.WHILE, step("c"), step("b")))

    assert compare(old, new).moved == (Moved("b", (), ("loop",)),)


def test_parts_of_a_container_are_told_apart() -> None:
    def choice(then: str, other: str) -> WorkflowDefinition:
        blocks = (Block(steps(then)), Block(steps(other)))
        return flow(Node(name="if", kind=Kind.IF, blocks=blocks))

    assert compare(choice("a", "b"), choice("b", "a")).moved == (
        Moved("a", ("if/then",), ("if/else",)),
        Moved("b", ("if/else",), ("if/then",)),
    )


def test_undo_and_hooks_are_places_too() -> None:
    old = flow(step("a", undo=Block(steps("u"))))
    new = flow(step("a", hooks=(("ensure", Block(steps("u"))),)))

    assert compare(old, new).moved == (Moved("u", ("a/undo",), ("a/ensure",)),)


def test_one_step_that_changes_its_order_is_one_move() -> None:
    diff = compare(flow(*steps("a", "b", "c", "d")), flow(*steps("d", "a", "b", "c")))

    assert diff.moved == (Moved("d", (), ()),)


def test_the_order_in_a_dag_means_nothing() -> None:
    old = flow(inside("dag", Kind.DAG, *steps("a", "b")))
    new = flow(inside("dag", Kind.DAG, *steps("b", "a")))

    assert compare(old, new).same


@given(st.permutations(["a", "b", "c", "d", "e", "f"]))
def test_what_did_not_move_is_in_order(names: list[str]) -> None:
    diff = compare(flow(*steps("a", "b", "c", "d", "e", "f")), flow(*steps(*names)))

    moved = {each.name for each in diff.moved}
    stayed = [name for name in names if name not in moved]
    assert stayed == sorted(stayed)
    # Nothing less would do: putting one of the moved back breaks the order.
    for name in moved:
        back = [each for each in names if each in {*stayed, name}]
        assert back != sorted(back)


# -- moving


def why(
    old: WorkflowDefinition, new: WorkflowDefinition, *at: str, undo: tuple[str, ...] = ()
) -> tuple[str, ...]:
    return obstacles(old, new, at, undo)


OLD = flow(*steps("a", "b", "c"))


@pytest.mark.parametrize(
    "new",
    [
        flow(*steps("a", "b", "c", "d")),
        flow(*steps("a", "b", "x", "c")),
        flow(*steps("b", "c")),
        flow(step("a"), step("b", timeout=5), step("c")),
    ],
)
def test_changes_that_an_instance_may_follow(new: WorkflowDefinition) -> None:
    assert why(OLD, new, "b") == ()


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (flow(*steps("a", "c")), "it stands at 'b', which is gone"),
        (
            flow(step("a"), step("b", kind=Kind.APPROVAL), step("c")),
            "it stands at 'b', which was step and is approval",
        ),
        (
            flow(step("a"), inside("saga", Kind.SAGA, step("b"))),
            "it stands at 'b', which is in saga and was at the top",
        ),
        (
            flow(*steps("a", "x", "b", "c")),
            "'x' is new and comes before 'b': it would never be done",
        ),
        (flow(*steps("a", "c", "b")), "'c' comes before 'b' now: it would never be done"),
        (flow(*steps("b", "a", "c")), "'a' is done and does not come before 'b' any more"),
    ],
)
def test_changes_that_keep_an_instance_where_it_is(new: WorkflowDefinition, reason: str) -> None:
    assert why(OLD, new, "b") == (reason,)


def test_containers_around_the_place_count_too() -> None:
    old = flow(step("a"), inside("loop", Kind.WHILE, step("b")))
    new = flow(step("a"), step("x"), inside("loop", Kind.WHILE, step("b")))

    assert why(old, new, "loop", "b") == (
        "'x' is new and comes before 'loop': it would never be done",
    )


def test_a_started_node_of_a_dag_needs_nothing_new() -> None:
    old = flow(inside("dag", Kind.DAG, *steps("a", "b")))
    new = flow(inside("dag", Kind.DAG, step("a"), step("b", needs=("a",))))

    assert why(old, new, "dag", "b") == ("'b' has begun and now needs 'a' before",)


def test_a_node_added_to_an_open_dag_begins_later() -> None:
    old = flow(inside("dag", Kind.DAG, *steps("a", "b")))
    new = flow(inside("dag", Kind.DAG, *steps("a", "b"), step("c", needs=("a",))))

    assert why(old, new, "dag", "b") == ()


def test_what_would_be_undone_must_stay_undoable() -> None:
    old = flow(*(step(name, undo=Block(steps(f"undo {name}"))) for name in "ab"), step("c"))
    new = flow(step("a"), step("c"))

    assert why(old, new, "c", undo=("a", "b")) == (
        "'a' is done and cannot be undone any more",
        "'b' is done and would have to be undone by steps that are gone",
    )


def test_calls_of_functions_stand_in_no_definition() -> None:
    assert why(OLD, OLD, "b", "charge#1") == ()
