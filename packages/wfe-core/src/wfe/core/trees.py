"""Small files as one deterministic archive, and archives unpacked without leaving a directory."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import sys
import tarfile
from collections.abc import Callable, Generator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NoReturn

from wfe.core.artifacts import ArtifactError
from wfe.core.durable_files import written_aside
from wfe.core.file_digests import mode_of

__all__ = [
    "GZIP",
    "TAR",
    "ZSTD",
    "Unpacking",
    "compressed",
    "decompressed",
    "has_zstd",
    "link_problem",
    "place_problem",
    "write_tar",
]

TAR: Final = "application/vnd.oci.image.layer.v1.tar"
GZIP: Final = f"{TAR}+gzip"
ZSTD: Final = f"{TAR}+zstd"
_CHUNK: Final = 1 << 20
_FAST: Final = 1  # gzip: 6 is four times slower for a tenth of the size
_LEVEL: Final = 3
_TEMPORARY: Final = ".wfe-new-"


def _zstd() -> Any:
    """Return the module that compresses with zstd, ``None`` when there is none."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # type: ignore[import-not-found]  # noqa: PLC0415

        return zstd
    try:
        import zstandard  # noqa: PLC0415 - the extra is optional
    except ImportError:
        return None
    return zstandard


def has_zstd() -> bool:
    """Whether archives can be written and read with zstd here."""
    return _zstd() is not None


@contextlib.contextmanager
def compressed(file: IO[bytes]) -> Generator[tuple[IO[bytes], str], None, None]:
    """Yield where to write an archive that lands in *file*, and its media type."""
    module = _zstd()
    if module is None:
        with gzip.GzipFile("", "wb", _FAST, file, mtime=0) as packed:
            yield packed, GZIP  # type: ignore[misc]
    elif hasattr(module, "ZstdCompressor") and hasattr(module.ZstdCompressor, "stream_writer"):
        with module.ZstdCompressor(level=_LEVEL).stream_writer(file, closefd=False) as packed:
            yield packed, ZSTD
    else:
        with module.ZstdFile(file, "wb", level=_LEVEL) as packed:
            yield packed, ZSTD


@contextlib.contextmanager
def decompressed(file: IO[bytes], media_type: str, name: str) -> Generator[IO[bytes], None, None]:
    """Yield the archive in *file*.

    Raises:
        ArtifactError: It is of a kind that cannot be read here.
    """
    if media_type == TAR:
        yield file
    elif media_type == GZIP:
        with gzip.GzipFile(fileobj=file) as plain:
            yield plain  # type: ignore[misc]
    elif media_type == ZSTD:
        module = _zstd()
        if module is None:
            problem = "it is compressed with zstd; install wfe-core[zstd] to read it"
            raise ArtifactError(name, problem)
        if hasattr(module, "ZstdFile"):
            with module.ZstdFile(file, "rb") as plain:
                yield plain
        else:
            with module.ZstdDecompressor().stream_reader(file, closefd=False) as plain:
                yield plain
    else:
        raise ArtifactError(name, f"it has a layer of the unknown kind {media_type!r}")


def place_problem(place: str) -> str | None:
    """Return why *place* cannot be one in an artifact; ``None``: it can."""
    parts = PurePosixPath(place).parts
    if not place or "\0" in place or place != "/".join(parts):
        return "is not a plain relative path"
    if place.startswith("/") or ".." in parts or parts == (".",):
        return "leads out of the directory"
    if os.name == "nt" and any(char in place for char in ':\\*?"<>|'):
        return "cannot be a name on this system"
    return None


def link_problem(place: str, target: str) -> str | None:
    """Return why a link at *place* cannot point to *target*; ``None``: it can."""
    if not target or target.startswith("/") or "\0" in target:
        return f"is a link to {target!r}, which is not relative"
    depth = len(PurePosixPath(place).parts) - 1
    for part in target.split("/"):
        depth += -1 if part == ".." else 0 if part in {"", "."} else 1
        if depth < 0:
            return f"is a link to {target!r}, out of the directory"
    return None


def write_tar(files: Mapping[str, Path], out: IO[bytes]) -> dict[str, tuple[str, str]]:
    """Write small files and links so that equal trees give equal bytes: sorted, without times.

    Returns:
        What :func:`~wfe.core.file_digests.tree_digest` wants of them.

    Raises:
        OSError: A file is gone or unreadable.
    """
    entries: dict[str, tuple[str, str]] = {}
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar:
        for place, path in sorted(files.items()):
            member = tarfile.TarInfo(place)
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                target = os.readlink(path)  # noqa: PTH115 - the text, as it stands
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
                tar.addfile(member)
                entries[place] = ("link", target)
                continue
            data, mode = path.read_bytes(), mode_of(found.st_mode)
            member.size, member.mode = len(data), int(mode, 8)
            tar.addfile(member, io.BytesIO(data))
            entries[place] = (mode, hashlib.sha256(data).hexdigest())
    return entries


