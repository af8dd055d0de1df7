"""Find processes of steps whose host died before its watchdog could end them.

Each process group of a step has a note in a directory of this user, as long as it runs: who it is
and whose.  A note whose host is gone is a survivor's.  It is ended only if its number, the time at
which it began and the boot of the machine are those of the note, so nobody else is ever hit.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from wfe.core.lean import frozen

__all__ = ["Survivor", "end_survivors", "noted"]

_SUFFIX: Final = ".group"
_LARGEST: Final = 4096  # bytes of a note
_GRACE: Final = 2.0  # seconds between SIGTERM and SIGKILL
_POLL: Final = 0.02


@frozen(kw_only=True)
class Survivor:
    """A process that outlived its host, and was ended.

    Attributes:
        owner: What it was noted for: run and step.
    """

    pid: int
    owner: str


@frozen(kw_only=True)
class _Note:
    pid: int
    started: str  # clock ticks since the boot
    boot: str
    host: int
    host_started: str
    owner: str


@contextmanager
def noted(group: int, owner: str | None) -> Generator[None]:
    """Note the process *group* while the block runs; *owner* says for whom (``None``: do not)."""
    path = None if owner is None else _write(group, owner)
    try:
        yield
    finally:
        if path is not None:
            with suppress(OSError):
                path.unlink()


async def end_survivors() -> list[Survivor]:
    """End the process groups whose hosts are gone, and return them."""
    ended: list[Survivor] = []
    for path, note in _notes():
        if note is not None and _same(note.host, note.host_started) and note.boot == _boot():
            continue  # its host lives
        if note is not None and note.boot == _boot() and _same(note.pid, note.started):
            await _end(note)
            ended.append(Survivor(pid=note.pid, owner=note.owner))
        with suppress(OSError):
            path.unlink()
    return ended


async def _end(note: _Note) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT):
        _signal(note, number)
    deadline = asyncio.get_running_loop().time() + _GRACE
    while _same(note.pid, note.started):
        if asyncio.get_running_loop().time() >= deadline:
            break
        await asyncio.sleep(_POLL)
    _signal(note, signal.SIGKILL)


def _signal(note: _Note, number: signal.Signals) -> None:
    if _same(note.pid, note.started):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(note.pid, number)


def _write(group: int, owner: str) -> Path | None:
    started, host = _started(group), _started(os.getpid())
    directory = _directory(make=True)
    if started is None or host is None or _boot() is None or directory is None:
        return None  # without /proc nobody can be told apart: nothing is noted, nothing ended
    note = {
        "pid": group,
        "started": started,
        "boot": _boot(),
        "host": os.getpid(),
        "host_started": host,
        "owner": owner[:1000],
    }
    path = directory / f"{os.getpid()}-{group}{_SUFFIX}"
    # A step does not fail for want of a note, as when the disk is full.
    with suppress(OSError):
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(note))
    return path


def _notes() -> Iterator[tuple[Path, _Note | None]]:
    directory = _directory(make=False)
    if directory is None:
        return
    with suppress(OSError):
        own = f"{os.getpid()}-"
        for name in sorted(os.listdir(directory)):  # noqa: PTH208 - most are ours: they are passed over
            if name.endswith(_SUFFIX) and not name.startswith(own):
                yield directory / name, _read(directory / name)


def _read(path: Path) -> _Note | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor
            found: object = json.loads(file.read(_LARGEST))
        fields = cast("dict[str, Any]", found)
        note = _Note(
            pid=int(fields["pid"]),
            started=str(fields["started"]),
            boot=str(fields["boot"]),
            host=int(fields["host"]),
            host_started=str(fields["host_started"]),
            owner=str(fields["owner"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return note if note.pid > 1 else None


def _directory(*, make: bool) -> Path | None:
    """Return this user's directory of notes, if nobody else can write there."""
    path = Path(tempfile.gettempdir()) / f"wfe-{os.getuid()}"
    try:
        if make:
            path.mkdir(mode=0o700, exist_ok=True)
        about = path.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()
    return path if own and not about.st_mode & 0o077 else None


def _same(pid: int, started: str) -> bool:
    """Whether the process *pid* runs and began at that time."""
    return _started(pid) == started


def _started(pid: int) -> str | None:
    """Return when a process began, in ticks since the boot; ``None``: it does not run."""
    try:
        text = Path("/proc", str(pid), "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else None


@cache
def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
