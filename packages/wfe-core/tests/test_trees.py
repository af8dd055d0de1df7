"""Archives are deterministic, and hostile ones put nothing outside of their directory."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from wfe.core.artifacts import ArtifactError
from wfe.core.trees import (
    GZIP,
    TAR,
    Unpacking,
    compressed,
    decompressed,
    has_zstd,
    link_problem,
    place_problem,
    write_tar,
)

LIMIT = 10_000


def _member(name: str, **columns: object) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in columns.items():
        setattr(member, key, value)
    return member


def _file(name: str, size: int = 1) -> Callable[[tarfile.TarFile], None]:
    return lambda tar: tar.addfile(_member(name, size=size), io.BytesIO(b"x" * size))


def _special(name: str, kind: bytes, target: str = "") -> Callable[[tarfile.TarFile], None]:
    return lambda tar: tar.addfile(_member(name, type=kind, linkname=target))


def _link(name: str, target: str) -> Callable[[tarfile.TarFile], None]:
    return _special(name, tarfile.SYMTYPE, target)


def _archive(*members: Callable[[tarfile.TarFile], None]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for add in members:
            add(tar)
    out.seek(0)
    return out


HOSTILE = {
    "absolute": (_file("/etc/evil"),),
    "parent": (_file("../evil"),),
    "parent-inside": (_file("a/../../evil"),),
    "parent-at-the-end": (_file("a/.."),),
    "dot": (_file("./a"),),
    "empty-part": (_file("a//b"),),
    "backslashes-are-names": (_file("a"), _file("a/b")),
    "file-over-directory": (_file("a/b"), _file("a")),
    "link-absolute": (_link("a", "/etc/passwd"),),
    "link-out": (_link("a", "../outside"),),
    "link-out-deep": (_link("a/b", "../../outside"),),
    "link-out-by-way-of-a-link": (_link("sub/up", ".."), _link("x", "sub/up/../outside")),
    "link-out-by-a-later-link": (_link("x", "b/../../outside"),),
    "links-that-lead-through-each-other": (
        _file("d/e/f"),
        _link("x", "b/../../../outside"),
        _link("b", "d/e"),
    ),
    "hard-link": (_special("a", tarfile.LNKTYPE, "/etc/passwd"),),
    "hard-link-inside": (_file("a"), _special("b", tarfile.LNKTYPE, "a")),
    "device": (_special("a", tarfile.CHRTYPE),),
    "block-device": (_special("a", tarfile.BLKTYPE),),
    "fifo": (_special("a", tarfile.FIFOTYPE),),
    "directory": (_special("a", tarfile.DIRTYPE),),
    "too-big": (_file("a", LIMIT + 1),),
    "too-big-together": (_file("a", LIMIT), _file("b", 1)),
    "link-over-directory": (_file("a/b"), _link("a", "c")),
    "empty-link": (_link("a", ""),),
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused(
    members: tuple[Callable[[tarfile.TarFile], None], ...], tmp_path: Path
) -> None:
    inside = tmp_path / "deep" / "inside"
    unpacking = Unpacking("x", inside, LIMIT)

    def unpack() -> None:
        unpacking.tar(_archive(*members))
        unpacking.finish()

    with pytest.raises(ArtifactError, match="it is not unpacked"):
        unpack()

    outside = [path for path in tmp_path.rglob("*") if inside not in (path, *path.parents)]
    assert outside == [tmp_path / "deep"]
    for path in inside.rglob("*"):
        assert not path.name.startswith(".wfe-new-")
        assert inside in path.resolve().parents


def test_nothing_is_written_through_links_that_stand_there(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    (inside / "a").symlink_to(outside)
    (outside / "victim").write_text("mine")
    (inside / "victim").symlink_to(outside / "victim")
    unpacking = Unpacking("x", inside, LIMIT)

    with pytest.raises(ArtifactError, match="written through the link"):
        unpacking.tar(_archive(_file("a/b")))
    unpacking.tar(_archive(_file("victim")))  # the link itself is replaced

    assert list(outside.iterdir()) == [outside / "victim"]
    assert (outside / "victim").read_text() == "mine"
    assert (inside / "victim").read_text() == "x"


def test_a_name_with_a_backslash_stays_a_name(tmp_path: Path) -> None:
    unpacking = Unpacking("x", tmp_path / "in", LIMIT)

    unpacking.tar(_archive(_file("..\\evil")))

    assert os.listdir(tmp_path / "in") == ["..\\evil"]  # noqa: PTH208 - names as texts


@pytest.mark.parametrize("cut", [0, 100, 512, 700])
def test_a_cut_archive_is_refused_or_empty(tmp_path: Path, cut: int) -> None:
    data = _archive(_file("a", 600)).getvalue()[:cut]
    unpacking = Unpacking("x", tmp_path / "in", LIMIT)

    with pytest.raises(ArtifactError):
        unpacking.tar(io.BytesIO(data))

    assert list((tmp_path / "in").iterdir()) == []


def test_links_inside_are_kept(tmp_path: Path) -> None:
    unpacking = Unpacking("x", tmp_path / "in", LIMIT)

    unpacking.tar(_archive(_link("a/up", "../b"), _file("b"), _link("circle", "circle")))
    unpacking.finish()

    assert (tmp_path / "in" / "a" / "up").read_text() == "x"
    assert sorted(unpacking.places) == ["a/up", "b", "circle"]


def test_equal_files_give_equal_archives(tmp_path: Path) -> None:
    archives: list[bytes] = []
    for k, order in enumerate((["a", "b"], ["b", "a"])):
        (tmp_path / str(k)).mkdir()
        for name in order:
            path = tmp_path / str(k) / name
            path.write_text(name)
            path.chmod(0o640 if k else 0o600)
            os.utime(path, (k, k))
        out = io.BytesIO()
        write_tar({name: tmp_path / str(k) / name for name in order}, out)
        archives.append(out.getvalue())

    assert archives[0] == archives[1]


@pytest.mark.parametrize("zstd", [True, False])
def test_what_was_compressed_comes_back(
    monkeypatch: pytest.MonkeyPatch, zstd: bool, tmp_path: Path
) -> None:
    if zstd and not has_zstd():
        pytest.skip("zstandard is not installed")
    if not zstd:
        monkeypatch.setattr("wfe.core.trees._zstd", lambda: None)
    out = tmp_path / "out"
    with out.open("wb") as file, compressed(file) as (packed, media_type):
        packed.write(b"hello" * 1000)

    assert (media_type == GZIP) is not zstd
    with out.open("rb") as stored, decompressed(stored, media_type, "x") as plain:
        assert plain.read() == b"hello" * 1000


def test_what_cannot_be_read_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfe.core.trees._zstd", lambda: None)

    with (
        pytest.raises(ArtifactError, match=r"install wfe-core\[zstd\]"),
        decompressed(io.BytesIO(), f"{TAR}+zstd", "x"),
    ):
        pass
    with (
        pytest.raises(ArtifactError, match="unknown kind"),
        decompressed(io.BytesIO(), "application/evil", "x"),
    ):
        pass


@pytest.mark.parametrize(
    ("place", "fits"),
    [("a", True), ("a/b", True), ("a b", True), ("", False), (".", False), ("..", False)],
)
def test_places(place: str, fits: bool) -> None:
    assert (place_problem(place) is None) is fits


@pytest.mark.parametrize(
    ("place", "target", "fits"),
    [
        ("a", "b", True),
        ("d/a", "../b", True),
        ("d/a", "./../b", True),
        ("a", "../b", False),
        ("d/a", "../../b", False),
        ("d/a", "x/../../../b", False),
    ],
)
def test_links(place: str, target: str, fits: bool) -> None:
    assert (link_problem(place, target) is None) is fits
