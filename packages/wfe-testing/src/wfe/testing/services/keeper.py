"""Keeps one server process: run by its path, with no other module of ours, as a process of its own.

The keeper is told by JSON lines on its standard input, answers on its standard output, and ends
the server and removes its folder when the process that it was started for is no more, however that
one died.  Should the keeper itself be killed, Linux kills the server (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Keeper", "main"]

_PR_SET_PDEATHSIG = 1
_WITHOUT_PIDFD = 500
"""Milliseconds between two looks at the parent, where the system cannot tell of its death."""


class Keeper:
    """One server: its command, where its output goes, and for whom it runs."""

    def __init__(self, spec: dict[str, Any]) -> None:
        """Take what :func:`wfe.testing.services.processes.keep` wrote."""
        self.command: list[str] = spec["command"]
        self.log: str = spec["log"]
        self.cwd: str = spec["cwd"]
        self.parent: int = spec["parent"]
        self.remove: str | None = spec["remove"]
        self.after: list[str] | None = spec["after"]
        self.ending: int = spec["ending"]
        self.grace: float = spec["grace"]
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server in a process group of its own; tell its pid, or why there is none."""
        try:
            with open(self.log, "ab") as log:  # noqa: PTH123 - pathlib would double the start time
                self.server = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.cwd,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),  # noqa: PLW1509 - this process has one thread
                )
        except OSError as error:
            _tell(failed=str(error))
        else:
            _tell(pid=self.server.pid)

    def reap(self) -> None:
        """Tell the exit status of a server that ended."""
        if self.server is not None and (code := self.server.poll()) is not None:
            self.server = None
            _tell(exit=code)

    def send(self, number: int) -> None:
        """Send a signal to the server and whatever it started in its group."""
        if self.server is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, number)

    def stop(self, grace: float) -> None:
        """End the server: politely, and after *grace* seconds not."""
        if self.server is None:
            return
        self.send(signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            self.server.send_signal(self.ending)
        try:
            self.server.wait(grace)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.server.wait()
        self.send(signal.SIGKILL)  # what its group left behind
        self.reap()

    def clean(self) -> None:
        """Leave nothing behind."""
        if self.after is not None:
            quiet = subprocess.DEVNULL
            subprocess.run(self.after, check=False, stdin=quiet, stdout=quiet, stderr=quiet)
        if self.remove is not None:
            shutil.rmtree(self.remove, ignore_errors=True)

    def obey(self, line: str) -> bool:
        """Do what a line says; return whether to go on."""
        order = json.loads(line)
        match order["do"]:
            case "start":
                self.start()
            case "signal":
                self.send(order["number"])
            case "stop":
                self.stop(order["grace"])
                _tell(stopped=True)
            case _:
                return False
        return True


def _die_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return die_with_parent


def _tell(**facts: Any) -> None:
    # Nobody listens any more to the keeper of a server that outlives the one who asked for it.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(facts).encode() + b"\n")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parent_fd(pid: int) -> int | None:
    """Return what becomes readable when the process ends; None where the system has no such."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _only_wake(_number: int, _frame: object) -> None:
    """Do nothing: that there is a handler makes the signal's number appear in the pipe."""


def _signal_pipe() -> int:
    """Return what the numbers of arriving signals can be read from."""
    signals, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(signals, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, _only_wake)
    return signals


def _watch(keeper: Keeper) -> None:
    """Obey, reap and watch until told to end or the parent is gone."""
    signals, parent = _signal_pipe(), _parent_fd(keeper.parent)
    poll = select.poll()
    for fd in (0, signals, parent):
        if fd is not None:
            poll.register(fd, select.POLLIN)
    told = b""
    ready = set[int]()
    # Asked both ways: a parent that nobody waits for is a zombie, which counts as alive.
    while parent not in ready and _alive(keeper.parent):
        ready = {fd for fd, _ in poll.poll(None if parent is not None else _WITHOUT_PIDFD)}
        if signals in ready:
            if signal.SIGTERM in os.read(signals, 1024):
                return
            keeper.reap()
        if 0 in ready:
            if not (read := os.read(0, 65536)):
                poll.unregister(0)  # who started it is gone; the one it runs for may not be
            *lines, told = (told + read).split(b"\n")
            if not all(keeper.obey(line.decode()) for line in lines):
                return


def main() -> None:
    """Read what to keep from the first argument, keep it, and leave nothing."""
    keeper = Keeper(json.loads(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the tests, not for us
    try:
        _watch(keeper)
    finally:
        keeper.stop(keeper.grace)
        keeper.clean()


if __name__ == "__main__":
    main()
