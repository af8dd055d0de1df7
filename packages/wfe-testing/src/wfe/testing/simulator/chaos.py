"""What goes wrong, and how often: drawn for each call of the store, counted by kind."""

from __future__ import annotations

import random  # noqa: TID251 - only its type: the source is a parameter
from collections import Counter
from typing import Final

import attrs

__all__ = ["Chaos", "Plan", "Rates"]

_SECOND: Final = 1_000_000  # µs


@attrs.frozen(kw_only=True)
class Rates:
    """How often things go wrong, 0 to 1 for each call, or for each second.

    Attributes:
        slow: A call takes time on its way, back, or both.
        refused: It fails before it took effect.
        unknown: It took effect, but the answer is lost.
        crash: The host dies in the middle of it.
        hint_lost: A hint is lost; ``hint_doubled``, ``hint_late`` likewise.
        crashes: Of hosts at any step, a second; ``pauses``, ``stops`` likewise.
    """

    slow: float = 0.0
    refused: float = 0.0
    unknown: float = 0.0
    crash: float = 0.0
    hint_lost: float = 0.0
    hint_doubled: float = 0.0
    hint_late: float = 0.0
    crashes: float = 0.0
    pauses: float = 0.0
    stops: float = 0.0

    @classmethod
    def drawn(cls, rng: random.Random) -> Rates:
        """Return rates for one simulation: many of them are zero, so that each is seen alone."""

        def rate(most: float) -> float:
            return rng.random() * most if rng.random() < 0.5 else 0.0

        return cls(
            slow=rate(0.5),
            refused=rate(0.1),
            unknown=rate(0.1),
            crash=rate(0.01),
            hint_lost=rate(1.0),
            hint_doubled=rate(0.5),
            hint_late=rate(1.0),
            crashes=rate(0.1),
            pauses=rate(0.1),
            stops=rate(0.05),
        )


@attrs.frozen
class Plan:
    """What happens to one call.

    Attributes:
        before: µs until the store takes it.
        after: µs until its answer arrives.
        fate: ``done``, ``refused`` or ``unknown``.
        crash: Whether the host dies: ``sent`` before the store takes it, ``taken`` after it.
    """

    before: int = 0
    after: int = 0
    fate: str = "done"
    crash: str | None = None


class Chaos:
    """Draws what goes wrong; stops when it is told to.

    Attributes:
        counts: What went wrong, by kind.
        calm: Whether nothing goes wrong any more.
    """

    def __init__(self, rng: random.Random, rates: Rates, lease: int) -> None:
        """Draw from *rng*; pauses are longer and shorter than *lease* (µs)."""
        self.rates = rates
        self.counts: Counter[str] = Counter()
        self.calm = False
        self._rng = rng
        self._lease = lease

    def plan(self) -> Plan | None:
        """Return what happens to a call; ``None``: nothing unusual."""
        rates, rng = self.rates, self._rng
        draw = rng.random()
        if self.calm or draw >= rates.slow + rates.refused + rates.unknown + rates.crash:
            return None
        slow = rng.random() < 0.7
        before = self.lag() if slow and rng.random() < 0.7 else 0
        after = self.lag() if slow and rng.random() < 0.7 else 0
        draw -= rates.slow
        if draw < 0:
            self.counts["slow call"] += 1
            return Plan(before, after)
        if draw < rates.refused:
            self.counts["error before commit"] += 1
            return Plan(before, after, "refused")
        if draw < rates.refused + rates.unknown:
            self.counts["error after commit"] += 1
            return Plan(before, after, "unknown")
        crash = rng.choice(["sent", "taken"])
        self.counts[f"crash, call {crash}"] += 1
        return Plan(before, after, rng.choice(["done", "refused"]), crash)

    def lag(self) -> int:
        """Return how long something takes, µs: mostly short, now and then longer than a lease."""
        draw = self._rng.random()
        if draw < 0.4:
            return 0  # one turn of the loop
        if draw < 0.85:
            return self._rng.randrange(1, 50_000)
        if draw < 0.97:
            return self._rng.randrange(50_000, 2 * _SECOND)
        return self._rng.randrange(_SECOND, 4 * self._lease)

    def hint(self) -> list[int]:
        """Return after how many µs a hint arrives, once for each time that it does."""
        if self.calm:
            return [0]
        rates, rng = self.rates, self._rng
        if rng.random() < rates.hint_lost:
            self.counts["hint lost"] += 1
            return []
        times = [0]
        if rng.random() < rates.hint_doubled:
            self.counts["hint doubled"] += 1
            times.append(0)
        if rng.random() < rates.hint_late:
            self.counts["hint late"] += 1
            times = [self.lag() for _ in times]
        return times
