"""Keeps the log of a step from growing without end: its beginning and its end are kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import attrs

from wfe.core.lean import define

__all__ = ["OutputLog"]

_TAIL: Final = 8  # one part in so many of the limits is for the end of the output
_LINE: Final = 64  # bytes that keeping a line costs beyond its text


@define
class OutputLog:
    """Passes lines on until a limit, then keeps the last ones until :meth:`close`.

    Attributes:
        write: Takes a stream and a line.
        most_bytes: Of the lines that are passed on, and of those that are kept, together.
        most_lines: The same.
    """

    write: Callable[[str, str], None]
    most_bytes: int
    most_lines: int
    _lines: int = attrs.field(default=0, init=False)  # first those passed on, then those behind
    _bytes: int = attrs.field(default=0, init=False)
    _full: bool = attrs.field(default=False, init=False)
    _kept: deque[tuple[str, str]] = attrs.field(factory=deque[tuple[str, str]], init=False)
    _kept_bytes: int = attrs.field(default=0, init=False)

    def line(self, stream: str, text: str) -> None:
        """Take one line."""
        self._lines += 1
        self._bytes += len(text)
        if self._full:
            self._keep(stream, text)
        elif self._lines <= _head(self.most_lines) and self._bytes <= _head(self.most_bytes):
            self.write(stream, text)
        else:
            self._full, self._lines, self._bytes = True, 1, len(text)
            message = (
                f"the output is longer than {self.most_lines:,} lines or {self.most_bytes:,} bytes:"
                " from here on it is not logged, but for its last lines"
            )
            self.write("warning", message)
            self._keep(stream, text)

    def close(self) -> None:
        """Pass on the last lines."""
        lost = self._lines - len(self._kept)
        if self._full and lost:
            size = self._bytes - self._kept_bytes
            self.write("warning", f"{lost:,} lines ({size:,} bytes) are left out here")
        while self._kept:
            self.write(*self._kept.popleft())

    def _keep(self, stream: str, text: str) -> None:
        kept, lines, size = self._kept, self.most_lines // _TAIL, self.most_bytes // _TAIL
        kept.append((stream, text))
        self._kept_bytes += len(text)
        while len(kept) > 1 and (len(kept) > lines or self._kept_bytes + _LINE * len(kept) > size):
            self._kept_bytes -= len(kept.popleft()[1])


def _head(limit: int) -> int:
    return limit - limit // _TAIL
