"""No committed file names a registry's host or somebody's home folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import texts

__all__: list[str] = []


def found(tmp_path: Path, line: str) -> list[str]:
    file = tmp_path / "planted.txt"
    file.write_text(f"first line\n{line}\n")
    return [each.removeprefix(f"{file}:") for each in texts.problems(file)]


def test_files_are_clean() -> None:
    files = list(texts.text_files())

    assert len(files) > 20
    assert [each for path in files for each in texts.problems(path)] == []


@pytest.mark.parametrize("host", ["pypi" + ".org", "files.pythonhosted" + ".org", "npmjs" + ".com"])
def test_a_planted_host_is_found(tmp_path: Path, host: str) -> None:
    (problem,) = found(tmp_path, f"see {host}/simple")

    assert problem.startswith("2: names a registry's host")


@pytest.mark.parametrize("folder", ["root", "home/jo", "Users/Jo"])
def test_a_planted_home_folder_is_found(tmp_path: Path, folder: str) -> None:
    (problem,) = found(tmp_path, f'path = "/{folder}/project"')

    assert problem.startswith("2: names a home folder")


@pytest.mark.parametrize(
    "line", ["docs/root/x", "the package on PyPI", "/rooted/x", "~/x", "$X/root/"]
)
def test_other_text_passes(tmp_path: Path, line: str) -> None:
    assert found(tmp_path, line) == []
