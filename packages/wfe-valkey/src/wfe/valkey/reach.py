"""Whether silence says something: only who listened all the time may conclude from it."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

__all__ = ["Reach"]

_LENGTHS: Final = tuple(int(2 ** (k / 8)) for k in range(8, 8 * 63))
"""Lengths of gaps that are told apart, µs: each is by a twelfth longer than the one before."""


class Reach:
    """How long the server was asked without a gap, and was the same server all the time.

    Kept for all lengths of gaps at once, so that it needs no lease beforehand.
    """

    def __init__(self) -> None:
        self._since = [0] * len(_LENGTHS)  # when there was such a gap last; 0: always
        self._last: tuple[int, int, object] | None = None

    def answered(self, here: int, there: int, life: object) -> None:
        """Take note of an answer.

        Args:
            here: When it came, by a clock of this process that nobody sets, µs.
            there: What the server's clock showed, µs.  Keys expire by it: when it jumps, all
                beats are over at once.
            life: What the server has as long as it remembers everything; another one after it
                was flushed, restarted, or replaced.
        """
        if self._last is None or self._last[2] != life:
            gap = _LENGTHS[-1]
        else:
            passed = here - self._last[0]
            jumped = abs((there - self._last[1]) - passed)
            gap = max(passed, jumped)
        self._last = (here, there, life)
        longer = bisect_right(_LENGTHS, gap)
        self._since[:longer] = [here] * longer

    def lasts(self, lease: int, here: int) -> bool:
        """Whether nothing was missed for *lease* µs; gaps of less than a third do not count."""
        if self._last is None:
            return False
        allowed = max(lease // 3, _LENGTHS[0])
        since = self._since[bisect_right(_LENGTHS, allowed) - 1]
        return here - since >= lease and here - self._last[0] <= allowed
