"""The read path: short statements on connections that cannot write."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import orjson

from wfe.core.providers import (
    Claimed,
    DefinitionRow,
    InboxRow,
    InstanceQuery,
    Loaded,
    LogRow,
    Row,
    Snapshot,
    StoredInstance,
    WorkerRow,
    data_has,
)
from wfe.core.sql_columns import INSTANCE, stored_instance
from wfe.sqlite import due, listing
from wfe.sqlite.faults import translate
from wfe.sqlite.listing import PURGED

__all__ = ["Reader"]

_SELECT: Final = f"SELECT {INSTANCE} FROM wfe_instances"  # noqa: S608 - a constant
_MANY: Final = "(SELECT value FROM json_each(?))"
_HEADERS: Final = f"{_SELECT} WHERE n IN {_MANY} AND status <> '{PURGED}'"
_BY_ID: Final = f"{_SELECT} WHERE id = ? AND status <> '{PURGED}'"
_BY_NAME: Final = f"{_SELECT} WHERE name = ? AND status <> '{PURGED}'"
_SNAPSHOTS: Final = f"SELECT n, seq, state, data FROM wfe_snapshots WHERE n IN {_MANY}"  # noqa: S608 - constants
_ROWS: Final = """
SELECT seq, at, event FROM wfe_journal WHERE instance = ? AND seq > ? ORDER BY seq LIMIT ?"""
_INBOX: Final = f"""
SELECT i, instance, kind, at, payload, actor, reason FROM wfe_inbox
WHERE instance IN {_MANY} ORDER BY i"""  # noqa: S608 - constants
_POKES: Final = f"SELECT n, poke FROM wfe_instances WHERE n IN {_MANY}"  # noqa: S608 - constants
_BELOW: Final = f"""
SELECT wake, n, d FROM wfe_instances
WHERE root_id IN {_MANY} AND owner IS NULL AND wake IS NOT NULL ORDER BY wake, n"""  # noqa: S608 - constants
_HINTED_DUE: Final = f"""
SELECT 1 FROM wfe_instances
WHERE n IN {_MANY} AND owner IS NULL AND wake <= ? LIMIT 1"""  # noqa: S608 - constants
_WORKERS: Final = """
SELECT epoch, name, host, pid, started, beat, fenced, owns FROM (
    SELECT *, EXISTS (SELECT 1 FROM wfe_instances WHERE owner = w.epoch) AS owns FROM wfe_workers w)
