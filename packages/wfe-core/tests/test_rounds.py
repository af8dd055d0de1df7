"""Fields of rounds: who sees what, and what goes when a round ends."""

from __future__ import annotations

import pytest

from wfe.core.rounds import of_round, recorded, round_field

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
