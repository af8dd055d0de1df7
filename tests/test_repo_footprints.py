"""Wheels and installations have budgets; what is too large is named."""

from __future__ import annotations

from pathlib import Path

import pytest

import footprints
from workspace import distributions

__all__: list[str] = []


def test_every_distribution_has_a_budget_and_nothing_else_has() -> None:
    assert set(footprints.BUDGETS) == {each.name for each in distributions()}


def test_the_core_and_a_store_are_small() -> None:
    """A step into a user's program: no more than six distributions and 3 MB for the engine."""
    core = footprints.BUDGETS["wfe-core"]

    assert core.distributions <= 6
    assert core.installed_mb <= 3


@pytest.mark.parametrize(("size", "found"), [(79_000, 0), (81_000, 1)])
def test_a_planted_wheel_that_is_too_large_is_named(tmp_path: Path, size: int, found: int) -> None:
    wheel = tmp_path / "wfe_sqlite-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"x" * size)

    problems = list(footprints.wheel_problems(wheel, "wfe-sqlite"))

    assert len(problems) == found
    assert all("has 81 kB, at most 80 kB" in each for each in problems)


def test_a_distribution_without_a_budget_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "wfe_new-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"x" * 5000)

    assert list(footprints.wheel_problems(wheel, "wfe-new")) == [
        "wfe-new has no budget in scripts/footprints.py; its wheel has 5 kB"
    ]


def test_a_planted_dependency_is_named(tmp_path: Path) -> None:
    for name in ("attrs", "cattrs", "orjson", "typing_extensions", "wfe_core"):
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
    assert list(footprints.installed_problems(tmp_path, "wfe-core")) == []

    (tmp_path / "heavy-1.0.dist-info").mkdir()
    (tmp_path / "heavy.py").write_bytes(b"#" * 3_100_000)
    (tmp_path / "heavy.pyc").write_bytes(b"#" * 3_100_000)
    many, large = footprints.installed_problems(tmp_path, "wfe-core")

    assert many.startswith("wfe-core comes with 6 distributions, at most 5: attrs, cattrs, heavy")
    assert large == "wfe-core takes 3.1 MB with all it needs, at most 3 MB"
