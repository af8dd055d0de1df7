"""Hints between processes: datagrams on unix sockets, one socket a host.

The sockets stand in a directory of this user, named by the database's real path.  A datagram may
be lost; the engine's safety poll finds the work all the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from wfe.core.providers import Hint

__all__ = ["Wake"]

_PER_DATAGRAM: Final = 256
_TICK: Final = 50_000_000  # ns, several times the longest
_LONGEST_PATH: Final = 100  # bytes; the systems' limits are 104 to 108


class Wake:
    """Sends hints to the other hosts on one file, and receives theirs."""

    def __init__(self, database: Path) -> None:
        self._directory = _directory(database)
        self._bound: dict[int, socket.socket] = {}
        self._loops: dict[int, asyncio.AbstractEventLoop] = {}
        self._sender: socket.socket | None = None
        self._peers: tuple[int, tuple[str, ...]] = (-1, ())

    def bind(self, epoch: int) -> None:
        """Make the socket of *epoch*; without one the host is found by its polls alone."""
        if self._directory is None:
            return
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.setblocking(False)
        self._bound[epoch] = bound
        name = str(self._directory / _name(epoch))
        try:
            _make_private(self._directory)
            self._sweep()
            try:
                bound.bind(name)
            except FileNotFoundError:  # the last of the others just removed the directory
                _make_private(self._directory)
                bound.bind(name)
        except OSError:
            self.unbind(epoch)

    def unbind(self, epoch: int) -> None:
        """Close the socket of *epoch*, if there is one."""
        bound = self._bound.pop(epoch, None)
        loop = self._loops.pop(epoch, None)
        if bound is None or self._directory is None:
            return
        if loop is not None and not loop.is_closed():
            loop.remove_reader(bound.fileno())
        bound.close()
        (self._directory / _name(epoch)).unlink(missing_ok=True)

    def listen(self, epoch: int, put: Callable[[int, int], object]) -> None:
        """Call ``put(epoch, n)`` in the running loop for each number that arrives."""
        bound = self._bound.get(epoch)
        loop = asyncio.get_running_loop()
        if bound is None or self._loops.get(epoch) is loop:
            return
        loop.add_reader(bound.fileno(), self._receive, bound, epoch, put)
        self._loops[epoch] = loop

    def send(self, hints: Iterable[Hint]) -> None:
        """Tell owners in other processes; hints that nobody owns go to every host."""
        if self._directory is None:
            return
        numbers: dict[str, list[int]] = {}
        peers: Sequence[str] | None = None
        for hint in hints:
            if hint.owner is not None:
                names: Sequence[str] = () if hint.owner in self._bound else (_name(hint.owner),)
            else:
                peers = names = self._others() if peers is None else peers
            for name in names:
                numbers.setdefault(name, []).append(hint.n)
        for name, some in numbers.items():
            self._send(name, some)

    def close(self) -> None:
        """Close and remove all sockets, and the directory with the last of them."""
        for epoch in list(self._bound):
            self.unbind(epoch)
        self._sweep()
        if self._sender is not None:
            self._sender.close()
            self._sender = None
        if self._directory is not None:
            with suppress(OSError):  # others are there, or nobody ever was
                self._directory.rmdir()

    def _receive(self, bound: socket.socket, epoch: int, put: Callable[[int, int], object]) -> None:
        while True:
            try:
                datagram = bound.recv(8 * _PER_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                return
            for (n,) in struct.iter_unpack("<q", datagram[: len(datagram) // 8 * 8]):
                put(epoch, n)

    def _send(self, name: str, numbers: Sequence[int]) -> None:
        if self._directory is None:
            return
        if self._sender is None:
            self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._sender.setblocking(False)
        path = self._directory / name
        for k in range(0, max(len(numbers), 1), _PER_DATAGRAM):
            some = numbers[k : k + _PER_DATAGRAM]
            try:
                self._sender.sendto(struct.pack(f"<{len(some)}q", *some), str(path))
            except (BlockingIOError, FileNotFoundError):
                return  # it has hints enough, or is gone
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)  # killed: nobody listens any more
                return
            except OSError:
                return

    def _others(self) -> Sequence[str]:
        """Return the sockets of other processes; listed again only when the directory changed."""
        if self._directory is None:
            return ()
        try:
            changed = self._directory.stat().st_mtime_ns
            if changed != self._peers[0]:
                ours = {_name(epoch) for epoch in self._bound}
                names = (entry.name for entry in self._directory.iterdir())
                # The file system's clock ticks: a second change within a tick looks like none.
                seen = changed if time.time_ns() - changed > _TICK else -1
                self._peers = (seen, tuple(name for name in names if name not in ours))
        except OSError:
            return ()
        return self._peers[1]

    def _sweep(self) -> None:
        """Remove sockets of dead processes: an empty datagram finds nobody."""
        for name in self._others():
            self._send(name, ())


def _name(epoch: int) -> str:
    return f"{epoch:016x}"


def _directory(database: Path) -> Path | None:
    """Return where the sockets of *database* stand; ``None``: the system has no such sockets."""
    if sys.platform == "win32":
        return None
    digest = hashlib.sha256(os.fsencode(database.resolve())).hexdigest()[:20]
    directory = Path(tempfile.gettempdir()) / f"wfe-{os.getuid()}-{digest}"
    fits = len(os.fsencode(directory)) + 1 + len(_name(0)) <= _LONGEST_PATH
    return directory if fits else Path("/tmp") / directory.name  # noqa: S108 - private, checked


def _make_private(directory: Path) -> None:
    """Make *directory*, or check that it is ours alone.

    Raises:
        PermissionError: Somebody else made it, or may write to it.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise PermissionError(f"{directory} is not private")
