"""Knows which workers of this machine are dead, for stores that are told of deaths by silence.

Each worker holds a lock on a small file of its own for as long as its process lives; the system
lets go of it however the process ends.  So whoever finds the file, but no lock on it, knows for
certain.  Of workers elsewhere there is no file here, and nothing is known.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

__all__ = ["LocalDeaths"]

_MOST: Final = 16  # workers that one object shows; a host is one, and another after it was fenced
_OLD: Final = 86_400.0  # seconds after which what a dead one left behind is swept


class LocalDeaths:
    """The locks of this process, and a look at those of others of the same user.

    Without a folder that is safe to use (another user's, a full disk, Windows) nothing is shown
    and nothing known: a death is then found out by silence.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Use *folder*; ``None``: one for this user among the system's temporary files."""
        self._folder = folder
        self._held: dict[int, int] = {}

    def hold(self, epoch: int) -> None:
        """Show that this worker is alive, until :meth:`drop` or the end of the process."""
        folder = self._made()
        if folder is None or epoch in self._held:
            return
        fresh = folder / f".{epoch:x}"
        with contextlib.suppress(OSError):
            fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fresh.rename(_file(folder, epoch))  # from the first moment it is seen locked
            except OSError:
                os.close(fd)
                fresh.unlink(missing_ok=True)
                raise
            self._held[epoch] = fd
            _sweep(folder)
        while len(self._held) > _MOST:
            self.drop(next(iter(self._held)))

    def drop(self, epoch: int) -> None:
        """Show nothing of this worker any more: it ended politely."""
        fd = self._held.pop(epoch, None)
        folder = self._made()
        if fd is not None and folder is not None:
            with contextlib.suppress(OSError):
                _file(folder, epoch).unlink(missing_ok=True)
            os.close(fd)

    def close(self) -> None:
        """Show nothing any more."""
        for epoch in list(self._held):
            self.drop(epoch)

    def gone(self, epochs: Iterable[int]) -> list[int]:
        """Return those of *epochs* whose processes were on this machine and have ended."""
        folder = self._made()
        if folder is None:
            return []
        return [e for e in epochs if e not in self._held and not _locked(_file(folder, e))]

    def _made(self) -> Path | None:
        """Return the folder, made if need be; ``None``: there is none that is safe."""
        if sys.platform == "win32":
            return None
        folder = self._folder or Path(tempfile.gettempdir()) / f"wfe-{os.getuid()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            return None
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
        return folder if ours and not found.st_mode & 0o022 else None


def _file(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:x}.worker"


def _locked(path: Path) -> bool:
    """Whether somebody holds the lock; ``True`` also if that cannot be known."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def _sweep(folder: Path) -> None:
    """Remove what the dead left long ago."""
    for path in folder.glob("*.worker"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD and not _locked(path):
                path.unlink()
