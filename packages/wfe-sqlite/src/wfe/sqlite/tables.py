"""The tables as a new file gets them: what all migrations up to ``STANDS_FOR`` lead to.

Each index costs a page in every transaction that touches it, so there is none for what another can
answer: lists of runs have one, see :mod:`wfe.sqlite.listing`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["STANDS_FOR", "TABLES"]

STANDS_FOR: Final = 4
"""How many migrations a file with these tables has behind it; later ones are applied to it."""

_RUNS: Final = (
    """
CREATE TABLE wfe_instances (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, d INTEGER NOT NULL,
    definition TEXT NOT NULL, version INTEGER NOT NULL, name TEXT, reference TEXT,
    status TEXT NOT NULL, wake INTEGER, owner INTEGER, poke INTEGER NOT NULL DEFAULT 0,
    takeovers INTEGER NOT NULL DEFAULT 0, faults INTEGER NOT NULL DEFAULT 0,
    parent INTEGER, parent_pointer INTEGER, parent_id TEXT, root_id TEXT NOT NULL, idem TEXT,
    error TEXT, created_at INTEGER NOT NULL, completed_at INTEGER, retain_until INTEGER,
    priority INTEGER NOT NULL DEFAULT 0, dedup TEXT)""",
    # Most runs have no name: one that is not there costs nothing.
    """
CREATE UNIQUE INDEX wfe_instances_name ON wfe_instances (name) WHERE name IS NOT NULL""",
    """
CREATE UNIQUE INDEX wfe_instances_idem ON wfe_instances (definition, idem)
    WHERE idem IS NOT NULL""",
    """
CREATE UNIQUE INDEX wfe_instances_dedup ON wfe_instances (definition, dedup)
    WHERE dedup IS NOT NULL AND completed_at IS NULL""",
    # A run that waits stands in one of these two, by its priority.
    """
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority = 0""",
    """
CREATE INDEX wfe_instances_priority ON wfe_instances (d, priority, wake)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0""",
    # Nothing that is owned stands in it: a start that is driven at once costs nothing here.
    """
CREATE INDEX wfe_instances_root ON wfe_instances (root_id)
    WHERE owner IS NULL AND wake IS NOT NULL""",
    # By a worker, or when it is over for a while: most runs go from the one to the other, and who
    # is retained stands beside who is owned, so that it takes one page.
    """
CREATE INDEX wfe_instances_held ON wfe_instances (owner, retain_until)
    WHERE owner IS NOT NULL OR retain_until IS NOT NULL""",
    """
CREATE INDEX wfe_instances_parent ON wfe_instances (parent) WHERE parent IS NOT NULL""",
    # Behind the creation time stands the number, as in every index: that is the order of lists.
    """
CREATE INDEX wfe_instances_kind ON wfe_instances (definition, status, created_at)""",
    """
CREATE INDEX wfe_instances_reference ON wfe_instances (reference) WHERE reference IS NOT NULL""",
    """
CREATE TABLE wfe_snapshots (
    n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
    data TEXT NOT NULL)""",
    """
CREATE TABLE wfe_journal (
    instance INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, event TEXT NOT NULL)""",
    """
CREATE UNIQUE INDEX wfe_journal_seq ON wfe_journal (instance, seq)""",
    """
CREATE TABLE wfe_logs (
    l INTEGER PRIMARY KEY, instance INTEGER NOT NULL, at INTEGER NOT NULL, step TEXT,
    pointer INTEGER, stream TEXT NOT NULL, line TEXT NOT NULL)""",
    """
CREATE INDEX wfe_logs_instance ON wfe_logs (instance)""",
    """
CREATE TABLE wfe_stream (
    s INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, at INTEGER NOT NULL,
    step TEXT, pointer INTEGER, name TEXT NOT NULL, payload TEXT NOT NULL)""",
    """
CREATE INDEX wfe_stream_instance ON wfe_stream (instance, s)""",
)
_MESSAGES: Final = (
    # AUTOINCREMENT: numbers of deleted rows are never given out again.
    """
CREATE TABLE wfe_inbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, instance INTEGER NOT NULL, kind TEXT NOT NULL,
    dedupe TEXT, at INTEGER NOT NULL, actor TEXT, reason TEXT, payload TEXT NOT NULL)""",
    # For the messages of a run, too; those without a text are no duplicates of one another.
    """
CREATE UNIQUE INDEX wfe_inbox_dedupe ON wfe_inbox (instance, dedupe)""",
    # That no number is given out again is seen to when events are deleted, which is rare.
    """
CREATE TABLE wfe_events (
    e INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    key TEXT NOT NULL, at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER)""",
    """
CREATE INDEX wfe_events_topic ON wfe_events (name, key, at)""",
    """
CREATE INDEX wfe_events_expires ON wfe_events (expires) WHERE expires IS NOT NULL""",
    """
CREATE TABLE wfe_subscriptions (
    instance INTEGER NOT NULL, pointer INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    as_of INTEGER NOT NULL, after_at INTEGER NOT NULL, after_e INTEGER NOT NULL,
    PRIMARY KEY (instance, pointer)) WITHOUT ROWID""",
    """
CREATE INDEX wfe_subscriptions_topic ON wfe_subscriptions (name, key)""",
    """
CREATE TABLE wfe_outbox (
    i INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    at INTEGER NOT NULL, payload TEXT NOT NULL, expires INTEGER)""",
)
_WORK: Final = (
    """
CREATE TABLE wfe_definitions (
    d INTEGER PRIMARY KEY, id TEXT NOT NULL, version INTEGER NOT NULL, hash TEXT NOT NULL,
    body TEXT NOT NULL, current INTEGER NOT NULL, UNIQUE (id, version, hash))""",
    """
CREATE UNIQUE INDEX wfe_definitions_current ON wfe_definitions (id, version) WHERE current""",
    """
CREATE TABLE wfe_paused (definition TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID""",
    """
CREATE TABLE wfe_workers (
    epoch INTEGER PRIMARY KEY, name TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL,
    started INTEGER NOT NULL, beat INTEGER NOT NULL, fenced INTEGER)""",
    """
CREATE TABLE wfe_locks (
    name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID""",
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
)
_RESULTS: Final = (
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
)

TABLES: Final[tuple[str, ...]] = (
    """
CREATE TABLE wfe_meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID""",
    """
INSERT INTO wfe_meta VALUES ('next_n', 1)""",
    *_RUNS,
    *_MESSAGES,
    *_WORK,
    *_RESULTS,
)
"""The statements that make them, and what stands in them at the beginning."""
