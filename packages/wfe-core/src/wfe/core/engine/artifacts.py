"""Keeps the files of steps: contents in the artifact store, names in the run's store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from wfe.core.artifact_index import ArtifactIndex, ArtifactRow, ArtifactStore, Stored
from wfe.core.artifacts import (
    ArtifactError,
    ArtifactInfo,
    ArtifactNotFoundError,
    check_artifact_name,
)
from wfe.core.errors import ProviderError
from wfe.core.models import from_micros

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from wfe.core.engine.engine import Engine
    from wfe.core.file_digests import FileDigests
    from wfe.core.steps import StepExecutionContext

__all__ = ["Artifacts", "ArtifactsOfStep", "beside", "info_of"]

_PAGE: Final = 1000
_DAY: Final = 86_400_000_000  # µs
_LISTED: Final = 2000  # names that are exported when a host stops; more, only when asked


def beside(store: Any, suffix: str) -> Path | None:
    """Return a place for files beside the store's own, ``None`` when it has no file.

    ``.wfe/wfe.db`` has ``.wfe/artifacts``; other files have ``NAME-artifacts`` like their log, so
    that two stores in one directory share nothing.
    """
    path: Path | None = getattr(store, "path", None)
    if path is None or not path.is_absolute():
        return None
    name = suffix if path.name == "wfe.db" else f"{path.name}-{suffix}"
    return path.parent / name


def info_of(row: ArtifactRow) -> ArtifactInfo:
    """Return an artifact as users see it."""
    return ArtifactInfo(
        name=row.name,
        digest=row.digest,
        manifest=row.manifest,
        size=row.size,
        files=row.files,
        media_type=row.media_type,
        run=row.run,
        step=row.step,
        created_at=from_micros(row.created),
    )


class Artifacts:
    """The artifacts of one host.

    Args:
        engine: The host's.
        store: Where contents go; ``None``: beside the store's file, or a temporary directory.
    """

    def __init__(self, engine: Engine, store: ArtifactStore | None) -> None:
        self._engine = engine
        self._store = store
        self._temporary: TemporaryDirectory[str] | None = None
        self._digests: FileDigests | None = None
        self._put = False

    # -- where they are

    @property
    def index(self) -> ArtifactIndex:
        """Where the names are.

        Raises:
            ProviderError: The run's store has no place for them.
        """
        store = self._engine.store
        if "artifacts" not in store.features:
            problem = "this store keeps no artifacts; use one that does, for example sqlite:///"
            raise ProviderError("artifacts", problem, transient=False)
        return cast("ArtifactIndex", store)

    @property
    def store(self) -> ArtifactStore:
        """Where the contents are."""
        if self._store is None:
            from wfe.core.oci import OciLayout  # noqa: PLC0415 - most runs have no artifacts

            place = beside(self._engine.store, "artifacts")
            if place is None:
                from tempfile import TemporaryDirectory  # noqa: PLC0415 - as above

                self._temporary = TemporaryDirectory(
                    prefix="wfe-artifacts-", ignore_cleanup_errors=True
                )
                place = Path(self._temporary.name)
            self._store = OciLayout(place)
        return self._store

    @property
    def digests(self) -> FileDigests:
        """What is known of files that were read before."""
        if self._digests is None:
            from wfe.core.file_digests import FileDigests  # noqa: PLC0415 - as above

            self._digests = FileDigests(beside(self._engine.store, "digests.json"))
        return self._digests

    @property
    def used(self) -> bool:
        """Whether there may be artifacts."""
        if self._store is not None:
            return True
        place = beside(self._engine.store, "artifacts")
        return place is not None and place.is_dir()

    # -- keeping and getting

    async def keep(
        self, ctx: StepExecutionContext[Any], n: int, name: str, files: Mapping[str, Path]
    ) -> ArtifactInfo:
        """Keep files of a step under a name."""
        name, index = check_artifact_name(name), self.index
        try:
            stored = await self.store.put(files)
        except ArtifactError as error:
            raise ArtifactError(name, error.problem) from None
        self._put = True
        return await self._named(ctx, n, name, stored, index)

    async def restore(
        self, ctx: StepExecutionContext[Any], n: int, kept: Sequence[Mapping[str, Any]]
    ) -> str | None:
        """Name artifacts again that another run kept; return why that cannot be, if so."""
        for each in kept:
            if not await self.store.whole(each["manifest"]):
                return f"its artifact {each['name']!r} is gone or damaged"
        for each in kept:
            stored = Stored(**{k: each[k] for k in _STORED})
            await self._named(ctx, n, each["name"], stored, self.index)
        return None

    async def _named(
        self,
        ctx: StepExecutionContext[Any],
        n: int,
        name: str,
        stored: Stored,
        index: ArtifactIndex,
    ) -> ArtifactInfo:
        row = ArtifactRow(
            n=n,
            root=ctx.instance.root_id,
            run=ctx.instance.id,
            step=ctx.pointer.step,
            name=name,
            created=self._engine.clock.now(),
            **attrs.asdict(stored),
        )
        await index.put_artifact(row)
        return info_of(row)

    async def fetch(self, root: str, artifact: str | ArtifactInfo, directory: Path) -> list[Path]:
        """Put the files of an artifact below *directory*."""
        row = await self._found(root, artifact)
        places = await self.store.get(row.manifest, directory)
        return [directory / place for place in places]

    async def _found(self, root: str, artifact: str | ArtifactInfo) -> ArtifactRow:
        index = self.index
        wanted = artifact if isinstance(artifact, str) else artifact.digest
        if wanted.startswith("sha256:"):  # of an earlier upload, perhaps, or another run's
            row = await index.find_artifact(wanted)
        else:
            row = next(iter(await index.artifacts(root, wanted)), None)
        if row is None:
            known = tuple(row.name for row in await index.artifacts(root))
            raise ArtifactNotFoundError(wanted, known)
        return row

    async def of(self, root: str) -> list[ArtifactInfo]:
        """Return the artifacts below a topmost run, by name."""
        return [info_of(row) for row in await self.index.artifacts(root)]

    # -- looking after them

    async def _every(self) -> list[ArtifactRow]:
        index, found, after = self.index, list[ArtifactRow](), ("", "")
        while page := await index.every_artifact(after, _PAGE):
            found += page
            after = (page[-1].root, page[-1].name)
        return found

    async def export(self) -> int:
        """Write the names of all artifacts for other tools; return how many."""
        rows = await self._every()
        await self.store.export({f"{row.root}/{row.name}": row.manifest for row in rows})
        return len(rows)

    async def sweep(self, age: int = _DAY) -> int:
        """Delete contents that nothing names and nobody put for *age* µs; return the bytes."""
        if not self.used or "artifacts" not in self._engine.store.features:
            return 0
        manifests = {row.manifest for row in await self._every()}
        if "cache" in self._engine.store.features:
            store: Any = self._engine.store
            manifests.update(await store.cache_manifests())
        return await self.store.sweep(manifests, age)

    async def finish(self) -> None:
        """Write what only helps: names for other tools, digests for the next process."""
        if self._digests is not None:
            await asyncio.to_thread(self._digests.save)
        if self._put and self._temporary is None:
            self._put = False
            rows = await self.index.every_artifact(("", ""), _LISTED + 1)
            if len(rows) <= _LISTED:
                await self.export()

    async def close(self) -> None:
        """Let go of the store; a temporary one is deleted."""
        if self._store is not None:
            await self._store.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary, self._store = None, None


_STORED: Final = ("digest", "manifest", "size", "files", "media_type")


class ArtifactsOfStep:
    """``ctx.artifacts``.

    Attributes:
        kept: What the step kept so far.
    """

    def __init__(self, artifacts: Artifacts, ctx: StepExecutionContext[Any], n: int) -> None:
        self._artifacts = artifacts
        self._ctx = ctx
        self._n = n
        self.kept: list[ArtifactInfo] = []

    async def upload(self, name: str, path: str | Path | Sequence[str | Path]) -> ArtifactInfo:
        check_artifact_name(name)
        files = await asyncio.to_thread(_files, name, path)
        return await self.keep(name, files)

    async def keep(self, name: str, files: Mapping[str, Path]) -> ArtifactInfo:
        """Keep files in given places."""
        info = await self._artifacts.keep(self._ctx, self._n, name, files)
        self.kept = [*(each for each in self.kept if each.name != name), info]
        return info

    async def download(self, artifact: str | ArtifactInfo, directory: str | Path) -> Sequence[Path]:
        root = self._ctx.instance.root_id
        return await self._artifacts.fetch(root, artifact, Path(directory))

    async def list(self) -> Sequence[ArtifactInfo]:
        return await self._artifacts.of(self._ctx.instance.root_id)


def _files(name: str, path: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """Return place -> file of what a body names."""
    from wfe.core.globs import GlobError, find_files  # noqa: PLC0415 - most runs have no artifacts

    try:
        if isinstance(path, str | Path):
            given = Path(path)
            return find_files(given, ["."]) if given.is_dir() else {given.name: given}
        files: dict[str, Path] = {}
        for each in map(Path, path):
            inner = find_files(each, ["."]) if each.is_dir() else {"": each}
            for place, file in inner.items():
                files[f"{each.name}/{place}" if place else each.name] = file
    except GlobError as error:
        raise ArtifactError(name, f"{error.pattern!r} {error.problem}") from error
    return files
