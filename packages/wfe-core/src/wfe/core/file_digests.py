"""Digests of files and trees; a file that did not change is not read again."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

import orjson

from wfe.core.durable_files import written_aside

__all__ = ["FileDigests", "digest_of", "mode_of", "tree_digest"]

_CHUNK: Final = 1 << 20
_YOUNG: Final = 2_000_000_000  # ns: a file changed so lately may change again within one time stamp
_MOST: Final = 200_000  # files remembered


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's contents, hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def mode_of(mode: int) -> str:
    """Return what counts of a file's mode: ``755`` when its owner may execute it, else ``644``."""
    return "755" if mode & stat.S_IXUSR else "644"


def tree_digest(entries: Mapping[str, tuple[str, str]]) -> str:
    """Return the digest of a tree: place -> (``755``, ``644`` or ``link``, digest or target).

    Changes to any content, mode, name or place change it; nothing else does.
    """
    found = hashlib.sha256(b"wfe-tree-1\n")
    for place, (mode, content) in sorted(entries.items()):
        for text in (mode, content, place):
            data = text.encode("utf-8", "surrogateescape")
            found.update(b"%d:" % len(data))
            found.update(data)
    return found.hexdigest()


class FileDigests:
    """Remembers digests by path, size, times and inode; safe to use from several threads.

    Args:
        file: Where they are kept for the next process; ``None``: nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known: dict[str, list[int | str]] | None = None
        self._changed = False
        self._turn = threading.Lock()
        self.read: int = 0
        """How many files were read, for tests and benchmarks."""

    def entry(self, path: Path) -> tuple[str, str]:
        """Return mode and digest of a file, or ``link`` and the target of a symbolic link.

        Raises:
            OSError: It is gone or unreadable.
        """
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return "link", os.readlink(path)  # noqa: PTH115 - the text, as it stands
        return mode_of(found.st_mode), self._digest(path, found)

    def _digest(self, path: Path, found: os.stat_result) -> str:
        print_: list[int | str] = [
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
            found.st_ino,
        ]
        key = str(path)
        known = self._load()
        kept = known.get(key)
        if kept is not None and kept[:4] == print_:
            return str(kept[4])
        digest = digest_of(path)
        self.read += 1
        after = path.lstat()
        same = [after.st_size, after.st_mtime_ns, after.st_ctime_ns, after.st_ino] == print_
        if same and time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _YOUNG:
            with self._turn:
                known[key] = [*print_, digest]
                self._changed = True
        return digest

    def _load(self) -> dict[str, list[int | str]]:
        if self._known is None:
            with self._turn:
                self._known = self._loaded()
        return self._known

    def _loaded(self) -> dict[str, list[int | str]]:
        if self._file is None:
            return {}
        try:
            found = orjson.loads(self._file.read_bytes())
        except (OSError, ValueError):  # only a memory: what is lost is read again
            return {}
        return cast("dict[str, list[int | str]]", found) if isinstance(found, dict) else {}

    def save(self) -> None:
        """Write what is new to the file; a memory that cannot be written is no loss."""
        with self._turn:
            if self._file is None or not self._changed or self._known is None:
                return
            self._changed = False
            while len(self._known) > _MOST:
                del self._known[next(iter(self._known))]
            text = orjson.dumps(self._known)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(self._file, ".new-", durable=False) as file:
                file.write(text)
        except OSError:
            self._changed = True
