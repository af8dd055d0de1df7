"""Collects the lines that steps write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from wfe.core.engine.pumps import Pump
from wfe.core.providers import LogRow, PersistenceProvider

__all__ = ["LogPump"]

_LONGEST: Final = 16_384  # characters of a line; what is beyond is cut, and says so


class LogPump(Pump[LogRow]):
    """Takes lines from any thread."""

    def __init__(self, store: PersistenceProvider, seen: Callable[[LogRow], None]) -> None:
        """Store in *store*; *seen* is told of each line, on the loop."""
        super().__init__("log lines", store.append_logs)
        self._seen = seen

    def _take(self, row: LogRow) -> None:
        if len(row.line) > _LONGEST:
            cut = f"{row.line[:_LONGEST]}… ({len(row.line)} characters, cut)"
            row = attrs.evolve(row, line=cut)
        self._seen(row)
        super()._take(row)
