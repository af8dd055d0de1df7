"""Cached results and names of artifacts, in dictionaries."""

from __future__ import annotations

from collections.abc import Sequence

from wfe.core.artifact_index import ArtifactRow
from wfe.core.cache_index import CacheEntry
from wfe.core.providers import Clock

__all__ = ["MemoryArtifacts", "MemoryCache", "MemoryResults"]


class MemoryCache:
    """Entries by key, and claims: key -> (holder, until)."""

    def __init__(self) -> None:
        self.entries: dict[str, CacheEntry] = {}
        self.claims: dict[str, tuple[str, int]] = {}

    def put(self, entry: CacheEntry, holder: str | None) -> None:
        self.entries[entry.key] = entry
        if holder is not None:
            self.release(entry.key, holder)

    def claim(self, key: str, holder: str, lease: int, now: int) -> str:
        other, until = self.claims.get(key, (holder, now))
        if other != holder and until > now:
            return other
        self.claims[key] = (holder, now + lease)
        return holder

    def release(self, key: str, holder: str) -> None:
        if self.claims.get(key, ("", 0))[0] == holder:
            del self.claims[key]

    def find(self, definition: str | None, step: str | None) -> list[CacheEntry]:
        """Return what fits, the newest first."""
        fits = [each for each in self.entries.values() if _fits(each, definition, step)]
        return sorted(fits, key=lambda each: (-each.created, each.key))

    def purge(
        self, limit: int, expired: int | None, definition: str | None, step: str | None
    ) -> list[str]:
        fits = [
            each
            for each in self.find(definition, step)
            if expired is None or (each.expires is not None and each.expires <= expired)
        ]
        oldest = sorted(fits, key=lambda each: (each.created, each.key))
        keys = [each.key for each in oldest[:limit]]
        for key in keys:
            del self.entries[key]
        return keys


def _fits(entry: CacheEntry, definition: str | None, step: str | None) -> bool:
    return definition in (None, entry.definition) and step in (None, entry.step)


class MemoryArtifacts:
    """Names by (root, name)."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], ArtifactRow] = {}

    def put(self, row: ArtifactRow) -> None:
        self.rows[row.root, row.name] = row

    def of(self, root: str, name: str | None) -> list[ArtifactRow]:
        found = [row for row in self.rows.values() if row.root == root]
        fits = [row for row in found if name in (None, row.name)]
        return sorted(fits, key=lambda row: row.name)

    def after(self, place: tuple[str, str], limit: int) -> list[ArtifactRow]:
        return [self.rows[key] for key in sorted(self.rows) if key > place][:limit]

    def forget(self, n: int) -> None:
        """Drop the names of a run."""
        for key in [key for key, row in self.rows.items() if row.n == n]:
            del self.rows[key]


class MemoryResults:
    """The part of :class:`~wfe.core.memory.MemoryStore` for results and artifacts."""

    clock: Clock
    _cache: MemoryCache
    _artifacts: MemoryArtifacts

    async def cache_get(self, key: str) -> CacheEntry | None:
        return self._cache.entries.get(key)

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        self._cache.put(entry, holder)

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        return self._cache.claim(key, holder, lease, self.clock.now())

    async def cache_release(self, key: str, holder: str) -> None:
        self._cache.release(key, holder)

    async def cache_find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        return self._cache.find(definition, step)[:limit]

    async def cache_purge(
        self,
        limit: int,
        *,
        expired: int | None = None,
        definition: str | None = None,
        step: str | None = None,
    ) -> Sequence[str]:
        return self._cache.purge(limit, expired, definition, step)

    async def cache_manifests(self) -> Sequence[str]:
        found = {name for each in self._cache.entries.values() for name in each.artifacts}
        return sorted(found)

    async def put_artifact(self, row: ArtifactRow) -> None:
        self._artifacts.put(row)

    async def artifacts(self, root: str, name: str | None = None) -> Sequence[ArtifactRow]:
        return self._artifacts.of(root, name)

    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        found = [row for row in self._artifacts.rows.values() if row.digest == digest]
        return max(found, key=lambda row: (row.created, row.root, row.name), default=None)

    async def every_artifact(self, after: tuple[str, str], limit: int) -> Sequence[ArtifactRow]:
        return self._artifacts.after(after, limit)
