"""Read the files that the commands of a step may write to, without being led elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from wfe.core.errors import WfeError
from wfe.core.lean import define

__all__ = ["PrivateFileError", "read_private"]


@define(eq=False)
class PrivateFileError(WfeError):
    """A file is not the one that was made for the commands, or cannot be read."""

    problem: str

    def __str__(self) -> str:
        return self.problem


def read_private(path: Path, limit: int) -> tuple[bytes, bool]:
    """Return what stands in *path*, at most *limit* bytes, and whether that is all.

    Links are not followed, and nothing is waited for: the commands may have put a link to another
    file there, a second name for one, a pipe or a device.

    Raises:
        PrivateFileError: It is gone, or something else than a regular file of this user.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise PrivateFileError(f"it cannot be read: {reason}") from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_nlink != 1:
            raise PrivateFileError("it was replaced by something else")
        content = _read(descriptor, limit + 1)
    finally:
        os.close(descriptor)
    return content[:limit], len(content) <= limit


def _read(descriptor: int, most: int) -> bytes:
    found = bytearray()
    while len(found) < most and (part := os.read(descriptor, most - len(found))):
        found += part
    return bytes(found)
