"""Artifacts: files that a step keeps for later steps, for people, and for other tools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from wfe.core.errors import ProviderError, WfeError
from wfe.core.lean import define, frozen

if TYPE_CHECKING:
    from wfe.core.definition import Expr, Json

__all__ = [
    "ArtifactError",
    "ArtifactInfo",
    "ArtifactNotFoundError",
    "ArtifactUse",
    "DamagedArtifactError",
    "Download",
    "StepArtifacts",
    "Upload",
    "artifact_use_from_json",
    "artifact_use_to_json",
    "check_artifact_name",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@frozen
class Upload:
    """What a step keeps when its body is done.

    Attributes:
        name: Of the artifact.
        paths: Glob patterns (or lists of them) below the workspace.
    """

    name: Expr
    paths: tuple[Expr, ...]


@frozen
class Download:
    """What a step gets before its body begins.

    Attributes:
        name: Of the artifact, or a reference to it.
        path: Directory below the workspace; ``None``: the workspace, where it came from.
    """

    name: Expr
    path: Expr | None = None


@frozen
class ArtifactUse:
    """The artifacts of a step."""

    upload: tuple[Upload, ...] = ()
    download: tuple[Download, ...] = ()


def artifact_use_to_json(use: ArtifactUse, expr_to_json: Callable[[Expr], Json]) -> Json:
    """Return the stored form of *use*."""
    stored: dict[str, Json] = {}
    if use.upload:
        stored["upload"] = [
            [expr_to_json(each.name), [expr_to_json(path) for path in each.paths]]
            for each in use.upload
        ]
    if use.download:
        stored["download"] = [
            [expr_to_json(each.name), None if each.path is None else expr_to_json(each.path)]
            for each in use.download
        ]
    return stored


def artifact_use_from_json(
    stored: Mapping[str, Any], expr_from_json: Callable[[Json], Expr]
) -> ArtifactUse:
    """Return what :func:`artifact_use_to_json` stored."""
    return ArtifactUse(
        tuple(
            Upload(expr_from_json(name), tuple(expr_from_json(path) for path in paths))
            for name, paths in stored.get("upload", ())
        ),
        tuple(
            Download(expr_from_json(name), None if path is None else expr_from_json(path))
            for name, path in stored.get("download", ())
        ),
    )


@frozen(kw_only=True)
class ArtifactInfo:
    """An artifact of a run.

    Attributes:
        name: Unique in a run and all of its sub-workflow runs; the latest upload counts.
        digest: ``sha256:`` of the contents (paths, modes, bytes), however they are stored; such a
            text, or the name, is a value of type ``artifact``.
        manifest: ``sha256:`` under which the store has it; other tools call it so.
        size: Bytes of all files.
        files: How many files.
        media_type: Of the artifact.
        run: Id of the run whose step kept it.
        step: That kept it.
        created_at: Aware, UTC.
    """

    name: str
    digest: str
    manifest: str
    size: int
    files: int
    media_type: str
    run: str
    step: str
    created_at: datetime


@define(eq=False)
class ArtifactError(WfeError):
    """Files cannot be made an artifact, or an artifact cannot be unpacked."""

    retryable: ClassVar[bool] = False

    name: str
    problem: str

    def __str__(self) -> str:
        return f"artifact {self.name!r}: {self.problem}"


@define(eq=False)
class ArtifactNotFoundError(WfeError):
    """The run has no artifact of this name."""

    retryable: ClassVar[bool] = False

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        have = ", ".join(self.known) or "none"
        return f"the run has no artifact {self.name!r} (it has: {have})"


@define(eq=False)
class DamagedArtifactError(ProviderError):
    """A stored file is missing, or its contents do not have its digest."""

    transient: bool = False


class StepArtifacts(Protocol):
    """``ctx.artifacts``: what a step keeps for later steps, and gets from earlier ones.

    All steps of a run, of its sub-workflow runs and of the run above share the names.
    """

    async def upload(self, name: str, path: str | Path | Sequence[str | Path]) -> ArtifactInfo:
        """Keep files; durable when it returns, even if the step fails afterwards.

        Args:
            name: An upload with the same name replaces the earlier one.
            path: A file, or a directory, whose contents become the artifact's; or several, which
                keep their own names.

        Raises:
            ArtifactError: The name cannot be one, or a file cannot be kept.
            ProviderError: The store cannot keep it.
        """
        ...

    async def download(self, artifact: str | ArtifactInfo, directory: str | Path) -> Sequence[Path]:
        """Put the files of an artifact below *directory* and return where they are.

        Args:
            artifact: Its name, or the digest of its contents, of whichever run.
            directory: Made when it is not there; files in it are replaced.

        Raises:
            ArtifactNotFoundError: There is none.
            DamagedArtifactError: It is damaged; nothing was put.
        """
        ...

    async def list(self) -> Sequence[ArtifactInfo]:
        """Return the artifacts so far, by name."""
        ...


def check_artifact_name(name: object) -> str:
    """Return *name* when it can be an artifact's.

    Raises:
        ArtifactError: It cannot.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    problem = "a name has letters, digits, '.', '_' and '-', begins with a letter or digit, and is"
    raise ArtifactError(str(name)[:200], f"{problem} at most 128 characters long")
