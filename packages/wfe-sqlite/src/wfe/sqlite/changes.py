"""What changed, for indexes elsewhere: noted by triggers once somebody asked, never before.

``wfe_changes`` has one row for each run that was made, changed or deleted since the first asking,
with its latest number; numbers are never given out twice.  What is older is read from the runs
themselves.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from wfe.core.errors import DataTypeError
from wfe.core.providers import LogRow
from wfe.core.search import Changed, Changes, Gone, LogChanges, LoggedLine
from wfe.sqlite.listing import PURGED
from wfe.sqlite.reads import Reader

__all__ = ["FEED", "changes_after", "enable", "lines_after"]

FEED: Final = "SELECT value FROM wfe_meta WHERE key = 'feed'"
"""Name of the feed, once somebody asked."""
_NAME_FEED: Final = "INSERT INTO wfe_meta VALUES ('feed', ?)"
# So many changes a deleted run is remembered: whoever reads later than that has its document still,
# and finds nothing behind it.
_REMEMBERED: Final = 1_000_000
_NOTE: Final = """
    DELETE FROM wfe_changes WHERE n = new.n;
    INSERT INTO wfe_changes (n) VALUES (new.n);"""
_ENABLE: Final = (
    """
CREATE TABLE wfe_changes (
    rev INTEGER PRIMARY KEY AUTOINCREMENT, n INTEGER NOT NULL UNIQUE, id TEXT,
    created_at INTEGER)""",
    """
CREATE INDEX wfe_changes_gone ON wfe_changes (rev) WHERE id IS NOT NULL""",
    f"""
CREATE TRIGGER wfe_changes_new AFTER INSERT ON wfe_instances BEGIN{_NOTE}
END""",
    # Not each row of the journal: only what a header says, and data when a run is given up to wait.
    f"""
CREATE TRIGGER wfe_changes_head AFTER UPDATE OF status ON wfe_instances
WHEN new.status <> '{PURGED}' AND (old.status IS NOT new.status OR old.error IS NOT new.error
    OR old.completed_at IS NOT new.completed_at
    OR (old.owner IS NOT NULL AND new.owner IS NULL)) BEGIN{_NOTE}
END""",
    f"""
CREATE TRIGGER wfe_changes_delete AFTER DELETE ON wfe_instances BEGIN
    DELETE FROM wfe_changes WHERE n = old.n;
    INSERT INTO wfe_changes (n, id, created_at) VALUES (old.n, old.id, old.created_at);
    DELETE FROM wfe_changes WHERE id IS NOT NULL
        AND rev < (SELECT max(rev) FROM wfe_changes) - {_REMEMBERED};
END""",  # noqa: S608 - constants
)
_LAST_REV: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'wfe_changes'"
_ALL: Final = f"""
SELECT n, coalesce((SELECT rev FROM wfe_changes c WHERE c.n = i.n), 0) FROM wfe_instances i
WHERE n > ? AND status <> '{PURGED}' ORDER BY n LIMIT ?"""  # noqa: S608 - constants
_SINCE: Final = """
SELECT rev, n, id, created_at FROM wfe_changes WHERE rev > ? ORDER BY rev LIMIT ?"""
_LINES: Final = """
SELECT instance, at, step, pointer, stream, line, l, id, definition, status
FROM (SELECT * FROM wfe_logs WHERE l > ? ORDER BY l LIMIT ?) lines
LEFT JOIN wfe_instances i ON i.n = lines.instance ORDER BY l"""


def enable(db: sqlite3.Connection) -> str:
    """Make table and triggers if need be, inside a transaction; return the feed's name."""
    found = db.execute(FEED).fetchone()
    if found is not None:  # another process was faster
        return str(found[0])
    name = secrets.token_hex(4)
    for sql in _ENABLE:
        db.execute(sql)
    db.execute(_NAME_FEED, (name,))
    return name


def changes_after(reader: Reader, feed: str, cursor: str | None, limit: int) -> Changes:
    """Return up to *limit* runs that changed after *cursor*."""
    kind, first, last = _place(feed, cursor)
    if kind == "all":
        if last < 0:
            # What is committed later has a higher number; what is not, is read now.
            last = _last_rev(reader)
        rows = reader.all(_ALL, first, limit)
        changed = tuple([Changed(n, rev) for n, rev in rows])
        if len(rows) < limit:
            return Changes(changed, (), f"{feed}:rev:{last}:0", more=True)
        return Changes(changed, (), f"{feed}:all:{rows[-1][0]}:{last}", more=True)
    rows = reader.all(_SINCE, first, limit)
    return Changes(
        tuple([Changed(n, rev) for rev, n, id_, _ in rows if id_ is None]),
        tuple([Gone(n, rev, id_, created) for rev, n, id_, created in rows if id_ is not None]),
        f"{feed}:rev:{rows[-1][0] if rows else first}:0",
        more=len(rows) == limit,
    )


def _last_rev(reader: Reader) -> int:
    found = reader.all(_LAST_REV)
    return int(found[0][0]) if found else 0


def _place(feed: str, cursor: str | None) -> tuple[str, int, int]:
    """Return the kind of the feed's next page, where it begins, and what follows the runs.

    The cursor of another file, which once stood in this one's place, is a new beginning.
    """
    if cursor is None:
        return "all", -1, -1
    name, kind, first, last = _parts(cursor, 4, numbers=2)
    if name != feed:
        return "all", -1, -1
    return kind, int(first), int(last)


def lines_after(reader: Reader, feed: str, cursor: str | None, limit: int) -> LogChanges:
    """Return up to *limit* lines that were written after *cursor*."""
    after = 0
    if cursor is not None:
        name, position = _parts(cursor, 2, numbers=1)
        after = int(position) if name == feed else 0
    rows = reader.all(_LINES, after, limit)
    lines = [_line(row) for row in rows if row[7] is not None and row[9] != PURGED]
    last = rows[-1][6] if rows else after
    return LogChanges(tuple(lines), f"{feed}:{last}", more=len(rows) == limit)


def _line(row: Sequence[Any]) -> LoggedLine:
    n, at, step, pointer, stream, line, l, id_, definition, _ = row  # noqa: E741 - the column's name
    kept = LogRow(n=n, at=at, step=step, pointer=pointer, stream=stream, line=line, l=l)
    return LoggedLine(kept, id_, definition)


def _parts(cursor: str, count: int, *, numbers: int) -> list[str]:
    """Return the parts of a cursor, the last of which are numbers."""
    parts = cursor.split(":")
    if len(parts) != count or not all(part.isdecimal() for part in parts[-numbers:]):
        raise DataTypeError("cursor", f"{cursor!r} is no cursor of a feed of this store")
    return parts
