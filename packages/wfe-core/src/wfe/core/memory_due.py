"""Which unowned runs of a memory store are due when."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence

from wfe.core.memory_run import MemoryRun

__all__ = ["MemoryDue"]


class MemoryDue:
    """Heaps of (wake, n) by priority and definition; untrue entries are dropped when met.

    Args:
        by_n: All runs.
    """

    def __init__(self, by_n: Mapping[int, MemoryRun]) -> None:
        self._by_n = by_n
        self._heaps: dict[int, defaultdict[int, list[tuple[int, int]]]] = {}

    def add(self, run: MemoryRun, wake: int) -> None:
        """Note that *run*, which nobody owns, is due at *wake*."""
        new = run.new
        if new.priority not in self._heaps:
            self._heaps[new.priority] = defaultdict(list)
        heapq.heappush(self._heaps[new.priority][new.d], (wake, new.n))

    def take(self, definitions: Sequence[int], now: int, limit: int) -> list[MemoryRun]:
        """Remove and return what is due: of the highest priority first, then the earliest."""
        found: dict[int, MemoryRun] = {}
        for priority in sorted(self._heaps, reverse=True):
            while len(found) < limit:
                heads = [
                    (head, d) for d in definitions if (head := self._head(priority, d)) is not None
                ]
                if not heads:
                    break
                (wake, n), d = min(heads)
                if wake > now:
                    break
                heapq.heappop(self._heaps[priority][d])
                found[n] = self._by_n[n]
        return list(found.values())

    def earliest(self, d: int) -> int | None:
        """Return when the first unowned run of a definition is due."""
        heads = [self._head(priority, d) for priority in self._heaps]
        return min((head[0] for head in heads if head is not None), default=None)

    def _head(self, priority: int, d: int) -> tuple[int, int] | None:
        """Return the earliest true entry of a heap, dropping untrue ones above it."""
        heap = self._heaps[priority].get(d)
        while heap:
            wake, n = heap[0]
            run = self._by_n.get(n)  # it may have been purged
            if run is not None and run.owner is None and run.wake == wake:
                return heap[0]
            heapq.heappop(heap)
        return None
