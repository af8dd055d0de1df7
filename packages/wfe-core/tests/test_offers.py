"""Entry points are found without ``importlib.metadata``, and are those that it finds."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest

from wfe.core import offers as module
from wfe.core.offers import Offer, offers

_POINTS = "# all of ours\n[wfe.steps]\na = one:thing.part [more]\nb=two\n\n[others]\nc = three:x\n"


def _distribution(folder: Path, name: str, points: str = _POINTS, kind: str = "dist-info") -> None:
    info = folder / f"{name.replace('-', '_')}-2.0.{kind}"
    info.mkdir(parents=True)
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n\nName: not this\n"
    (info / ("METADATA" if kind == "dist-info" else "PKG-INFO")).write_text(about)
    (info / "entry_points.txt").write_text(points)


def test_all_that_is_installed_here_is_found() -> None:
    # Not in this process: a test run may have finders of its own.
    code = (
        "from wfe.core.offers import _asked, offers\n"
        "import sys\n"
        "mine = offers('wfe.')\n"
        "assert 'importlib.metadata' not in sys.modules\n"
        "asked = [each for each in _asked() if each.group.startswith('wfe.')]\n"
        "assert sorted(mine) == sorted(asked), (mine, asked)\n"
        "assert any(each.group == 'wfe.persistence' for each in mine)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kind", ["dist-info", "egg-info"])
def test_a_distribution_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    _distribution(tmp_path, "some-thing", kind=kind)
    (tmp_path / "one.py").write_text("class thing:\n    part = 5\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    found = offers("wfe.")

    assert found == [
        Offer("wfe.steps", "a", "one:thing.part [more]", "some-thing", "2.0"),
        Offer("wfe.steps", "b", "two", "some-thing", "2.0"),
    ]
    assert found[0].load() == 5


def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _distribution(tmp_path / "first", "thing", "[wfe.steps]\na = first\n")
    _distribution(tmp_path / "second", "thing", "[wfe.steps]\na = second\n")
    gone = tmp_path / "gone"
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(gone), str(tmp_path / "second")])

    assert [each.value for each in offers("wfe.")] == ["first"]


def test_a_distribution_in_an_archive_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("thing-1.0.dist-info/METADATA", "Name: thing\nVersion: 1.0\n")
        file.writestr("thing-1.0.dist-info/entry_points.txt", "[wfe.steps]\na = first\n")
    monkeypatch.setattr(sys, "path", [str(archive)])

    assert offers("wfe.") == [Offer("wfe.steps", "a", "first", "thing", "1.0")]


def test_another_finder_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = Offer("wfe.steps", "a", "first", "thing", "1.0")

    class Elsewhere(MetaPathFinder):
        def find_distributions(self, _context: Any = None) -> list[Any]:
            return []

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Elsewhere()])
    monkeypatch.setattr(module, "_asked", lambda: [offered])

    assert offers("wfe.") == [offered]
