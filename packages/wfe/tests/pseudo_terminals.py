"""Programs on a terminal that is none, for the tests of the command."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["written_to_terminal"]


def written_to_terminal(
    command: Sequence[str], folder: Path, env: Mapping[str, str], size: tuple[int, int]
) -> bytes:
    """Run *command* on a pseudo-terminal of so many lines and columns; return what it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        command, cwd=folder, env=env, stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    chunks: list[bytes] = []
    try:
        while chunk := os.read(master, 65536):
            chunks.append(chunk)
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(master)
    process.wait(timeout=30)
    return b"".join(chunks)
