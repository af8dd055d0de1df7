"""File locks beside the database: who may write now, and which hosts are alive.

POSIX locks belong to the process, and all of them on a file are lost when the process closes
*any* descriptor of it.  So the file ``<database>-hosts`` is opened once per process, and kept.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

__all__ = ["Gate", "open_gate"]

_EPOCH_BYTES: Final = 1 << 62
_BSD: Final = sys.platform == "darwin" or "bsd" in sys.platform
_FLOCK: Final = "qqihh" if _BSD else "hhqqi4x"  # struct flock of 64-bit systems
_CAN_ASK: Final = sys.maxsize > 2**32 and (_BSD or sys.platform == "linux")

_gates: dict[tuple[int, int], Gate] = {}
_gates_lock = threading.Lock()


class Gate:
    """Mutual exclusion of the writers of one file: threads by a mutex, processes by byte 0.

    Args:
        fd: Of the hosts file; ``None``: this process is alone, or the system has no locks.
        key: Under which the gate is shared within the process.
    """

    def __init__(self, fd: int | None = None, key: tuple[int, int] | None = None) -> None:
        self._fd = fd
        self._key = key
        self._mutex = threading.Lock()
        self._epochs: set[int] = set()
        self.lent: bool = False  # to a step of this process, for a time that is limited
        self.users: int = 1

    # -- writers ------------------------------------------------------------------------------

    def try_enter(self) -> bool:
        """Enter if that needs no waiting."""
        if not self._mutex.acquire(blocking=False):
            return False
        if self._lock(0, wait=False):
            return True
        self._mutex.release()
        return False

    def enter(self) -> None:
        """Enter, waiting in line: the system grants the lock in order of asking."""
        self._mutex.acquire()
        try:
            self._lock(0, wait=True)
        except BaseException:
            self._mutex.release()
            raise

    def enter_within(self, seconds: float) -> bool:
        """Enter by asking again and again; ``False`` when *seconds* have passed."""
        end = time.monotonic() + seconds
        pause = threading.Event()
        while not self.try_enter():
            if time.monotonic() > end:
                return False
            pause.wait(0.002)
        return True

    def leave(self) -> None:
        """Let the next one in."""
        self._unlock(0)
        self._mutex.release()

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def holder(self) -> int | None:
        """Return the pid of another process that is inside; ``None``: nobody, or unknown."""
        return self._owner(0) or None

    # -- hosts --------------------------------------------------------------------------------

    def hold(self, epoch: int) -> None:
        """Show that the host with this epoch is alive, until :meth:`drop` or death."""
        self._lock(epoch % _EPOCH_BYTES, wait=False)
        self._epochs.add(epoch)

    def drop(self, epoch: int) -> None:
        """Show that the host is gone."""
        if epoch in self._epochs:
            self._epochs.remove(epoch)
            self._unlock(epoch % _EPOCH_BYTES)

    def gone(self, epoch: int) -> bool:
        """Whether the host with this epoch is certainly gone: nobody holds its lock."""
        if epoch in self._epochs:
            return False
        return self._owner(epoch % _EPOCH_BYTES) is None

    def close(self) -> None:
        """Let go of the file when the last store of the process that uses it does."""
        with _gates_lock:
            self.users -= 1
            if self.users == 0 and self._fd is not None and self._key is not None:
                _gates.pop(self._key, None)
                os.close(self._fd)
                self._fd = None

    # -- system calls -------------------------------------------------------------------------

    def _lock(self, byte: int, *, wait: bool) -> bool:
        if self._fd is None or sys.platform == "win32":
            return True
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, byte: int) -> None:
        if self._fd is not None and sys.platform != "win32":
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def _owner(self, byte: int) -> int | None:
        """Return the pid that holds *byte*: 0 if unknown, ``None`` if nobody does."""
        if self._fd is None or sys.platform == "win32":
            return 0 if self._key is not None else None
        if not _CAN_ASK:
            if not self._lock(byte, wait=False):
                return 0
            self._unlock(byte)
            return None
        if _BSD:
            question = struct.pack(_FLOCK, byte, 1, 0, fcntl.F_WRLCK, os.SEEK_SET)
        else:
            question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = struct.unpack(_FLOCK, fcntl.fcntl(self._fd, fcntl.F_GETLK, question))
        kind, pid = (answer[3], answer[2]) if _BSD else (answer[0], answer[4])
        return None if kind == fcntl.F_UNLCK else max(pid, 0)


def open_gate(database: Path) -> Gate:
    """Return the process's gate of *database*; opens ``<database>-hosts`` the first time.

    Raises:
        OSError: It cannot be opened.
    """
    path = database.with_name(database.name + "-hosts")
    with _gates_lock:
        try:
            known = path.stat()
        except FileNotFoundError:
            known = None
        gate = None if known is None else _gates.get((known.st_dev, known.st_ino))
        if gate is not None:
            gate.users += 1
            return gate
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        made = os.fstat(fd)
        key = (made.st_dev, made.st_ino)
        gate = _gates[key] = Gate(fd, key)
        return gate


def _forget() -> None:
    """A forked child has none of the locks; it opens files of its own."""
    global _gates_lock  # noqa: PLW0603 - the parent's may be held by a thread that is not here
    _gates_lock = threading.Lock()
    _gates.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget)