class Unpacking:
    """Puts files below a directory, and never anywhere else.

    Args:
        name: Of the artifact, for errors.
        directory: Made when it is not there.
        limit: Bytes that all files may have together.
    """

    def __init__(self, name: str, directory: Path, limit: int) -> None:
        self.name = name
        self.directory: Path = directory.resolve()
        self.places: list[str] = []
        self._left = limit
        self._links: list[tuple[str, str]] = []
        self.directory.mkdir(parents=True, exist_ok=True)

    def tar(self, file: IO[bytes]) -> None:
        """Put what an archive has.

        Raises:
            ArtifactError: It has something that must not be unpacked; nothing of it is kept that
                was not checked.
        """
        try:
            with tarfile.open(fileobj=file, mode="r|", encoding="utf-8") as tar:
                for member in tar:
                    self._member(tar, member)
        except tarfile.TarError as error:
            raise ArtifactError(self.name, f"its archive cannot be read: {error}") from error

    def _member(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        place = member.name
        if member.issym():
            self.link(place, member.linkname)
        elif member.isreg() and not member.issparse():
            source = tar.extractfile(member)
            if source is not None:
                self.file(place, member.mode, source, member.size)
        else:
            kind = "a hard link" if member.islnk() else f"of the kind {member.type!r}"
            self._refuse(place, f"is {kind}; artifacts have files and links only")

    def file(self, place: str, mode: int, source: IO[bytes], size: int) -> None:
        """Put a file: whole, or not at all.

        Raises:
            ArtifactError: It would be elsewhere, or it is too big.
        """
        target = self._target(place)
        self._left -= size
        if self._left < 0:
            self._refuse(place, "makes the artifact larger than it may be")
        if target.is_dir() and not target.is_symlink():
            self._refuse(place, "is a directory here")
        mode = 0o755 if mode & stat.S_IXUSR else 0o644
        with written_aside(target, _TEMPORARY, mode, durable=False) as out:
            _copy(source, out, size, lambda: self._refuse(place, "is shorter than it says"))
        self.places.append(place)

    def link(self, place: str, target: str) -> None:
        """Put a symbolic link, when all else is there: nothing is ever written through one.

        Raises:
            ArtifactError: It would be elsewhere, or leads elsewhere.
        """
        problem = place_problem(place) or link_problem(place, target)
        if problem is not None:
            self._refuse(place, problem)
        self._links.append((place, target))

    def finish(self) -> None:
        """Make the links."""
        made: list[tuple[str, Path]] = []
        for place, target in self._links:
            path = self._target(place)
            if path.is_dir() and not path.is_symlink():
                self._refuse(place, "is a directory here")
            path.unlink(missing_ok=True)
            path.symlink_to(target)
            made.append((place, path))
        # Only now: links may lead through each other, and what counts is where they end.
        for place, path in made:
            if not self._is_inside(path):
                for _, each in made:
                    each.unlink(missing_ok=True)
                self._refuse(place, "is a link that leads out of the directory")
            self.places.append(place)

    def _target(self, place: str) -> Path:
        problem = place_problem(place)
        if problem is not None:
            self._refuse(place, problem)
        parent = self.directory
        for part in PurePosixPath(place).parts[:-1]:
            parent /= part
            if parent.is_symlink():
                self._refuse(place, f"would be written through the link {str(parent)!r}")
            if not parent.is_dir():
                try:
                    parent.mkdir()
                except FileExistsError:
                    self._refuse(place, f"needs the directory {str(parent)!r}, which is a file")
        return parent / PurePosixPath(place).name

    def _is_inside(self, path: Path) -> bool:
        try:
            target = path.resolve()
        except (OSError, RuntimeError):  # a circle of links leads nowhere
            return True
        return target == self.directory or self.directory in target.parents

    def _refuse(self, place: str, problem: str) -> NoReturn:
        raise ArtifactError(self.name, f"{place!r} {problem}; it is not unpacked")


def _copy(source: IO[bytes], out: IO[bytes], size: int, short: Callable[[], NoReturn]) -> None:
    left = size
    while left > 0:
        chunk = source.read(min(_CHUNK, left))
        if not chunk:
            short()
        out.write(chunk)
        left -= len(chunk)
