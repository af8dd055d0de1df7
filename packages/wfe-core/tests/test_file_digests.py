"""Digests of files are remembered as long as the files are the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfe.core.file_digests import FileDigests, digest_of, tree_digest

OLD = 1_000_000_000


def _old(path: Path, text: str, when: int = OLD) -> Path:
    path.write_text(text)
    os.utime(path, ns=(when, when))
    return path


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a year after everything was written (the change time cannot be set)."""
    monkeypatch.setattr("wfe.core.file_digests.time.time_ns", lambda: 10**19)


@pytest.mark.usefixtures("late")
def test_an_unchanged_file_is_read_once(tmp_path: Path) -> None:
    path, digests = _old(tmp_path / "a", "1"), FileDigests()

    entries = [digests.entry(path) for _ in range(3)]

    assert entries == [("644", digest_of(path))] * 3
    assert digests.read == 1


@pytest.mark.usefixtures("late")
def test_every_change_is_seen(tmp_path: Path) -> None:
    path, digests = _old(tmp_path / "a", "1"), FileDigests()
    seen = {digests.entry(path)}

    _old(path, "2")  # same size, same time of modification
    seen.add(digests.entry(path))
    _old(tmp_path / "b", "3").replace(path)
    seen.add(digests.entry(path))
    path.chmod(0o755)
    seen.add(digests.entry(path))

    assert len(seen) == 4


def test_a_young_file_is_read_again(tmp_path: Path) -> None:
    path, digests = tmp_path / "a", FileDigests()
    path.write_text("1")

    for _ in range(2):
        digests.entry(path)

    assert digests.read == 2


@pytest.mark.usefixtures("late")
def test_digests_are_kept_for_the_next_process(tmp_path: Path) -> None:
    path, file = _old(tmp_path / "a", "1"), tmp_path / "kept" / "digests.json"
    first = FileDigests(file)
    first.entry(path)
    first.save()
    first.save()

    second = FileDigests(file)
    second.entry(path)
    file.write_text("{")
    third = FileDigests(file)
    third.entry(path)

    assert (first.read, second.read, third.read) == (1, 0, 1)


@pytest.mark.usefixtures("late")
def test_a_place_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    digests = FileDigests(tmp_path / "file" / "digests.json")
    digests.entry(_old(tmp_path / "a", "1"))

    digests.save()

    assert not (tmp_path / "file").is_dir()


def test_trees_differ_in_place_mode_and_contents() -> None:
    trees = [
        {"a": ("644", "1")},
        {"b": ("644", "1")},
        {"a": ("755", "1")},
        {"a": ("644", "2")},
        {"a": ("644", "1"), "b": ("644", "1")},
        {"a": ("link", "1")},
        {"a1:x": ("644", "")},
        {},
    ]

    assert len({tree_digest(tree) for tree in trees}) == len(trees)
    assert tree_digest({"a": ("1", "2"), "b": ("1", "2")}) == tree_digest(
        {"b": ("1", "2"), "a": ("1", "2")}
    )
