"""The SQLite store keeps the contracts of results and artifact names, and old files get tables."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wfe.core.clocks import VirtualClock
from wfe.sqlite import SqliteStore
from wfe.sqlite.schema import MIGRATIONS
from wfe.testing.contracts import ArtifactIndexContract, CacheIndexContract


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "wfe.db", clock=VirtualClock())
    await store.open()
    yield store
    await store.close()


class TestSqliteCache(CacheIndexContract):
    pass


class TestSqliteArtifactIndex(ArtifactIndexContract):
    pass


async def test_a_file_of_before_gets_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    for name, statements in MIGRATIONS[:2]:
        for sql in statements:
            db.execute(sql)
        assert name < "0003"
    db.execute("INSERT INTO wfe_meta VALUES ('schema', 2), ('min_reader', 1)")
    db.execute(
        'CREATE TABLE "_sqlite_migrations" ("id" INTEGER PRIMARY KEY, "migration_set" TEXT,'
        ' "name" TEXT, "applied_at" TEXT)'
    )
    db.executemany(
        'INSERT INTO "_sqlite_migrations" (migration_set, name, applied_at) VALUES (?, ?, ?)',
        [("wfe", name, "2026-01-01") for name, _ in MIGRATIONS[:2]],
    )
    db.commit()
    db.close()

    store = SqliteStore(path)
    await store.open()
    found = await store.cache_find(), await store.every_artifact(("", ""), 10)
    await store.close()

    assert found == ([], [])


async def test_asking_for_what_is_claimed_writes_nothing(store: SqliteStore) -> None:
    assert await store.cache_claim("k", "me", 1_000_000) == "me"
    before = store.stats.commits

    assert await store.cache_claim("k", "you", 1_000_000) == "me"
    assert list(await store.cache_purge(10, expired=0)) == []

    assert store.stats.commits == before
