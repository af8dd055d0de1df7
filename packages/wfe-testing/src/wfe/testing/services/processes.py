"""A server that tests start: its own process group, its output kept, dead when the tests are."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from wfe.testing.services import keeper
from wfe.testing.services.records import PortTakenError, Service, ServiceError, last_words

__all__ = ["ServerProcess", "await_ready", "free_port", "keep", "with_some_port", "work_folder"]

_TAKEN = re.compile(r"address already in use|http port \d+ is unavailable", re.IGNORECASE)
"""What servers say of a port that another has."""
_TRIES = 5
"""How many ports are tried."""
_READY = 60.0
"""Seconds that a server has to become ready; machines that run tests are often loaded."""
_ANSWER = 30.0
"""Seconds that the keeper has to answer."""


@attrs.define(eq=False, kw_only=True)
class ServerProcess:
    """A running server, as the tests that start it may treat it: also badly."""

    name: str
    log: Path
    folder: Path
    grace: float
    """Seconds from the polite signal to the one that cannot be refused."""
    _keeper: subprocess.Popen[bytes] = attrs.field(alias="keeper")
    pid: int = 0
    """Of the server; 0 while there is none."""
    _told: bytes = b""

    def start(self) -> None:
        """Start the server (again), with the same command, folder and port.

        Raises:
            ServiceError: The system could not run the command.
        """
        self._order(do="start")
        answer = self._answer("pid", "failed")
        if "failed" in answer:
            raise ServiceError(f"{self.name} could not be started: {answer['failed']}")
        self.pid = answer["pid"]

    def signal(self, number: int) -> None:
        """Send a signal to the server's process group."""
        self._order(do="signal", number=number)

    def kill(self) -> None:
        """Kill -9 the server and wait until it is gone; its folder stays."""
        self.signal(signal.SIGKILL)
        self._answer("exit")

    def freeze(self) -> None:
        """Stop the server where it stands, as a long pause would (SIGSTOP)."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def halt(self, grace: float | None = None) -> None:
        """Stop the server as its operator would; its folder stays.

        Args:
            grace: Seconds until it is killed; None means those it was started with.
        """
        grace = self.grace if grace is None else grace
        self._order(do="stop", grace=grace)
        self._answer("stopped", seconds=_ANSWER + grace)

    def ended(self, timeout: float = 0.0) -> int | None:
        """Return the exit status if the server ended, waiting *timeout* seconds for it."""
        answer = self._read(timeout)
        return answer["exit"] if answer is not None and "exit" in answer else None

    def close(self) -> None:
        """Stop the server and remove its folder."""
        if self._keeper.poll() is None:
            self._keeper.terminate()
        self._keeper.wait()
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)  # should the keeper have been killed
        self.pid = 0

    def release(self) -> None:
        """Let go of the keeper, which goes on until the process that it was told of ends."""
        # No warning about a process that is not waited for: it is not ours to wait for.
        self._keeper.returncode = 0
        for pipe in (self._keeper.stdin, self._keeper.stdout):
            if pipe is not None:
                pipe.close()

    def last_words(self, lines: int = 20) -> str:
        """Return the end of what the server wrote."""
        return last_words(self.log, lines)

    def _order(self, **order: object) -> None:
        assert self._keeper.stdin is not None
        try:
            self._keeper.stdin.write(json.dumps(order).encode() + b"\n")
            self._keeper.stdin.flush()
        except BrokenPipeError:
            raise ServiceError(f"the keeper of {self.name} is gone") from None

    def _answer(self, *wanted: str, seconds: float = _ANSWER) -> dict[str, Any]:
        """Return the next fact that has one of the keys."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            answer = self._read(left)
            if answer is not None and not answer.keys().isdisjoint(wanted):
                return answer
        raise ServiceError(f"the keeper of {self.name} did not answer within {seconds:g} s")

    def _read(self, timeout: float) -> dict[str, Any] | None:
        assert self._keeper.stdout is not None
        fd = self._keeper.stdout.fileno()
        if b"\n" not in self._told and select.select([fd], [], [], max(timeout, 0))[0]:
            read = os.read(fd, 65536)
            if not read:
                raise ServiceError(f"the keeper of {self.name} is gone")
            self._told += read
        line, newline, rest = self._told.partition(b"\n")
        if not newline:
            return None
        self._told = rest
        fact: dict[str, Any] = json.loads(line)
        if "exit" in fact:
            self.pid = 0
        return fact


def keep(  # noqa: PLR0913 - every one of them is a fact of its own
    name: str,
    command: Sequence[str | Path],
    *,
    folder: Path,
    ending: int = signal.SIGTERM,
    grace: float = 5.0,
    environment: Mapping[str, str] | None = None,
    parent: int | None = None,
    after: Sequence[str] | None = None,
) -> ServerProcess:
    """Start a server under a keeper.

    Args:
        name: For messages.
        command: What to run; its output goes to the file ``log`` in *folder*.
        folder: A folder of its own, removed with the server.
        ending: The signal that asks this server to stop.
        grace: Seconds from that signal to the one that cannot be refused.
        environment: Of the server; None takes a copy of this process's.
        parent: The process with whose end the server ends; None means this one.
        after: A command to run when all is over, however that came.

    Raises:
        ServiceError: The system could not run the command.
    """
    spec = {
        "command": [str(part) for part in command],
        "log": str(folder / "log"),
        "cwd": str(folder),
        "parent": parent or os.getpid(),
        "remove": str(folder),
        "after": after,
        "ending": ending,
        "grace": grace,
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", keeper.__file__, json.dumps(spec)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,  # the server's, too; arguments may be read by anybody
    )
    server = ServerProcess(
        name=name, log=folder / "log", folder=folder, grace=grace, keeper=process
    )
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


def await_ready(server: ServerProcess, ready: Callable[[], str], *, seconds: float = _READY) -> str:
    """Shake hands until the server answers, and return what *ready* does: its version.

    Args:
        server: What is waited for; that it ended is noticed at once.
        ready: Asks for the version; an OSError means "not yet".
        seconds: How long to try.

    Raises:
        ServiceError: The server ended or did not become ready; with the end of its output.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return ready()
        except OSError as error:
            last = error
        # The keeper tells of an end at once, so this is a wait for news and not a sleep.
        if (code := server.ended(timeout=0.02)) is not None:
            kind = PortTakenError if _TAKEN.search(server.last_words(200)) else ServiceError
            raise kind(f"{server.name} ended with {code}:\n{server.last_words()}")
        if time.monotonic() > until:
            words = server.last_words()
            raise ServiceError(f"{server.name} not ready in {seconds:g} s ({last}):\n{words}")


def with_some_port(start: Callable[[], Service]) -> Service:
    """Start a server that chooses its port; again, should somebody else take that port first.

    Raises:
        ServiceError: It did not start, or no port was left to it.
    """
    for _ in range(_TRIES - 1):
        try:
            return start()
        except PortTakenError:
            continue
    return start()


def free_port() -> int:
    """Return a TCP port of the loopback that nobody had a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def work_folder(name: str) -> Path:
    """Make a private folder with a short path: Unix sockets lie in it, whose paths have a limit."""
    base = tempfile.gettempdir()
    short = base if len(base) < 60 else "/tmp"  # noqa: S108 - mkdtemp makes it private
    return Path(tempfile.mkdtemp(prefix=f"wfe-{name}-", dir=short if os.name == "posix" else None))
