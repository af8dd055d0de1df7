"""How much a script may have: memory, and processes of programs that it runs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["most_processes", "own_tasks", "parse_memory"]

_MIB: Final = 1024 * 1024
_SIZE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?) ?(MiB|Mi|MB|M|GiB|Gi|GB|G)")
_LEAST: Final = 16 * _MIB  # V8's own needs
_PROCESSES: Final = 1024  # that may be added by programs that a script runs


def parse_memory(text: str) -> int:
    """Return the bytes that *text* writes, for example ``256MiB`` or ``1.5 GiB``.

    Raises:
        ValueError: It is no size, or too small; the message says what is expected.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a size such as 256MiB or 2GiB, got {text[:40]!r}")
    size = int(float(found[1]) * (_MIB if found[2].startswith("M") else 1024 * _MIB))
    if size < _LEAST:
        raise ValueError(f"a script needs at least {_LEAST // _MIB}MiB, got {text!r}")
    return size


def most_processes() -> int | None:
    """Return the processes and threads that this user may have, ``None``: no limit is of use.

    The limit counts all that the user has, so it is as far above that as a script may go.
    """
    if sys.platform != "linux" or os.geteuid() == 0:
        return None
    return own_tasks(Path("/proc"), os.getuid()) + _PROCESSES


def own_tasks(proc: Path, user: int) -> int:
    """Return how many threads the processes of *user* have."""
    found = 0
    for name in os.listdir(proc):  # noqa: PTH208 - several times faster
        if name.isdigit():
            try:
                tasks = os.stat(f"{proc}/{name}/task")  # noqa: PTH116 - as above
            except OSError:
                continue
            found += tasks.st_nlink - 2 if tasks.st_uid == user else 0
    return found
