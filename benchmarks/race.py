"""Runs every workload on every contestant, in turn, in one go; the figures go to a file."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.bars import verdicts
from benchmarks.lanes import Servers
from benchmarks.recovering import recovered
from benchmarks.report import write_page
from benchmarks.rivals import PEERS, Contestant, InstallError, contestants, install
from benchmarks.running import ROOT, Answer, PeerError, imported, measured_once
from wfe.testing.services import ServiceError, Unavailable

__all__ = ["FULL", "SMOKE", "Plan", "Size", "add_arguments", "main", "race", "wanted"]


@attrs.frozen(kw_only=True)
class Size:
    """How much of a workload is run.

    Attributes:
        n: Steps (SEQ, FANOUT) or workflows.
        rounds: How often each contestant has its turn, with a new place each time.
        repeat: How often it measures within a turn.
    """

    n: int
    rounds: int
    repeat: int = 1


Plan = Mapping[str, Size]

FULL: Final[Plan] = {
    "SEQ": Size(n=100, rounds=3, repeat=3),
    "FANOUT": Size(n=200, rounds=3, repeat=2),
    "LATENCY": Size(n=200, rounds=3),
    "EVENT": Size(n=100, rounds=3),
    "MANY": Size(n=1000, rounds=2),
    "RECOVER": Size(n=200, rounds=2),
    "IDLE": Size(n=1000, rounds=1),
    "IMPORT": Size(n=1, rounds=5),
}
SMOKE: Final[Plan] = {
    "SEQ": Size(n=20, rounds=1),
    "FANOUT": Size(n=20, rounds=1),
    "LATENCY": Size(n=10, rounds=1),
    "EVENT": Size(n=10, rounds=1),
    "MANY": Size(n=20, rounds=1),
    "RECOVER": Size(n=10, rounds=1),
    "IMPORT": Size(n=1, rounds=1),
}
"""Whether all of it works, in less than a minute."""

_PATIENCE: Final = 240.0  # seconds for one turn
_LONGEST: Final = 240  # characters of what went wrong


def race(
    lanes: Sequence[Contestant],
    plan: Plan,
    *,
    patience: float = _PATIENCE,
    keep: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Run all turns and return what is to be stored.

    A contestant that fails is said to have failed in the workload's row; the others go on.

    Args:
        patience: Seconds for one turn.
        keep: Called with what there is after each workload.
    """
    began, load = time.perf_counter(), os.getloadavg()[0]
    missing = _installed(lanes)
    servers = Servers()
    runs: list[dict[str, Any]] = []
    results: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat()}
    try:
        for workload, size in plan.items():
            runs += _workload(workload, size, lanes, missing, servers, patience)
            results |= {
                "minutes": round((time.perf_counter() - began) / 60, 1),
                "machine": _machine(load),
                "servers": servers.described(),
                "sizes": {run["workload"]: attrs.asdict(plan[run["workload"]]) for run in runs},
                "runs": runs,
            }
            keep(results)
    finally:
        servers.close()
    return results


def _installed(lanes: Sequence[Contestant]) -> dict[str, str]:
    """Install the rivals; return why those that are missing are."""
    missing: dict[str, str] = {}
    for name in dict.fromkeys(lane.peer.name for lane in lanes if lane.peer is not None):
        print(f"installing {name} unless it is there", flush=True)
        try:
            install(PEERS[name])
        except InstallError as error:
            missing[name] = f"not installed: {_said(error)}"
            print(missing[name], flush=True)
    return missing


def _machine(load: float) -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def _workload(
    workload: str,
    size: Size,
    lanes: Sequence[Contestant],
    missing: Mapping[str, str],
    servers: Servers,
    patience: float,
) -> Iterator[dict[str, Any]]:
    """Give each contestant its turns: all of them the first, then all the second …"""
    failed: set[str] = set()
    for turn in range(size.rounds):
        for lane in lanes:
            if not lane.runs(workload, turn) or lane.name in failed:
                continue
            run = _turn(workload, size, lane, missing, servers, patience) | {"round": turn}
            if run.get("error"):
                failed.add(lane.name)
            print(f"{workload:8} {lane.name:24} {_shown(run)}", flush=True)
            yield run


