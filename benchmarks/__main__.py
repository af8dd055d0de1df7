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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.counting import CountingStore
from benchmarks.gates import (
    COMPARED,
    GATES,
    HUNDRED,
    IMPORT_GATES,
    LASTING,
    ON_SERVERS,
    ONCE,
    TARGETS,
)
from benchmarks.measuring import Measured
from benchmarks.workloads import BY_HAND, WORKLOADS, imports
from wfe.core.memory import MemoryStore
from wfe.core.plugins import load
from wfe.testing.services import Service, Unavailable, resolve
from wfe.testing.services.databases import Databases


class Stores:
    """Makes new stores of each kind; the first one on a server starts it."""

    def __init__(self) -> None:
        self._server: Service | None = None
        self._databases: Databases | None = None

    def new(self, kind: str, folder: Path) -> Any:
        """Return a store that nobody used before, durable as by default.

        Raises:
            Unavailable: There is no server for it.
        """
        if kind == "memory":
            return MemoryStore()
        if kind == "sqlite":
            return load("wfe.persistence", kind)(f"sqlite:///{folder}/bench-{time.time_ns()}.db")
        if self._databases is None:
            self._server = resolve(kind, own=True, durable=True)
            self._databases = Databases(self._server.url)
        return load("wfe.persistence", kind)(self._databases.new())

    def close(self) -> None:
        """Stop the server."""
        if self._databases is not None:
            self._databases.drop_all()
        if self._server is not None:
            self._server.stop()


def _figures(measured: Measured) -> dict[str, float]:
    return {
        "wall_ms": measured.wall * 1e3,
        "cpu_us": measured.cpu / measured.steps * 1e6,
        "commits": measured.commits,
        "commits_each": measured.commits / measured.steps,
        "rows": measured.rows,
        **measured.extra,
    }


def _one(stores: Stores, kind: str, name: str, tries: int) -> dict[str, float]:
    """Return each figure of *name* at its best over *tries*."""
    best: dict[str, float] = {}
    workload = {**WORKLOADS, **BY_HAND}[name]
    for _ in range(1 if name.removesuffix(HUNDRED) in ONCE else tries):
        with tempfile.TemporaryDirectory() as folder:
            store = CountingStore(stores.new(kind, Path(folder)))
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
        for wanted in dict.fromkeys((name.removesuffix(HUNDRED), name))
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


def _compared(
    name: str, kind: str, figures: dict[str, float], table: dict[str, dict[str, float]]
) -> dict[str, float]:
    """Return what the figures of a workload are by those of others in the same run."""
    more: dict[str, float] = {}
    if kind == "sqlite" and name in COMPARED:
        limit = _limit(int(figures["commits"]))
        more["of_limit"] = limit["wall_ms"] / figures["wall_ms"]
        more["limit_cpu_us"] = limit["cpu_us"]
    sequence = table.get(f"SEQ {kind}")
    if name == "FUNCTION" and sequence is not None:
        more["of_seq_cpu"] = figures["cpu_us"] / sequence["cpu_us"]
    return more


def _runs(kinds: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return (store, workload) of all that make sense together."""
    for kind in kinds:
        for name in names:
            if kind == "postgres" and name not in ON_SERVERS:
                continue
            if not (name in LASTING and kind == "memory"):
                yield kind, name


def _measure(options: argparse.Namespace, stores: Stores) -> tuple[dict[str, Any], list[str]]:
    """Print all figures; return them, and which gates are broken."""
    broken: list[str] = []
    table: dict[str, dict[str, float]] = {}
    kinds = list(options.store or ["memory", "sqlite", "postgres"])
    for kind, name in _runs(kinds, options.workloads):
        if kind not in kinds:
            continue
        try:
            tries = options.tries or (1 if kind == "postgres" else 3)
            figures = _one(stores, kind, name, tries)
        except Unavailable as reason:
            kinds.remove(kind)
            print(f"{kind}: left out, {reason}")
            if options.store or os.environ.get("WFE_REQUIRE_SERVICES") == "1":
                broken.append(f"no figures of {kind}: {reason}")
            continue
        figures |= _compared(name, kind, figures, table)
        table[f"{name} {kind}"] = figures
        shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(f"{name:8} {kind:8} {shown}{_aims(name, kind, figures)}", flush=True)
        broken += _broken(name, kind, figures)
    return table, broken


def main() -> int:
    """Run what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--store", action="append", choices=["memory", "sqlite", "postgres"])
    parser.add_argument("--tries", type=int, help="default: 3; on a server, which takes longer, 1")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    known = {**WORKLOADS, **BY_HAND}
    unknown = sorted(set(options.workloads) - set(known))
    if unknown:
        parser.error(f"unknown workload {', '.join(unknown)}; known: {', '.join(known)}")
    print(f"load average {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    stores = Stores()
    try:
        table, broken = _measure(options, stores)
    finally:
        stores.close()
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
