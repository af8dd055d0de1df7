"""What ``wfe doctor`` says of a SQLite file."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from wfe.core.examining import Finding
from wfe.sqlite.reads import Reader
from wfe.sqlite.schema import SCHEMA

__all__ = ["examined", "loses_pages"]

_BIG_LOG: Final = 256 << 20  # bytes of the write-ahead log
_FREE: Final = 512 << 20  # bytes left on the disk
_STORED: Final = "SELECT value FROM wfe_meta WHERE key = 'schema'"


async def examined(path: Path, reader: Reader) -> Sequence[Finding]:
    """Return what an operator should know of the library, the file and its disk."""
    ((stored,),) = reader.all(_STORED)
    found = [_schema(int(stored)), *_library(sqlite3.sqlite_version_info)]
    return [*found, *await asyncio.to_thread(lambda: list(_file(path)))]


def _schema(stored: int) -> Finding:
    if stored > SCHEMA:
        text = f"tables of version {stored}, made by a newer WFE than this one (version {SCHEMA})"
        hint = "it can be used; update this one, too"
        return Finding(level="note", topic="store", text=text, hint=hint)
    return Finding(level="ok", topic="store", text=f"tables of version {stored}")


def loses_pages(version: tuple[int, int, int]) -> bool:
    """Whether a library can lose committed pages when a checkpoint meets a commit.

    Source: https://sqlite.org/wal.html, "The WAL-Reset Bug".
    """
    mended = {(3, 44): 6, (3, 50): 7, (3, 51): 3}
    least = mended.get(version[:2])
    return (3, 7, 0) <= version < (3, 51, 3) and (least is None or version[2] < least)


def _library(version: tuple[int, int, int]) -> Iterator[Finding]:
    if loses_pages(version):
        shown = ".".join(map(str, version))
        text = (
            f"SQLite {shown} can lose pages when another program checkpoints the file while WFE"
            " writes; WFE's own processes take turns"
        )
        hint = "open the file with other programs only for reading, or use SQLite 3.51.3 or newer"
        yield Finding(level="note", topic="store", text=text, hint=hint)


def _file(path: Path) -> Iterator[Finding]:
    if not path.is_file():  # in memory
        return
    log = path.with_name(f"{path.name}-wal")
    size, logged = path.stat().st_size, log.stat().st_size if log.exists() else 0
    yield Finding(
        level="ok", topic="store", text=f"{_mib(size)} in the file, {_mib(logged)} logged"
    )
    if logged > _BIG_LOG:
        text = f"the write-ahead log has {_mib(logged)}: somebody reads for long, or has stopped"
        hint = f"find who has the file open: lsof {path}"
        yield Finding(level="warning", topic="store", text=text, hint=hint)
    if not os.access(path, os.W_OK):
        text = f"{path} cannot be written by this user"
        yield Finding(level="problem", topic="store", text=text, hint="mend its permissions")
    free = shutil.disk_usage(path.parent).free
    if free < _FREE:
        text = f"only {_mib(free)} are free on the disk of {path}"
        hint = "make room: a store that is full takes no work (wfe purge --older-than 30d)"
        yield Finding(level="warning", topic="store", text=text, hint=hint)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
