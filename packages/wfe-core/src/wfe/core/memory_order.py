"""The runs of a memory store in the order of their making; brought up to date when asked."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final

from wfe.core.memory_run import MemoryRun

__all__ = ["MemoryOrder"]

_FEW: Final = 64  # places of deleted runs that are not worth a new list


class MemoryOrder:
    """Places ``(created_at, n)`` in order; starts and deletions cost nothing until somebody looks.

    Args:
        by_n: All runs, as they were inserted; no number comes twice.
    """

    def __init__(self, by_n: dict[int, MemoryRun]) -> None:
        self._by_n = by_n
        self._places: list[tuple[int, int]] = []

    def runs(
        self, after: tuple[int, int] | None, since: int | None, *, newest_first: bool
    ) -> Iterator[MemoryRun]:
        """Yield the runs in order, each when it is asked for; nothing may change meanwhile.

        Args:
            after: Place of the last one that is not wanted any more; ``None``: from the beginning.
            since: Made at or after, µs; ``None``: at any time.
            newest_first: Which way.
        """
        self._catch_up()
        places = self._places
        first = 0 if since is None else bisect_left(places, (since, 0))
        end = len(places)
        if after is not None and newest_first:
            end = bisect_left(places, after)
        elif after is not None:
            first = max(first, bisect_right(places, after))
        between = range(first, end)
        for k in reversed(between) if newest_first else between:
            run = self._run(places[k])
            if run is not None:
                yield run

    def _run(self, place: tuple[int, int]) -> MemoryRun | None:
        """Return the run at a place; ``None``: it was deleted."""
        run = self._by_n.get(place[1])
        return run if run is not None and run.created_at == place[0] else None

    def _catch_up(self) -> None:
        """Add who was inserted since the last look: in front of whom all are known."""
        places = self._places
        if len(places) > 2 * len(self._by_n) + _FEW:
            places = self._places = [place for place in places if self._run(place) is not None]
        new: list[tuple[int, int]] = []
        for n in reversed(self._by_n):
            place = (self._by_n[n].created_at, n)
            k = bisect_left(places, place)
            if k < len(places) and places[k] == place:
                break
            new.append(place)
        new.sort()
        late = bool(new) and bool(places) and new[0] < places[-1]
        places.extend(new)
        if late:  # the clock was put back, or numbers were given before and are used only now
            places.sort()
