"""What the counts of a workload may be at most, and what its times should be."""

from __future__ import annotations

__all__ = [
    "COMPARED",
    "GATES",
    "HUNDRED",
    "IMPORT_GATES",
    "LASTING",
    "ONCE",
    "ON_SERVERS",
    "TARGETS",
]

# The last quarter by the first: 1 if linear, 7 if quadratic.
_LINEAR: dict[str, float] = {"memory": 3, "sqlite": 3}
# (workload, figure) -> the most that is allowed, by store.  Counts are exact; CPU time moves with
# whatever else the machine does, so a gate on it has room (a target below has none).
GATES: dict[tuple[str, str], dict[str, float]] = {
    ("SEQ", "commits"): {"memory": 101, "sqlite": 101},
    ("SEQ", "rows"): {"memory": 102, "sqlite": 102},
    ("SEQ", "cpu_us"): {"memory": 150, "sqlite": 600},
    ("FUNCTION", "commits"): {"memory": 102, "sqlite": 102},
    ("FUNCTION", "rows"): {"memory": 103, "sqlite": 103},
    ("FUNCTION", "cpu_us"): {"memory": 225, "sqlite": 900},
    ("MANY", "commits"): {"memory": 20, "sqlite": 20},
    ("MANY", "cpu_us"): {"memory": 120, "sqlite": 120},
    ("FANOUT", "commits"): {"memory": 10, "sqlite": 10},
    ("LATENCY", "commits_each"): {"memory": 2, "sqlite": 2},
    ("EVENT", "commits_each"): {"memory": 2, "sqlite": 2},
    ("SIGNAL", "commits_each"): {"memory": 2, "sqlite": 2},
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
    ("RECOVER", "claims"): {"sqlite": 11},
    ("RECOVER", "missed"): {"sqlite": 0},
    ("RECOVER", "again"): {"sqlite": 0},
    ("IDLE", "writes"): {"memory": 0, "sqlite": 0},
    ("IDLE", "tasks"): {"memory": 12, "sqlite": 12},
    ("IDLE", "live"): {"memory": 0, "sqlite": 0},
    ("IDLE", "grown_mb"): {"memory": 5, "sqlite": 5},
    ("LONG", "grown_mb"): {"memory": 400, "sqlite": 40},
    ("LONG", "rows_a_step"): {"memory": 2.1, "sqlite": 2.1},
    ("LONG", "quarters"): _LINEAR,
    ("WIDE", "grown_mb"): {"memory": 400, "sqlite": 40},
    ("WIDE", "rows_a_step"): {"memory": 1.1, "sqlite": 1.1},
    ("WIDE", "quarters"): _LINEAR,
}
HUNDRED = "100K"
"""Ends the name of a workload that is another at 100,000; it has the other's gates, but these."""
GATES[("LONG" + HUNDRED, "grown_mb")] = {"memory": 1000, "sqlite": 40}
GATES[("WIDE" + HUNDRED, "grown_mb")] = {"memory": 1000, "sqlite": 40}
ONCE = ("RECOVER", "IDLE", "LONG", "WIDE", "SAGA", "LIMITS")
"""Workloads that are long enough to be run once."""
COMPARED = ("SEQ", "FUNCTION", "MANY", "FANOUT", "LATENCY", "EVENT")
"""Workloads that are compared with a plain loop of as many commits."""
LASTING = ("RECOVER",)
"""Workloads that need a store that outlives its process."""
# What a quiet machine should show; printed as met or missed, never a failure.
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("SEQ", "wall_ms"): {"memory": 2, "sqlite": 40, "postgres": 80},
    ("SEQ", "cpu_us"): {"sqlite": 200, "postgres": 200},
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
)
"""Workloads that run on a server too: those whose statements and round trips are counted."""
_POSTGRES: dict[str, dict[str, float]] = {
    "SEQ": {"commits": 101, "rows": 102, "statements": 101, "round_trips": 101},
    "FUNCTION": {"commits": 102, "rows": 103, "statements": 102, "round_trips": 102},
    "MANY": {"commits": 20, "statements": 20, "round_trips": 20},
    "FANOUT": {"commits": 10, "statements": 10, "round_trips": 10},
    "LATENCY": {"commits_each": 2, "statements": 400, "round_trips": 400},
    "EVENT": {"commits_each": 2, "statements": 800, "round_trips": 400},
    "SIGNAL": {"commits_each": 2, "statements": 600, "round_trips": 400},
}
for _workload, _limits in _POSTGRES.items():
    for _figure, _most in _limits.items():
        GATES.setdefault((_workload, _figure), {})["postgres"] = _most
IMPORT_GATES = {"modules": 450.0, "drivers": 0.0}
