"""The file of the write-ahead log: made long enough before it is written to."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

__all__ = ["LOG_BYTES", "lengthen"]

LOG_BYTES: Final = 1 << 20
"""How long the log's file is when it is empty: a hundred small commits."""


def lengthen(db: sqlite3.Connection, path: Path) -> None:
    """Fill the log's file with zeros, so that commits overwrite it instead of making it longer.

    To make a longer file durable, the file system has to write about that file, too: a commit takes
    twice the time.  To SQLite, zeros behind the last frame (or instead of the first) are the end of
    the log.

    Raises:
        sqlite3.Error: The database failed, or somebody else writes just now.
    """
    db.execute("BEGIN IMMEDIATE")  # until the end nobody else adds to the log
    try:
        # A disk that is full says so when something is to be stored.
        file = path.with_name(f"{path.name}-wal")
        with contextlib.suppress(OSError), file.open("r+b", buffering=0) as log:
            log.write(bytes(max(LOG_BYTES - log.seek(0, os.SEEK_END), 0)))
    finally:
        db.execute("ROLLBACK")
