"""Sizes of modules and functions; the measuring itself is tested on planted files."""

from __future__ import annotations

from pathlib import Path

import pytest

import budgets
from workspace import Distribution, distributions

__all__: list[str] = []

LONG_FUNCTION = "def long():\n" + "    x = 1\n" * 61
LONG_DOCSTRING = 'def short():\n    """' + "word\n" * 80 + '"""\n    return 1\n'
THIRTY_LINES = "def f():\n" + "    x = 1\n" * 30


def measured(tmp_path: Path, source: str) -> budgets.Module:
    file = tmp_path / "planted.py"
    file.write_text(source)
    return budgets.measure(file)


def test_files_are_within_the_hard_limits() -> None:
    modules = [budgets.measure(path) for path in budgets.python_files()]

    assert len(modules) > 10
    assert [each for module in modules for each in budgets.module_problems(module)] == []


@pytest.mark.parametrize("distribution", distributions(), ids=lambda each: each.name)
def test_most_functions_are_short(distribution: Distribution) -> None:
    modules = [budgets.measure(path) for path in distribution.src.rglob("*.py")]

    problems = [each for each in budgets.library_problems(modules) if "one function in ten" in each]

    assert problems == []


def test_ignore_comments_are_rare() -> None:
    modules = [budgets.measure(path) for one in distributions() for path in one.src.rglob("*.py")]

    problems = [each for each in budgets.library_problems(modules) if "ignore comments" in each]

    assert problems == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param("x = 1\n" * 601, "601 lines, at most 600", id="long-module"),
        pytest.param(
            LONG_FUNCTION,
            "long() has 61 lines without signature and docstring, at most 60",
            id="long-function",
        ),
        pytest.param("x = 1  # type: " + "ignore\n", "without a code", id="bare-ignore"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, source: str, message: str) -> None:
    (problem,) = budgets.module_problems(measured(tmp_path, source))

    assert message in problem


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(THIRTY_LINES, "30 lines or more", id="p90"),
        pytest.param("x = 1  # type: " + "ignore[misc]\n", "1 ignore comments", id="ignores"),
    ],
)
def test_a_planted_violation_of_the_whole_is_found(
    tmp_path: Path, source: str, message: str
) -> None:
    (problem,) = budgets.library_problems([measured(tmp_path, source)])

    assert message in problem


def test_docstrings_do_not_count(tmp_path: Path) -> None:
    (function,) = measured(tmp_path, LONG_DOCSTRING).functions

    assert function == ("short", 1, 1)


def test_an_ignore_in_a_string_does_not_count(tmp_path: Path) -> None:
    assert measured(tmp_path, "x = '# type: " + "ignore'\n").ignores == 0


def test_generated_folders_are_left_out(tmp_path: Path) -> None:
    for folder in ("src", ".venv", "dist", "src/__pycache__"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "module.py").touch()

    assert list(budgets.python_files(tmp_path)) == [tmp_path / "src/module.py"]
