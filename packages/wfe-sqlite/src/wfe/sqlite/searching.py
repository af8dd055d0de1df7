"""The parts of the store that say what changed, and are its search index.

What they need is imported when somebody searches: most never do.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfe.core.errors import ProviderError
from wfe.sqlite.parts import SqlitePart

if TYPE_CHECKING:
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

__all__ = ["SqliteChanges", "SqliteSearch"]

_CURSORS: Final = "SELECT key, value FROM wfe_meta WHERE key IN ('search_runs', 'search_logs')"
_MODE: Final = "SELECT value FROM wfe_meta WHERE key = 'search'"
_FTS: Final = "fts5"
_HAS_FTS: Final = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
_THREAD: Final = 1000  # changes of a batch: more than is done within the event loop


class SqliteChanges(SqlitePart):
    """The feed of changes of a :class:`~wfe.sqlite.store.SqliteStore`."""

    async def changes(self, cursor: str | None, limit: int) -> Changes:
        from wfe.sqlite.changes import changes_after  # noqa: PLC0415 - most never search

        feed = await self._feed()
        return await asyncio.to_thread(changes_after, self._opened.scanner, feed, cursor, limit)

    async def log_changes(self, cursor: str | None, limit: int) -> LogChanges:
        from wfe.sqlite.changes import lines_after  # noqa: PLC0415 - most never search

        feed = await self._feed()
        return await asyncio.to_thread(lines_after, self._opened.scanner, feed, cursor, limit)

    async def _feed(self) -> str:
        """Return the feed's name; at the first asking the triggers are made."""
        from wfe.sqlite.changes import FEED, enable  # noqa: PLC0415 - most never search

        found = self._opened.reader.all(FEED)
        return str(found[0][0]) if found else await self._write(lambda db, _: enable(db))


class SqliteSearch(SqlitePart):
    """The index of a :class:`~wfe.sqlite.store.SqliteStore`; see ``wfe.sqlite.search_index``."""

    path: Path

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        from wfe.sqlite.search_index import apply_runs  # noqa: PLC0415 - most never search

        self._mode()

        def apply(db: sqlite3.Connection, now: int) -> None:
            apply_runs(db, documents, gone, cursor, now)

        await self._write(apply, _THREAD)

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        from wfe.sqlite.search_index import apply_lines  # noqa: PLC0415 - most never search

        self._mode()
        await self._write(lambda db, _: apply_lines(db, lines, cursor), _THREAD)

    async def search_cursors(self) -> tuple[str | None, str | None]:
        found: dict[str, str] = dict(self._opened.reader.all(_CURSORS))
        return found.get("search_runs"), found.get("search_logs")

    async def search_clear(self) -> None:
        from wfe.sqlite.search_index import clear  # noqa: PLC0415 - most never search

        self._mode()
        await self._write(lambda db, _: clear(db), _THREAD)

    async def search_runs(self, query: SearchQuery) -> SearchPage:
        from wfe.core.search import SearchPage  # noqa: PLC0415 - most never search
        from wfe.sqlite.search_query import find_runs  # noqa: PLC0415 - as above

        full = self._mode()
        if full is None:
            return SearchPage(())
        return await asyncio.to_thread(find_runs, self._opened.scanner, query, full=full)

    async def search_logs(self, query: SearchQuery) -> LogPage:
        from wfe.core.search import LogPage  # noqa: PLC0415 - most never search
        from wfe.sqlite.search_query import find_lines  # noqa: PLC0415 - as above

        full = self._mode()
        if full is None:
            return LogPage(())
        return await asyncio.to_thread(find_lines, self._opened.scanner, query, full=full)

    def _mode(self) -> bool | None:
        """Return whether the index has FTS5; ``None``: there is no index yet.

        Raises:
            ProviderError: It was made with FTS5, and this library has none.
        """
        reader = self._opened.reader
        mode = reader.all(_MODE)
        if not mode:
            return None
        full = bool(mode[0][0] == _FTS)
        if full and not reader.all(_HAS_FTS):
            problem = (
                f"the search index in {self.path} was made with FTS5, which SQLite"
                f" {sqlite3.sqlite_version} of this Python was built without; search with a Python"
                " whose SQLite has it"
            )
            raise ProviderError("sqlite", problem, transient=False)
        return full
