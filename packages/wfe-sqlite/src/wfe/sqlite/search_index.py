"""The tables of the search index in the file, and how documents get into them.

They are made when somebody searches for the first time.  Words stand between spaces, so that
without FTS5 in the library ``LIKE`` finds the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from wfe.core.search import Gone, LogDocument, SearchDocument

__all__ = ["FTS", "MODE", "apply_lines", "apply_runs", "clear", "has_fts", "prepare"]

FTS: Final = "fts5"
"""Mode of an index with FTS5; else it is ``like``."""
MODE: Final = "SELECT value FROM wfe_meta WHERE key = 'search'"
_HAS_FTS: Final = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
_HOUR: Final = 3_600_000_000  # µs; how long it is known of a deleted run that it was

_TABLES: Final = (
    """
CREATE TABLE wfe_search_runs (
    n INTEGER PRIMARY KEY, rev INTEGER NOT NULL, id TEXT NOT NULL, definition TEXT NOT NULL,
    status TEXT NOT NULL, reference TEXT, created_at INTEGER NOT NULL, words TEXT NOT NULL)""",
    """
CREATE INDEX wfe_search_runs_created ON wfe_search_runs (created_at, n)""",
    """
CREATE INDEX wfe_search_runs_kind ON wfe_search_runs (definition, status, created_at, n)""",
    """
CREATE INDEX wfe_search_runs_reference ON wfe_search_runs (reference)
    WHERE reference IS NOT NULL""",
    """
CREATE TABLE wfe_search_fields (
    path TEXT NOT NULL, value TEXT NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (path, value, n))
    WITHOUT ROWID""",
    """
CREATE INDEX wfe_search_fields_run ON wfe_search_fields (n)""",
    """
CREATE TABLE wfe_search_gone (
    n INTEGER PRIMARY KEY, rev INTEGER NOT NULL, at INTEGER NOT NULL)""",
    """
CREATE INDEX wfe_search_gone_at ON wfe_search_gone (at)""",
    """
CREATE TABLE wfe_search_lines (
    l INTEGER PRIMARY KEY, n INTEGER NOT NULL, id TEXT NOT NULL, definition TEXT NOT NULL,
    at INTEGER NOT NULL, step TEXT, pointer INTEGER, stream TEXT NOT NULL, line TEXT NOT NULL,
    words TEXT NOT NULL)""",
    """
CREATE INDEX wfe_search_lines_at ON wfe_search_lines (at, l)""",
    """
CREATE INDEX wfe_search_lines_run ON wfe_search_lines (n)""",
)
# The words are ours: nothing is left to a tokenizer but to split them at the spaces.
_WORDS: Final = (
    """
CREATE VIRTUAL TABLE wfe_search_run_words USING fts5 (
    words, content = 'wfe_search_runs', content_rowid = 'n',
    tokenize = 'unicode61 remove_diacritics 0')""",
    """
CREATE VIRTUAL TABLE wfe_search_line_words USING fts5 (
    words, content = 'wfe_search_lines', content_rowid = 'l',
    tokenize = 'unicode61 remove_diacritics 0')""",
)
_DROP: Final = (
    "wfe_search_run_words",
    "wfe_search_line_words",
    "wfe_search_runs",
    "wfe_search_fields",
    "wfe_search_gone",
    "wfe_search_lines",
)
_SET: Final = "INSERT OR REPLACE INTO wfe_meta VALUES (?, ?)"
_FORGET: Final = "DELETE FROM wfe_meta WHERE key IN ('search', 'search_runs', 'search_logs')"

_OLD: Final = "SELECT rev, words FROM wfe_search_runs WHERE n = ?"
_WAS_GONE: Final = "SELECT rev FROM wfe_search_gone WHERE n = ?"
_PUT: Final = "INSERT OR REPLACE INTO wfe_search_runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DROP_FIELDS: Final = "DELETE FROM wfe_search_fields WHERE n = ?"
_PUT_FIELD: Final = "INSERT OR IGNORE INTO wfe_search_fields VALUES (?, ?, ?)"
_ADD_WORDS: Final = "INSERT INTO wfe_search_run_words (rowid, words) VALUES (?, ?)"
_TAKE_WORDS: Final = """
INSERT INTO wfe_search_run_words (wfe_search_run_words, rowid, words) VALUES ('delete', ?, ?)"""
_DROP_RUN: Final = "DELETE FROM wfe_search_runs WHERE n = ?"
_PUT_GONE: Final = """
INSERT INTO wfe_search_gone VALUES (?, ?, ?)
ON CONFLICT (n) DO UPDATE SET rev = max(rev, excluded.rev), at = excluded.at"""
_LONG_GONE: Final = "DELETE FROM wfe_search_gone WHERE at < ?"
_LINES_OF: Final = "SELECT l, words FROM wfe_search_lines WHERE n = ?"
_DROP_LINES: Final = "DELETE FROM wfe_search_lines WHERE n = ?"
_PUT_LINE: Final = """
INSERT OR IGNORE INTO wfe_search_lines VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_ADD_LINE_WORDS: Final = "INSERT INTO wfe_search_line_words (rowid, words) VALUES (?, ?)"
_TAKE_LINE_WORDS: Final = """
INSERT INTO wfe_search_line_words (wfe_search_line_words, rowid, words) VALUES ('delete', ?, ?)"""


