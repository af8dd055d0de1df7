"""The tables, and how a database of an older version becomes one of this version.

Hosts of several versions work on one database at a time: a migration only adds (expand), and what
nobody needs any more goes a release later (contract), after ``min_reader`` says who is too old.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from psycopg.errors import InsufficientPrivilege
from psycopg.sql import SQL, Identifier

from wfe.core.errors import StoreUnavailableError
from wfe.core.lean import frozen
from wfe.postgres.faults import denied, newer
from wfe.postgres.functions import FUNCTIONS
from wfe.postgres.names import MIGRATION, Names
from wfe.postgres.search_schema import SEARCH

if TYPE_CHECKING:
    from wfe.postgres.database import Connection

__all__ = ["MIGRATIONS", "MIN_READER", "SCHEMA", "Migration", "ensure_schema"]


@frozen
class Migration:
    """Statements that are done once, in one transaction.

    Attributes:
        concurrently: One after another instead, each its own transaction and repeatable
            (``CREATE INDEX CONCURRENTLY``, after ``DROP INDEX CONCURRENTLY IF EXISTS``, as one
            that was interrupted leaves an index of no use): on tables that are in use.
    """

    name: str
    statements: tuple[str, ...]
    concurrently: bool = False


MIN_READER: Final = 1
"""The oldest version whose code can read and write a database of this version."""

# Oldest first; never change one that was released.
MIGRATIONS: Final[tuple[Migration, ...]] = (
    Migration(
        "0001_tables",
        (
            """
CREATE TABLE wfe_definitions (
    d bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text COLLATE "C" NOT NULL,
    version bigint NOT NULL, hash text COLLATE "C" NOT NULL, body text NOT NULL,
    current boolean NOT NULL, UNIQUE (id, version, hash))""",
            """
CREATE UNIQUE INDEX wfe_definitions_current ON wfe_definitions (id, version) WHERE current""",
            # Beats and fences find room beside the row.
            """
CREATE TABLE wfe_workers (
    epoch bigint PRIMARY KEY, name text NOT NULL, host text NOT NULL, pid bigint NOT NULL,
    format integer NOT NULL, started bigint NOT NULL, beat bigint NOT NULL, fenced bigint)
    WITH (fillfactor = 50)""",
            """
CREATE SEQUENCE wfe_numbers AS bigint""",
            """
CREATE TABLE wfe_instances (
    n bigint PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE, d bigint NOT NULL,
    definition text COLLATE "C" NOT NULL, version bigint NOT NULL,
    name text COLLATE "C", reference text COLLATE "C", status text COLLATE "C" NOT NULL,
    wake bigint, owner bigint, poke bigint NOT NULL DEFAULT 0,
    takeovers bigint NOT NULL DEFAULT 0, faults bigint NOT NULL DEFAULT 0,
    priority bigint NOT NULL DEFAULT 0, parent bigint, parent_pointer bigint,
    parent_id text COLLATE "C", root_id text COLLATE "C" NOT NULL, idem text COLLATE "C",
    dedup text COLLATE "C", error text, created_at bigint NOT NULL, completed_at bigint,
    retain_until bigint, rev bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint))
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_analyze_scale_factor = 0.02)""",
            # Partial, as most have none.
            """
CREATE UNIQUE INDEX wfe_instances_name ON wfe_instances (name) WHERE name IS NOT NULL""",
            """
CREATE UNIQUE INDEX wfe_instances_idem ON wfe_instances (definition, idem)
    WHERE idem IS NOT NULL""",
            """
CREATE UNIQUE INDEX wfe_instances_dedup ON wfe_instances (definition, dedup)
    WHERE dedup IS NOT NULL AND completed_at IS NULL""",
            # A run stands in one of the two: usual ones cost nothing more.
            """
CREATE INDEX wfe_instances_due ON wfe_instances (d, wake, n)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority = 0""",
            """
