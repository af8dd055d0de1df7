"""What steps kept for later: ``host.cache`` and ``host.artifacts``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from wfe.core.errors import ProviderError, WorkflowNotFoundError
from wfe.core.models import from_micros, to_micros

if TYPE_CHECKING:
    from wfe.core.artifacts import ArtifactInfo
    from wfe.core.cache_explain import CacheExplanation
    from wfe.core.cache_index import CacheEntry, CacheIndex
    from wfe.core.engine import Engine
    from wfe.core.models import HistoryEntry

__all__ = ["Artifacts", "Cache", "SyncArtifacts", "SyncCache"]

T = TypeVar("T")

_LOOKED_AT: Final = 50  # earlier results of a step that an explanation compares with
_BATCH: Final = 1000
_DAY: Final = timedelta(days=1)


class Cache:
    """Results of steps with a cache, in the host's store."""

    def __init__(self, engine: Engine) -> None:
        """Act through *engine*."""
        self._engine = engine

    @property
    def _index(self) -> CacheIndex:
        index = self._engine.results.index
        if index is None:
            problem = "this store keeps no results; use one that does, for example sqlite:///"
            raise ProviderError("cache", problem, transient=False)
        return index

    async def get(self, key: str) -> CacheEntry | None:
        """Return the result that is kept under *key*; ``None``: there is none."""
        return await self._index.cache_get(key)

    async def find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        """Return up to *limit* results, the newest first."""
        return await self._index.cache_find(definition, step, limit)

    async def explain(self, run: str, step: str) -> CacheExplanation:
        """Say why the last execution of *step* was or was not taken from the cache.

        Args:
            run: Id or name.
            step: Its name.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        from wfe.core.cache_explain import CacheExplanation  # noqa: PLC0415 - rarely asked

        header = await self._engine.reads.header(run)
        rows = await self._engine.reads.history(run, -1, None)
        ends = [each for each in rows if each.step == step and each.kind in _ENDS]
        if not ends:
            why = "the step has not ended in this run"
            return CacheExplanation(run=header.id, step=step, outcome="none", why=why)
        last = ends[-1]
        info: Mapping[str, Any] = last.data or {}
        if "cached" in info:
            return _hit(header.id, step, info["cached"])
        if "cache" not in info:
            why = _NOT_LOOKED_UP.get(last.kind, "the step has no cache, or it could not be used;")
            if last.kind == "step_completed":
                why += " the step's log says why, if so"
            return CacheExplanation(run=header.id, step=step, outcome="none", why=why)
        return await self._miss(header.id, header.definition, last, info["cache"])

    async def _miss(
        self, run: str, definition: str, row: HistoryEntry, told: Mapping[str, Any]
    ) -> CacheExplanation:
        from wfe.core.cache_explain import CacheExplanation, nearest_entry  # noqa: PLC0415 - as above

        key, step = told["key"], row.step or ""
        mine = await self._index.cache_get(key)
        not_kept = told.get("not_kept")
        nearest = None
        if mine is not None:
            others = await self._index.cache_find(definition, step, _LOOKED_AT)
            earlier = [each for each in others if each.key != key and each.created < mine.created]
            nearest = nearest_entry(orjson.loads(mine.document), earlier)
        why = told["miss"]
        if not_kept is not None:
            why += f"; and it was not kept: {not_kept}"
        return CacheExplanation(
            run=run,
            step=step,
            outcome="miss",
            why=why,
            key=key,
            kept=not_kept is None,
            nearest=None if nearest is None else nearest[0].run,
            nearest_at=None if nearest is None else from_micros(nearest[0].created),
            differences=() if nearest is None else nearest[1],
        )

    async def purge(
        self,
        definition: str | None = None,
        step: str | None = None,
        *,
        expired_only: bool = False,
    ) -> int:
        """Delete results; return how many.

        What a host that died kept of one beside the store, and never finished, goes after a day.

        Args:
            definition: Only of this one.
            step: Only of steps of this name.
            expired_only: Leave those that can still be used.
        """
        expired = self._engine.clock.now() if expired_only else None
        deleted = 0
        while True:
            gone = await self._index.cache_purge(
                _BATCH, expired=expired, definition=definition, step=step
            )
            deleted += len(gone)
            if len(gone) < _BATCH:
                break
        from wfe.core.payloads import StoredTexts  # noqa: PLC0415 - few stores have them

        if isinstance(self._engine.store, StoredTexts):
            await self._engine.store.sweep_results(to_micros(_DAY))
        return deleted


_ENDS: Final = frozenset({"step_completed", "step_failed", "step_skipped", "step_cancelled"})
_NOT_LOOKED_UP: Final = {
    "step_failed": "the step failed; only successes are kept",
    "step_skipped": "the step was skipped",
    "step_cancelled": "the step was cancelled",
}


def _hit(run: str, step: str, told: Mapping[str, Any]) -> CacheExplanation:
    from wfe.core.cache_explain import CacheExplanation  # noqa: PLC0415 - as above

    return CacheExplanation(
        run=run,
        step=step,
        outcome="hit",
        why=f"its key is that of step {told['step']!r} of run {told['run']}",
        key=told["key"],
        source=told["run"],
        kept=True,
        saved=told["saved"] / 1_000_000,
    )


class Artifacts:
    """Files that steps kept (``ctx.artifacts``)."""

    def __init__(self, engine: Engine) -> None:
        """Act through *engine*."""
        self._engine = engine

    async def list(self, run: str) -> Sequence[ArtifactInfo]:
        """Return the artifacts of a run and of all that belongs to its topmost run, by name.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        return await self._engine.artifacts.of(await self._root(run))

    async def download(self, run: str, name: str, directory: str | Path) -> Sequence[Path]:
        """Put the files of an artifact below *directory* and return where they are.

        Raises:
            WorkflowNotFoundError: There is no such run.
            ArtifactNotFoundError: It has no such artifact.
            DamagedArtifactError: It is damaged; nothing was put.
        """
        root = await self._root(run)
        return await self._engine.artifacts.fetch(root, name, Path(directory))

    async def export(self) -> int:
        """Write the names ``ROOT/NAME`` of all artifacts where other OCI tools look for them.

        A host does it when it stops, while there are at most 2,000.  Returns how many there are.
        """
        return await self._engine.artifacts.export()

    async def sweep(self, older_than: timedelta = _DAY) -> int:
        """Delete files of purged runs that were kept longer ago; return the bytes.

        A host does it about once an hour.
        """
        return await self._engine.artifacts.sweep(to_micros(older_than))

    async def _root(self, run: str) -> str:
        header = await self._engine.store.get(run)
        if header is None:
            raise WorkflowNotFoundError(run)
        return header.root_id


