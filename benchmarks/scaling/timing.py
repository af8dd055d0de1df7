"""How long something took, over and over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from wfe.core.providers import Item, Outcome

__all__ = ["TimedStore", "summary"]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return count, p50, p99 and the longest of *seconds*, in ms."""
    ordered = sorted(seconds) or [0.0]
    return {
        "count": len(seconds),
        "p50_ms": ordered[len(ordered) // 2] * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "max_ms": ordered[-1] * 1e3,
    }


class TimedStore:
    """Passes everything on to a store, and notes how long commits take."""

    def __init__(self, store: Any) -> None:
        """Time *store*."""
        self._store = store
        self._times: list[float] = []

    def taken(self) -> list[float]:
        """Return the seconds of each commit since the last call."""
        times, self._times = self._times, []
        return times

    def __getattr__(self, name: str) -> Any:
        """Pass on what is not timed."""
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Time and pass on."""
        began = time.perf_counter()
        outcomes: Sequence[Outcome] = await self._store.commit(epoch, items)
        self._times.append(time.perf_counter() - began)
        return outcomes
