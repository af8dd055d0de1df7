"""The embedded default of WFE: persistence, queue and lock in one SQLite file."""

from __future__ import annotations

from wfe.sqlite.store import SqliteStore
from wfe.sqlite.url import open_url

__all__ = ["SqliteStore", "open_url"]