def _turn(
    workload: str,
    size: Size,
    lane: Contestant,
    missing: Mapping[str, str],
    servers: Servers,
    patience: float,
) -> dict[str, Any]:
    n = lane.peer.sizes.get(workload, size.n) if lane.peer else size.n
    run: dict[str, Any] = {
        "workload": workload,
        "contestant": lane.name,
        "n": min(n, size.n),
        "load": round(os.getloadavg()[0], 2),
    }
    if lane.peer is not None and lane.peer.name in missing:
        return run | {"error": missing[lane.peer.name]}
    try:
        answer = _answer(workload, run["n"], size.repeat, lane, servers, patience)
    except (PeerError, InstallError, Unavailable, ServiceError) as error:
        return run | {"error": _said(error)}
    return run | {
        "figures": {name: [_short(one) for one in many] for name, many in answer.figures.items()},
        "versions": dict(answer.versions),
        "settings": answer.settings,
    }


def _answer(
    workload: str, n: int, repeat: int, lane: Contestant, servers: Servers, patience: float
) -> Answer:
    if workload == "IMPORT":
        return imported(lane)
    with servers.lane(lane) as place:
        if workload == "RECOVER":
            return recovered(lane, place, n=n, patience=patience)
        return measured_once(lane, workload, place, n=n, repeat=repeat, patience=patience)


def _said(error: Exception) -> str:
    """Return what went wrong, in short and without the folders of this machine."""
    text = " ".join(str(error).split()).replace(str(ROOT), ".").replace(str(Path.home()), "~")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _short(value: float) -> float:
    """Return a figure with as many digits as it may mean something."""
    return float(f"{value:.5g}")


def _shown(run: Mapping[str, Any]) -> str:
    if run.get("error"):
        return f"FAILED: {run['error']}"
    return "  ".join(f"{name} {min(many):.4g}" for name, many in run["figures"].items())


# -- the command line -----------------------------------------------------------------------------


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what a race wants to know to the command line."""
    more = parser.add_argument_group("race", "the same work for this project and rivals, in turn")
    more.add_argument(
        "--peer",
        action="append",
        choices=[*PEERS, "all"],
        default=[],
        help="race against this rival, which is installed first; may be given several times",
    )
    more.add_argument("--race", action="store_true", help="race without rivals")
    more.add_argument("--smoke", action="store_true", help="race with tiny sizes, where it works")
    more.add_argument("--rounds", type=int, help="turns of each contestant, for all workloads")
    more.add_argument("--render", type=Path, help="race not; take the figures from this file")
    more.add_argument("--page", type=Path, help="write tables and plots into this page")


def wanted(options: argparse.Namespace) -> bool:
    """Return whether the arguments ask for a race."""
    return bool(options.peer or options.race or options.smoke or options.render)


def main(options: argparse.Namespace) -> int:
    """Race as the arguments say; return the exit code: 1 if this project itself failed."""
    if options.render:
        results = json.loads(options.render.read_text(encoding="utf-8"))
    else:
        # Nothing of a contestant is to go on when the race is ended from outside.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        _compile()
        results = race(_lanes(options), _plan(options), keep=partial(_keep, options.json))
        print(f"{results['minutes']} minutes", flush=True)
    if options.page:
        write_page(options.page, results)
    for one in verdicts(results["runs"]):
        if one.ratio is not None:
            bar = f"{one.ratio:.3g} {one.wanted}: {'met' if one.met else 'MISSED'}"
            print(f"{one.workload:8} {one.figure:12} {one.contestant:14} {bar}")
    broken = [run for run in results["runs"] if run.get("error")]
    return int(any(run["contestant"].startswith("wfe, ") for run in broken))


def _compile() -> None:
    """Write this project's bytecode, as pip wrote the rivals' when it installed them."""
    found = find_spec("wfe")
    for folder in (found and found.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=1)


def _keep(path: Path | None, results: Mapping[str, Any]) -> None:
    """Write what there is so far: a run of many minutes may be broken off."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _lanes(options: argparse.Namespace) -> list[Contestant]:
    peers = tuple(PEERS) if "all" in options.peer else tuple(dict.fromkeys(options.peer))
    few = ("memory", "sqlite") if options.smoke and not peers else ()
    return contestants(peers, tuple(options.store or few))


def _plan(options: argparse.Namespace) -> Plan:
    plan = dict(SMOKE if options.smoke else FULL)
    if options.workloads:
        unknown = sorted(set(options.workloads) - set(plan))
        if unknown:
            raise SystemExit(f"no race of {', '.join(unknown)}; there are {', '.join(plan)}")
        plan = {name: plan[name] for name in options.workloads}
    if options.rounds:
        plan = {name: attrs.evolve(size, rounds=options.rounds) for name, size in plan.items()}
    return plan
