"""When things happened: moments by count, and what they say about linearity."""

from __future__ import annotations

import time

__all__ = ["Marks"]

_PARTS = 4


class Marks:
    """Notes the CPU time of each quarter of a known number of things."""

    def __init__(self, total: int) -> None:
        """Expect *total* things, a multiple of four."""
        self.count = 0
        self._total = total
        self._at: list[float] = []

    def hit(self) -> None:
        """One more thing has happened."""
        self.count += 1
        if (self.count - 1) % (self._total // _PARTS) == 0 or self.count == self._total:
            self._at.append(time.process_time())

    def last_to_first(self) -> float:
        """Return CPU time of the last quarter by that of the first.

        About 1 when the cost of a thing does not grow; 7 when it grows with their number.
        """
        return (self._at[_PARTS] - self._at[_PARTS - 1]) / (self._at[1] - self._at[0])
