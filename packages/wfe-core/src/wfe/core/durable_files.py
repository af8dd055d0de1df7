"""Files and directories that are whole and durable, or not there."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from wfe.core.errors import ProviderError

__all__ = ["directory_of", "make_directory", "replace", "sync", "written_aside"]


def directory_of(url: str, provider: str) -> str:
    """Return the directory that *url* names: ``file:///absolute/directory``.

    Args:
        url: Its scheme is the caller's business.
        provider: Who asks, for the error.

    Raises:
        ProviderError: It names none.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in {"", "localhost"} or not path.startswith("/") or path == "/":
        problem = f"{url!r} names no directory; write {parts.scheme}:///absolute/directory"
        raise ProviderError(provider, problem, transient=False)
    return path.removeprefix("/") if sys.platform == "win32" else path


def make_directory(directory: Path) -> None:
    """Make *directory* and those above it, durably."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    sync(directory.parent)


def sync(directory: Path) -> None:
    """Make the names in *directory* durable."""
    if sys.platform == "win32":
        return
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def written_aside(
    path: Path, prefix: str, mode: int | None = None, *, durable: bool = True
) -> Generator[IO[bytes]]:
    """Yield a new file that takes the place of *path* when the block ends well.

    Args:
        path: Readers see what was there, or the whole new file.
        prefix: Of the name until then, in the same directory.
        mode: Of the file, in permission bits; ``None``: its owner reads and writes it.
        durable: Whether its contents are on the disk by then; its name is so after :func:`sync`
            of the directory.

    Raises:
        OSError: It cannot be written. Then, and when the block raises, nothing of it is left.
    """
    fd, name = tempfile.mkstemp(prefix=prefix, dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            if mode is not None:
                Path(name).chmod(mode)  # before the sync: the mode is to be durable, too
            if durable:
                os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - *name* is a text
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what to tell
            Path(name).unlink()
        raise


def replace(path: Path, data: bytes, prefix: str, mode: int | None = None) -> None:
    """Write a file so that readers see the old or the new one, whole; durable on return.

    Raises:
        OSError: It cannot be written.
    """
    with written_aside(path, prefix, mode) as file:
        file.write(data)
    sync(path.parent)