def has_fts(db: sqlite3.Connection) -> bool:
    """Whether this library was built with FTS5."""
    return db.execute(_HAS_FTS).fetchone() is not None


def prepare(db: sqlite3.Connection) -> bool:
    """Make the tables if there are none; return whether they use FTS5."""
    found = db.execute(MODE).fetchone()
    if found is not None:
        return bool(found[0] == FTS)
    full = has_fts(db)
    for sql in (*_TABLES, *_WORDS) if full else _TABLES:
        db.execute(sql)
    db.execute(_SET, ("search", FTS if full else "like"))
    return full


def clear(db: sqlite3.Connection) -> None:
    """Drop the tables and the cursors."""
    for table in _DROP:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    db.execute(_FORGET)


def apply_runs(
    db: sqlite3.Connection,
    documents: Sequence[SearchDocument],
    gone: Sequence[Gone],
    cursor: str,
    now: int,
) -> None:
    """Take over runs; the inside of one transaction."""
    full = prepare(db)
    for each in gone:
        _remove(db, each, full, now)
    for document in documents:
        _put(db, document, full)
    db.execute(_LONG_GONE, (now - _HOUR,))
    db.execute(_SET, ("search_runs", cursor))


def _put(db: sqlite3.Connection, document: SearchDocument, full: bool) -> None:
    n = document.n
    was_gone = db.execute(_WAS_GONE, (n,)).fetchone()
    if was_gone is not None and was_gone[0] >= document.rev:
        return
    old = db.execute(_OLD, (n,)).fetchone()
    if old is not None and old[0] > document.rev:
        return
    if old is not None:
        db.execute(_DROP_FIELDS, (n,))
        if full:
            db.execute(_TAKE_WORDS, (n, old[1]))
    words = f" {document.text} "
    row = (
        n,
        document.rev,
        document.id,
        document.definition,
        document.status,
        document.reference,
        document.created_at,
        words,
    )
    db.execute(_PUT, row)
    if full:
        db.execute(_ADD_WORDS, (n, words))
    db.executemany(_PUT_FIELD, [(path, value, n) for path, value in document.fields])


def _remove(db: sqlite3.Connection, gone: Gone, full: bool, now: int) -> None:
    n = gone.n
    old = db.execute(_OLD, (n,)).fetchone()
    if old is not None and old[0] > gone.rev:
        return
    if full:
        if old is not None:
            db.execute(_TAKE_WORDS, (n, old[1]))
        db.executemany(_TAKE_LINE_WORDS, db.execute(_LINES_OF, (n,)).fetchall())
    for sql in (_DROP_FIELDS, _DROP_RUN, _DROP_LINES):
        db.execute(sql, (n,))
    db.execute(_PUT_GONE, (n, gone.rev, now))


def apply_lines(db: sqlite3.Connection, lines: Sequence[LogDocument], cursor: str) -> None:
    """Take over lines; the inside of one transaction."""
    full = prepare(db)
    for line in lines:
        if db.execute(_WAS_GONE, (line.n,)).fetchone() is not None:
            continue
        words = f" {line.text} "
        row = (line.l, line.n, line.id, line.definition, line.at, line.step, line.pointer)
        added = db.execute(_PUT_LINE, (*row, line.stream, line.line, words)).rowcount
        if added and full:
            db.execute(_ADD_LINE_WORDS, (line.l, words))
    db.execute(_SET, ("search_logs", cursor))
