"""What cannot be committed: inputs whose transition never can, bodies that must run again."""

from __future__ import annotations

from typing import Final

import attrs

from wfe.core.rules.inputs import Failed, Input, Received, StartsChild

__all__ = ["RESTORES", "RunAgainError", "without"]

RESTORES: Final = frozenset({"retry", "rewind"})
"""Messages that bring an earlier state back."""


class RunAgainError(Exception):
    """A body has to run again: what it did was rolled back for what is no fault of its own."""


def _failed_start(each: StartsChild, problem: Exception) -> Failed:
    return Failed(
        pointer=each.pointer,
        attempt=each.attempt,
        type=type(problem).__name__,
        message=str(problem),
        retryable=False,
    )


def without(each: Input, problem: Exception) -> Input:
    """Return *each* without what cannot be because of *problem*."""
    if isinstance(each, StartsChild):
        return _failed_start(each, problem)
    if isinstance(each, Received) and each.kind in RESTORES:
        return attrs.evolve(each, found=None)
    return each
