"""Patterns find files below their directory, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfe.core.globs import GlobError, find_files

FILES = (
    "a.py",
    "b.txt",
    ".hidden",
    "src/a.py",
    "src/x y.py",
    "src/deep/b.py",
    "src/deep/er/c.txt",
    "src/[odd]/d.py",
    ".wfe/wfe.db",
    "sub/.wfe/kept",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in FILES:
        path = tmp_path / "root" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(place)
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["*.py"], ["a.py"]),
        (
            ["src"],
            ["src/[odd]/d.py", "src/a.py", "src/deep/b.py", "src/deep/er/c.txt", "src/x y.py"],
        ),
        (
            ["src/"],
            ["src/[odd]/d.py", "src/a.py", "src/deep/b.py", "src/deep/er/c.txt", "src/x y.py"],
        ),
        (["src/*.py"], ["src/a.py", "src/x y.py"]),
        (["**/*.txt"], ["b.txt", "src/deep/er/c.txt"]),
        (["src/**/b.py"], ["src/deep/b.py"]),
        (["src/**/a.py"], ["src/a.py"]),
        (["src/d*"], ["src/deep/b.py", "src/deep/er/c.txt"]),
        (["src/[!d]*/d.py"], ["src/[odd]/d.py"]),
        (["src/[[]odd]/d.py"], ["src/[odd]/d.py"]),
        (["?.py"], ["a.py"]),
        (["[ab].*"], ["a.py", "b.txt"]),
        (["./a.py", "a.py"], ["a.py"]),
        (["src", "!**/*.py"], ["src/deep/er/c.txt"]),
        (["!src", "."], [".hidden", "a.py", "b.txt", "sub/.wfe/kept"]),
        (["missing", "missing/**"], []),
        (["a.py/b"], []),
    ],
)
def test_patterns(root: Path, patterns: list[str], found: list[str]) -> None:
    assert list(find_files(root, patterns)) == found


@pytest.mark.parametrize(
    "pattern", ["", "  ", "/etc/passwd", "~/x", "../x", "a/../../x", "a\0b", "!"]
)
def test_wrong_patterns_are_refused(root: Path, pattern: str) -> None:
    with pytest.raises(GlobError):
        find_files(root, [pattern])


def test_links_that_lead_out_are_refused(root: Path) -> None:
    (root.parent / "secret").mkdir()
    (root.parent / "secret" / "key").write_text("x")
    (root / "link").symlink_to("../secret")

    for pattern in ("link", "link/key", "link/*", "l*", "**"):
        with pytest.raises(GlobError, match="leads out of the workspace"):
            find_files(root, [pattern])
    assert list(find_files(root, ["*.py"])) == ["a.py"]


def test_links_inside_are_found_and_not_followed(root: Path) -> None:
    (root / "link").symlink_to("src")
    (root / "file").symlink_to("a.py")
    (root / "circle").symlink_to("circle")

    assert list(find_files(root, ["link", "file"])) == ["file", "link"]
    with pytest.raises(GlobError):
        find_files(root, ["circle"])
