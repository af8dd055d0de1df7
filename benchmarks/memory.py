"""How much more memory this process took, at most, since a moment."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

__all__ = ["Peak"]

_STATUS = Path("/proc/self/status")
_FORGET = Path("/proc/self/clear_refs")
_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10  # of ru_maxrss, by MB


class Peak:
    """Begins now; what the process had before is forgotten where the system can (Linux)."""

    def __init__(self) -> None:
        """Note how much memory there is."""
        with contextlib.suppress(OSError):
            _FORGET.write_text("5")  # the peak is now what it has
        self._before = _most()

    def grown(self) -> float:
        """Return by how many MB the process was larger, at most, than it was then."""
        return _most() - self._before


def _most() -> float:
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
    except OSError:
        found = None
    if found is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _UNIT
    return int(found[1]) / 1024
