"""Cut the bytes that a process writes into lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from wfe.core.lean import define

__all__ = ["LONGEST_LINE", "LineCutter"]

LONGEST_LINE: Final = 64 * 1024
"""Bytes of one line; a longer one is cut into several."""


@define
class LineCutter:
    """Takes chunks and gives lines: UTF-8 where it is, replacement characters where it is not."""

    rest: bytearray = attrs.field(factory=bytearray)

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Yield the lines that end in *chunk*."""
        first, *more = chunk.split(b"\n")
        self.rest += first
        if more:
            yield from self._flush()
            for line in more[:-1]:
                if len(line) <= LONGEST_LINE:
                    yield _text(line)
                else:
                    self.rest += line
                    yield from self._flush()
            self.rest += more[-1]
        while len(self.rest) > LONGEST_LINE:
            yield self._cut()

    def close(self) -> Iterator[str]:
        """Yield what stands behind the last line break."""
        if self.rest:
            yield from self._flush()

    def _flush(self) -> Iterator[str]:
        while len(self.rest) > LONGEST_LINE:
            yield self._cut()
        line = bytes(self.rest)
        self.rest.clear()
        yield _text(line)

    def _cut(self) -> str:
        at = LONGEST_LINE
        # Not in the middle of a character, whose further bytes are 10xxxxxx.
        while at > LONGEST_LINE - 4 and self.rest[at] & 0xC0 == 0x80:
            at -= 1
        line = bytes(self.rest[:at])
        del self.rest[:at]
        return _text(line, whole=False)


def _text(line: bytes, *, whole: bool = True) -> str:
    if whole and line.endswith(b"\r"):
        line = line[:-1]
    text = line.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text
