"""Persistence, queue and lock in a PostgreSQL database."""

from __future__ import annotations

from wfe.postgres.store import PostgresStore
from wfe.postgres.url import open_url

__all__ = ["PostgresStore", "open_url"]
