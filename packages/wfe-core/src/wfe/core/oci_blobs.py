"""Blobs named by their SHA-256: written aside, made durable, renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO, Final, Self, cast

from wfe.core.durable_files import sync
from wfe.core.file_digests import digest_of

__all__ = ["TEMPORARY", "Batch"]

TEMPORARY: Final = ".new-"
"""How names of files begin that are not whole yet."""


class Batch:
    """Blobs that become visible and durable together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready: dict[str, Path] = {}
        self._hash = hashlib.sha256()
        self._size = 0
        self._temporary: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._temporary:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def new(self) -> Generator[IO[bytes], None, None]:
        """Yield where to write a blob; :meth:`end` says what it is called."""
        fd, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self._directory)
        self._temporary.append(Path(name))
        self._hash, self._size = hashlib.sha256(), 0
        with os.fdopen(fd, "wb") as file:
            yield cast("IO[bytes]", _Hashing(file, self))
            file.flush()
            os.fsync(file.fileno())

    def took(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self._size += len(chunk)

    def end(self) -> tuple[str, int]:
        """Return digest and size of the blob that was written last."""
        digest = self._hash.hexdigest()
        self._ready[digest] = self._temporary[-1]
        return digest, self._size

    def add(self, data: bytes) -> str:
        """Add a small blob that is not there yet; return its digest."""
        digest = hashlib.sha256(data).hexdigest()
        if not _renewed(self._directory / digest, digest):
            with self.new() as out:
                out.write(data)
            self.end()
        return digest

    def commit(self) -> int:
        """Give the blobs their names; return how many bytes are new."""
        added = 0
        for digest, temporary in self._ready.items():
            path = self._directory / digest
            if not _renewed(path, digest):
                added += temporary.stat().st_size
                temporary.chmod(0o644)
                temporary.replace(path)
        sync(self._directory)
        return added


class _Hashing:
    """A file that is only written, and hashed meanwhile."""

    def __init__(self, file: IO[bytes], batch: Batch) -> None:
        self._file = file
        self._batch = batch

    def write(self, data: bytes) -> int:
        self._batch.took(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _renewed(path: Path, digest: str) -> bool:
    """Whether a blob is there, undamaged; it is young then, so that nobody sweeps it."""
    try:
        os.utime(path)
        return digest_of(path) == digest
    except FileNotFoundError:
        return False
