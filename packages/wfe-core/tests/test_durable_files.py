"""Files written aside: the old one or the new one, whole, and nothing left over."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from wfe.core.durable_files import directory_of, make_directory, replace, written_aside
from wfe.core.errors import ProviderError

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")


def write_and_fail(path: Path) -> None:
    with written_aside(path, ".new-") as file:
        file.write(b"half of the n")
        raise KeyboardInterrupt


def test_a_file_is_replaced_and_nothing_else_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    replace(path, b"new", ".new-")

    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"new"}


def test_a_block_that_raises_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    with pytest.raises(KeyboardInterrupt):
        write_and_fail(path)

    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"old"}


def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="No space left"):
        replace(tmp_path / "a", b"new", ".new-")

    assert list(tmp_path.iterdir()) == []


def test_the_first_error_is_told_when_the_rest_cannot_be_removed(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    directory.mkdir()

    with pytest.raises(FileNotFoundError) as caught, written_aside(directory / "f", ".new-"):
        next(directory.iterdir()).unlink()

    assert caught.value.filename2 == str(directory / "f")


@posix
@pytest.mark.parametrize(("mode", "made"), [(None, 0o600), (0o644, 0o644), (0o444, 0o444)])
def test_the_file_has_the_mode_it_is_to_have(tmp_path: Path, mode: int | None, made: int) -> None:
    replace(tmp_path / "a", b"x", ".new-", mode)

    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == made


@posix
def test_mode_and_contents_are_synced_before_the_name_and_the_name_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, bool]] = []

    def look(fd: int) -> None:
        seen.append((stat.filemode(os.fstat(fd).st_mode), path.exists()))

    path = tmp_path / "a"
    monkeypatch.setattr(os, "fsync", look)
    tmp_path.chmod(0o700)

    replace(path, b"new", ".new-", 0o644)

    assert seen == [("-rw-r--r--", False), ("drwx------", True)]


def test_directories_are_made_and_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    (tmp_path / "f").write_bytes(b"")

    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(OSError, match="f"):
        make_directory(tmp_path / "f" / "c")


@pytest.mark.parametrize("url", ["file://host/a", "file:a", "file:///", "file:"])
def test_what_names_no_directory_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ProviderError) as caught:
        directory_of(url, "blobs")

    assert str(caught.value).startswith("blobs: ")
    assert f"{url!r} names no directory; write file:///absolute/directory" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="its paths begin with a letter")
def test_a_directory_may_have_blanks(tmp_path: Path) -> None:
    assert directory_of("file:///a%20b/c", "blobs") == "/a b/c"
    assert directory_of(f"oci://localhost{tmp_path}", "artifacts") == str(tmp_path)
