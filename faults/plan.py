"""Which faults come when: drawn from a seed."""

from __future__ import annotations

import random  # noqa: TID251 - the source is made from the seed that the plan is for
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["KINDS", "Fault", "Kind", "drawn"]


@attrs.frozen
class Kind:
    """A kind of fault.

    Attributes:
        weight: How often it is drawn.
        lasts: Seconds: the least and the most.
        on: What it befalls; two faults never befall the same at a time.
        what: For the report.
    """

    weight: int
    lasts: tuple[float, float]
    on: str
    what: str


KINDS: Final[dict[str, Kind]] = {
    "kill": Kind(10, (0.0, 2.0), "host", "kill -9 of a host"),
    "pause": Kind(8, (3.2, 7.0), "host", "SIGSTOP of a host for longer than its lease"),
    "nap": Kind(3, (0.2, 2.0), "host", "SIGSTOP of a host for less"),
    "stop": Kind(3, (0.0, 1.0), "host", "a host is stopped by SIGTERM, and another started"),
    "cut": Kind(6, (0.5, 7.0), "host", "a host's link is down"),
    "deaf": Kind(4, (1.0, 7.0), "host", "nothing reaches a host, what it sends arrives"),
    "mute": Kind(4, (1.0, 7.0), "host", "nothing that a host sends arrives"),
    "no-valkey": Kind(4, (2.0, 8.0), "host", "a host reaches the store, but not Valkey"),
    "clock": Kind(4, (1.0, 5.0), "host", "the clock of a host jumps by up to 10 minutes"),
    "client-kill": Kind(2, (0.0, 1.0), "client", "kill -9 of a client"),
    "postgres-kill": Kind(4, (0.0, 3.0), "postgres", "kill -9 of PostgreSQL"),
    "postgres-restart": Kind(2, (0.0, 2.0), "postgres", "PostgreSQL is stopped and started"),
    "slow-fsync": Kind(3, (2.0, 6.0), "postgres", "each flush takes 80 ms longer"),
    "disk-full": Kind(2, (2.0, 6.0), "postgres", "the disk of the tables is full"),
    "journal-full": Kind(1, (2.0, 6.0), "postgres", "the disk of the server's log is full"),
    "file-full": Kind(3, (2.0, 6.0), "file", "the disk of the file is full"),
    "file-slow": Kind(3, (2.0, 6.0), "file", "each flush takes 80 ms longer"),
    "valkey-kill": Kind(3, (0.0, 4.0), "valkey", "kill -9 of Valkey, which forgets everything"),
    "valkey-restart": Kind(2, (0.0, 2.0), "valkey", "Valkey is stopped and started"),
    "valkey-flush": Kind(3, (0.0, 0.0), "valkey", "FLUSHALL"),
    "valkey-freeze": Kind(2, (1.0, 6.0), "valkey", "SIGSTOP of Valkey"),
    "search-gone": Kind(2, (4.0, 12.0), "search", "OpenSearch is killed, and comes back"),
}


@attrs.frozen
class Fault:
    """One fault: *at* and *lasts* are seconds; *target* is a number among its like."""

    at: float
    kind: str
    target: int
    lasts: float
    size: float


def drawn(
    seed: int, seconds: float, kinds: Sequence[str], hosts: int, clients: int, every: float = 4.0
) -> list[Fault]:
    """Return the faults of *seed*: one each *every* seconds in the mean, at first one of each kind.

    A longer plan of the same seed and kinds begins with the shorter one.
    """
    rng = random.Random(f"faults/{seed}")
    weights = [KINDS[kind].weight for kind in kinds]
    first = list(kinds)
    rng.shuffle(first)
    found: list[Fault] = []
    at = 3.0
    while at < seconds:
        kind = first.pop() if first else rng.choices(list(kinds), weights)[0]
        chosen = KINDS[kind]
        target = rng.randrange(max({"host": hosts, "client": clients}.get(chosen.on, 1), 1))
        lasts, size = rng.uniform(*chosen.lasts), rng.uniform(-600, 600)
        found.append(Fault(round(at, 3), kind, target, round(lasts, 3), round(size, 1)))
        at += rng.expovariate(1 / every)
    return found
