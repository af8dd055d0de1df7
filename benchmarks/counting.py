"""A store that counts what the engine asks of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from wfe.core.engine.instant import instant
from wfe.core.providers import Claimed, Item, Outcome
from wfe.host import WorkflowHost

__all__ = ["CountingStore"]


class CountingStore:
    """Passes everything on; counts commits, items and rows, and what taking over needs.

    Attributes:
        writes: Claims that owned something.
        claims: The same, by what they owned.
        claimed_at: ``perf_counter`` when the last of them returned.
        fences: Calls that fenced somebody.
        releases: Calls that released something.
        taking: Seconds spent in these three.
        batches: What was committed since :meth:`reset`, commit by commit, if it is to be kept.
    """

    commits: int
    items: int
    rows: int
    writes: int
    claims: list[int]
    claimed_at: float
    fences: int
    releases: int
    taking: float
    batches: list[Sequence[Item]]

    def __init__(
        self,
        store: Any,
        *,
        queue: str | None = None,
        lock: str | None = None,
        database: str = "",
    ) -> None:
        """Count for *store*, on a server's *database*; hosts have *queue* and *lock* beside it."""
        self._store = store
        self.database: str = database
        self._now = instant(store)
        self._beside: dict[str, Any] = {"queue": queue, "lock": lock}
        self.reset()

    def host(self, **options: Any) -> WorkflowHost:
        """Return a host over this store, with the queue and lock that stand beside it."""
        return WorkflowHost(self, **self._beside, **options)

    def reset(self, *, keep: bool = False) -> None:
        """Begin anew at zero; from now on *keep* what is committed, or not."""
        self._keep = keep
        self.commits = self.items = self.rows = self.writes = self.fences = self.releases = 0
        self.claims = []
        self.claimed_at = self.taking = 0.0
        self.batches = []

    def asked(self) -> dict[str, int]:
        """Return what commits asked of a server so far; nothing for a store that has none."""
        stats = getattr(self._store, "stats", None)
        if not hasattr(stats, "round_trips"):
            return {}
        return {name: getattr(stats, name) for name in ("statements", "round_trips", "repeated")}

    def __getattr__(self, name: str) -> Any:
        """Pass on what is not counted."""
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Count and pass on."""
        self._count(items)
        outcomes: Sequence[Outcome] = await self._store.commit(epoch, items)
        return outcomes

    def commit_now(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome] | None:
        """Pass on, if the store can do it at once, and count what was done."""
        outcomes = None if self._now is None else self._now(epoch, items)
        if outcomes is not None:
            self._count(items)
        return outcomes

    def _count(self, items: Sequence[Item]) -> None:
        self.commits += 1
        self.items += len(items)
        self.rows += sum(len(item.rows) for item in items)
        if self._keep:
            self.batches.append(items)

    async def claim(self, *args: Any) -> Sequence[Claimed]:
        """Count claims that own something as a write, and pass on."""
        began = time.perf_counter()
        claimed: Sequence[Claimed] = await self._store.claim(*args)
        self.taking += time.perf_counter() - began
        if claimed:
            self.writes += 1
            self.claims.append(len(claimed))
            self.claimed_at = time.perf_counter()
        return claimed

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        """Count and pass on."""
        began = time.perf_counter()
        fenced: Sequence[int] = await self._store.fence(epochs, lease=lease)
        self.taking += time.perf_counter() - began
        self.fences += bool(fenced)
        return fenced

    async def orphans(self, limit: int) -> int:
        """Count and pass on."""
        began = time.perf_counter()
        released: int = await self._store.orphans(limit)
        self.taking += time.perf_counter() - began
        self.releases += bool(released)
        return released