WHERE fenced IS NULL OR owns"""
_OWNED: Final = "SELECT n, d, takeovers FROM wfe_instances WHERE owner = ? ORDER BY n"
_BEATS: Final = f"""
SELECT epoch, beat FROM wfe_workers WHERE fenced IS NULL AND epoch IN {_MANY}"""  # noqa: S608 - constants
_ORPHANED: Final = """
SELECT 1 FROM wfe_workers w
WHERE fenced IS NOT NULL AND EXISTS (SELECT 1 FROM wfe_instances WHERE owner = w.epoch)"""
_DEFINITIONS: Final = """
SELECT d, id, version, hash, body, current FROM wfe_definitions WHERE ? IS NULL OR id = ?
ORDER BY d"""
_CURRENT: Final = """
SELECT d FROM wfe_definitions WHERE id = ? AND version = ? AND hash = ? AND current"""
_LOGS: Final = """
SELECT instance, at, step, pointer, stream, line, l FROM wfe_logs
WHERE instance = ? AND l > ? ORDER BY l LIMIT ?"""


class Reader:
    """One reading connection; *guard* is held for each call."""

    def __init__(
        self, db: sqlite3.Connection, path: Path, guard: AbstractContextManager[Any]
    ) -> None:
        self._db = db
        self._path = path
        self._guard = guard
        db.create_function("wfe_has", 2, _has, deterministic=True)

    def close(self) -> None:
        with self._guard:
            self._db.close()

    def all(self, sql: str, *args: object) -> list[Any]:
        """Return what a statement finds."""
        try:
            with self._guard:
                return self._db.execute(sql, args).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def _query(self, sql: str, args: tuple[Any, ...]) -> list[Any]:
        return self.all(sql, *args)

    # -- what is due ----------------------------------------------------------------------------

    def due(self, definitions: Sequence[int]) -> int | None:
        return due.earliest(self._query, definitions)

    def waiting(self, roots: Sequence[str]) -> list[tuple[int, int, int]]:
        return self.all(_BELOW, _json(roots))

    def claimable(self, definitions: Sequence[int], hints: Sequence[int] | None, now: int) -> bool:
        """Whether a claim may find something."""
        if hints is not None:
            return bool(self.all(_HINTED_DUE, _json(hints), now))
        return due.claimable(self._query, definitions, now)

    def orphaned(self) -> bool:
        """Whether a fenced worker owns something."""
        return bool(self.all(_ORPHANED))

    def workers(self) -> list[WorkerRow]:
        return [
            WorkerRow(
                epoch=epoch,
                name=name,
                host=host,
                pid=pid,
                started=started,
                beat=beat,
                fenced=fenced,
                owns=bool(owns),
            )
            for epoch, name, host, pid, started, beat, fenced, owns in self.all(_WORKERS)
        ]

    def owned(self, epoch: int) -> list[Claimed]:
        return [Claimed(*row) for row in self.all(_OWNED, epoch)]

    def beats(self, epochs: Sequence[int]) -> dict[int, int]:
        """Return the last beat of those of *epochs* that are not fenced."""
        return dict(self.all(_BEATS, _json(epochs)))

    # -- instances --------------------------------------------------------------------------------

    def load(self, numbers: Sequence[int]) -> list[Loaded]:
        """Return what exists of *numbers*, all as of one moment."""
        wanted = _json(numbers)
        db = self._db
        try:
            with self._guard, _Moment(db):
                headers = db.execute(_HEADERS, (wanted,)).fetchall()
                snapshots = {
                    n: Snapshot(seq, state, data)
                    for n, seq, state, data in db.execute(_SNAPSHOTS, (wanted,))
                }
                messages = _by_instance(db.execute(_INBOX, (wanted,)).fetchall())
                loaded: list[Loaded] = []
                for row in headers:
                    n = row[0]
                    snapshot = snapshots.get(n)
                    after = -1 if snapshot is None else snapshot.seq
                    tail = tuple([Row(*r) for r in db.execute(_ROWS, (n, after, -1))])
                    inbox = tuple(messages.get(n, ()))
                    header = stored_instance(row)
                    loaded.append(Loaded(header=header, snapshot=snapshot, tail=tail, inbox=inbox))
                return loaded
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    def inbox(self, numbers: Sequence[int]) -> list[tuple[int, int, tuple[InboxRow, ...]]]:
        wanted = _json(numbers)
        db = self._db
        try:
            with self._guard, _Moment(db):
                pokes = db.execute(_POKES, (wanted,)).fetchall()
                messages = _by_instance(db.execute(_INBOX, (wanted,)).fetchall())
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        return [(n, poke, tuple(messages.get(n, ()))) for n, poke in pokes]

    def history(self, n: int, after: int, limit: int) -> list[Row]:
        return [Row(*row) for row in self.all(_ROWS, n, after, limit)]

    def get(self, id_or_name: str) -> StoredInstance | None:
        rows = self.all(_BY_ID, id_or_name) or self.all(_BY_NAME, id_or_name)
        return stored_instance(rows[0]) if rows else None

    def find(self, query: InstanceQuery) -> list[StoredInstance]:
        db = self._db
        try:
            with self._guard, _Moment(db):
                return [stored_instance(row) for row in listing.rows(db, query)]
        except sqlite3.Error as error:
            raise translate(error, self._path) from error

    # -- the rest -------------------------------------------------------------------------------

    def definitions(self, id_: str | None) -> list[DefinitionRow]:
        return [
            DefinitionRow(d, id_, version, hash_, body, bool(current))
            for d, id_, version, hash_, body, current in self.all(_DEFINITIONS, id_, id_)
        ]

    def current_definition(self, id_: str, version: int, hash_: str) -> int | None:
        """Return the number of exactly this definition, if it is current."""
        rows = self.all(_CURRENT, id_, version, hash_)
        return rows[0][0] if rows else None

    def logs(self, n: int, after: int, limit: int) -> list[LogRow]:
        return [
            LogRow(n=n, at=at, step=step, pointer=pointer, stream=stream, line=line, l=l)
            for n, at, step, pointer, stream, line, l in self.all(_LOGS, n, after, limit)  # noqa: E741 - the column's name
        ]


class _Moment:
    """Several statements that see the same state."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, *_: object) -> None:
        if self._db.in_transaction:
            self._db.execute("COMMIT")


def _json(values: Sequence[int] | Sequence[str]) -> str:
    return orjson.dumps(list(values)).decode()


def _has(data: str, wanted: str) -> bool:
    return data_has(data, orjson.loads(wanted))


def _by_instance(rows: Sequence[Any]) -> dict[int, list[InboxRow]]:
    found: dict[int, list[InboxRow]] = {}
    for i, n, kind, at, payload, actor, reason in rows:
        row = InboxRow(i=i, n=n, kind=kind, at=at, payload=payload, actor=actor, reason=reason)
        found.setdefault(n, []).append(row)
    return found
