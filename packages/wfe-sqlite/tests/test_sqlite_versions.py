"""Files of other versions: new ones, older ones, and those that an application shares."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.providers import Event, Header, Item, Refused, WorkerInfo
from wfe.sqlite import SqliteStore, changes, schema

WORKER = WorkerInfo(name="w", host="h", pid=1)


def new(n: int, owner: int, **columns: Any) -> Header:
    return Header(
        n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", owner=owner, **columns
    )


def tables(path: Path) -> list[tuple[str, str, str]]:
    db = sqlite3.connect(path)
    found = db.execute(
        "SELECT type, name, replace(replace(sql, char(10), ''), ' ', '') FROM sqlite_master"
        " WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    ).fetchall()
    db.close()
    return found


NEWER = (
    "9999_test",
    ("ALTER TABLE wfe_instances ADD COLUMN colour INTEGER NOT NULL DEFAULT 0",),
)
OLD_RUN = """
INSERT INTO wfe_instances (n, id, d, definition, version, status, wake, root_id, created_at)
VALUES (1, 'run-1', 1, 'order', 1, 'runnable', 5, 'run-1', 1)"""


async def make_older(path: Path, age: int, monkeypatch: pytest.MonkeyPatch) -> sqlite3.Connection:
    """Make a file as it was when there were *age* migrations."""
    store = SqliteStore(path)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:age])
        patch.setattr(schema, "SCHEMA", age)
        patch.setattr(schema, "STANDS_FOR", 0)
        patch.setattr(schema, "TABLES", ())
        await store.open()
        await store.close()
    return sqlite3.connect(path, isolation_level=None)


@pytest.mark.parametrize("age", range(1, len(schema.MIGRATIONS) + 1))
async def test_an_older_file_becomes_what_a_new_one_is(
    path: Path, tmp_path: Path, age: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = (*schema.MIGRATIONS, NEWER)
    store = SqliteStore(path)
    old = await make_older(path, age, monkeypatch)
    old.execute(OLD_RUN)
    old.execute("INSERT INTO wfe_journal VALUES (1, 0, 1, '[]')")
    old.close()
    monkeypatch.setattr(schema, "MIGRATIONS", newest)
    monkeypatch.setattr(schema, "SCHEMA", len(newest))

    await store.open()
    assert len(await store.history(1, -1, 10)) == 1
    assert await store.due([1]) == 5
    epoch = await store.register(WORKER)
    assert [claimed.n for claimed in await store.claim(epoch, [1], 10)] == [1]
    await store.close()
    fresh = SqliteStore(tmp_path / "fresh.db")
    await fresh.open()
    await fresh.close()

    assert tables(path) == tables(fresh.path)
    db = sqlite3.connect(path)
    applied = db.execute("SELECT migration_set, name FROM _sqlite_migrations").fetchall()
    versions = dict(db.execute("SELECT key, value FROM wfe_meta"))
    db.close()
    assert applied == [("wfe", name) for name, _ in newest]
    assert (versions["schema"], versions["min_reader"]) == (len(newest), 1)


async def test_tables_that_are_made_anew_keep_what_hangs_on_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await make_older(path, 3, monkeypatch)
    old.execute(OLD_RUN)
    old.execute("UPDATE wfe_instances SET name = 'nightly'")
    changes.enable(old)
    old.execute("CREATE VIEW mine AS SELECT n, name FROM wfe_instances")
    old.execute("INSERT INTO wfe_inbox (instance, kind, at, payload) VALUES (1, 'x', 1, '{}')")
    old.executemany(
        "INSERT INTO wfe_events (id, name, key, at, payload) VALUES (?, 'go', '', 1, '')",
        [("a",), ("b",), ("c",)],
    )
    old.execute("DELETE FROM wfe_events WHERE id = 'c'")
    triggers = [row for row in tables(path) if row[0] == "trigger"]
    assert len(triggers) == 3

    store = SqliteStore(path)
    await store.open()
    epoch = await store.register(WORKER)
    taken = await store.commit(epoch, [Item(n=2, new=new(2, epoch, name="nightly"))])
    await store.commit(None, [Item(publish=(Event(id="d", name="go", key=""),))])
    await store.commit(epoch, [Item(n=3, new=new(3, epoch))])

    assert taken == [Refused("name", "run-1")]
    assert [row for row in tables(path) if row[0] == "trigger"] == triggers
    assert old.execute("SELECT * FROM mine ORDER BY n").fetchall() == [(1, "nightly"), (3, None)]
    assert old.execute("SELECT n FROM wfe_changes").fetchall() == [(3,)]
    assert old.execute("SELECT e, id FROM wfe_events").fetchall() == [(1, "a"), (2, "b"), (4, "d")]
    ((loaded,),) = [await store.load([1])]
    assert (loaded.header.id, [row.kind for row in loaded.inbox]) == ("run-1", ["x"])
    await store.close()
    old.close()


async def test_numbers_of_deleted_events_are_never_given_out_again(store: SqliteStore) -> None:
    async def published(*ids: str) -> list[int]:
        events = tuple([Event(id=id_, name="go", key="", expires=1) for id_ in ids])
        await store.commit(None, [Item(publish=events)])
        return [e for (e,) in store._opened.reader.all("SELECT e FROM wfe_events ORDER BY e")]

    assert await published("a", "b") == [1, 2]
    assert await store.purge_events(10) == 2
    assert await published("c") == [3]
    assert await store.purge_events(10) == 1
    assert await store.purge_events(10) == 0
    assert await published("a", "b", "a") == [4, 5]


async def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.close()
    before = tables(path)
    broken = ("9999_test", (*NEWER[1], "CREATE TABLE wfe_meta (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        patch.setattr(schema, "SCHEMA", len(schema.MIGRATIONS))
        with pytest.raises(ProviderError, match="wfe_meta already exists"):
            await store.open()

    assert tables(path) == before
    await store.open()


async def test_two_that_open_a_new_file_make_it_once(path: Path) -> None:
    stores = [SqliteStore(path, clock=VirtualClock()) for _ in range(4)]

    await asyncio.gather(*(store.open() for store in stores))

    firsts = [await store.allocate(1) for store in stores]
    assert firsts == [1, 2, 3, 4]
    for store in stores:
        await store.close()


async def test_a_file_with_tables_of_an_application_is_shared(path: Path) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute("CREATE TABLE events (mine)")
        db.execute("INSERT INTO events VALUES (1)")
    store = SqliteStore(path)

    await store.open()
    epoch = await store.register(WORKER)
    await store.commit(epoch, [Item(n=1, new=new(1, epoch))])
    await store.close()

    assert db.execute("SELECT mine FROM events").fetchall() == [(1,)]
    db.close()