CREATE INDEX wfe_instances_priority ON wfe_instances (d, priority, wake, n)
    WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0""",
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
CREATE INDEX wfe_instances_reference ON wfe_instances (reference, created_at, n)
    WHERE reference IS NOT NULL""",
            """
CREATE INDEX wfe_instances_completed ON wfe_instances (completed_at, n)
    WHERE parent IS NULL AND completed_at IS NOT NULL""",
            """
CREATE INDEX wfe_instances_retain ON wfe_instances (retain_until, n)
    WHERE retain_until IS NOT NULL""",
            """
CREATE INDEX wfe_instances_rev ON wfe_instances (rev, n)""",
            """
CREATE TABLE wfe_tombstones (
    n bigint PRIMARY KEY, id text COLLATE "C" NOT NULL, created_at bigint NOT NULL,
    rev bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint))""",
            """
CREATE INDEX wfe_tombstones_rev ON wfe_tombstones (rev, n)""",
            # Apart from the header, which is rewritten at every change of owner.
            """
CREATE TABLE wfe_snapshots (
    n bigint PRIMARY KEY, seq bigint NOT NULL, at bigint NOT NULL, state text NOT NULL,
    data text NOT NULL)""",
            """
CREATE TABLE wfe_journal (
    instance bigint NOT NULL, seq bigint NOT NULL, at bigint NOT NULL, event text NOT NULL,
    PRIMARY KEY (instance, seq))
    WITH (autovacuum_vacuum_insert_scale_factor = 0.1)""",
            """
CREATE TABLE wfe_inbox (
    i bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, instance bigint NOT NULL,
    kind text NOT NULL, dedupe text COLLATE "C", at bigint NOT NULL, actor text, reason text,
    payload text NOT NULL)
    WITH (autovacuum_vacuum_scale_factor = 0.02)""",
            """
CREATE UNIQUE INDEX wfe_inbox_dedupe ON wfe_inbox (instance, dedupe) WHERE dedupe IS NOT NULL""",
            """
CREATE INDEX wfe_inbox_instance ON wfe_inbox (instance, i)""",
            """
CREATE TABLE wfe_events (
    e bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text COLLATE "C" NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, at bigint NOT NULL,
    payload text NOT NULL, expires bigint)""",
            """
CREATE INDEX wfe_events_topic ON wfe_events (name, key, at, e)""",
            """
CREATE INDEX wfe_events_expires ON wfe_events (expires) WHERE expires IS NOT NULL""",
            """
CREATE TABLE wfe_subscriptions (
    instance bigint NOT NULL, pointer bigint NOT NULL, name text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL, as_of bigint NOT NULL, after_at bigint NOT NULL,
    after_e bigint NOT NULL, PRIMARY KEY (instance, pointer))
    WITH (autovacuum_vacuum_scale_factor = 0.02)""",
            """
CREATE INDEX wfe_subscriptions_topic ON wfe_subscriptions (name, key)""",
            """
CREATE TABLE wfe_activities (
    a bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, instance bigint NOT NULL,
    pointer bigint NOT NULL, attempt bigint NOT NULL, name text COLLATE "C" NOT NULL,
    parameters text NOT NULL, token text COLLATE "C", worker text, lease_until bigint,
    progress text, UNIQUE (instance, pointer))
    WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02)""",
            """
CREATE UNIQUE INDEX wfe_activities_token ON wfe_activities (token) WHERE token IS NOT NULL""",
            """
CREATE INDEX wfe_activities_free ON wfe_activities (name, a) WHERE token IS NULL""",
            """
CREATE INDEX wfe_activities_held ON wfe_activities (name, lease_until) WHERE token IS NOT NULL""",
            """
CREATE TABLE wfe_holders (
    key text COLLATE "C" NOT NULL, instance bigint NOT NULL, pointer bigint NOT NULL,
    at bigint NOT NULL, PRIMARY KEY (key, instance, pointer))""",
            """
CREATE INDEX wfe_holders_instance ON wfe_holders (instance)""",
            """
CREATE TABLE wfe_waiters (
    w bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text COLLATE "C" NOT NULL,
    lim bigint NOT NULL, instance bigint NOT NULL, pointer bigint NOT NULL,
    attempt bigint NOT NULL)""",
            """
CREATE INDEX wfe_waiters_key ON wfe_waiters (key, w)""",
            """
CREATE INDEX wfe_waiters_instance ON wfe_waiters (instance)""",
            # From `until` on a grant matters no more.
            """
CREATE TABLE wfe_rates (
    r bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text COLLATE "C" NOT NULL,
    at bigint NOT NULL, until bigint NOT NULL)""",
            """
CREATE INDEX wfe_rates_key ON wfe_rates (key, at)""",
            """
CREATE INDEX wfe_rates_until ON wfe_rates (until)""",
            """
CREATE TABLE wfe_schedules (
    id text COLLATE "C" PRIMARY KEY, definition text COLLATE "C" NOT NULL, version bigint,
    data text NOT NULL, spec text NOT NULL, next_at bigint, paused boolean NOT NULL,
    state text NOT NULL, last_n bigint, created_at bigint NOT NULL, rev bigint NOT NULL)
    WITH (fillfactor = 80)""",
            """
CREATE INDEX wfe_schedules_due ON wfe_schedules (next_at, id)
    WHERE next_at IS NOT NULL AND NOT paused""",
            """
CREATE TABLE wfe_paused (definition text COLLATE "C" PRIMARY KEY, at bigint NOT NULL)""",
            """
CREATE TABLE wfe_locks (
    name text COLLATE "C" PRIMARY KEY, epoch bigint NOT NULL, until bigint NOT NULL)
    WITH (fillfactor = 50)""",
            """
CREATE TABLE wfe_logs (
    l bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, instance bigint NOT NULL,
    at bigint NOT NULL, step text, pointer bigint, stream text NOT NULL, line text NOT NULL,
    rev bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint))""",
            """
CREATE INDEX wfe_logs_instance ON wfe_logs (instance, l)""",
            """
CREATE INDEX wfe_logs_rev ON wfe_logs (rev, l)""",
            """
CREATE TABLE wfe_stream (
    s bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, instance bigint NOT NULL,
    at bigint NOT NULL, step text, pointer bigint, name text NOT NULL, payload text NOT NULL)""",
            """
CREATE INDEX wfe_stream_instance ON wfe_stream (instance, s)""",
            """
CREATE TABLE wfe_outbox (
    i bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text NOT NULL, name text NOT NULL,
    key text NOT NULL, at bigint NOT NULL, payload text NOT NULL, expires bigint)
    WITH (autovacuum_vacuum_scale_factor = 0.02)""",
            """
CREATE TABLE wfe_cache (
    c bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text COLLATE "C" NOT NULL UNIQUE,
    definition text COLLATE "C" NOT NULL, step text COLLATE "C" NOT NULL, run text NOT NULL,
    document text NOT NULL, result text NOT NULL, created bigint NOT NULL, expires bigint,
    duration bigint NOT NULL, artifacts text)""",
            """
CREATE INDEX wfe_cache_step ON wfe_cache (definition, step, created)""",
            """
CREATE INDEX wfe_cache_expires ON wfe_cache (expires) WHERE expires IS NOT NULL""",
            """
CREATE INDEX wfe_cache_artifacts ON wfe_cache (c) WHERE artifacts IS NOT NULL""",
            """
CREATE TABLE wfe_cache_claims (
    key text COLLATE "C" PRIMARY KEY, holder text NOT NULL, until bigint NOT NULL)""",
            """
CREATE TABLE wfe_artifacts (
    a bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, instance bigint NOT NULL,
    root text COLLATE "C" NOT NULL, run text NOT NULL, step text NOT NULL,
    name text COLLATE "C" NOT NULL, digest text COLLATE "C" NOT NULL, manifest text NOT NULL,
    size bigint NOT NULL, files bigint NOT NULL, media_type text NOT NULL,
    created bigint NOT NULL, UNIQUE (root, name))""",
            """
CREATE INDEX wfe_artifacts_instance ON wfe_artifacts (instance)""",
            """
CREATE INDEX wfe_artifacts_digest ON wfe_artifacts (digest)""",
            *FUNCTIONS,
        ),
    ),
    Migration("0002_search", SEARCH),
)

