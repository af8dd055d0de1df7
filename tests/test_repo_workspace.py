"""The distributions fit together: one version, one licence, no ``wfe/__init__.py``."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

import lock
import wheels
from bump import bumped, sibling_range
from workspace import ROOT, Distribution, distributions

__all__: list[str] = []

ALL = distributions()
each_distribution = pytest.mark.parametrize("distribution", ALL, ids=lambda each: each.name)
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def test_all_distributions_have_one_version() -> None:
    assert len({each.version for each in ALL}) == 1


@each_distribution
def test_siblings_are_pinned_to_this_minor(distribution: Distribution) -> None:
    wanted = sibling_range(distribution.version)
    siblings = [each for each in distribution.requirements(extras=True) if each.startswith("wfe-")]

    assert [each for each in siblings if not each.endswith(wanted)] == []


@each_distribution
def test_nothing_hides_the_namespace(distribution: Distribution) -> None:
    assert not (distribution.src / "wfe" / "__init__.py").exists()


@each_distribution
def test_distribution_has_one_typed_part(distribution: Distribution) -> None:
    assert distribution.part.startswith("wfe.")


@each_distribution
def test_licence_is_the_repository_s(distribution: Distribution) -> None:
    assert (distribution.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@each_distribution
def test_distribution_has_no_tool_settings(distribution: Distribution) -> None:
    tools = tomllib.loads((distribution.folder / "pyproject.toml").read_text())["tool"]

    assert list(tools) == ["hatch"]


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        pytest.param(
            SETTINGS["mypy"]["mypy_path"],
            {f"packages/{each.name}/src" for each in ALL},
            id="tool.mypy.mypy_path",
        ),
        pytest.param(
            SETTINGS["importlinter"]["root_packages"],
            {each.part for each in ALL},
            id="tool.importlinter.root_packages",
        ),
        pytest.param(
            " | ".join(SETTINGS["importlinter"]["contracts"][0]["layers"]).split(" | "),
            {each.part for each in ALL},
            id="tool.importlinter.contracts.layers",
        ),
        pytest.param(
            SETTINGS["coverage"]["run"]["source_pkgs"],
            {each.part for each in ALL},
            id="tool.coverage.run.source_pkgs",
        ),
        pytest.param(
            [each["path"] for each in SETTINGS["towncrier"]["section"]],
            {each.name for each in ALL},
            id="tool.towncrier.section",
        ),
    ],
)
def test_setting_names_every_distribution(setting: list[str], wanted: set[str]) -> None:
    assert wanted - set(setting) == set()


@pytest.mark.parametrize("name", ["run", "dev"])
def test_requirement_files_are_current(name: str) -> None:
    made = {"run": lock.run_requirements, "dev": lock.dev_requirements}[name]()

    assert (ROOT / f"requirements/{name}.txt").read_text() == made, "run `nox -s lock`"


def test_constraints_hold_every_requirement() -> None:
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}

    assert lock.normal_names() - pinned == set(), "run `nox -s lock`"


def test_constraints_hold_names_and_versions_only() -> None:
    text = (ROOT / "constraints.txt").read_text()

    assert [line for line in text.splitlines() if "==" not in line or "/" in line] == []


def test_bump_changes_version_and_pins_only() -> None:
    before = 'version = "0.1.0"\ndependencies = ["attrs>=0.1", "wfe-core[cel]>=0.1,<0.2"]\n'

    after = bumped(before, "0.2.0")

    assert after == 'version = "0.2.0"\ndependencies = ["attrs>=0.1", "wfe-core[cel]>=0.2,<0.3"]\n'


@pytest.mark.parametrize(
    ("version", "wanted"), [("0.1.0", ">=0.1,<0.2"), ("1.0.0", ">=1.0,<2"), ("2.3.4", ">=2.3,<3")]
)
def test_sibling_range(version: str, wanted: str) -> None:
    assert sibling_range(version) == wanted


def test_closure_holds_what_a_wheel_cannot_be_without() -> None:
    by_name = {each.name: each for each in ALL}

    names = [each.name for each in wheels.closure(by_name["wfe-sqlite"])]

    assert names == ["wfe-sqlite", "wfe-core"]
