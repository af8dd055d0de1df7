"""The tables, and how a file of an older version becomes one of this version."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wfe.sqlite.faults import newer
from wfe.sqlite.tables import STANDS_FOR, TABLES

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["MIGRATIONS", "MIN_READER", "SCHEMA", "ensure_schema"]

MIN_READER: Final = 1
"""The oldest version whose code can read and write a file of this version."""

# Statements by migration, oldest first; never change one that was released.  Expand first,
# contract a release later.
MIGRATIONS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    (
        "0001_tables",
        (
            """
CREATE TABLE wfe_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID""",
            """
INSERT INTO wfe_meta VALUES ('next_n', 1)""",
            """
CREATE TABLE wfe_definitions (
    d INTEGER PRIMARY KEY, id TEXT NOT NULL, version INTEGER NOT NULL, hash TEXT NOT NULL,
    body TEXT NOT NULL, current INTEGER NOT NULL, UNIQUE (id, version, hash))""",
            """
CREATE UNIQUE INDEX wfe_definitions_current ON wfe_definitions (id, version) WHERE current""",
            """
CREATE TABLE wfe_workers (
    epoch INTEGER PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    started INTEGER NOT NULL, beat INTEGER NOT NULL, fenced INTEGER)""",
            """
CREATE TABLE wfe_instances (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, d INTEGER NOT NULL,
    definition TEXT NOT NULL, version INTEGER NOT NULL, name TEXT UNIQUE, reference TEXT,
    status TEXT NOT NULL, wake INTEGER, owner INTEGER, poke INTEGER NOT NULL DEFAULT 0,
    takeovers INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0,
    parent INTEGER, parent_pointer INTEGER, parent_id TEXT, root_id TEXT NOT NULL, idem TEXT,
    error TEXT, created_at INTEGER NOT NULL, completed_at INTEGER, retain_until INTEGER)""",
            """
CREATE UNIQUE INDEX wfe_instances_idem ON wfe_instances (definition, idem)
    WHERE idem IS NOT NULL""",
            """
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake)
    WHERE owner IS NULL AND wake IS NOT NULL""",
            # Nothing that is owned stands in it: a start that is driven at once costs nothing here.
            """
CREATE INDEX wfe_instances_root ON wfe_instances (root_id)
    WHERE owner IS NULL AND wake IS NOT NULL""",
            """
CREATE INDEX wfe_instances_owner ON wfe_instances (owner) WHERE owner IS NOT NULL""",
            """
CREATE INDEX wfe_instances_parent ON wfe_instances (parent) WHERE parent IS NOT NULL""",
            """
CREATE INDEX wfe_instances_created ON wfe_instances (created_at, n)""",
            """
CREATE INDEX wfe_instances_kind ON wfe_instances (definition, status, created_at, n)""",
            """
CREATE INDEX wfe_instances_reference ON wfe_instances (reference) WHERE reference IS NOT NULL""",
            """
CREATE INDEX wfe_instances_retain ON wfe_instances (retain_until)
    WHERE retain_until IS NOT NULL""",
            """
CREATE TABLE wfe_snapshots (
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    data TEXT NOT NULL)""",
            """
CREATE TABLE wfe_journal (
    instance INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL)""",
            """
CREATE UNIQUE INDEX wfe_journal_seq ON wfe_journal (instance, seq)""",
            # AUTOINCREMENT: numbers of deleted rows are never given out again.
            """
CREATE TABLE wfe_inbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, kind TEXT NOT NULL,
    dedupe TEXT, at INTEGER NOT NULL, actor TEXT, reason TEXT, payload TEXT NOT NULL)""",
            """
CREATE UNIQUE INDEX wfe_inbox_dedupe ON wfe_inbox (instance, dedupe) WHERE dedupe IS NOT NULL""",
            """
CREATE INDEX wfe_inbox_instance ON wfe_inbox (instance)""",
            """
CREATE TABLE wfe_events (
    e INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    key TEXT NOT NULL, at INTEGER NOT NULL, payload TEXT NOT NULL)""",
            """
CREATE INDEX wfe_events_topic ON wfe_events (name, key, at, e)""",
            """
