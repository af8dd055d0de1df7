"""Fields of rounds: who sees what, and what goes when a round ends."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.core.rounds import of_round, outputs_of, recorded, round_field, round_name

DATA = {
    "inputs": 0,
    "steps.a": "outside",
    "steps.b[0]": "first",
    "steps.b[1]": "second",
    "steps.b[10]": "last",
    "steps.c[1/0]": "inner",
    "steps.odd[name]": "no round",
}


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ((), {"a": "outside", "b": "last", "c": "inner", "odd[name]": "no round"}),
        ((0,), {"a": "outside", "b": "first", "c": "inner", "odd[name]": "no round"}),
        ((1, 0), {"a": "outside", "b": "second", "c": "inner", "odd[name]": "no round"}),
        ((7,), {"a": "outside", "b": "last", "c": "inner", "odd[name]": "no round"}),
    ],
)
def test_a_round_sees_its_own_then_the_last(path: tuple[int, ...], seen: dict[str, str]) -> None:
    assert recorded(DATA, path) == seen


def test_an_inner_step_wins_over_one_of_the_same_name_around_it() -> None:
    data = {"steps.a": 0, "steps.a[2]": 1, "steps.a[2/3]": 2}

    assert recorded(data, (2, 3)) == {"a": 2}
    assert recorded(data, (2, 4)) == {"a": 1}


def test_what_belongs_to_a_round() -> None:
    assert of_round(DATA, (1,)) == ["steps.b[1]", "steps.c[1/0]"]
    assert of_round(DATA, (10,)) == ["steps.b[10]"]
    assert of_round(DATA, (3,)) == []


def test_the_names_of_fields() -> None:
    assert round_field("steps.a", ()) == "steps.a"
    assert round_field("steps.a", (4, 0)) == "steps.a[4/0]"


NAMED: list[tuple[list[Any], str]] = [
    ([], ""),
    ([[0, "a", "each"]], "a"),
    ([[1, {"x": 1}, "inner"], [0, "a", "outer"]], "a, x=1"),
    ([[0, {"os": "linux", "py": 3.12, "new": True}, "build"]], "os=linux, py=3.12, new=true"),
    ([[2, {"deep": {"x": 1}}, "each"]], "3"),
    ([[2, ["a"], "each"]], "3"),
    ([[2, None, "each"]], "3"),
    ([[2, {}, "each"]], "3"),
    ([[0, "two\n lines", "each"]], "two lines"),
    ([[0, "x" * 100, "each"]], "x" * 79 + "…"),
]


@pytest.mark.parametrize(("rounds", "name"), NAMED)
def test_the_names_of_rounds(rounds: list[list[Any]], name: str) -> None:
    assert round_name(rounds) == name


def test_the_outputs_of_a_round_are_those_of_its_own_steps() -> None:
    records = {
        "steps.a[1]": {"outputs": {"x": 1, "y": 1}, "status": "complete"},
        "steps.b[1]": {"outputs": {"y": 2}, "status": "complete"},
        "steps.c[1/0]": {"outputs": {"z": 3}, "status": "complete"},
        "steps.d[1]": {"status": "complete"},
        "steps.e[2]": {"outputs": {"x": 9}, "status": "complete"},
    }

    assert outputs_of(records, (1,)) == {"x": 1, "y": 2}
