"""What ``wfe doctor`` says of a PostgreSQL database; part of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.examining import Finding
from wfe.core.lean import frozen
from wfe.postgres.schema import SCHEMA

if TYPE_CHECKING:
    from wfe.postgres.database import Database

__all__ = ["Condition", "examine", "judged"]

_OLDEST: Final = 150_000  # server_version_num of PostgreSQL 15
_LONG: Final = 3600  # seconds that a transaction may be open
_CROWDED: Final = 0.9  # of the connections that the server allows
_DEAD: Final = 1_000_000  # dead rows that vacuum should have taken away
_ASK: Final = """
SELECT current_setting('server_version_num')::int,
    (SELECT value::int FROM wfe_meta WHERE key = 'schema'),
    pg_is_in_recovery(), current_setting('fsync') = 'on',
    current_setting('synchronous_commit') <> 'off', current_setting('max_connections')::int,
    (SELECT count(*)::int FROM pg_stat_activity),
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
    (SELECT pg_database_size(current_database())),
    (SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
        WHERE schemaname = %(schema)s AND relname LIKE %(tables)s)"""


@frozen
class Condition:
    """How a database is.

    Attributes:
        version: As ``server_version_num``.
        schema: Version of our tables.
        longest: Seconds that the oldest transaction is open.
        size: Of the database, bytes.
        dead: Rows of our tables that wait for vacuum.
    """

    version: int
    schema: int
    standby: bool
    fsync: bool
    durable_commits: bool
    allowed: int
    connected: int
    longest: float
    size: int
    dead: int


async def examine(db: Database) -> Sequence[Finding]:
    """Return what an operator should know of the server and the database."""
    tables = db.names.prefix.replace("\\", r"\\").replace("_", r"\_").replace("%", r"\%") + "%"
    row: Any = await db.one(_ASK, {"schema": db.names.schema, "tables": tables})
    return list(judged(Condition(*row)))


def judged(it: Condition) -> Iterator[Finding]:
    """Yield what there is to say of a database."""
    text = f"tables of version {it.schema}, {it.size / (1 << 20):.0f} MiB in the database"
    yield Finding(level="ok", topic="store", text=text)
    if it.version < _OLDEST:
        text = f"PostgreSQL {it.version // 10_000} is older than 15, with which WFE is tested"
        yield Finding(level="warning", topic="store", text=text, hint="update the server")
    if it.schema > SCHEMA:
        text = f"its tables were made by a newer WFE than this one (version {SCHEMA})"
        hint = "it can be used; update this host, too"
        yield Finding(level="note", topic="store", text=text, hint=hint)
    yield from _durable(it)
    if it.connected > _CROWDED * it.allowed:
        text = f"{it.connected} of {it.allowed} connections are taken"
        hint = "let hosts have fewer (?pool=5), or raise max_connections"
        yield Finding(level="warning", topic="store", text=text, hint=hint)
    if it.longest > _LONG:
        text = f"a transaction is open for {it.longest / 60:.0f} minutes"
        hint = "it holds up vacuum and the search feed: find it in pg_stat_activity, and end it"
        yield Finding(level="warning", topic="store", text=text, hint=hint)
    if it.dead > _DEAD:
        text = f"{it.dead:,} dead rows wait for vacuum"
        hint = "see whether autovacuum is on and gets to our tables"
        yield Finding(level="warning", topic="store", text=text, hint=hint)


def _durable(it: Condition) -> Iterator[Finding]:
    if it.standby:
        text = "the server is a standby: it takes no writes"
        hint = "name the primary, or all with target_session_attrs=read-write"
        yield Finding(level="problem", topic="store", text=text, hint=hint)
    if not it.fsync:
        text = "fsync is off: a crash of the machine can destroy the database"
        yield Finding(level="problem", topic="store", text=text, hint="set fsync = on")
    if not it.durable_commits:
        text = "synchronous_commit is off: a crash can lose what was acknowledged a moment before"
        hint = "set it to on for this database or role, unless that is meant"
        yield Finding(level="warning", topic="store", text=text, hint=hint)
