"""The part of the store that keeps cached results and the names of artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import orjson

from wfe.core.sql_columns import ARTIFACT, CACHE, artifact_row, cache_entry
from wfe.postgres.names import NOW
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.core.artifact_index import ArtifactRow
    from wfe.core.cache_index import CacheEntry

__all__ = ["PostgresResults"]

_GET: Final = f"SELECT {CACHE} FROM wfe_cache WHERE key = %(key)s"  # noqa: S608 - constants
_PUT: Final = f"""
WITH ended AS (
    DELETE FROM wfe_cache_claims WHERE key = %(key)s AND holder = %(holder)s)
INSERT INTO wfe_cache ({CACHE})
VALUES (%(key)s, %(definition)s, %(step)s, %(run)s, %(document)s, %(result)s, %(created)s,
    %(expires)s, %(duration)s, %(artifacts)s)
ON CONFLICT (key) DO UPDATE SET definition = excluded.definition, step = excluded.step,
    run = excluded.run, document = excluded.document, result = excluded.result,
    created = excluded.created, expires = excluded.expires, duration = excluded.duration,
    artifacts = excluded.artifacts"""  # noqa: S608 - constants
# Of many at the same time the unique key lets one in; the others then see its row.
_CLAIM: Final = f"""
INSERT INTO wfe_cache_claims AS c (key, holder, until)
SELECT %(key)s, %(holder)s, t.now + %(lease)s FROM {NOW} AS t (now)
ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE c.holder = excluded.holder OR c.until <= excluded.until - %(lease)s
RETURNING holder"""  # noqa: S608 - constants
_CLAIMED: Final = f"""
SELECT holder FROM wfe_cache_claims
WHERE key = %(key)s AND holder <> %(holder)s AND until > {NOW}"""  # noqa: S608 - constants
_RELEASE: Final = "DELETE FROM wfe_cache_claims WHERE key = %(key)s AND holder = %(holder)s"
# Claims of hosts that died.
_LAPSED: Final = f"""
DELETE FROM wfe_cache_claims WHERE key IN (
    SELECT key FROM wfe_cache_claims WHERE until <= {NOW} FOR UPDATE SKIP LOCKED)"""  # noqa: S608 - constants
_FITS: Final = """
(%(definition)s::text IS NULL OR definition = %(definition)s)
    AND (%(step)s::text IS NULL OR step = %(step)s)"""
_FIND: Final = f"""
SELECT {CACHE} FROM wfe_cache WHERE {_FITS} ORDER BY created DESC, key LIMIT %(limit)s"""  # noqa: S608 - constants
_PURGE: Final = f"""
DELETE FROM wfe_cache WHERE key = ANY (ARRAY(
    SELECT key FROM wfe_cache WHERE {_FITS}
        AND (%(expired)s::bigint IS NULL OR expires <= %(expired)s)
    ORDER BY created, key LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING created, key"""  # noqa: S608 - constants
_MANIFESTS: Final = """
SELECT DISTINCT name FROM wfe_cache, json_array_elements_text(artifacts::json) AS a (name)
WHERE artifacts IS NOT NULL ORDER BY name"""

_NAMES: Final = ARTIFACT.strip().split(", ")
_PUT_ARTIFACT: Final = f"""
INSERT INTO wfe_artifacts ({ARTIFACT}) VALUES ({", ".join([f"%({name})s" for name in _NAMES])})
ON CONFLICT (root, name) DO UPDATE
SET {", ".join([f"{name} = excluded.{name}" for name in _NAMES])}"""  # noqa: S608 - constants
_NAMED: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts
WHERE root = %(root)s AND (%(name)s::text IS NULL OR name = %(name)s) ORDER BY name"""  # noqa: S608 - constants
_OF_DIGEST: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE digest = %(digest)s
ORDER BY created DESC, root DESC, name DESC LIMIT 1"""  # noqa: S608 - constants
_EVERY: Final = f"""
SELECT {ARTIFACT} FROM wfe_artifacts WHERE (root, name) > (%(root)s, %(name)s)
ORDER BY root, name LIMIT %(limit)s"""  # noqa: S608 - constants


class PostgresResults(PostgresPart):
    """Cached results and artifacts of a :class:`~wfe.postgres.store.PostgresStore`."""

    # -- results ------------------------------------------------------------------------------

    async def cache_get(self, key: str) -> CacheEntry | None:
        rows = await self._opened.all(_GET, {"key": key})
        return cache_entry(rows[0]) if rows else None

    async def cache_put(self, entry: CacheEntry, holder: str | None = None) -> None:
        args = {
            "key": entry.key,
            "definition": entry.definition,
            "step": entry.step,
            "run": entry.run,
            "document": entry.document,
            "result": entry.result,
            "created": entry.created,
            "expires": entry.expires,
            "duration": entry.duration,
            "artifacts": orjson.dumps(entry.artifacts).decode() if entry.artifacts else None,
            "holder": holder,
        }
        await self._opened.all(_PUT, args)

    async def cache_claim(self, key: str, holder: str, lease: int) -> str:
        database = self._opened
        args = {"key": key, "holder": holder, "now": self._now}
        while True:
            # Who waits asks often: that writes nothing.
            claimed = await database.all(_CLAIMED, args)
            if claimed:
                return str(claimed[0][0])
            if await database.all(_CLAIM, {**args, "lease": lease}):
                await database.all(_LAPSED, {"now": self._now})
                return holder

    async def cache_release(self, key: str, holder: str) -> None:
        await self._opened.all(_RELEASE, {"key": key, "holder": holder})

    async def cache_find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        args = {"definition": definition, "step": step, "limit": limit}
        return [cache_entry(row) for row in await self._opened.all(_FIND, args)]

    async def cache_purge(
        self,
        limit: int,
        *,
        expired: int | None = None,
        definition: str | None = None,
        step: str | None = None,
    ) -> Sequence[str]:
        args = {"definition": definition, "step": step, "expired": expired, "limit": limit}
        return [key for _, key in sorted(await self._opened.all(_PURGE, args))]

    async def cache_manifests(self) -> Sequence[str]:
        return [name for (name,) in await self._opened.all(_MANIFESTS, {})]

    # -- artifacts ----------------------------------------------------------------------------

    async def put_artifact(self, row: ArtifactRow) -> None:
        args = {
            "instance": row.n,
            "root": row.root,
            "run": row.run,
            "step": row.step,
            "name": row.name,
            "digest": row.digest,
            "manifest": row.manifest,
            "size": row.size,
            "files": row.files,
            "media_type": row.media_type,
            "created": row.created,
        }
        await self._opened.all(_PUT_ARTIFACT, args)

    async def artifacts(self, root: str, name: str | None = None) -> Sequence[ArtifactRow]:
        rows = await self._opened.all(_NAMED, {"root": root, "name": name})
        return [artifact_row(row) for row in rows]

    async def find_artifact(self, digest: str) -> ArtifactRow | None:
        found = await self._opened.all(_OF_DIGEST, {"digest": digest})
        return artifact_row(found[0]) if found else None

    async def every_artifact(self, after: tuple[str, str], limit: int) -> Sequence[ArtifactRow]:
        root, name = after
        args = {"root": root, "name": name, "limit": limit}
        return [artifact_row(row) for row in await self._opened.all(_EVERY, args)]
