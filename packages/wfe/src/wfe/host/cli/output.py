"""Writes lines to a stream that may go away."""

from __future__ import annotations

from typing import TextIO

import attrs

from wfe.core.lean import define

__all__ = ["Output"]


@define
class Output:
    """Lines to a stream; once the reader has gone, they are dropped and the run goes on."""

    _stream: TextIO
    _gone: bool = attrs.field(default=False, init=False)

    def line(self, text: str) -> None:
        """Write one line, at once."""
        if self._gone:
            return
        try:
            try:
                self._stream.write(f"{text}\n")
            except UnicodeEncodeError:
                known = self._stream.encoding or "ascii"
                self._stream.write(f"{text.encode(known, 'replace').decode(known)}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True
