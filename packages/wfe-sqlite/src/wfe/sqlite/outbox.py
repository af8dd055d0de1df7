"""Starts and events inside the application's own transaction on the same file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import attrs

from wfe.core.errors import ProviderError
from wfe.core.providers import Done, Event, Header, Item, Outcome
from wfe.sqlite.commit import Commit
from wfe.sqlite.faults import is_busy, translate
from wfe.sqlite.reads import Reader
from wfe.sqlite.writer import Stats

__all__ = ["drain", "enqueue", "has_mail"]

_NUMBER: Final = """
UPDATE wfe_meta SET value = value + 1 WHERE key = 'next_n' RETURNING value"""
_PUT: Final = """
INSERT INTO wfe_outbox (id, name, key, at, payload, expires) VALUES (?, ?, ?, ?, ?, ?)"""
_LOOK: Final = "SELECT 1 FROM wfe_outbox LIMIT 1"
# The deletion is what makes that an event is published once.
_TAKE: Final = """
DELETE FROM wfe_outbox WHERE i IN (SELECT i FROM wfe_outbox ORDER BY i LIMIT ?)
RETURNING i, id, name, key, at, payload, expires"""


class _Plain:
    """The application's connection, with rows as tuples whatever its own settings are."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, sql: str, args: Iterable[Any] = ()) -> sqlite3.Cursor:
        cursor = self._db.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, tuple(args))

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        return self._db.cursor().executemany(sql, rows)


def enqueue(connection: Any, item: Item, path: Path, now: int) -> Outcome:
    """Write a start, or events, on the application's *connection* to the file *path*.

    Raises:
        ProviderError: It is no such connection, is in no transaction, or the file is locked.
    """
    db = _checked(connection, path)
    try:
        if not db.in_transaction:
            db.execute("BEGIN IMMEDIATE")  # what the driver itself does before a change
        # Its own checkpoints could meet a commit of the store, which old libraries do not survive.
        db.execute("PRAGMA wal_autocheckpoint = 0")
        plain = cast("sqlite3.Connection", _Plain(db))
        if item.new is None:
            return _put(plain, item.publish, now)
        return _start(plain, item, item.new, now)
    except sqlite3.Error as error:
        if is_busy(error):
            problem = (
                f"{path} is locked, or was changed after the application's transaction began;"
                " begin it with BEGIN IMMEDIATE, and keep it short"
            )
            raise ProviderError("sqlite", problem) from error
        raise translate(error, path) from error


def _checked(connection: Any, path: Path) -> sqlite3.Connection:
    if not isinstance(connection, sqlite3.Connection):
        problem = (
            f"within= takes the application's sqlite3.Connection to {path},"
            f" got {type(connection).__name__}"
        )
        raise ProviderError("sqlite", problem, transient=False)
    found = connection.cursor()
    found.row_factory = None
    files = {str(name): str(file) for _, name, file in found.execute("PRAGMA database_list")}
    main = files.get("main", "")
    if not main or not _same(Path(main), path):
        problem = (
            f"within= got a connection to {main or 'a database in memory'}, the runs are in {path};"
            " only a connection to that file can take them in its transaction"
        )
        raise ProviderError("sqlite", problem, transient=False)
    automatic = getattr(connection, "autocommit", -1) is True
    if not connection.in_transaction and (connection.isolation_level is None or automatic):
        problem = (
            "within= got a connection that is in no transaction and begins none by itself;"
            ' execute("BEGIN IMMEDIATE") on it first'
        )
        raise ProviderError("sqlite", problem, transient=False)
    return connection


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _put(db: sqlite3.Connection, events: Sequence[Event], now: int) -> Done:
    for event in events:
        at = now if event.at is None else event.at
        args = (event.id, event.name, event.key, at, event.payload, event.expires)
        db.execute(_PUT, args)
    return Done(now)


def _start(db: sqlite3.Connection, item: Item, new: Header, now: int) -> Outcome:
    if not item.n:
        ((after,),) = db.execute(_NUMBER).fetchall()
        item = attrs.evolve(item, n=after - 1, new=attrs.evolve(new, n=after - 1))
    (outcome,) = Commit(db, None, now, Stats()).one_by_one([item])
    return outcome


def has_mail(reader: Reader) -> bool:
    return bool(reader.all(_LOOK))


def drain(
    db: sqlite3.Connection, limit: int, now: int, stats: Stats
) -> list[tuple[int, int, int | None]]:
    """Publish up to *limit* events that were left; the inside of one transaction."""
    items = [
        Item(publish=(Event(id=id_, name=name, key=key, payload=payload, at=at, expires=expires),))
        for _, id_, name, key, at, payload, expires in sorted(db.execute(_TAKE, (limit,)))
    ]
    outcomes = Commit(db, None, now, stats).bulk(items)
    return [woken for done in outcomes if isinstance(done, Done) for woken in done.woken]
