"""What the tests of worker processes let them do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "OddError",
    "calls",
    "die",
    "fill",
    "fork_and_die",
    "give_lambda",
    "hold_the_lock",
    "pid",
    "raise_odd",
    "raise_value",
    "read_all",
    "signal_self",
    "spin",
    "spin_with_child",
    "stop",
    "tell_and_wait",
]

_calls: list[None] = []


class OddError(Exception):
    """Cannot be made again from what it is pickled as."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def pid() -> int:
    return os.getpid()


def calls() -> int:
    """Return how often it was called in this process."""
    _calls.append(None)
    return len(_calls)


def die(code: int) -> None:
    os._exit(code)


def signal_self(number: int) -> None:
    os.kill(os.getpid(), number)


def raise_value(text: str) -> None:
    raise ValueError(text)


def raise_odd() -> None:
    raise OddError("here", "there")


def stop(kind: type[BaseException]) -> None:
    raise kind


def give_lambda() -> Callable[[], None]:
    return lambda: None


def fill(size: int) -> bytes:
    return b"x" * size


def _told(path: str) -> int:
    """Say in the pipe at *path* who is here; it ends when all who hold it have ended."""
    pipe = os.open(path, os.O_WRONLY)
    os.write(pipe, f"{os.getpid()}\n".encode())
    return pipe


def spin(path: str) -> None:
    """Never return, in Python."""
    _told(path)
    while True:
        pass


def hold_the_lock(path: str) -> None:
    """Never return, in C, where no other thread of the process has a turn."""
    _told(path)
    re.match(r"(a|a)*b", "a" * 64)


def spin_with_child(path: str) -> None:
    """Never return, with a program that never ends."""
    pipe = _told(path)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], pass_fds=[pipe])
    os.write(pipe, b"child\n")
    while True:
        pass


def fork_and_die(path: str) -> None:
    """End, and leave a child that holds all that was open here."""
    _told(path)
    if os.fork() == 0:
        while True:
            signal.pause()
    os._exit(5)


def tell_and_wait(told: str, go: str) -> int:
    """Return the process's id when somebody writes into the pipe at *go*."""
    os.close(_told(told))
    Path(go).read_bytes()
    return os.getpid()


def read_all(path: Path, lines: int, then: Callable[[list[str]], Any]) -> list[str]:
    """Read *lines* lines from the pipe at *path*, call *then*, and read on until its end.

    Its end is that of all processes that hold it.
    """
    found: list[str] = []

    def work() -> None:
        with path.open() as pipe:
            found.extend(pipe.readline().strip() for _ in range(lines))
            then(found)
            found.extend(line.strip() for line in pipe)

    reader = threading.Thread(target=work, daemon=True)
    reader.start()
    reader.join(60)
    assert not reader.is_alive(), f"after {found} somebody still lives"
    return found
