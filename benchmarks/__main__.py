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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import gates, importing, race
from benchmarks.counting import CountingStore
from benchmarks.gates import COMPARED, LASTING, ON_SERVERS, ONCE, TARGETS, base_of, limits_of
from benchmarks.measuring import Measured
from benchmarks.workloads import BY_HAND, WORKLOADS
from wfe.core.memory import MemoryStore
from wfe.core.plugins import load
from wfe.testing.services import Service, Unavailable, resolve
from wfe.testing.services.databases import Databases

_KINDS = ("memory", "sqlite", "sqlite-normal", "postgres", "postgres+valkey")


class Stores:
    """Makes new stores of each kind; the first one on a server starts it."""

    def __init__(self) -> None:
        self._services: list[Service] = []
        self._databases: Databases | None = None
        self._valkey = ""

    def new(self, kind: str, folder: Path) -> CountingStore:
        """Return a store that nobody used before, durable as by default (but ``sqlite-normal``).

        Raises:
            Unavailable: There is no server for it.
        """
        if kind == "memory":
            return CountingStore(MemoryStore())
        name, _, beside = kind.partition("+")
        store = load("wfe.persistence", name.removesuffix("-normal"))
        if kind.startswith("sqlite"):
            weaker = "?synchronous=normal" if kind == "sqlite-normal" else ""
            return CountingStore(store(f"sqlite:///{folder}/bench-{time.time_ns()}.db{weaker}"))
        queue = self._near(beside) if beside else None
        if self._databases is None:
            self._databases = Databases(self._started(name, durable=True).url)
        url = self._databases.new()
        return CountingStore(store(url), queue=queue, lock=queue, database=url)

    def _near(self, name: str) -> str:
        """Return a place of its own for hints and beats."""
        if not self._valkey:
            self._valkey = self._started(name, durable=False).url
        return f"{self._valkey}?{urlencode({'prefix': f'b{time.time_ns()}:'})}"

    def _started(self, name: str, *, durable: bool) -> Service:
        service = resolve(name, own=True, durable=durable)
        self._services.append(service)
        return service

    def close(self) -> None:
        """Stop the servers."""
        if self._databases is not None:
            self._databases.drop_all()
        for service in self._services:
            service.stop()


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
    for _ in range(1 if base_of(name) in ONCE else tries):
        with tempfile.TemporaryDirectory() as folder:
            figures = _figures(asyncio.run(workload(stores.new(kind, Path(folder)))))
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


def _aims(name: str, kind: str, figures: dict[str, float]) -> str:
    shown = [
        f"{figure} <= {limit:g} {'met' if figures[figure] <= limit else 'MISSED'}"
        for figure, limit in limits_of(TARGETS, name, kind).items()
    ]
    return f"  [target {', '.join(shown)}]" if shown else ""


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
            if kind.startswith("postgres") and name not in ON_SERVERS:
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
            tries = options.tries or (1 if kind.startswith("postgres") else 3)
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
        broken += gates.broken(name, kind, figures)
    return table, broken


def main() -> int:
    """Run what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("workloads", nargs="*", default=[], metavar="WORKLOAD")
    parser.add_argument("--store", action="append", choices=_KINDS)
    parser.add_argument("--tries", type=int, help="default: 3; on a server, which takes longer, 1")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    race.add_arguments(parser)
    options = parser.parse_args()
    if race.wanted(options):
        return race.main(options)
    options.workloads = options.workloads or list(WORKLOADS)
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
    figures = importing.imports(options.tries or 5)
    table["IMPORT"] = figures
    shown = "  ".join(f"{key} {value:.4g}" for key, value in figures.items())
    print(f"IMPORT  {shown}{importing.targets(figures)}")
    broken += importing.broken(figures)
    if options.json:
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    for line in broken:
        print("GATE BROKEN", line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
