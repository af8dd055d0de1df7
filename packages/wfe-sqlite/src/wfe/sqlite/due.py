"""Which unowned runs are due: of the highest priority first, then the earliest.

Runs with a priority of their own stand in an index of theirs, so that the usual ones cost what
they cost without priorities; one look says whether there are any of the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

__all__ = ["claimable", "earliest", "first"]

Query: TypeAlias = Callable[[str, tuple[Any, ...]], Sequence[Any]]

_HIGHEST: Final = 2**63 - 1
_DUE: Final = """
SELECT wake, n, takeovers FROM wfe_instances
WHERE d = ? AND owner IS NULL AND wake <= ? AND priority = 0 ORDER BY wake, n LIMIT ?"""
_FIRST: Final = """
SELECT wake FROM wfe_instances
WHERE d = ? AND owner IS NULL AND wake IS NOT NULL AND priority = 0 ORDER BY wake LIMIT 1"""
_RANKED: Final = """
wfe_instances INDEXED BY wfe_instances_priority
WHERE owner IS NULL AND wake IS NOT NULL AND priority <> 0"""
_ANY_RANKED: Final = f"SELECT 1 FROM {_RANKED} LIMIT 1"  # noqa: S608 - a constant
_NEXT_LEVEL: Final = f"""
SELECT priority FROM {_RANKED} AND d = ? AND priority < ? ORDER BY priority DESC LIMIT 1"""  # noqa: S608 - a constant
_LEVEL_DUE: Final = f"""
SELECT wake, n, takeovers FROM {_RANKED} AND d = ? AND priority = ? AND wake <= ?
ORDER BY wake, n LIMIT ?"""  # noqa: S608 - a constant
_LEVEL_FIRST: Final = f"""
SELECT wake FROM {_RANKED} AND d = ? AND priority = ? ORDER BY wake LIMIT 1"""  # noqa: S608 - a constant


def first(
    query: Query, definitions: Sequence[int], now: int, limit: int
) -> list[tuple[int, int, int, int]]:
    """Return (wake, n, takeovers, d) of up to *limit* runs that are due, in order."""
    if not query(_ANY_RANKED, ()):
        found = [(*row, d) for d in definitions for row in query(_DUE, (d, now, limit))]
        return heapq.nsmallest(limit, found)
    ranked: list[tuple[int, tuple[int, int, int, int]]] = []
    for d in definitions:
        left = limit
        for priority in _levels(query, d):
            rows = _due(query, d, priority, now, left)
            ranked.extend((-priority, (*row, d)) for row in rows)
            left -= len(rows)
            if left <= 0:
                break
    return [row for _, row in heapq.nsmallest(limit, ranked)]


def claimable(query: Query, definitions: Sequence[int], now: int) -> bool:
    """Whether anything is due."""
    if any(query(_DUE, (d, now, 1)) for d in definitions):
        return True
    return bool(query(_ANY_RANKED, ())) and bool(first(query, definitions, now, 1))


def earliest(query: Query, definitions: Sequence[int]) -> int | None:
    """Return when the first unowned run of *definitions* is due."""
    rows = [row for d in definitions for row in query(_FIRST, (d,))]
    if query(_ANY_RANKED, ()):
        rows += [
            row
            for d in definitions
            for priority in _levels(query, d)
            if priority
            for row in query(_LEVEL_FIRST, (d, priority))
        ]
    return min((wake for (wake,) in rows), default=None)


def _levels(query: Query, d: int) -> Iterator[int]:
    """Return the priorities of a definition's unowned runs, and 0, highest first."""
    above, level = _HIGHEST, query(_NEXT_LEVEL, (d, _HIGHEST))
    while level:
        ((priority,),) = level
        if above > 0 > priority:
            yield 0
        yield priority
        above = priority
        level = query(_NEXT_LEVEL, (d, priority))
    if above > 0:
        yield 0


def _due(query: Query, d: int, priority: int, now: int, limit: int) -> Sequence[Any]:
    if priority == 0:
        return query(_DUE, (d, now, limit))
    return query(_LEVEL_DUE, (d, priority, now, limit))
