"""What a wheel may not be: each fault is planted in a small wheel and must be named."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import wheels
from workspace import Distribution

__all__: list[str] = []

SOUND = {
    "wfe/sqlite/__init__.py": "",
    "wfe/sqlite/py.typed": "",
    "wfe_sqlite-0.1.0.dist-info/METADATA": "Name: x\nClassifier: Typing :: Typed\n",
    "wfe_sqlite-0.1.0.dist-info/entry_points.txt": (
        "[console_scripts]\nwfe = wfe.sqlite:main\n\n[wfe.lock]\nsqlite = wfe.sqlite:open_url\n"
    ),
    "wfe_sqlite-0.1.0.dist-info/licenses/LICENSE": "",
}


@pytest.fixture
def distribution(tmp_path: Path) -> Distribution:
    part = tmp_path / "src/wfe/sqlite"
    part.mkdir(parents=True)
    (part / "py.typed").touch()
    points = {"wfe.lock": {"sqlite": "wfe.sqlite:open_url"}}
    project = {"name": "wfe-sqlite", "version": "0.1.0", "entry-points": points}
    return Distribution(folder=tmp_path, project={**project, "scripts": {"wfe": "wfe.sqlite:main"}})


def found(distribution: Distribution, files: Mapping[str, str]) -> list[str]:
    wheel = distribution.folder / "wfe_sqlite-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return list(wheels.problems(wheel, distribution))


def test_a_sound_wheel_passes(distribution: Distribution) -> None:
    assert found(distribution, SOUND) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wfe/sqlite/py.typed", "lacks wfe/sqlite/py.typed"),
        ("wfe_sqlite-0.1.0.dist-info/METADATA", "lacks the classifier Typing :: Typed"),
        ("wfe_sqlite-0.1.0.dist-info/licenses/LICENSE", "lacks the licence text"),
        (
            "wfe_sqlite-0.1.0.dist-info/entry_points.txt",
            "lacks the entry point wfe.lock: sqlite = wfe.sqlite:open_url",
        ),
    ],
)
def test_a_missing_file_is_named(distribution: Distribution, name: str, message: str) -> None:
    problems = found(distribution, {key: SOUND[key] for key in SOUND if key != name})

    assert any(message in each for each in problems)


@pytest.mark.parametrize("name", ["data/pages/one.md", "engine.py"])
def test_a_file_of_the_source_that_is_missing_is_named(
    distribution: Distribution, name: str
) -> None:
    path = distribution.folder / "src/wfe/sqlite" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()

    assert found(distribution, {**SOUND, f"wfe/sqlite/{name}": ""}) == []
    (problem,) = found(distribution, SOUND)
    assert f"lacks wfe/sqlite/{name}, which stands in its source" in problem


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wfe/__init__.py", "holds wfe/__init__.py, which hides"),
        ("wfe/core/stray.py", "holds wfe/core/stray.py, which is not of wfe.sqlite"),
        ("wfe/__main__.py", "holds wfe/__main__.py, which is not of wfe.sqlite"),
        ("tests/test_x.py", "holds tests/test_x.py, which is not of wfe.sqlite"),
    ],
)
def test_a_stray_file_is_named(distribution: Distribution, name: str, message: str) -> None:
    problems = found(distribution, {**SOUND, name: ""})

    assert any(message in each for each in problems)
