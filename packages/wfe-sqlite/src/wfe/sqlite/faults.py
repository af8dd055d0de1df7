"""What SQLite's and the system's errors mean for a store, and what to do about them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from wfe.core.errors import (
    ProviderError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
    StoreVersionError,
)

__all__ = [
    "check_library",
    "check_place",
    "is_busy",
    "is_the_disks",
    "locked",
    "newer",
    "translate",
]

_PROVIDER: Final = "sqlite"
_OLDEST: Final = (3, 35, 0)  # RETURNING
_READERS_PATIENCE: Final = 0.25  # seconds
_LITTLE: Final = 256 * 1024  # bytes; with less left, an I/O error means a full disk
_NETWORK: Final = frozenset(
    {
        "afpfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb2",
        "smb3",
        "smbfs",
        "vboxsf",
        "webdav",
    }
)
_WAL_WRITE_LOCK: Final = 120  # byte of the -shm file that SQLite's writer locks


def check_library() -> None:
    """Raise :class:`ProviderError` when the interpreter's SQLite is too old."""
    if sqlite3.sqlite_version_info < _OLDEST:
        wanted = ".".join(map(str, _OLDEST[:2]))
        problem = (
            f"this Python has SQLite {sqlite3.sqlite_version}, the store needs {wanted} or newer;"
            " use a Python built with a newer SQLite library"
        )
        raise ProviderError(_PROVIDER, problem, transient=False)


def check_place(path: Path) -> None:
    """Raise when no store can be at *path*; makes the directory if it is the default ``.wfe``.

    Raises:
        StoreUnavailableError: *path* or its parent is of the wrong kind, missing, or on a network
            file system.
    """
    parent = path.parent
    if parent.name == ".wfe" and parent.parent.is_dir():
        try:
            parent.mkdir(exist_ok=True)
        except OSError as error:
            raise translate(error, path) from error
    if path.is_dir():
        problem = f"{path} is a directory; name a file in it, for example {path / 'wfe.db'}"
    elif not parent.exists():
        problem = f"cannot make {path}: the directory {parent} does not exist; create it first"
    elif not parent.is_dir():
        problem = f"cannot make {path}: {parent} is not a directory"
    elif kind := _network_kind(path):
        problem = (
            f"{path} is on a network file system ({kind}), where SQLite's locks and shared memory"
            " do not work; put the file on a local disk"
        )
    else:
        return
    raise StoreUnavailableError(_PROVIDER, problem, transient=False)


def _network_kind(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the file system type of *path* if it is a network's; ``None`` also if unknown."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    real = f"{path.resolve()}/"
    best, kind = -1, ""
    for line in lines:
        _, point, fstype, *_ = line.split(" ")
        mount = point.replace("\\040", " ").replace("\\011", "\t").rstrip("/") + "/"
        if real.startswith(mount) and len(mount) >= best:
            best, kind = len(mount), fstype
    return kind if kind in _NETWORK else None


def newer(path: Path, *, needs: int, ours: int) -> StoreVersionError:
    """Return the error for a file made by a version that this one cannot read."""
    problem = (
        f"{path} was made by a newer wfe-sqlite (its schema needs {needs}, this one has {ours});"
        " upgrade it: pip install --upgrade wfe-sqlite"
    )
    return StoreVersionError(_PROVIDER, problem)


def locked(path: Path, seconds: float, pid: int | None = None) -> StoreUnavailableError:
    """Return the error for a file that somebody kept locked for *seconds*."""
    pid = pid or _writer_pid(path)
    who = f"process {pid}" if pid else "another process"
    problem = (
        f"{path} has been locked by {who} for more than {seconds:g} s; end its transaction,"
        " or stop it"
    )
    return StoreUnavailableError(_PROVIDER, problem)


def _writer_pid(path: Path) -> int | None:
    """Return who holds SQLite's write lock, from the system's lock table; ``None`` if unknown.

    The file itself is not opened: closing it would drop all locks of this process on it.
    """
    try:
        inode = path.with_name(path.name + "-shm").stat().st_ino
        table = Path("/proc/locks").read_text(encoding="ascii")
    except OSError:
        return None
    for line in table.splitlines():
        # 1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 120 120
        fields = line.split()
        if "->" in fields or len(fields) != 8 or fields[3] != "WRITE":
            continue
        first, last = fields[6], fields[7]
        covers = int(first) <= _WAL_WRITE_LOCK and (last == "EOF" or int(last) >= _WAL_WRITE_LOCK)
        if covers and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds the lock that was wanted."""
    return _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_the_disks(error: sqlite3.Error) -> bool:
    """Whether the disk has no room, or cannot be read or written."""
    return _code(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def translate(error: Exception, path: Path) -> ProviderError:
    """Return our error for a driver's or system's *error* about the store at *path*."""
    code = _code(error)
    full = f"no space is left for {path}; free some: what was acknowledged is safe"
    number = getattr(error, "errno", None)
    if (
        code == sqlite3.SQLITE_FULL
        or number == errno.ENOSPC
        or (code == sqlite3.SQLITE_IOERR and _is_full(path))
    ):
        return StoreFullError(_PROVIDER, full)
    if code == sqlite3.SQLITE_NOTADB:
        problem = f"{path} is not a SQLite database; name another file, or move this one away"
        return StoreCorruptError(_PROVIDER, problem)
    if code == sqlite3.SQLITE_CORRUPT:
        problem = (
            f"{path} is damaged ({error}); stop all its processes, then restore a backup or"
            f" salvage it: sqlite3 {path.name} .recover"
        )
        return StoreCorruptError(_PROVIDER, problem)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return locked(path, _READERS_PATIENCE)
    denied = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)
    if code in denied or number in (errno.EROFS, errno.EACCES, errno.EPERM):
        problem = (
            f"cannot write {path}: the file or its directory is read-only for this user"
            f" ({error}); SQLite makes {path.name}-wal beside it, so both must be writable"
        )
        return StoreUnavailableError(_PROVIDER, problem)
    if isinstance(error, OSError) or code == sqlite3.SQLITE_IOERR:
        problem = f"the system cannot read or write {path}: {error}"
        return StoreUnavailableError(_PROVIDER, problem)
    return ProviderError(_PROVIDER, f"{path}: {error}", transient=False)


def _is_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except (OSError, AttributeError):
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE
