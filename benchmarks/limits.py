"""What commits cost without an engine: a plain loop over the driver, same rows and batches."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from wfe.core.providers import Item

if TYPE_CHECKING:
    import psycopg

__all__ = ["Batch", "batches", "postgres_loop", "sqlite_loop"]

_TABLES: Final = (
    "CREATE TABLE run (n {int} PRIMARY KEY, id TEXT UNIQUE, status TEXT, ended {int})",
    "CREATE TABLE step (run {int}, seq {int}, at {int}, event TEXT, PRIMARY KEY (run, seq))",
)
_RUN: Final = "INSERT INTO run VALUES (?, ?, ?, NULL)"
_STEP: Final = "INSERT INTO step VALUES (?, ?, ?, ?)"
_END: Final = "UPDATE run SET status = ?, ended = ? WHERE n = ?"
_POSTGRES: Final = {
    "starts": """
INSERT INTO run SELECT r.*, NULL FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS r""",
    "rows": """
INSERT INTO step SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[])""",
    "ends": """
UPDATE run SET status = e.status, ended = e.at
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS e (status, at, n) WHERE run.n = e.n""",
}

_Rows: TypeAlias = list[tuple[Any, ...]]


@attrs.frozen(kw_only=True)
class Batch:
    """One commit, as parameters of the loop's statements."""

    starts: _Rows = attrs.field(factory=_Rows)
    rows: _Rows = attrs.field(factory=_Rows)
    ends: _Rows = attrs.field(factory=_Rows)


def batches(commits: Sequence[Sequence[Item]]) -> list[Batch]:
    """Return what the loop has to write so that it writes what the engine committed."""
    return [_batch(items) for items in commits]


def _batch(items: Sequence[Item]) -> Batch:
    batch = Batch()
    now = time.time_ns() // 1000
    for item in items:
        if item.new is not None:
            batch.starts.append((item.n, item.new.id, str(item.new.status)))
        if item.header is not None:
            batch.ends.append((str(item.header.status), now, item.n))
        for k, row in enumerate(item.rows, start=item.base + 1):
            batch.rows.append((item.n, k, now, row))
    return batch


def sqlite_loop(path: Path, wanted: Sequence[Batch], synchronous: str = "FULL") -> float:
    """Return the seconds that ``sqlite3`` needs for the batches in a new file (WAL).

    Args:
        path: Where there is no file yet.
        wanted: One transaction each.
        synchronous: ``FULL`` or ``NORMAL``.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(f"PRAGMA synchronous={synchronous}")
        for table in _TABLES:
            db.execute(table.format(int="INTEGER"))
        began = time.perf_counter()
        for batch in wanted:
            db.execute("BEGIN IMMEDIATE")
            for statement, rows in ((_RUN, batch.starts), (_STEP, batch.rows), (_END, batch.ends)):
                if rows:
                    db.executemany(statement, rows)
            db.execute("COMMIT")
        return time.perf_counter() - began


def postgres_loop(url: str, wanted: Sequence[Batch]) -> float:
    """Return the seconds that ``psycopg`` needs for the batches in tables of its own.

    A batch is one statement and so one round trip.
    """
    import psycopg  # noqa: PLC0415 - RECOVER of SQLite starts without it

    with psycopg.connect(url, autocommit=True) as db:
        for name in ("run", "step"):
            db.execute(f"DROP TABLE IF EXISTS {name}".encode())
        for table in _TABLES:
            db.execute(table.format(int="BIGINT").encode())
        _write(db, wanted[:1])  # its statement is prepared then, as the engine's are by its warm-up
        db.execute(b"TRUNCATE run, step")
        began = time.perf_counter()
        _write(db, wanted)
        return time.perf_counter() - began


def _write(db: psycopg.Connection[Any], wanted: Sequence[Batch]) -> None:
    for batch in wanted:
        parts = {name: rows for name, rows in _parts(batch) if rows}
        *before, last = (_POSTGRES[name] for name in parts)
        ctes = ", ".join(f"w{k} AS ({statement})" for k, statement in enumerate(before))
        text = f"WITH {ctes} {last}" if ctes else last
        columns = [list(column) for rows in parts.values() for column in zip(*rows, strict=True)]
        db.execute(text.encode(), columns, prepare=True)


def _parts(batch: Batch) -> Iterator[tuple[str, _Rows]]:
    yield from (("starts", batch.starts), ("rows", batch.rows), ("ends", batch.ends))
