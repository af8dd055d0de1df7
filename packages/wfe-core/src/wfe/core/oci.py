"""Keeps artifacts in a directory that is an OCI image layout, which other tools can read.

What is in ``blobs`` is named by its SHA-256: written to a temporary file, made durable, renamed.
A crash leaves temporary files only, which are swept.  ``index.json`` is for other tools and is
written when somebody asks (:meth:`OciLayout.export`): it would grow with every artifact.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import orjson

from wfe.core.artifact_index import Stored
from wfe.core.artifacts import ArtifactError, DamagedArtifactError
from wfe.core.durable_files import directory_of, make_directory, replace
from wfe.core.errors import ProviderError, StoreFullError, StoreUnavailableError
from wfe.core.file_digests import digest_of, mode_of, tree_digest
from wfe.core.lean import frozen
from wfe.core.oci_blobs import TEMPORARY, Batch
from wfe.core.trees import (
    GZIP,
    TAR,
    ZSTD,
    Unpacking,
    compressed,
    decompressed,
    link_problem,
    place_problem,
    write_tar,
)

__all__ = ["ARTIFACT", "OciLayout", "open_url"]

T = TypeVar("T")

ARTIFACT: Final = "application/vnd.wfe.artifact.v1"
"""Type of our artifacts."""
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
_EMPTY: Final = b"{}"
_EMPTY_DIGEST: Final = hashlib.sha256(_EMPTY).hexdigest()
_CONFIG: Final[Mapping[str, Any]] = {
    "mediaType": "application/vnd.oci.empty.v1+json",
    "digest": f"sha256:{_EMPTY_DIGEST}",
    "size": len(_EMPTY),
    "data": "e30=",
}
_FILE: Final = "application/octet-stream"
_TITLE: Final = "org.opencontainers.image.title"
_REF: Final = "org.opencontainers.image.ref.name"
_MODE: Final = "dev.wfe.mode"
_DIGEST: Final = "dev.wfe.digest"
_BIG: Final = 64 * 1024  # bytes from which a file is a blob of its own, shared when it is equal
_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 64 << 20
_GIB: Final = 1 << 30


def open_url(url: str, **options: Any) -> OciLayout:
    """Return the layout in the directory that *url* names: ``file:///absolute/directory``.

    Raises:
        ProviderError: It names none.
    """
    return OciLayout(directory_of(url, "artifacts"), **options)


@frozen
class _Manifest:
    """A manifest that was read: its layers, and the bytes of all files."""

    layers: tuple[Mapping[str, Any], ...]

    @property
    def blobs(self) -> Iterator[tuple[str, int]]:
        """Yield digest (hexadecimal) and size of everything that belongs to it."""
        for layer in self.layers:
            yield layer["digest"].removeprefix("sha256:"), layer["size"]


class OciLayout:
    """Artifacts as OCI manifests; several processes and hosts may share the directory.

    Args:
        directory: Made when something is put.
        max_artifact: Bytes of all files of an artifact.
        max_files: Files of an artifact.
        max_total: Bytes of all blobs; ``None``: as many as there is room for.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        max_artifact: int = 4 * _GIB,
        max_files: int = 100_000,
        max_total: int | None = None,
    ) -> None:
        self.directory: Path = Path(directory).absolute()
        self._max_artifact = max_artifact
        self._max_files = max_files
        self._max_total = max_total
        self._total: int | None = None

    def __repr__(self) -> str:
        return f"OciLayout({str(self.directory)!r})"

    async def put(self, files: Mapping[str, Path]) -> Stored:
        return await self._work(lambda: self._put(files))

    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        return await self._work(lambda: self._get(_hex(manifest), directory))

    async def whole(self, manifest: str) -> bool:
        def check() -> bool:
            try:
                self._verified(_hex(manifest))
            except DamagedArtifactError:
                return False
            return True

        return await self._work(check)

    async def export(self, names: Mapping[str, str]) -> None:
        await self._work(lambda: self._export(names))

    async def sweep(self, manifests: Collection[str], age: int) -> int:
        before = time.time() - age / 1_000_000
        return await self._work(lambda: self._sweep(manifests, before))

    async def close(self) -> None:
        """Nothing is open between calls."""

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise _translated(error, self.directory) from error

    # -- putting ------------------------------------------------------------------------------

    @property
    def _blobs(self) -> Path:
        return self.directory / "blobs" / "sha256"

    def _put(self, files: Mapping[str, Path]) -> Stored:
        sizes = self._checked(files)
        alone = len(files) == 1  # any tool can get a single file then
        big = {place for place, size in sizes.items() if size > _BIG or (alone and size >= 0)}
        self._make()
        layers: list[dict[str, Any]] = []
        entries: dict[str, tuple[str, str]] = {}
        with Batch(self._blobs) as batch:
            for place in sorted(big):
                entries[place], layer = self._file(batch, place, files[place])
                layers.append(layer)
            small = {place: path for place, path in files.items() if place not in big}
            if small:
                layers.append(self._archive(batch, small, entries))
            size = sum(size for size in sizes.values() if size > 0)
            digest = f"sha256:{tree_digest(entries)}"
            manifest = self._manifest(batch, layers, digest)
            batch.add(_EMPTY)
            self._total = (self._total or 0) + batch.commit()
        return Stored(
            digest=digest,
            manifest=f"sha256:{manifest}",
            size=size,
            files=len(files),
            media_type=ARTIFACT,
        )

    def _checked(self, files: Mapping[str, Path]) -> dict[str, int]:
        """Return the size of each file (-1 of links), when all of them can be taken."""
        if not files:
            raise ArtifactError("", "there are no files to keep")
        if len(files) > self._max_files:
            problem = f"it has {len(files):,} files; at most {self._max_files:,} are allowed"
            raise ArtifactError("", problem)
        sizes = {place: _size(place, path) for place, path in files.items()}
        total = sum(size for size in sizes.values() if size > 0)
        if total > self._max_artifact:
            problem = f"its files have {total:,} bytes; at most {self._max_artifact:,} are allowed"
            raise ArtifactError("", problem)
        self._check_total(total)
        return sizes

    def _check_total(self, more: int) -> None:
        if self._max_total is None:
            return
        if self._total is None:
            blobs = self._blobs
            there = blobs.iterdir() if blobs.is_dir() else ()
            self._total = sum(each.stat().st_size for each in there)
        if self._total + more > self._max_total:
            problem = (
                f"the artifacts in {self.directory} may have {self._max_total:,} bytes together;"
                " purge runs, then `wfe artifacts gc`"
            )
            raise ArtifactError("", problem)

    def _file(self, batch: Batch, place: str, path: Path) -> tuple[tuple[str, str], dict[str, Any]]:
        mode = mode_of(path.lstat().st_mode)
        with _source(path, place) as source, batch.new() as out:
            while chunk := source.read(_CHUNK):
                out.write(chunk)
        digest, size = batch.end()
        layer = _layer(_FILE, digest, size, {_TITLE: place, _MODE: mode})
        return (mode, digest), layer

    def _archive(
        self, batch: Batch, small: Mapping[str, Path], entries: dict[str, tuple[str, str]]
    ) -> dict[str, Any]:
        with batch.new() as out, compressed(out) as (packed, media_type):
            entries.update(write_tar(small, packed))
        digest, size = batch.end()
        name = {GZIP: "files.tar.gz", ZSTD: "files.tar.zst"}[media_type]
        return _layer(media_type, digest, size, {_TITLE: name})

    def _manifest(self, batch: Batch, layers: Sequence[Mapping[str, Any]], digest: str) -> str:
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": _CONFIG,
            "layers": layers,
            "annotations": {_DIGEST: digest},
        }
        return batch.add(orjson.dumps(document, option=orjson.OPT_SORT_KEYS))

    def _make(self) -> None:
        """Make what every layout has."""
        if (self.directory / "oci-layout").exists() and self._blobs.is_dir():
            return
        make_directory(self._blobs)
        self._replace("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        if not (self.directory / "index.json").exists():
            self._export({})

    def _replace(self, name: str, data: bytes) -> None:
        replace(self.directory / name, data, TEMPORARY, 0o644)

    # -- getting ------------------------------------------------------------------------------

    def _get(self, digest: str, directory: Path) -> Sequence[str]:
        manifest = self._verified(digest)
        unpacking = Unpacking(f"sha256:{digest}", directory, self._max_artifact)
        for layer in manifest.layers:
            path = self._blobs / layer["digest"].removeprefix("sha256:")
            if layer["mediaType"] in {TAR, GZIP, ZSTD}:
                with path.open("rb") as file, _archive_of(file, layer, unpacking.name) as plain:
                    unpacking.tar(plain)
            else:
                annotations = layer.get("annotations", {})
                mode = int(annotations.get(_MODE, "644"), 8)
                with path.open("rb") as file:
                    unpacking.file(annotations.get(_TITLE, ""), mode, file, layer["size"])
        unpacking.finish()
        return unpacking.places

    def _verified(self, digest: str) -> _Manifest:
        """Return a manifest of which all is there and as it was.

        Raises:
            DamagedArtifactError: It is not.
        """
        manifest = self._read(digest)
        for blob, size in manifest.blobs:
            path = self._blobs / blob
            if not path.is_file() or path.stat().st_size != size or digest_of(path) != blob:
                raise _damaged(path)
        return manifest

    def _read(self, digest: str) -> _Manifest:
        path = self._blobs / digest
        try:
            if path.stat().st_size > _LARGEST_MANIFEST:
                raise _damaged(path)
            data = path.read_bytes()
        except FileNotFoundError:
            raise _damaged(path) from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise _damaged(path)
        return _manifest_of(data, path)

    # -- names and forgetting -----------------------------------------------------------------

    def _export(self, names: Mapping[str, str]) -> None:
        manifests: list[dict[str, Any]] = []
        for name, manifest in sorted(names.items()):
            path = self._blobs / _hex(manifest)
            if path.is_file():
                manifests.append(
                    {
                        "mediaType": MANIFEST,
                        "artifactType": ARTIFACT,
                        "digest": manifest,
                        "size": path.stat().st_size,
                        "annotations": {_REF: name},
                    }
                )
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        make_directory(self.directory)
        self._replace("index.json", orjson.dumps(document))

    def _sweep(self, manifests: Collection[str], before: float) -> int:
        blobs = self._blobs
        if not blobs.is_dir():
            return 0
        kept = {_EMPTY_DIGEST}
        for manifest in manifests:
            kept.add(_hex(manifest))
            with contextlib.suppress(DamagedArtifactError):  # nothing of it can be given out
                kept.update(blob for blob, _ in self._read(_hex(manifest)).blobs)
        freed = 0
        for path in blobs.iterdir():
            # Whoever puts what is there already makes it young again, right before he names it.
            if path.name not in kept and (found := path.stat()).st_mtime <= before:
                path.unlink(missing_ok=True)
                freed += found.st_size
        self._total = None
        return freed


def _manifest_of(data: bytes, path: Path) -> _Manifest:
    """Return the manifest in *data*; its digest is right, but anybody may have made it."""
    try:
        layers = [(_hex(each["digest"]), each) for each in orjson.loads(data)["layers"]]
        if all(isinstance(each["size"], int) and each["mediaType"] for _, each in layers):
            return _Manifest(tuple(each for _, each in layers))
    except (ValueError, LookupError, TypeError, AttributeError, ProviderError) as error:
        raise _no_manifest(path) from error
    raise _no_manifest(path)


def _no_manifest(path: Path) -> DamagedArtifactError:
    return DamagedArtifactError("artifacts", f"{path} is no manifest of an artifact")


def _size(place: str, path: Path) -> int:
    problem = place_problem(place)
    if problem is None:
        try:
            found = path.lstat()
        except OSError as error:
            raise ArtifactError("", f"{place!r} cannot be read: {error.strerror}") from error
        if stat.S_ISREG(found.st_mode):
            return found.st_size
        if stat.S_ISLNK(found.st_mode):
            target = os.readlink(path)  # noqa: PTH115 - the text, as it stands
            problem = link_problem(place, target)
            if problem is None:
                return -1
        else:
            problem = "is no file; artifacts have files and links only"
    raise ArtifactError("", f"{place!r} {problem}")


@contextlib.contextmanager
def _source(path: Path, place: str) -> Generator[IO[bytes], None, None]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArtifactError("", f"{place!r} cannot be read: {error.strerror}") from error
    with file:
        yield file


def _layer(
    media_type: str, digest: str, size: int, annotations: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{digest}",
        "size": size,
        "annotations": dict(annotations),
    }


def _archive_of(
    file: IO[bytes], layer: Mapping[str, Any], name: str
) -> contextlib.AbstractContextManager[IO[bytes]]:
    return decompressed(file, layer["mediaType"], name)


def _hex(digest: str) -> str:
    """Return the hexadecimal part of a digest; nothing else ever becomes a path."""
    kind, _, text = digest.partition(":")
    if kind != "sha256" or len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        problem = f"{digest!r} is no digest; expected sha256: and 64 hexadecimal digits"
        raise ProviderError("artifacts", problem, transient=False)
    return text


def _damaged(path: Path) -> DamagedArtifactError:
    state = "is damaged: its contents do not have its digest" if path.exists() else "is missing"
    return DamagedArtifactError("artifacts", f"{path} {state}; make the artifact again")


def _translated(error: OSError, directory: Path) -> ProviderError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError("artifacts", f"no space is left in {directory}; free some")
    problem = f"the system cannot read or write {directory}: {error}"
    return StoreUnavailableError("artifacts", problem)
