"""When a step of a DAG begins: every trigger against everything that may become of its needs."""

from __future__ import annotations

from itertools import permutations, product

import pytest

from wfe.core.definition import TRIGGERS, Kind, Node
from wfe.core.rules.triggers import Verdict, handled, verdict

ENDS = "dscfx"
DONE, FAILED, LOST = set("dsc"), set("cfx"), set("fx")


def node(trigger: str = "all", *, propagates: tuple[str, ...] = (), **needs: str) -> Node:
    return Node(
        name="n",
        kind=Kind.STEP,
        needs=tuple(needs.get("needs", "")),
        needs_any=tuple(needs.get("needs_any", "")),
        trigger=trigger,
        config={"propagates": list(propagates)} if propagates else {},
    )


@pytest.mark.parametrize(
    ("trigger", "a", "b", "expected"),
    [
        ("all", "d", "d", "run"),
        ("all", "d", "s", "run"),
        ("all", "d", "c", "run"),
        ("all", "d", "r", "wait"),
        ("all", "f", "r", "lost"),
        ("all", "x", "d", "lost"),
        ("any", "d", "r", "run"),
        ("any", "s", "r", "run"),
        ("any", "c", "r", "run"),
        ("any", "f", "r", "wait"),
        ("any", "f", "d", "run"),
        ("any", "f", "x", "lost"),
        ("all_done", "f", "r", "wait"),
        ("all_done", "f", "x", "run"),
        ("all_done", "s", "c", "run"),
        ("any_failed", "d", "r", "wait"),
        ("any_failed", "f", "r", "run"),
        ("any_failed", "c", "r", "run"),
        ("any_failed", "x", "r", "run"),
        ("any_failed", "d", "s", "skip"),
        ("none_failed", "d", "r", "wait"),
        ("none_failed", "d", "s", "run"),
        ("none_failed", "s", "s", "run"),
        ("none_failed", "c", "d", "lost"),
        ("none_failed", "f", "r", "lost"),
    ],
)
def test_a_trigger_is_about_what_became_of_the_needs(
    trigger: str, a: str, b: str, expected: Verdict
) -> None:
    assert verdict(node(trigger, needs="ab"), {"a": a, "b": b}) == expected


@pytest.mark.parametrize(
    ("trigger", "a", "b", "expected"),
    [
        ("all", "s", "d", "skip"),
        ("all", "s", "r", "wait"),
        ("all", "s", "f", "lost"),
        ("all", "d", "s", "run"),  # the edge from b satisfies
        ("any", "s", "d", "run"),
        ("any", "s", "r", "wait"),
        ("any", "s", "f", "lost"),
        ("none_failed", "s", "d", "skip"),
    ],
)
def test_a_propagating_edge_passes_a_skip_on(
    trigger: str, a: str, b: str, expected: Verdict
) -> None:
    assert verdict(node(trigger, needs="ab", propagates=("a",)), {"a": a, "b": b}) == expected


def test_an_any_without_a_need_that_counts_is_skipped() -> None:
    skips = node("any", needs="ab", propagates=("a", "b"))

    assert verdict(skips, {"a": "s", "b": "s"}) == "skip"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("d", "d", "run"),
        ("r", "d", "wait"),
        ("d", "r", "wait"),
        ("f", "d", "lost"),
        ("d", "f", "lost"),
    ],
)
def test_needs_and_one_of_the_others_must_both_hold(a: str, b: str, expected: Verdict) -> None:
    assert verdict(node(needs="a", needs_any="b"), {"a": a, "b": b}) == expected


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_step_that_needs_nothing_begins(trigger: str) -> None:
    assert verdict(node(trigger), {}) == "run"


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_step_is_decided_once_its_needs_have_ended_in_whatever_order(trigger: str) -> None:
    for ends in product(ENDS, repeat=3):
        for propagates in ((), ("a",), ("a", "b", "c")):
            step = node(trigger, needs="abc", propagates=propagates)
            known = dict(zip("abc", ends, strict=True))
            outcomes = {_first(step, known, order) for order in permutations("abc")}

            assert len(outcomes) == 1, (ends, propagates)
            assert outcomes != {"wait"}, (ends, propagates)


def _first(step: Node, ends: dict[str, str], order: tuple[str, ...]) -> Verdict:
    """Return the first verdict that is not ``wait``, as the needs end in *order*."""
    states = dict.fromkeys(ends, "r")
    for name in order:
        states[name] = ends[name]
        found = verdict(step, states)
        if found != "wait":
            return found
    return "wait"


@pytest.mark.parametrize("ends", list(product(ENDS, repeat=2)), ids="".join)
def test_without_propagation_the_triggers_are_what_they_say(ends: tuple[str, str]) -> None:
    states = dict(zip("ab", ends, strict=True))
    found = {trigger: verdict(node(trigger, needs="ab"), states) for trigger in TRIGGERS}

    assert (found["all"] == "run") == (set(ends) <= DONE)
    assert (found["any"] == "run") == bool(set(ends) & DONE)
    assert found["all_done"] == "run"
    assert (found["any_failed"] == "run") == bool(set(ends) & FAILED)
    assert (found["none_failed"] == "run") == (not set(ends) & FAILED)
    assert (found["none_failed"] == "run") == (found["any_failed"] == "skip")


def test_failures_that_a_later_step_waits_for_are_handled() -> None:
    nodes = (
        Node(name="a", kind=Kind.STEP),
        Node(name="b", kind=Kind.STEP, needs=("a",)),
        Node(name="c", kind=Kind.STEP),
        Node(name="d", kind=Kind.STEP, needs_any=("c",)),
        Node(name="alone", kind=Kind.STEP),
        Node(name="alarm", kind=Kind.STEP, needs=("b",), trigger="any_failed"),
        Node(
            name="clean", kind=Kind.STEP, needs=("d", "c"), needs_any=("alone",), trigger="all_done"
        ),
    )

    assert handled(nodes) == {"a", "b", "c", "d"}
    assert handled(nodes[:5]) == frozenset()