SCHEMA: Final = len(MIGRATIONS)
"""Version of the schema that this code makes."""

_META: Final = (
    "CREATE TABLE IF NOT EXISTS wfe_meta (key text PRIMARY KEY, value text NOT NULL)",
    """
CREATE TABLE IF NOT EXISTS wfe_migrations (
    name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT clock_timestamp())""",
)
# "IF NOT EXISTS" would need the right to make one even where there is one.
_SCHEMA_THERE: Final = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
_VERSIONS: Final = "SELECT key, value::int FROM wfe_meta WHERE key IN ('schema', 'min_reader')"
_SET: Final = """
INSERT INTO wfe_meta VALUES (%s, %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE wfe_meta.value::int < excluded.value::int"""
_APPLIED: Final = "SELECT name FROM wfe_migrations"
_RECORD: Final = "INSERT INTO wfe_migrations (name) VALUES (%s)"
_LOCK: Final = "SELECT pg_advisory_xact_lock(%s::int, 0)"
# Not waited for: who waits in a statement is what CREATE INDEX CONCURRENTLY waits for.
_HOLD: Final = "SELECT pg_try_advisory_lock(%s::int, 1)"
_PAUSE: Final = 0.1  # seconds
_LET_GO: Final = "SELECT pg_advisory_unlock(%s::int, 1)"
# What is in use is not held up by who waits for it.
_PATIENCE: Final = "SET LOCAL lock_timeout = '5s'"


