"""Where artifacts are kept: files in an :class:`ArtifactStore`, names in an :class:`ArtifactIndex`.

The index is a feature (``artifacts``) of a persistence provider, because names go with runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from wfe.core.lean import frozen

__all__ = ["ArtifactIndex", "ArtifactRow", "ArtifactStore", "Stored"]


@frozen(kw_only=True)
class ArtifactRow:
    """A name for an artifact.

    Attributes:
        n: The run whose step kept it; the row goes with it.
        root: Id of the topmost run; names are unique in all that is below it.
        run: Id of the run.
        digest: Of the contents.
        manifest: Of what is stored.
        created: µs.
    """

    n: int
    root: str
    run: str
    step: str
    name: str
    digest: str
    manifest: str
    size: int
    files: int
    media_type: str
    created: int


@runtime_checkable
class ArtifactIndex(Protocol):
    """Names of artifacts.

    All methods raise :class:`~wfe.core.errors.ProviderError` when the backend fails.
    """

    async def put_artifact(self, row: ArtifactRow) -> None:
        """Store a name durably, in place of the one that is equal in (root, name)."""
        ...

    async def artifacts(self, root: str, name: str | None = None) -> Sequence[ArtifactRow]:
        """Return the names below a topmost run, all or one, by name."""
        ...

    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        """Return the newest name of these contents, whichever run it belongs to."""
        ...

    async def every_artifact(self, after: tuple[str, str], limit: int) -> Sequence[ArtifactRow]:
        """Return up to *limit* names of all runs with (root, name) > *after*, in that order."""
        ...


@frozen(kw_only=True)
class Stored:
    """What a store made of files.

    Attributes:
        digest: ``sha256:`` of the contents: the same wherever and however they are stored.
        manifest: ``sha256:`` under which this store has them.
        size: Bytes of all files.
    """

    digest: str
    manifest: str
    size: int
    files: int
    media_type: str


class ArtifactStore(Protocol):
    """Keeps files by what is in them.

    All methods raise :class:`~wfe.core.errors.ProviderError` when the backend fails, and
    :class:`~wfe.core.artifacts.ArtifactError` when the files cannot be taken or given.
    """

    async def put(self, files: Mapping[str, Path]) -> Stored:
        """Keep files; durable when it returns.

        Equal files in equal places give an equal digest, and are kept once.

        Args:
            files: Place in the artifact (relative, with ``/``) -> where it is now.  Modes and
                symbolic links that stay inside are kept; anything else that is no file is refused.
        """
        ...

    async def get(self, manifest: str, directory: Path) -> Sequence[str]:
        """Put the files of *manifest* below *directory* and return their places.

        Nothing is written outside of *directory*, whatever is in the store; files that stand
        there are replaced.

        Raises:
            DamagedArtifactError: Something is missing or was changed; no such file is given out.
        """
        ...

    async def whole(self, manifest: str) -> bool:
        """Whether all of *manifest* is there and undamaged."""
        ...

    async def export(self, names: Mapping[str, str]) -> None:
        """Let other tools find artifacts by name: name -> manifest.  Replaces what they found."""
        ...

    async def sweep(self, manifests: Collection[str], age: int) -> int:
        """Delete what belongs to none of *manifests* and was not put for *age* µs.

        Returns the number of bytes that became free.
        """
        ...

    async def close(self) -> None:
        """Let go of what is open; idempotent."""
        ...
