"""Finds files by patterns, and nothing outside of the directory that they are found in."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from wfe.core.errors import WfeError
from wfe.core.lean import define

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["GlobError", "check_pattern", "find_files", "is_magic"]

_MAGIC: Final = re.compile(r"[*?\[]")
_OWN: Final = frozenset({".wfe"})  # where the store may be: it changes all the time


@define(eq=False)
class GlobError(WfeError):
    """A pattern is wrong, or leads out of its directory."""

    pattern: str
    problem: str

    def __str__(self) -> str:
        return f"the path {self.pattern!r} {self.problem}"


def is_magic(pattern: str) -> bool:
    """Whether *pattern* has wildcards."""
    return _MAGIC.search(pattern) is not None


def check_pattern(pattern: str) -> tuple[str, ...]:
    """Return the segments of a pattern, without the ``!`` before it.

    Raises:
        GlobError: It is empty, absolute, or has ``..``.
    """
    text = pattern.removeprefix("!")
    if not text.strip() or "\0" in text:
        raise GlobError(pattern, "is empty")
    if text.startswith(("/", "~")) or (os.name == "nt" and os.path.isabs(text)):  # noqa: PTH117 - as below
        raise GlobError(pattern, "is absolute; write it relative to the workspace")
    segments = tuple(part for part in text.split("/") if part not in {"", "."})
    if ".." in segments:
        raise GlobError(pattern, "has '..'; only files below the workspace can be used")
    return segments


def find_files(root: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """Return the files and symbolic links below *root* that fit, by their place in it.

    A pattern that names a directory takes all that is below it; ``**`` is any number of
    directories; one that begins with ``!`` takes away.  Links to directories are not followed.

    Raises:
        GlobError: A pattern is wrong, or what it names is outside of *root* by way of a link.
    """
    base = root.resolve()
    found: dict[str, Path] = {}
    without = [_compiled(check_pattern(each)) for each in patterns if each.startswith("!")]
    for pattern in patterns:
        if not pattern.startswith("!"):
            found.update(_matches(base, pattern))
    if without:
        found = {p: path for p, path in found.items() if not any(w.fullmatch(p) for w in without)}
    return dict(sorted(found.items()))


def _matches(base: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    segments = check_pattern(pattern)
    fixed: list[str] = []
    for segment in segments:
        if is_magic(segment):
            break
        fixed.append(segment)
    start = base.joinpath(*fixed)
    prefix = "/".join(fixed)
    _check_inside(base, start, pattern)
    if start.is_symlink() or start.is_file():
        if len(fixed) == len(segments):
            yield prefix, start
        return
    if not start.is_dir():
        return
    wanted = _compiled(segments)
    for place, path in _walk(start, prefix):
        if wanted.fullmatch(place):
            if path.is_symlink():
                _check_inside(base, path, pattern)
            yield place, path


def _check_inside(base: Path, path: Path, pattern: str) -> None:
    try:
        target = path.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise GlobError(pattern, f"cannot be followed: {error}") from error
    if target != base and base not in target.parents:
        shown = path.relative_to(base).as_posix()
        raise GlobError(pattern, f"leads out of the workspace: {shown!r} is a link to {target}")


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    from pathlib import Path  # noqa: PLC0415 - declaring a step checks patterns, finding nothing

    stack = [(os.fspath(directory), prefix)]
    while stack:
        path, place = stack.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                inner = f"{place}/{entry.name}" if place else entry.name
                if not entry.is_dir(follow_symlinks=False):
                    yield inner, Path(entry.path)
                elif inner not in _OWN:
                    stack.append((entry.path, inner))


@lru_cache(256)
def _compiled(segments: tuple[str, ...]) -> re.Pattern[str]:
    """Return what fits the segments, and all that is below it."""
    if not segments:  # "." and the like: everything
        return re.compile(r".*", re.DOTALL)
    text = ""
    for k, segment in enumerate(segments):
        last = k == len(segments) - 1
        if segment == "**":
            text += ".*" if last else "(?:[^/]+/)*"
        else:
            text += _segment(segment) + ("" if last else "/")
    return re.compile(f"{text}(?:/.*)?", re.DOTALL)


def _segment(segment: str) -> str:
    """Return one segment as a regular expression."""
    found, k = "", 0
    while k < len(segment):
        char = segment[k]
        k += 1
        end = segment.find("]", k + 1) if char == "[" else -1
        if char == "*":
            found += "[^/]*"
        elif char == "?":
            found += "[^/]"
        elif end > 0:
            inner = segment[k:end].replace("\\", r"\\").replace("[", r"\[")
            found += f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
            k = end + 1
        else:
            found += re.escape(char)
    return found
