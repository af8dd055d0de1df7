"""A file of lines to which one process appends; what was appended survives a power failure."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wfe.core.errors import ProviderError, StoreUnavailableError, UnreadableTextError

__all__ = ["Journal"]

_DIGITS = 8  # of a line's checksum


class Journal:
    """Lines with checksums; the last one may be torn by a crash, and is then as if never begun."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._broken = False

    @property
    def opened(self) -> bool:
        """Whether it is open."""
        return self._file is not None

    def open(self) -> Iterator[bytes]:
        """Take the file for this process, and yield its lines.

        Raises:
            ProviderError: Another process, or another store of this one, has it.
            UnreadableTextError: A line within it is damaged.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            problem = f"{self._path} is in use by another store; close that one first"
            raise ProviderError("files", problem, transient=True) from error
        self._file = file
        _sync(self._path.parent)
        file.seek(0)
        whole = 0
        for number, line in enumerate(file, 1):
            text = _checked(line)
            if text is None and file.read(1):
                problem = f"line {number} of {self._path} is damaged; restore a backup"
                raise UnreadableTextError("files", problem)
            if text is not None:
                whole += len(line)
                yield text
        file.truncate(whole)

    def append(self, text: bytes, *, durable: bool = True) -> None:
        """Add a line; with *durable* it is on the disk when this returns.

        Raises:
            StoreUnavailableError: It could not be written; nothing more is accepted.
        """
        if self._file is None or self._broken:
            raise StoreUnavailableError("files", f"{self._path} is not open; open the store anew")
        try:
            self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._broken = True  # half a line may be there: opening anew cuts it off
            problem = f"{self._path} cannot be written: {error}"
            raise StoreUnavailableError("files", problem) from error

    def close(self) -> None:
        """Let go of the file; idempotent."""
        if self._file is not None:
            self._file.close()
        self._file, self._broken = None, False


def _checked(line: bytes) -> bytes | None:
    """Return the text of a line; ``None``: it is torn or damaged."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    whole = line.endswith(b"\n") and len(checksum) == _DIGITS
    return text if whole and checksum == b"%08x" % zlib.crc32(text) else None


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