class SyncCache:
    """The methods of :class:`Cache`, blocking."""

    def __init__(self, cache: Cache, call: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        """Call *cache* by way of *call*."""
        self._cache = cache
        self._call = call

    def get(self, key: str) -> CacheEntry | None:
        """See :meth:`Cache.get`."""
        found: CacheEntry | None = self._call(self._cache.get(key))
        return found

    def find(
        self, definition: str | None = None, step: str | None = None, limit: int = 100
    ) -> Sequence[CacheEntry]:
        """See :meth:`Cache.find`."""
        found: Sequence[CacheEntry] = self._call(self._cache.find(definition, step, limit))
        return found

    def explain(self, run: str, step: str) -> CacheExplanation:
        """See :meth:`Cache.explain`."""
        found: CacheExplanation = self._call(self._cache.explain(run, step))
        return found

    def purge(
        self,
        definition: str | None = None,
        step: str | None = None,
        *,
        expired_only: bool = False,
    ) -> int:
        """See :meth:`Cache.purge`."""
        return int(self._call(self._cache.purge(definition, step, expired_only=expired_only)))


class SyncArtifacts:
    """The methods of :class:`Artifacts`, blocking."""

    def __init__(
        self, artifacts: Artifacts, call: Callable[[Coroutine[Any, Any, Any]], Any]
    ) -> None:
        """Call *artifacts* by way of *call*."""
        self._artifacts = artifacts
        self._call = call

    def list(self, run: str) -> Sequence[ArtifactInfo]:
        """See :meth:`Artifacts.list`."""
        found: Sequence[ArtifactInfo] = self._call(self._artifacts.list(run))
        return found

    def download(self, run: str, name: str, directory: str | Path) -> Sequence[Path]:
        """See :meth:`Artifacts.download`."""
        found: Sequence[Path] = self._call(self._artifacts.download(run, name, directory))
        return found

    def export(self) -> int:
        """See :meth:`Artifacts.export`."""
        return int(self._call(self._artifacts.export()))

    def sweep(self, older_than: timedelta = _DAY) -> int:
        """See :meth:`Artifacts.sweep`."""
        return int(self._call(self._artifacts.sweep(older_than)))
