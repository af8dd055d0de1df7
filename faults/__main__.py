"""Breaks everything, and judges what came of it: ``python -m faults --seconds 60 --seed 1``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import attrs

from faults import reporting
from faults.client import Ledger
from faults.driving import SETUPS, Cluster
from faults.laws import Judged, judge
from faults.members import Shape
from faults.network import inside, isolated, settle_in, why_not
from faults.plan import KINDS, drawn
from faults.reading import make_books, read
from faults.settings import append
from faults.wanted import undisturbed
from wfe.core import ProviderError
from wfe.testing.services import Unavailable

__all__ = ["main"]

SEEDS: Final = (20261, 7, 4242, 90017, 311, 58)
"""The fixed seeds; a long run goes through them, each for its part of the time."""
_EVERY: Final = timedelta(seconds=2)
_START: Final = 240.0
"""Seconds to start everything, or to judge."""
_SOON: Final = timedelta(seconds=5)
_INTERNAL: Final = re.compile(r" (ERROR|CRITICAL) |internal error|never retrieved")
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def main() -> int:
    """Break what the arguments name; return 1 when a law is broken, 2 when nothing could run."""
    options = _arguments()
    seeds = options.seed or list(SEEDS)
    each = options.seconds / len(seeds)
    if inside():
        settle_in()
    elif not options.no_namespaces:
        if (why := why_not()) is None:
            return max(isolated(_again(seed, each)) for seed in seeds)
        print(f"No faults of links: {why}.", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return max(_judged(options, seed, each) for seed in seeds)


def _again(seed: int, seconds: float) -> list[str]:
    """Return the arguments for one seed alone: what stands last counts, but for seeds."""
    given = sys.argv[1:]
    for k in reversed([k for k, part in enumerate(given) if part == "--seed"]):
        del given[k : k + 2]
    rest = [part for part in given if not part.startswith("--seed=")]
    return [*rest, "--seed", str(seed), "--seconds", str(seconds)]


def _judged(options: argparse.Namespace, seed: int, seconds: float) -> int:
    """Go through one seed; return 1 when a law is broken, 2 when it could not run."""
    _end_within(_START)
    try:
        found = asyncio.run(_one(options, seed, seconds))
    except Unavailable as error:
        print(f"Nothing to break here: {error}", flush=True)
        return 2
    faulthandler.cancel_dump_traceback_later()
    print(reporting.markdown(found), flush=True)
    if options.report is not None:
        reporting.write(found, options.report)
    return 1 if found["violations_in_all"] else 0


def _end_within(seconds: float) -> None:
    """End if this takes longer, whatever it waits for, and say where it stood."""
    faulthandler.dump_traceback_later(seconds, exit=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    add = parser.add_argument
    add("--seconds", type=float, default=60, help="of breaking things, for all seeds together")
    add("--seed", type=int, action="append", help="may be repeated; default: the fixed list")
    add("--setup", choices=SETUPS, default="postgres+valkey")
    add("--fault", action="append", choices=list(KINDS), help="these alone; may be repeated")
    add("--hosts", type=int, default=3)
    add("--clients", type=int, default=2)
    add("--rate", type=float, default=3.0, help="workflows that a client starts in a second")
    add("--every", type=float, default=4.0, help="seconds from fault to fault, in the mean")
    add("--patience", type=float, default=180.0, help="seconds to come to rest")
    add("--opensearch", action="store_true", help="hosts keep a search index as well")
    add("--postgres", metavar="VERSION", default=None)
    add("--no-namespaces", action="store_true", help="no faults of links")
    add("--report", type=Path, help="folder for the reports as JSON and Markdown")
    add("--keep", type=Path, help="keep what the processes wrote in this folder")
    return parser.parse_args()


@contextlib.contextmanager
def _folder(keep: Path | None, seed: int) -> Iterator[Path]:
    if keep is not None:
        folder = (keep / str(seed)).absolute()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="wfe-faults-", ignore_cleanup_errors=True) as name:
        yield Path(name)


async def _one(options: Any, seed: int, seconds: float) -> dict[str, Any]:
    """Break things for a while, let them heal, and judge."""
    wanted = await undisturbed()
    with _folder(options.keep, seed) as folder:
        shape = Shape(
            setup=options.setup,
            seed=seed,
            hosts=options.hosts,
            clients=options.clients,
            namespaces=inside(),
            rate=options.rate,
            search=options.opensearch,
            version=options.postgres,
        )
        async with Cluster.made(shape, folder) as cluster:
            began = time.monotonic()
            await _work(cluster, options, seed, seconds)
            ledgers = [Ledger.read(folder / f"ledger-{c.name}.jsonl") for c in cluster.clients]
            offset = (time.time_ns() - time.monotonic_ns()) // 1000
            seen = await asyncio.to_thread(read, cluster.url, folder, offset)
            happened = cluster.happened
    judged = Judged(
        seen=seen,
        ledgers=ledgers,
        wanted=wanted,
        stopped=frozenset(happened.stopped),
        paused=happened.paused,
    )
    wrong = judge(judged)
    if options.keep is not None:
        _keep_evidence(options.keep / str(seed), judged, wrong)
    wrong["no process fails, none has internal errors"] = [*happened.wrong, *cluster.internal]
    about = {
        "setup": options.setup,
        "seed": seed,
        "seconds": seconds,
        "hosts": options.hosts,
        "clients": options.clients,
        "took": round(time.monotonic() - began, 1),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return reporting.figures(about, seen, ledgers, happened, wrong)


def _keep_evidence(folder: Path, judged: Judged, wrong: dict[str, list[str]]) -> None:
    """Write down all that is known of the runs that violations name."""
    named = {id for found in wrong.values() for text in found[:50] for id in _ID.findall(text)}
    for run in judged.seen.runs:
        if run.id in named:
            header = {"run": run.id, "definition": run.definition, "status": run.status}
            rows = [[row.seq, row.at, row.event[1:]] for row in run.rows]
            bodies = [attrs.asdict(e) for e in judged.seen.effects if e.key.startswith(run.id)]
            append(folder / "evidence.jsonl", {**header, "rows": rows, "bodies": bodies})


async def _work(cluster: Cluster, options: Any, seed: int, seconds: float) -> None:
    async with cluster.judge() as judge_host:  # makes the tables, and the schedule
        await judge_host.schedules.create(
            "ticks",
            "tick",
            every=_EVERY,
            start=datetime.now(UTC) + _SOON,
            overlap="queue",
            catch_up=100_000,
        )
    make_books(cluster.url)
    for member in (*cluster.hosts, *cluster.clients):
        member.start()
    _end_within(seconds + options.patience + _START)
    watch = asyncio.create_task(cluster.watch())
    kinds = [kind for kind in cluster.kinds() if options.fault is None or kind in options.fault]
    plan = drawn(seed, seconds, kinds, options.hosts, options.clients, options.every)
    try:
        began = time.monotonic()
        await cluster.break_things(plan)
        await asyncio.sleep(max(seconds - (time.monotonic() - began), 0))
        cluster.say("all is healed")
        await _calm(cluster)
        if not await cluster.rest(options.patience):
            cluster.happened.wrong.append(f"no rest within {options.patience:g} s")
        if watch.done():
            watch.result()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    cluster.internal = list(_internal(cluster))


async def _calm(cluster: Cluster) -> None:
    """Let the schedule make up for what it missed, and then fire no more."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            async with cluster.judge() as host:
                known = await host.schedules.get("ticks")
                on_time = known.next_at is not None and known.next_at > datetime.now(UTC)
                if on_time and not known.waiting:
                    cluster.happened.paused = time.time_ns() // 1000
                    await host.schedules.pause("ticks")
                    return
        except ProviderError as error:
            cluster.say(f"the schedule is not paused yet: {error}")
        await asyncio.sleep(0.5)
    cluster.happened.wrong.append("the schedule did not catch up within 60 s")


def _internal(cluster: Cluster) -> Iterator[str]:
    """Yield what the logs say that should never be said."""
    for member in (*cluster.hosts, *cluster.clients):
        lines = member.log.read_text(errors="replace").splitlines() if member.log.exists() else []
        for number, line in enumerate(lines):
            if _INTERNAL.search(line):
                around = " | ".join(lines[max(number - 2, 0) : number + 30])
                yield f"{member.name}: {around[:3000]}"


if __name__ == "__main__":
    sys.exit(main())
