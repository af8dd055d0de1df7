"""How the zoos of limits, activities and priorities break a memory store in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable

from wfe.core.memory import MemoryStore
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import Clock

__all__ = ["FAILURES", "with_part", "with_runs"]

FAILURES = (AssertionError, TimeoutError, ValueError, LookupError)
"""What a law raises that is not kept; unpacking too few rows is a ValueError."""


def with_part(part: Callable[[MemoryRuns], None]) -> Callable[[Clock], MemoryStore]:
    """Return a store of which one part is broken."""

    def new_store(clock: Clock) -> MemoryStore:
        store = MemoryStore(clock)
        part(store._runs)
        return store

    return new_store


def with_runs(kind: type[MemoryRuns]) -> Callable[[Clock], MemoryStore]:
    """Return a store whose runs are of another kind."""

    def new_store(clock: Clock) -> MemoryStore:
        store = MemoryStore(clock)
        store._runs = kind()
        return store

    return new_store
