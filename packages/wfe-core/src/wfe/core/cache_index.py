"""Where results of steps are kept for later: a seam that a store offers (feature ``cache``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from wfe.core.lean import frozen

__all__ = ["CacheEntry", "CacheIndex"]


@frozen(kw_only=True)
class CacheEntry:
    """A kept result.  Texts are JSON that the engine wrote; times are µs by the store's clock.

    Attributes:
        key: SHA-256 of the key document, hexadecimal.
        document: What the key was made of, and a listing of the files.
        result: What the step wrote.
        run: Id of the run that made it.
        expires: From then on it is not used; ``None``: never.
        duration: How long the step took, µs.
        artifacts: Manifests of the artifacts that belong to it.
    """

    key: str
    definition: str
    step: str
    run: str
    document: str
    result: str
    created: int
    expires: int | None = None
    duration: int = 0
    artifacts: tuple[str, ...] = ()


@runtime_checkable
class CacheIndex(Protocol):
    """Results by key, and who is just making one.

    All methods raise :class:`~wfe.core.errors.ProviderError` when the backend fails.
    """

    async def cache_get(self, key: str) -> CacheEntry | None:
        """Return what is kept under *key*, expired or not; ``None``: nothing."""
        ...

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        """Keep *entry* in place of one with the same key, and end *holder*'s claim on it."""
        ...

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        """Claim the making of *key* for *lease* µs, or prolong one's own claim.

        Returns:
            Who has the claim now: *holder*, or somebody else whose lease has not passed.
        """
        ...

    async def cache_release(self, key: str, holder: str) -> None:
        """End a claim; that of another holder stays."""
        ...

    async def cache_find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        """Return up to *limit* entries, the newest first (then by key)."""
        ...

    async def cache_purge(
        self,
        limit: int,
        *,
        expired: int | None = None,
        definition: str | None = None,
        step: str | None = None,
    ) -> Sequence[str]:
        """Delete up to *limit* entries that fit and return their keys, oldest first.

        Args:
            limit: At most so many.
            expired: µs; only those that expire at or before this (``None`` of an entry is never).
            definition: Only of this one.
            step: Only of this one.
        """
        ...

    async def cache_manifests(self) -> Sequence[str]:
        """Return the manifests of all artifacts that belong to entries."""
        ...
