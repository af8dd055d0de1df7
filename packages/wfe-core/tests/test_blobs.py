"""The file blobs keep the contract, and survive what happens to files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfe.core.blobs import FileBlobs, open_url
from wfe.core.errors import (
    ProviderError,
    StoreFullError,
    StoreUnavailableError,
    UnreadableTextError,
)
from wfe.testing.contracts import BlobContract


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "blobs"


@pytest.fixture
def blobs(directory: Path) -> FileBlobs:
    return FileBlobs(directory)


class TestFileBlobs(BlobContract):
    pass


def test_a_url_names_the_directory(directory: Path) -> None:
    assert open_url(f"file://{directory}").directory == directory
    assert open_url(f"file://localhost{directory}%20x").directory.name == "blobs x"
    for wrong in ("file:///", "file://server/share", "file:relative"):
        with pytest.raises(ProviderError, match="names no directory; write file:///"):
            open_url(wrong)


@pytest.mark.parametrize("owner", ["..", "", "A", "a/b", "x" * 65])
async def test_owners_cannot_leave_the_directory(blobs: FileBlobs, owner: str) -> None:
    with pytest.raises(ProviderError, match="is no owner"):
        await blobs.put(owner, b"text")
    await blobs.delete([owner])
    assert not blobs.directory.parent.exists()


async def test_a_damaged_file_is_not_returned(blobs: FileBlobs) -> None:
    ref = await blobs.put("7", b"text")
    (blobs.directory / ref).write_bytes(b"other")

    with pytest.raises(UnreadableTextError, match="is damaged"):
        await blobs.get(ref)


async def test_a_crash_while_writing_leaves_no_blob(
    blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    blobs.directory.mkdir(parents=True)
    (blobs.directory / "7").mkdir()
    with pytest.raises(StoreFullError, match="no space is left"):
        await blobs.put("7", b"text")
    monkeypatch.undo()

    assert list((blobs.directory / "7").iterdir()) == []
    ref = await blobs.put("7", b"text")
    assert await blobs.get(ref) == b"text"


async def test_a_partial_file_is_no_blob_and_goes_with_its_owner(blobs: FileBlobs) -> None:
    ref = await blobs.put("7", b"text")
    partial = blobs.directory / "7" / ".new-abc"
    partial.write_bytes(b"tex")

    assert await blobs.get(ref) == b"text"
    assert list(await blobs.owners(0)) == ["7"]
    await blobs.delete(["7"])
    assert not partial.exists()


async def test_who_puts_the_same_again_has_just_put_it(blobs: FileBlobs) -> None:
    ref = await blobs.put("7", b"a")
    for path in (blobs.directory / ref, blobs.directory / "7"):
        os.utime(path, (0, 0))
    assert await blobs.owners(3_600_000_000) == ["7"]

    await blobs.put("7", b"a")

    assert await blobs.owners(3_600_000_000) == []


async def test_blobs_are_durable_before_they_have_their_name(
    blobs: FileBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        order.append("fsync")
        fsync(fd)

    def replaced(old: str, new: Path) -> None:
        order.append("replace")
        replace(old, new)

    await blobs.put("7", b"a")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    await blobs.put("7", b"b")

    assert order == ["fsync", "replace", "fsync"]


async def test_a_directory_that_is_a_file_is_the_systems_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailableError, match="the system cannot read or write"):
        await FileBlobs(tmp_path / "file" / "x").put("7", b"a")


async def test_other_files_in_the_directory_are_left_alone(blobs: FileBlobs) -> None:
    await blobs.put("7", b"a")
    (blobs.directory / "README").write_text("mine")
    (blobs.directory / "8").write_text("a file")

    assert list(await blobs.owners(0)) == ["7"]
