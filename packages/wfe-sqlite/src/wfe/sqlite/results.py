"""The part of the store that keeps cached results and the names of artifacts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from wfe.core.sql_columns import ARTIFACT, CACHE, artifact_row, cache_entry
from wfe.sqlite.parts import SqlitePart

if TYPE_CHECKING:
    from wfe.core.artifact_index import ArtifactRow
    from wfe.core.cache_index import CacheEntry

__all__ = ["SqliteResults"]

_GET: Final = f"SELECT {CACHE} FROM wfe_cache WHERE key = ?"  # noqa: S608 - constants
_PUT: Final = f"""
INSERT OR REPLACE INTO wfe_cache ({CACHE}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - constants
_CLAIM: Final = """
INSERT INTO wfe_cache_claims VALUES (:key, :holder, :until)
ON CONFLICT (key) DO UPDATE SET holder = :holder, until = :until
    WHERE holder = :holder OR until <= :now"""
_CLAIMED: Final = """
SELECT holder FROM wfe_cache_claims WHERE key = ? AND holder <> ? AND until > ?"""
_RELEASE: Final = "DELETE FROM wfe_cache_claims WHERE key = ? AND holder = ?"
_LAPSED: Final = "DELETE FROM wfe_cache_claims WHERE until <= ?"
_FITS: Final = "(?1 IS NULL OR definition = ?1) AND (?2 IS NULL OR step = ?2)"
_FIND: Final = f"""
SELECT {CACHE} FROM wfe_cache WHERE {_FITS} ORDER BY created DESC, key LIMIT ?3"""  # noqa: S608 - constants
_OVER: Final = f"""
SELECT c FROM wfe_cache WHERE {_FITS} AND (?3 IS NULL OR expires <= ?3)
ORDER BY created, key LIMIT ?4"""  # noqa: S608 - constants
_PURGE: Final = f"DELETE FROM wfe_cache WHERE c IN ({_OVER}) RETURNING key, created"  # noqa: S608 - constants
_MANIFESTS: Final = """
SELECT DISTINCT value FROM wfe_cache, json_each(artifacts) WHERE artifacts IS NOT NULL
ORDER BY value"""

_PUT_ARTIFACT: Final = f"""
INSERT OR REPLACE INTO wfe_artifacts ({ARTIFACT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608 - constants
_OF_ROOT: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE root = ? ORDER BY name"""  # noqa: S608 - constants
_NAMED: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE root = ? AND name = ?"""  # noqa: S608 - constants
_OF_DIGEST: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE digest = ?
ORDER BY created DESC, root DESC, name DESC LIMIT 1"""  # noqa: S608 - constants
_EVERY: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE (root, name) > (?, ?) ORDER BY root, name LIMIT ?"""  # noqa: S608 - constants


class SqliteResults(SqlitePart):
    """Cached results and artifacts of a :class:`~wfe.sqlite.store.SqliteStore`."""

    # -- results ------------------------------------------------------------------------------

    async def cache_get(self, key: str) -> CacheEntry | None:
        rows = self._opened.reader.all(_GET, key)
        return cache_entry(rows[0]) if rows else None

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        artifacts = orjson.dumps(entry.artifacts).decode() if entry.artifacts else None
        row = (
            entry.key,
            entry.definition,
            entry.step,
            entry.run,
            entry.document,
            entry.result,
            entry.created,
            entry.expires,
            entry.duration,
            artifacts,
        )

        def put(db: sqlite3.Connection, _: int) -> None:
            db.execute(_PUT, row)
            if holder is not None:
                db.execute(_RELEASE, (entry.key, holder))

        await self._write(put)

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        claimed = self._opened.reader.all(_CLAIMED, key, holder, self.clock.now())
        if claimed:
            return str(claimed[0][0])  # who waits asks often: that writes nothing

        def claim(db: sqlite3.Connection, now: int) -> str:
            args = {"key": key, "holder": holder, "until": now + lease, "now": now}
            if db.execute(_CLAIM, args).rowcount == 1:
                db.execute(_LAPSED, (now,))  # claims of hosts that died
                return holder
            ((other,),) = db.execute(_CLAIMED, (key, holder, now)).fetchall()
            return str(other)

        return await self._write(claim)

    async def cache_release(self, key: str, holder: str) -> None:
        def release(db: sqlite3.Connection, _: int) -> None:
            db.execute(_RELEASE, (key, holder))

        await self._write(release)

    async def cache_find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        return [cache_entry(row) for row in self._opened.reader.all(_FIND, definition, step, limit)]

    async def cache_purge(
        self,
        limit: int,
        *,
        expired: int | None = None,
        definition: str | None = None,
        step: str | None = None,
    ) -> Sequence[str]:
        if not self._opened.reader.all(_OVER, definition, step, expired, 1):
            return []

        def purge(db: sqlite3.Connection, _: int) -> list[str]:
            args = (definition, step, expired, limit)
            gone: list[tuple[str, int]] = db.execute(_PURGE, args).fetchall()
            return [key for key, _ in sorted(gone, key=lambda each: (each[1], each[0]))]

        return await self._write(purge, min(limit, 1000))

    async def cache_manifests(self) -> Sequence[str]:
        return [name for (name,) in self._opened.reader.all(_MANIFESTS)]

    # -- artifacts ----------------------------------------------------------------------------

    async def put_artifact(self, row: ArtifactRow) -> None:
        values = (
            row.n,
            row.root,
            row.run,
            row.step,
            row.name,
            row.digest,
            row.manifest,
            row.size,
            row.files,
            row.media_type,
            row.created,
        )

        def put(db: sqlite3.Connection, _: int) -> None:
            db.execute(_PUT_ARTIFACT, values)

        await self._write(put)

    async def artifacts(self, root: str, name: str | None = None) -> Sequence[ArtifactRow]:
        reader = self._opened.reader
        found = reader.all(_OF_ROOT, root) if name is None else reader.all(_NAMED, root, name)
        return [artifact_row(row) for row in found]

    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        found = self._opened.reader.all(_OF_DIGEST, digest)
        return artifact_row(found[0]) if found else None

    async def every_artifact(self, after: tuple[str, str], limit: int) -> Sequence[ArtifactRow]:
        return [artifact_row(row) for row in self._opened.reader.all(_EVERY, *after, limit)]
