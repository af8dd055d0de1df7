"""Runs the workloads, prints a table, and fails when a gate of counts is broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.measuring import Measured
from benchmarks.workloads import BY_HAND, WORKLOADS, imports
from wfe.core.memory import MemoryStore
from wfe.core.plugins import load

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
_100K = "100K"
"""Ends the name of a workload that is another at 100,000; it has the other's gates, but these."""
GATES[("LONG" + _100K, "grown_mb")] = {"memory": 1000, "sqlite": 40}
GATES[("WIDE" + _100K, "grown_mb")] = {"memory": 1000, "sqlite": 40}
_ONCE = ("RECOVER", "IDLE", "LONG", "WIDE", "SAGA", "LIMITS")
"""Workloads that are long enough to be run once."""
_COMPARED = ("SEQ", "FUNCTION", "MANY", "FANOUT", "LATENCY", "EVENT")
"""Workloads that are compared with a plain loop of as many commits."""
_LASTING = ("RECOVER",)
"""Workloads that need a store that outlives its process."""
# What a quiet machine should show; printed as met or missed, never a failure.
TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("SEQ", "wall_ms"): {"memory": 2, "sqlite": 40},
    ("SEQ", "cpu_us"): {"sqlite": 200},
    ("MANY", "wall_ms"): {"memory": 100, "sqlite": 200},
    ("MANY", "cpu_us"): {"memory": 40, "sqlite": 40},
    ("FANOUT", "wall_ms"): {"sqlite": 15},
    ("LATENCY", "p50_ms"): {"sqlite": 1},
    ("EVENT", "p50_ms"): {"sqlite": 0.6},
    ("RECOVER", "own_ms"): {"sqlite": 40},
    ("IDLE", "cpu_percent"): {"sqlite": 0.3},
}
IMPORT_GATES = {"modules": 450.0, "drivers": 0.0}


def _store(kind: str, folder: Path) -> Any:
    if kind == "memory":
        return MemoryStore()
    return load("wfe.persistence", "sqlite")(f"sqlite:///{folder}/bench-{time.time_ns()}.db")


def _figures(measured: Measured) -> dict[str, float]:
    return {
        "wall_ms": measured.wall * 1e3,
        "cpu_us": measured.cpu / measured.steps * 1e6,
        "commits": measured.commits,
        "commits_each": measured.commits / measured.steps,
        "rows": measured.rows,
        **measured.extra,
    }


def _one(kind: str, name: str, tries: int) -> dict[str, float]:
    """Return each figure of *name* at its best over *tries*."""
    best: dict[str, float] = {}
    workload = {**WORKLOADS, **BY_HAND}[name]
    for _ in range(1 if name.removesuffix(_100K) in _ONCE else tries):
        with tempfile.TemporaryDirectory() as folder:
            store = CountingStore(_store(kind, Path(folder)))
            figures = _figures(asyncio.run(workload(store)))
        best = {key: min(value, best.get(key, value)) for key, value in figures.items()}
    return best


def _limit(commits: int) -> dict[str, float]:
    """Return what a plain sqlite3 loop of as many commits takes, durable as the store's."""
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(f"{folder}/limit.db", isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("CREATE TABLE j (i INTEGER, s INTEGER, e TEXT)")
        wall, cpu = time.perf_counter(), time.process_time()
        for i in range(commits):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO j VALUES (1, ?, ?)", (i, "x" * 150))
            db.execute("COMMIT")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        db.close()
    return {"wall_ms": wall * 1e3, "cpu_us": cpu / commits * 1e6}


def _limits(
    table: Mapping[tuple[str, str], Mapping[str, float]], name: str, kind: str
) -> dict[str, float]:
    """Return what *table* says of each figure of a workload on one kind of store."""
    return {
        figure: limits[kind]
        for wanted in dict.fromkeys((name.removesuffix(_100K), name))
        for (workload, figure), limits in table.items()
        if workload == wanted and kind in limits
    }


def _aims(name: str, kind: str, figures: dict[str, float]) -> str:
    shown = [
        f"{figure} <= {limit:g} {'met' if figures[figure] <= limit else 'MISSED'}"
        for figure, limit in _limits(TARGETS, name, kind).items()
    ]
    return f"  [target {', '.join(shown)}]" if shown else ""


def _broken(name: str, kind: str, figures: dict[str, float]) -> list[str]:
    return [
        f"{name} on {kind}: {figure} is {figures[figure]:.1f}, more than {limit:g}"
        for figure, limit in _limits(GATES, name, kind).items()
        if figures[figure] > limit
    ]


def main() -> int:
    """Run what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--store", action="append", choices=["memory", "sqlite"])
    parser.add_argument("--tries", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    known = {**WORKLOADS, **BY_HAND}
    unknown = sorted(set(options.workloads) - set(known))
    if unknown:
        parser.error(f"unknown workload {', '.join(unknown)}; known: {', '.join(known)}")
    broken: list[str] = []
    table: dict[str, dict[str, float]] = {}
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for kind in options.store or ["memory", "sqlite"]:
        for name in options.workloads:
            if name in _LASTING and kind == "memory":
                continue
            figures = _one(kind, name, options.tries)
            if kind == "sqlite" and name in _COMPARED:
                limit = _limit(int(figures["commits"]))
                figures["of_limit"] = limit["wall_ms"] / figures["wall_ms"]
                figures["limit_cpu_us"] = limit["cpu_us"]
            sequence = table.get(f"SEQ {kind}")
            if name == "FUNCTION" and sequence is not None:
                figures["of_seq_cpu"] = figures["cpu_us"] / sequence["cpu_us"]
            table[f"{name} {kind}"] = figures
            shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
            print(f"{name:8} {kind:7} {shown}{_aims(name, kind, figures)}", flush=True)
            broken += _broken(name, kind, figures)
    figures = imports()
    table["IMPORT"] = figures
    print("IMPORT  " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    broken += [
        f"IMPORT: {figure} is {figures[figure]:g}, more than {limit:g}"
        for figure, limit in IMPORT_GATES.items()
        if figures[figure] > limit
    ]
    if options.json:
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    for line in broken:
        print("GATE BROKEN", line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
