"""Where a branch stands among the events of a topic: after which ones its next wait begins.

A position is ``[at, e]`` of the last event that the branch got, and the ids of events that it got
before the store had given them a place: ``[at, e, id, …]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["FIRST", "later"]

FIRST: Final[Sequence[Any]] = (-1, -1)
"""Before every event."""


def later(ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    """Return the position that is after both."""
    if len(ours) == 2 == len(theirs):
        return list(max(list(ours), list(theirs)))
    at, e = max(list(ours[:2]), list(theirs[:2]))
    return [at, e, *dict.fromkeys((*ours[2:], *theirs[2:]))]
