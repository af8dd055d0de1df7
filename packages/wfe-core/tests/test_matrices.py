"""The runs of a matrix."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.core.errors import DefinitionError
from wfe.core.matrices import combinations

AXES: dict[str, list[Any]] = {"os": ["linux", "macos"], "py": [1, 2]}


def short(runs: list[dict[str, Any]]) -> list[str]:
    return [" ".join(str(value) for value in run.values()) for run in runs]


def test_the_first_axis_changes_slowest() -> None:
    assert short(combinations(AXES)) == ["linux 1", "linux 2", "macos 1", "macos 2"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ([{"os": "linux"}], ["macos 1", "macos 2"]),
        ([{"os": "linux", "py": 2}], ["linux 1", "macos 1", "macos 2"]),
        ([{"py": 1.0}], ["linux 1", "linux 2", "macos 1", "macos 2"]),
        ([{"py": True}], ["linux 1", "linux 2", "macos 1", "macos 2"]),
        ([{"other": 1}], ["linux 1", "linux 2", "macos 1", "macos 2"]),
    ],
)
def test_what_has_all_values_of_an_exclude_is_left_out(exclude: Any, left: list[str]) -> None:
    assert short(combinations(AXES, exclude)) == left


@pytest.mark.parametrize(
    ("include", "runs"),
    [
        ([{"x": "a"}], ["linux 1 a", "linux 2 a", "macos 1 a", "macos 2 a"]),
        ([{"os": "macos", "x": "a"}], ["linux 1", "linux 2", "macos 1 a", "macos 2 a"]),
        ([{"os": "bsd", "py": 2}], ["linux 1", "linux 2", "macos 1", "macos 2", "bsd 2"]),
        (
            [{"py": 1, "x": "a"}, {"os": "macos", "py": 1, "x": "b"}],
            ["linux 1 a", "linux 2", "macos 1 b", "macos 2"],
        ),
    ],
)
def test_what_an_include_adds(include: Any, runs: list[str]) -> None:
    assert short(combinations(AXES, (), include)) == runs


def test_an_include_of_what_was_excluded_is_a_run_of_its_own() -> None:
    entry = {"os": "linux", "py": 1}

    assert short(combinations(AXES, [{"os": "linux"}], [entry])) == [
        "macos 1",
        "macos 2",
        "linux 1",
    ]


@pytest.mark.parametrize(
    ("axes", "exclude", "problem"),
    [
        ({"os": [], "py": [1]}, [], "the axis 'os' of the matrix has no values"),
        ({"os": ["a"]}, [{"os": "a"}], "the matrix has no runs: every combination is excluded"),
        (
            {key: list(range(10)) for key in "abcde"},
            [],
            "the matrix has 100,000 runs; at most 10,000 are allowed",
        ),
    ],
)
def test_a_matrix_without_runs_or_with_too_many_is_refused(
    axes: Any, exclude: Any, problem: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        combinations(axes, exclude)

    assert caught.value.problem == problem


def test_an_include_may_be_all_that_is_left() -> None:
    assert combinations({"os": ["a"]}, [{"os": "a"}], [{"os": "b"}]) == [{"os": "b"}]
