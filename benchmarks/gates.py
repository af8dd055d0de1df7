"""What the counts of a workload may be at most, and what its times should be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

__all__ = [
    "COMPARED",
    "GATES",
    "IMPORT_GATES",
    "IMPORT_TARGETS",
    "LASTING",
    "ONCE",
    "ON_SERVERS",
    "TARGETS",
    "base_of",
    "broken",
    "limits_of",
]

# The last quarter by the first: 1 if linear, 7 if quadratic.
_LINEAR: dict[str, float] = {"memory": 3, "sqlite": 3}
# (workload, figure) -> the most that is allowed, by store.  Counts are exact; CPU time moves with
# whatever else the machine does, so a gate on it has room (a target below has none).
GATES: dict[tuple[str, str], dict[str, float]] = {
    ("SEQ", "commits"): {"memory": 101, "sqlite": 101},
    ("SEQ", "rows"): {"memory": 102, "sqlite": 102},
    ("SEQ", "cpu_us"): {"memory": 90, "sqlite": 500},
    ("FUNCTION", "commits"): {"memory": 102, "sqlite": 102},
    ("FUNCTION", "rows"): {"memory": 103, "sqlite": 103},
    ("FUNCTION", "cpu_us"): {"memory": 225, "sqlite": 900},
    ("MANY", "commits"): {"memory": 20, "sqlite": 20},
    ("MANY", "cpu_us"): {"memory": 120, "sqlite": 120},
    ("FANOUT", "commits"): {"memory": 10, "sqlite": 10},
    ("LATENCY", "commits_each"): {"memory": 2, "sqlite": 2},
    ("EVENT", "commits_each"): {"memory": 1, "sqlite": 1},
    ("SIGNAL", "commits_each"): {"memory": 1, "sqlite": 1},
    ("ACTIVITY", "commits_each"): {"memory": 2, "sqlite": 2},
    ("LIMITS", "most"): {"memory": 10, "sqlite": 10},
    ("LIMITS", "commits_each"): {"memory": 1, "sqlite": 1},
    ("LIMITS", "rows_each"): {"memory": 6, "sqlite": 6},
    ("SAGA", "kept"): {"memory": 0, "sqlite": 0},
    ("SAGA", "rows_a_step"): {"memory": 3.1, "sqlite": 3.1},
    ("SAGA", "quarters"): _LINEAR,
    ("SAGA", "quarters_undo"): _LINEAR,
    ("RECOVER", "fences"): {"sqlite": 1},
    ("RECOVER", "releases"): {"sqlite": 1},
    ("RECOVER", "claims"): {"sqlite": 2},
    ("RECOVER", "missed"): {"sqlite": 0},
    ("RECOVER", "again"): {"sqlite": 0},
    ("IDLE", "writes"): {"memory": 0, "sqlite": 0},
    ("IDLE", "tasks"): {"memory": 12, "sqlite": 12},
    ("IDLE", "live"): {"memory": 0, "sqlite": 0},
    ("IDLE", "grown_mb"): {"memory": 5, "sqlite": 5},
    # What the store in memory keeps is memory, too.
    ("LONG", "grown_mb"): {"memory": 60, "sqlite": 20},
    ("LONG", "rows_a_step"): {"memory": 2.1, "sqlite": 2.1},
    ("LONG", "quarters"): _LINEAR,
    ("WIDE", "grown_mb"): {"memory": 60, "sqlite": 20},
    ("WIDE", "rows_a_step"): {"memory": 1.1, "sqlite": 1.1},
    ("WIDE", "quarters"): _LINEAR,
    # The store in memory keeps the lines; elsewhere it is what waits for the disk.
    ("LOGS", "grown_mb"): {"memory": 80, "sqlite": 20, "postgres": 20},
    ("LOGS", "rows_a_step"): {"memory": 2.1, "sqlite": 2.1, "postgres": 2.1},
    ("LOGS", "cpu_us_a_line"): {"memory": 40, "sqlite": 40, "postgres": 40},
    ("LOGS", "quarters"): {**_LINEAR, "postgres": 3},
    # The store in memory sorts all runs for a list; the others have an index for each.
    ("SLEEPERS", "claim_of_few"): {"memory": 4, "sqlite": 4, "postgres": 4},
    ("SLEEPERS", "run_of_few"): {"memory": 4, "sqlite": 4, "postgres": 4},
    ("SLEEPERS", "list_of_few"): {"sqlite": 4, "postgres": 4},
    ("SLEEPERS", "list_kind_of_few"): {"sqlite": 4, "postgres": 6},
    ("SLEEPERS", "open_of_few"): {"memory": 6, "sqlite": 6, "postgres": 6},
    ("SLEEPERS", "grown_mb"): {"memory": 10, "sqlite": 10, "postgres": 10},
    ("SLEEPERS", "writes"): {"memory": 0, "sqlite": 0, "postgres": 0},
    ("SLEEPERS", "live"): {"memory": 0, "sqlite": 0, "postgres": 0},
    ("SLEEPERS", "tasks"): {"memory": 12, "sqlite": 12, "postgres": 20},
    # Two processes that are started once, and a host that computes nothing itself.
    ("PROCESS", "processes"): {"memory": 2, "sqlite": 2},
    ("PROCESS", "cpu_us"): {"memory": 3000, "sqlite": 4000},
    # As by the workload they are variants of, but:
    ("LONG100K", "grown_mb"): {"memory": 300, "sqlite": 40},
    ("WIDE100K", "grown_mb"): {"memory": 300, "sqlite": 40},
    # The million items themselves are 80 MB of Python's integers and text.
    ("WIDE1M", "grown_mb"): {"memory": 3000, "sqlite": 160},
    ("LOGS100MB", "grown_mb"): {"memory": 700, "sqlite": 20, "postgres": 20},
}
ONCE = ("RECOVER", "IDLE", "LONG", "WIDE", "SAGA", "LIMITS", "LOGS", "SLEEPERS", "PROCESS")
"""Workloads that are long enough to be run once."""
COMPARED = ("SEQ", "FUNCTION", "MANY", "FANOUT", "LATENCY", "EVENT")
"""Workloads that are compared with a plain loop of as many commits."""
LASTING = ("RECOVER",)
"""Workloads that need a store that outlives its process."""
# What a quiet machine should show; printed as met or missed, never a failure.
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("SEQ", "wall_ms"): {"memory": 2, "sqlite": 40, "postgres": 80},
    ("SEQ", "cpu_us"): {"memory": 15, "sqlite": 120, "postgres": 200},
    ("MANY", "wall_ms"): {"memory": 100, "sqlite": 200, "postgres": 250},
    ("MANY", "cpu_us"): {"memory": 40, "sqlite": 40, "postgres": 40},
    ("FANOUT", "wall_ms"): {"sqlite": 15, "postgres": 20},
    ("LATENCY", "p50_ms"): {"sqlite": 1, "postgres": 2},
    ("EVENT", "p50_ms"): {"sqlite": 0.6, "postgres": 1.5},
    ("RECOVER", "own_ms"): {"sqlite": 40},
    ("IDLE", "cpu_percent"): {"sqlite": 0.3},
}
ON_SERVERS = (
    "SEQ",
    "FUNCTION",
    "MANY",
    "FANOUT",
    "LATENCY",
    "EVENT",
    "SIGNAL",
    "ACTIVITY",
    "LIMITS",
    "LOGS",
    "SLEEPERS",
    "LOGS100MB",
    "SLEEPERS1M",
)
"""Workloads that run on a server too: those whose statements and round trips are counted."""
_POSTGRES: dict[str, dict[str, float]] = {
    "SEQ": {"commits": 101, "rows": 102, "statements": 101, "round_trips": 101},
    "FUNCTION": {"commits": 102, "rows": 103, "statements": 102, "round_trips": 102},
    "MANY": {"commits": 20, "statements": 20, "round_trips": 20},
    "FANOUT": {"commits": 10, "statements": 10, "round_trips": 10},
    "LATENCY": {"commits_each": 2, "statements": 400, "round_trips": 400},
    "EVENT": {"commits_each": 1, "statements": 400, "round_trips": 200},
    "SIGNAL": {"commits_each": 1, "statements": 200, "round_trips": 200},
}
for _workload, _limits in _POSTGRES.items():
    for _figure, _most in _limits.items():
        GATES.setdefault((_workload, _figure), {})["postgres"] = _most
# Modules beyond those of asyncio; a driver, a parser or a terminal's library is none of them, nor,
# for the two imports, asyncio itself.  Classes that attrs makes take 0.15 ms each.
IMPORT_GATES: dict[str, float] = {
    "modules_core": 66,
    "modules_host": 76,
    "modules_made": 230,
    "modules_help": 48,
    "modules_validate": 190,
    "classes_host": 60,
    "classes_made": 180,
    "heavy": 0,
}
IMPORT_TARGETS: dict[str, float] = {"core": 100, "host": 110, "help": 120, "validate": 250}  # ms
_LARGER = re.compile(r"\d+(K|M|MB)$")


def base_of(name: str) -> str:
    """Return the workload that *name* is, or is a larger one of: ``LONG`` of ``LONG100K``."""
    return _LARGER.sub("", name)


def limits_of(
    table: Mapping[tuple[str, str], Mapping[str, float]], name: str, kind: str
) -> dict[str, float]:
    """Return what *table* says of each figure of a workload on one kind of store.

    A larger one has the limits of its base, but where it has its own.
    """
    kind = kind.removesuffix("-normal")  # the same counts
    return {
        figure: limits[kind]
        for wanted in dict.fromkeys((base_of(name), name))
        for (workload, figure), limits in table.items()
        if workload == wanted and kind in limits
    }


def broken(name: str, kind: str, figures: Mapping[str, float]) -> Iterator[str]:
    """Yield which gates *figures* break; a figure that is not there breaks its gate."""
    for figure, limit in limits_of(GATES, name, kind).items():
        found = figures.get(figure)
        if found is None:
            yield f"{name} on {kind}: {figure} was not measured"
        elif not found <= limit:
            yield f"{name} on {kind}: {figure} is {found:.1f}, more than {limit:g}"
