"""What the tests of the services' supervisor share."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from wfe.testing.services.processes import ServerProcess, keep

__all__ = ["IDLE", "STUBBORN", "eventually", "gone", "kept", "python", "start_script"]

IDLE = "import signal; print('hello', flush=True); signal.pause()"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('no', flush=True);"
    "[signal.pause() for _ in iter(int, 1)]"
)
_PATIENCE = 20.0


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def kept(folder: Path, code: str, **options: float) -> ServerProcess:
    """Keep a server that is a line of Python, in a folder made for it."""
    folder.mkdir(exist_ok=True)
    return keep("the test's server", python(code), folder=folder, **options)  # type: ignore[arg-type]


def gone(pid: int) -> bool:
    """Wait until a process is no more."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], _PATIENCE)[0])
    finally:
        os.close(fd)


def eventually(true: Callable[[], bool]) -> bool:
    """Ask until the answer is yes, for what the system offers no news of."""
    never = threading.Event()
    return any(true() or never.wait(0.01) for _ in range(int(_PATIENCE / 0.01)))


def start_script(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Run Python that tells one line, and ends when its input does; the caller waits for it."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
