"""The part of a memory store that searches; what it needs is imported when somebody does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import LogRow

if TYPE_CHECKING:
    from wfe.core.memory_search import MemoryIndex
    from wfe.core.search import (
        Changes,
        Gone,
        LogChanges,
        LogDocument,
        LogPage,
        SearchDocument,
        SearchPage,
        SearchQuery,
    )

__all__ = ["MemorySearch"]


class MemorySearch:
    """The part of :class:`~wfe.core.memory.MemoryStore` that searches."""

    _runs: MemoryRuns
    _logs: defaultdict[int, list[LogRow]]

    @cached_property
    def _index(self) -> MemoryIndex:
        from wfe.core.memory_search import MemoryIndex  # noqa: PLC0415 - most never search

        return MemoryIndex()

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        from wfe.core.memory_search import changed_after  # noqa: PLC0415 - as above

        return changed_after(self._runs, cursor, limit)

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        from wfe.core.memory_search import lines_after  # noqa: PLC0415 - as above

        return lines_after(self._runs.by_n, self._logs, cursor, limit)

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        for each in gone:
            self._index.remove(each)
        for document in documents:
            self._index.put(document)
        self._index.cursors = (cursor, self._index.cursors[1])

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        for line in lines:
            self._index.put_line(line)
        self._index.cursors = (self._index.cursors[0], cursor)

    async def search_cursors(self) -> tuple[str | None, str | None]:
        return self._index.cursors

    async def search_runs(self, query: SearchQuery) -> SearchPage:
        return self._index.runs(query)

    async def search_logs(self, query: SearchQuery) -> LogPage:
        return self._index.log_lines(query)

    async def search_clear(self) -> None:
        self.__dict__.pop("_index", None)
