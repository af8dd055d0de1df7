"""``python -m wfe.testing.simulator``: simulate seeds, print one line for each that fails."""

from __future__ import annotations

import argparse
import random  # noqa: TID251 - draws the first seed when none is given
import sys
import time
from collections.abc import Sequence

from wfe.testing.simulator.simulation import Report, simulate

__all__ = ["main", "series"]


def series(first: int, seeds: int, *, seconds: float | None = None) -> Report:
    """Simulate *seeds* seeds from *first* on, for at most *seconds* of real time."""
    report = Report()
    begun = time.perf_counter()
    for seed in range(first, first + seeds):
        if seconds is not None and time.perf_counter() - begun > seconds:
            break
        one = simulate(seed)
        for failure in one.failures:
            print(failure, flush=True)  # noqa: T201 - a command's output
        report = report + one
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 1 when a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m wfe.testing.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed only")
    parser.add_argument("--trace", action="store_true", help="print what happened (with --seed)")
    parser.add_argument("--seeds", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, help="the first one; default: a random one")
    parser.add_argument("--minutes", type=float, help="stop after this time")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        report = simulate(given.seed, trace=given.trace)
        for line in report.lines:
            print(line)  # noqa: T201
        for failure in report.failures:
            print(failure)  # noqa: T201
    else:
        first = random.randrange(10**9) if given.first is None else given.first  # noqa: S311
        seconds = None if given.minutes is None else given.minutes * 60
        print(f"{given.seeds} seeds from {first} on", flush=True)  # noqa: T201
        report = series(first, given.seeds, seconds=seconds)
    print(report)  # noqa: T201
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