CREATE TABLE wfe_subscriptions (
    instance INTEGER NOT NULL, pointer INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    as_of INTEGER NOT NULL, after_at INTEGER NOT NULL, after_e INTEGER NOT NULL,
    PRIMARY KEY (instance, pointer)) WITHOUT ROWID""",
            """
CREATE INDEX wfe_subscriptions_topic ON wfe_subscriptions (name, key)""",
            """
CREATE TABLE wfe_locks (
    name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID""",
            """
CREATE TABLE wfe_logs (
    l INTEGER PRIMARY KEY, instance INTEGER NOT NULL, at INTEGER NOT NULL, step TEXT,
    pointer INTEGER, stream TEXT NOT NULL, line TEXT NOT NULL)""",
            """
CREATE INDEX wfe_logs_instance ON wfe_logs (instance)""",
        ),
    ),
    (
        "0002_whole_engine",
        (
            """
ALTER TABLE wfe_instances ADD COLUMN priority INTEGER NOT NULL DEFAULT 0""",
            """
ALTER TABLE wfe_instances ADD COLUMN dedup TEXT""",
            """
CREATE UNIQUE INDEX wfe_instances_dedup ON wfe_instances (definition, dedup)
    WHERE dedup IS NOT NULL AND completed_at IS NULL""",
            # A run stands in one of the two: usual ones cost nothing more.
            """
DROP INDEX wfe_instances_due""",
            """
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority = 0""",
            """
CREATE INDEX wfe_instances_priority ON wfe_instances (d, priority, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0""",
            """
ALTER TABLE wfe_events ADD COLUMN expires INTEGER""",
            """
CREATE INDEX wfe_events_expires ON wfe_events (expires) WHERE expires IS NOT NULL""",
            """
CREATE TABLE wfe_activities (
    a INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, pointer INTEGER NOT NULL,
    attempt INTEGER NOT NULL, name TEXT NOT NULL, parameters TEXT NOT NULL, token TEXT UNIQUE,
    worker TEXT, lease_until INTEGER, progress TEXT, UNIQUE (instance, pointer))""",
            """
CREATE INDEX wfe_activities_name ON wfe_activities (name, a)""",
            """
CREATE TABLE wfe_holders (
    key TEXT NOT NULL, instance INTEGER NOT NULL, pointer INTEGER NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (key, instance, pointer)) WITHOUT ROWID""",
            """
CREATE INDEX wfe_holders_instance ON wfe_holders (instance)""",
            """
CREATE TABLE wfe_waiters (
    w INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, lim INTEGER NOT NULL,
    instance INTEGER NOT NULL, pointer INTEGER NOT NULL, attempt INTEGER NOT NULL)""",
            """
CREATE INDEX wfe_waiters_key ON wfe_waiters (key, w)""",
            """
CREATE INDEX wfe_waiters_instance ON wfe_waiters (instance)""",
            # From `until` on a grant matters no more.
            """
CREATE TABLE wfe_rates (
    r INTEGER PRIMARY KEY, key TEXT NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL)""",
            """
CREATE INDEX wfe_rates_key ON wfe_rates (key, at)""",
            """
CREATE INDEX wfe_rates_until ON wfe_rates (until)""",
            """
CREATE TABLE wfe_schedules (
    id TEXT PRIMARY KEY, definition TEXT NOT NULL, version INTEGER, data TEXT NOT NULL,
    spec TEXT NOT NULL, next_at INTEGER, paused INTEGER NOT NULL, state TEXT NOT NULL,
    last_n INTEGER, created_at INTEGER NOT NULL, rev INTEGER NOT NULL) WITHOUT ROWID""",
            """
CREATE INDEX wfe_schedules_due ON wfe_schedules (next_at)
    WHERE next_at IS NOT NULL AND NOT paused""",
            """
CREATE TABLE wfe_paused (definition TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID""",
            """
CREATE TABLE wfe_stream (
    s INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, at INTEGER NOT NULL,
    step TEXT, pointer INTEGER, name TEXT NOT NULL, payload TEXT NOT NULL)""",
            """
CREATE INDEX wfe_stream_instance ON wfe_stream (instance, s)""",
            """
CREATE TABLE wfe_outbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER)""",
        ),
    ),
    (
        "0003_results_and_artifacts",
        (
            """
CREATE TABLE wfe_cache (
    c INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, definition TEXT NOT NULL, step TEXT NOT NULL,
    run TEXT NOT NULL, document TEXT NOT NULL, result TEXT NOT NULL, created INTEGER NOT NULL,
    expires INTEGER, duration INTEGER NOT NULL, artifacts TEXT)""",
            """
CREATE INDEX wfe_cache_step ON wfe_cache (definition, step, created)""",
            """
CREATE INDEX wfe_cache_expires ON wfe_cache (expires) WHERE expires IS NOT NULL""",
            """
CREATE INDEX wfe_cache_artifacts ON wfe_cache (artifacts) WHERE artifacts IS NOT NULL""",
            """
CREATE TABLE wfe_cache_claims (
    key TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID""",
            """
CREATE TABLE wfe_artifacts (
    a INTEGER PRIMARY KEY, instance INTEGER NOT NULL, root TEXT NOT NULL, run TEXT NOT NULL,
    step TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, manifest TEXT NOT NULL,
    size INTEGER NOT NULL, files INTEGER NOT NULL, media_type TEXT NOT NULL,
    created INTEGER NOT NULL, UNIQUE (root, name))""",
            """
CREATE INDEX wfe_artifacts_instance ON wfe_artifacts (instance)""",
            """
CREATE INDEX wfe_artifacts_digest ON wfe_artifacts (digest)""",
        ),
    ),
    # Fewer pages in each transaction: no index for what is missing or found by another one.  Two
    # tables are made anew, since a constraint cannot be taken back; see `_migrate`.
    (
        "0004_fewer_pages",
        (
            """
ALTER TABLE wfe_instances RENAME TO wfe_instances_0003""",
            """
CREATE TABLE wfe_instances (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, d INTEGER NOT NULL,
    definition TEXT NOT NULL, version INTEGER NOT NULL, name TEXT, reference TEXT,
    status TEXT NOT NULL, wake INTEGER, owner INTEGER, poke INTEGER NOT NULL DEFAULT 0,
    takeovers INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0,
    parent INTEGER, parent_pointer INTEGER, parent_id TEXT, root_id TEXT NOT NULL, idem TEXT,
    error TEXT, created_at INTEGER NOT NULL, completed_at INTEGER, retain_until INTEGER,
    priority INTEGER NOT NULL DEFAULT 0, dedup TEXT)""",
            """
INSERT INTO wfe_instances SELECT * FROM wfe_instances_0003""",
            """
DROP TABLE wfe_instances_0003""",
            """
CREATE UNIQUE INDEX wfe_instances_name ON wfe_instances (name) WHERE name IS NOT NULL""",
            """
CREATE UNIQUE INDEX wfe_instances_idem ON wfe_instances (definition, idem)
    WHERE idem IS NOT NULL""",
            """
CREATE UNIQUE INDEX wfe_instances_dedup ON wfe_instances (definition, dedup)
    WHERE dedup IS NOT NULL AND completed_at IS NULL""",
            """
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority = 0""",
            """
CREATE INDEX wfe_instances_priority ON wfe_instances (d, priority, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0""",
            """
CREATE INDEX wfe_instances_root ON wfe_instances (root_id)
    WHERE owner IS NULL AND wake IS NOT NULL""",
            """
CREATE INDEX wfe_instances_held ON wfe_instances (owner, retain_until)
    WHERE owner IS NOT NULL OR retain_until IS NOT NULL""",
            """
CREATE INDEX wfe_instances_parent ON wfe_instances (parent) WHERE parent IS NOT NULL""",
            """
CREATE INDEX wfe_instances_kind ON wfe_instances (definition, status, created_at)""",
            """
CREATE INDEX wfe_instances_reference ON wfe_instances (reference) WHERE reference IS NOT NULL""",
            """
DROP INDEX wfe_inbox_instance""",
            """
DROP INDEX wfe_inbox_dedupe""",
            """
CREATE UNIQUE INDEX wfe_inbox_dedupe ON wfe_inbox (instance, dedupe)""",
            """
INSERT OR REPLACE INTO wfe_meta
SELECT 'last_e', seq FROM sqlite_sequence WHERE name = 'wfe_events'""",
            """
ALTER TABLE wfe_events RENAME TO wfe_events_0003""",
            """
CREATE TABLE wfe_events (
    e INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    key TEXT NOT NULL, at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER)""",
            """
INSERT INTO wfe_events SELECT * FROM wfe_events_0003""",
            """
DROP TABLE wfe_events_0003""",
            """
CREATE INDEX wfe_events_topic ON wfe_events (name, key, at)""",
            """
CREATE INDEX wfe_events_expires ON wfe_events (expires) WHERE expires IS NOT NULL""",
        ),
    ),
)

SCHEMA: Final = len(MIGRATIONS)
"""Version of the schema that this code makes."""

_SET: Final = "wfe"
# The table in which sqlite-utils keeps what was applied, as it makes it itself.
_APPLIED: Final = (
    """
CREATE TABLE IF NOT EXISTS "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY, "migration_set" TEXT, "name" TEXT, "applied_at" TEXT)""",
    """
CREATE UNIQUE INDEX IF NOT EXISTS "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name")""",
)
_RECORD: Final = """
INSERT INTO "_sqlite_migrations" (migration_set, name, applied_at)
VALUES (?, ?, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now'))"""
_HAS_META: Final = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'wfe_meta'"
_VERSIONS: Final = "SELECT key, value FROM wfe_meta WHERE key IN ('schema', 'min_reader')"
_SET_VERSION: Final = "INSERT OR REPLACE INTO wfe_meta VALUES (?, ?)"
_TRIGGERS: Final = """
SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name GLOB 'wfe[_]*'"""


def ensure_schema(db: sqlite3.Connection, path: Path) -> None:
    """Make or migrate the tables, in one transaction; nobody else may be writing.

    A new file gets the tables as they are now, without sqlite-utils, whose import costs more than
    all the rest of a start; files of an older version are migrated by it.

    Raises:
        StoreVersionError: The file was made by a version that this code cannot read.
    """
    found = _version(db, path)
    if found is not None and found >= SCHEMA:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if found is None:
            _make(db)
        else:
            _migrate(db)
        db.execute(_SET_VERSION, ("schema", SCHEMA))
        db.execute(_SET_VERSION, ("min_reader", MIN_READER))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection, path: Path) -> int | None:
    if db.execute(_HAS_META).fetchone() is None:
        return None
    versions: dict[str, int] = dict(db.execute(_VERSIONS).fetchall())
    needs = versions.get("min_reader", 0)
    if needs > SCHEMA:
        raise newer(path, needs=needs, ours=SCHEMA)
    return versions.get("schema", 0)


def _make(db: sqlite3.Connection) -> None:
    for sql in _APPLIED:
        db.execute(sql)
    for sql in TABLES:
        db.execute(sql)
    for k, (name, statements) in enumerate(MIGRATIONS):
        for sql in () if k < STANDS_FOR else statements:
            db.execute(sql)
        db.execute(_RECORD, (_SET, name))


def _migrate(db: sqlite3.Connection) -> None:
    """Apply what is missing.

    A table that is made anew keeps its triggers, and who names it (a view of the application's)
    means the new one.
    """
    from sqlite_utils import Database  # noqa: PLC0415 - 0.3 s, and rarely needed
    from sqlite_utils.migrations import Migrations  # noqa: PLC0415 - as above

    migrations = Migrations(_SET)
    for name, statements in MIGRATIONS:

        def apply(db: Database, statements: tuple[str, ...] = statements) -> None:
            for sql in statements:
                db.conn.execute(sql)

        migrations(name=name)(apply)
    before: dict[str, str] = dict(db.execute(_TRIGGERS).fetchall())
    # Or the name would be changed wherever it is used when the old table steps aside.
    db.execute("PRAGMA legacy_alter_table = 1")
    try:
        migrations.apply(Database(db, recursive_triggers=False, execute_plugins=False))
    finally:
        db.execute("PRAGMA legacy_alter_table = 0")
    after: dict[str, str] = dict(db.execute(_TRIGGERS).fetchall())
    for name in before.keys() - after.keys():
        db.execute(before[name])