async def ensure_schema(
    conn: Connection, names: Names, where: str, *, there: bool, create: bool = True
) -> None:
    """Make or migrate the tables; any number of hosts may do so at once.

    Args:
        conn: In autocommit, and nobody else's.
        names: Of the tables; with their schema.
        where: For messages.
        there: Whether ``wfe_meta`` was there when somebody looked.
        create: Whether tables may be made where there are none.

    Raises:
        ProviderError: There are none and none may be made, or this role may not make them.
        StoreVersionError: The tables were made by a version that this code cannot read.
        psycopg.Error: The server refused.
    """
    try:
        found = await _version(conn, names, where) if there else -1
        if found >= SCHEMA:
            return
        if found < 0 and not create:
            problem = f"there are no tables of WFE in {_place(names, where)}; a host makes them"
            raise StoreUnavailableError("postgres", problem, transient=False)
        await _migrate(conn, names, found)
    except InsufficientPrivilege as error:
        raise denied(_place(names, where), error) from error


def _place(names: Names, where: str) -> str:
    return f"{where} (schema {names.schema}, prefix {names.prefix})"


async def _migrate(conn: Connection, names: Names, found: int) -> None:
    async with conn.transaction():
        await conn.execute(_LOCK, (names.lock(MIGRATION),))
        if found < 0:
            if (await (await conn.execute(_SCHEMA_THERE, (names.schema,))).fetchone()) is None:
                made = SQL("CREATE SCHEMA {}").format(Identifier(names.schema or "public"))
                await conn.execute(made)
            for sql in _META:
                await conn.execute(names.sql(sql))
    for migration in MIGRATIONS:
        await _apply(conn, names, migration)
    for key, value in (("schema", SCHEMA), ("min_reader", MIN_READER)):
        await conn.execute(names.sql(_SET), (key, str(value)))


async def _version(conn: Connection, names: Names, where: str) -> int:
    """Return the schema's version, 0: its tables are being made."""
    rows = await (await conn.execute(names.sql(_VERSIONS), prepare=False)).fetchall()
    versions: dict[str, int] = {key: value for key, value in rows}  # noqa: C416 - typed so
    needs = versions.get("min_reader", 0)
    if needs > SCHEMA:
        raise newer(where, needs=needs, ours=SCHEMA)
    return int(versions.get("schema", 0))


async def _apply(conn: Connection, names: Names, migration: Migration) -> None:
    key = names.lock(MIGRATION)
    if migration.concurrently:
        while (await (await conn.execute(_HOLD, (key,))).fetchone()) != (True,):  # noqa: ASYNC110 - another process
            await asyncio.sleep(_PAUSE)
        try:
            if not await _is_applied(conn, names, migration):
                for sql in migration.statements:
                    await conn.execute(names.sql(sql))
                await conn.execute(names.sql(_RECORD), (migration.name,))
        finally:
            await conn.execute(_LET_GO, (key,))
        return
    async with conn.transaction():
        await conn.execute(_LOCK, (key,))
        if await _is_applied(conn, names, migration):
            return
        await conn.execute(_PATIENCE)
        for sql in migration.statements:
            await conn.execute(names.sql(sql), prepare=False)
        await conn.execute(names.sql(_RECORD), (migration.name,))


async def _is_applied(conn: Connection, names: Names, migration: Migration) -> bool:
    rows = await (await conn.execute(names.sql(_APPLIED))).fetchall()
    return (migration.name,) in rows
