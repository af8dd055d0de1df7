"""Runs the parts, prints their figures, and fails when something was lost, doubled or too slow."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks.scaling import full, retention, steps
from benchmarks.scaling.claims import claimed
from benchmarks.scaling.filling import Filled, fill, vacuum
from benchmarks.scaling.places import SETUPS, Servers
from benchmarks.scaling.takeover import taken_over
from benchmarks.scaling.wakes import hinted, started

Figures = dict[str, Any]
Part = Callable[["Run"], AsyncIterator[Figures]]


class Run:
    """One run on one setup; what is filled once serves several parts.

    Attributes:
        broken: What is not as it should be.
    """

    def __init__(self, servers: Servers, options: argparse.Namespace) -> None:
        """Run on *servers*."""
        self.servers = servers
        self.options = options
        self.broken: list[str] = []
        self._filled: tuple[Filled, Filled] | None = None

    def of(self, whole: int, small: int) -> int:
        """Return how many are taken."""
        return small if self.options.small else whole

    async def filled(self) -> tuple[Filled, Filled]:
        """Return the stores with next to nothing and with everything in them."""
        if self._filled is None:
            rows = self.options.rows
            small = await fill(self.servers.new().store, finished=1000, sleeping=100, rows=rows)
            total = self.of(1_000_000, 20_000)
            url = self.servers.new().store
            big = await fill(url, finished=total, sleeping=total // 10, rows=rows)
            self._filled = small, big
        return self._filled


async def _steps(run: Run) -> AsyncIterator[Figures]:
    alone = await steps.driven(run.servers, "ten", processes=1, runs=run.of(50, 10), max_live=1)
    yield alone
    rates: dict[int, float] = {}
    for processes in (1, 2, 4):
        runs = run.of(400, 50) * processes
        figures = await steps.driven(
            run.servers, "waiting", processes=processes, runs=runs, max_live=50
        )
        rates[processes] = figures["steps_s"]
        figures["by_one"] = figures["steps_s"] / rates[1]
        yield figures
    if rates[2] / rates[1] < steps.SCALES and "postgres" in run.servers.setup:
        run.broken.append(f"2 processes do {rates[2] / rates[1]:.2f} times what one does")
    for processes in (1, 2, 4):
        figures = await steps.driven(
            run.servers, "ten", processes=processes, runs=run.of(4000, 300), max_live=1000
        )
        rates[processes] = figures["steps_s"]
        figures["by_one"] = figures["steps_s"] / rates[1]
        yield figures


async def _claims(run: Run) -> AsyncIterator[Figures]:
    for batch in (1, 20, 50):
        for processes in (1, 2, 4):
            runs = run.of(20_000 if batch > 1 else 10_000, 1000)
            yield await claimed(run.servers, processes=processes, batch=batch, runs=runs)


async def _takeover(run: Run) -> AsyncIterator[Figures]:
    of, runs = run.servers, run.of(100, 10)
    for lease in (3.0,) if run.options.small else (3.0, 3.0, 3.0, 30.0):
        yield await taken_over(of, lease=lease, runs=runs, elsewhere=True)
    yield await taken_over(of, lease=30.0, runs=runs)


async def _wake(run: Run) -> AsyncIterator[Figures]:
    yield await hinted(run.servers, run.of(1000, 50))
    yield await started(run.servers, run.of(500, 30))


async def _full(run: Run) -> AsyncIterator[Figures]:
    small, big = await run.filled()
    for each in (small, big):
        yield {
            "finished": each.finished,
            "sleeping": each.sleeping,
            "rows": each.rows,
            "filled_s": each.seconds,
        }
    ((size,),) = run.servers.ask(
        "SELECT pg_database_size(%s)::float8 / 1e9", big.url.rpartition("/")[2]
    )
    yield {"database_gb": size}
    for figures in await full.compare(small, big, run.of(300, 40)):
        yield figures
        if figures["p50_ratio"] > full.MOST:
            run.broken.append(f"{figures['call']} takes {figures['p50_ratio']:.2f} times as long")


async def _retention(run: Run) -> AsyncIterator[Figures]:
    _, big = await run.filled()
    vacuum(big.url)
    found = await retention.purged(big, processes=run.options.committers, seconds=run.of(20, 3))
    for figures in found:
        yield figures
    if found[-1]["p99_ratio"] > retention.MOST:
        run.broken.append(f"commits' p99 grows by {found[-1]['p99_ratio']:.2f} while runs go")


_PARTS: dict[str, tuple[Part, tuple[str, ...]]] = {
    "steps": (_steps, SETUPS),
    "claims": (_claims, ("sqlite", "postgres")),
    "takeover": (_takeover, SETUPS),
    "wake": (_wake, SETUPS),
    "full": (_full, ("postgres",)),
    "retention": (_retention, ("postgres",)),
}


def _shown(figures: Figures) -> str:
    return "  ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )


async def _setup(setup: str, options: argparse.Namespace, table: list[Figures]) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        servers = Servers(setup, Path(folder))
        run = Run(servers, options)
        try:
            print(f"-- {setup}: {servers.described()}", flush=True)
            for name in options.parts:
                part, setups = _PARTS[name]
                if setup not in setups:
                    continue
                async for figures in part(run):
                    load = os.getloadavg()[0]
                    table.append({"setup": setup, "part": name, "load": load, **figures})
                    print(f"{name:9} {_shown(figures)}  (load {load:.1f})", flush=True)
        finally:
            servers.close()
    return [f"{setup}: {each}" for each in run.broken]


def main() -> int:
    """Run what the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(_PARTS)}")
    parser.add_argument("--setup", action="append", choices=SETUPS)
    parser.add_argument("--small", action="store_true", help="see that it works, in a minute")
    parser.add_argument("--rows", type=int, default=12, help="journal rows of a filled run")
    parser.add_argument("--committers", type=int, default=1, help="processes during retention")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    options.parts = options.parts or list(_PARTS)
    if unknown := sorted(set(options.parts) - set(_PARTS)):
        parser.error(f"unknown part {', '.join(unknown)}; known: {', '.join(_PARTS)}")
    about = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, {about}", flush=True)
    table: list[Figures] = []
    broken: list[str] = []
    for setup in options.setup or SETUPS:
        broken += asyncio.run(_setup(setup, options, table))
    if options.json:
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    for line in broken:
        print("BROKEN", line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
