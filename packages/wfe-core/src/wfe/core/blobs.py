"""Keeps big values as files; any directory that all hosts share will do."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from wfe.core.durable_files import directory_of, make_directory, replace
from wfe.core.errors import (
    ProviderError,
    StoreFullError,
    StoreUnavailableError,
    UnreadableTextError,
)

__all__ = ["FileBlobs", "open_url"]

T = TypeVar("T")

_OWNER: Final = re.compile(r"[0-9a-z-]{1,64}")
_REF: Final = re.compile(r"[0-9a-z-]{1,64}/[0-9a-f]{64}")
_TEMPORARY: Final = ".new-"


def open_url(url: str, **options: Any) -> FileBlobs:
    """Return the blobs in the directory that *url* names: ``file:///absolute/directory``.

    Raises:
        ProviderError: It names none.
    """
    return FileBlobs(directory_of(url, "blobs"), **options)


class FileBlobs:
    """Files by owner and SHA-256; a file is whole and durable, or not there.

    Args:
        directory: Made when something is put.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory: Path = Path(directory).absolute()

    async def put(self, owner: str, data: bytes) -> str:
        if not _OWNER.fullmatch(owner):
            problem = f"{owner!r} is no owner: digits, small letters and -"
            raise ProviderError("blobs", problem, transient=False)
        ref = f"{owner}/{hashlib.sha256(data).hexdigest()}"
        await self._work(lambda: self._put(self.directory / ref, data))
        return ref

    async def get(self, ref: str) -> bytes:
        # It may come from a damaged or foreign store: nothing outside of the directory is read.
        if not _REF.fullmatch(ref):
            raise ProviderError("blobs", f"{ref!r} is no reference to a blob", transient=False)
        path = self.directory / ref
        data = await self._work(path.read_bytes)
        if hashlib.sha256(data).hexdigest() != path.name:
            problem = f"{path} is damaged: its contents do not have this hash; restore a backup"
            raise UnreadableTextError("blobs", problem)
        return data

    async def delete(self, owners: Sequence[str]) -> None:
        for owner in owners:
            if _OWNER.fullmatch(owner):
                await self._work(partial(_remove, self.directory / owner))

    async def owners(self, age: int) -> Sequence[str]:
        return await self._work(lambda: self._owners(time.time() - age / 1_000_000))

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise _translated(error, self.directory) from error

    def _put(self, path: Path, data: bytes) -> None:
        try:
            os.utime(path)  # it was put just now, so nobody sweeps it
        except FileNotFoundError:
            make_directory(path.parent)
            replace(path, data, _TEMPORARY)

    def _owners(self, before: float) -> list[str]:
        if not self.directory.is_dir():
            return []
        return sorted(
            each.name
            for each in self.directory.iterdir()
            if _OWNER.fullmatch(each.name) and each.is_dir() and _newest(each) <= before
        )


def _newest(directory: Path) -> float:
    """Return when something was put there last; the future if it is just being deleted."""
    try:
        times = [each.stat().st_mtime for each in directory.iterdir()]
        return max([directory.stat().st_mtime, *times])
    except FileNotFoundError:
        return float("inf")


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=not path.exists())


def _translated(error: OSError, directory: Path) -> ProviderError:
    if isinstance(error, FileNotFoundError):
        problem = (
            f"{error.filename} is missing; is {directory} the directory that all hosts of the"
            " store use?"
        )
        return ProviderError("blobs", problem, transient=False)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError("blobs", f"no space is left in {directory}; free some")
    return StoreUnavailableError("blobs", f"the system cannot read or write {directory}: {error}")
