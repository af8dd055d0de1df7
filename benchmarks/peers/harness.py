"""What all contestants share: arguments in, clocks and counters, one line of JSON out.

It runs inside the rivals' environments as well, so it needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Self

__all__ = [
    "FIVE",
    "IDLE_SECONDS",
    "RECOVER_SECONDS",
    "RECOVER_STEPS",
    "Cost",
    "Job",
    "Report",
    "idle",
    "job",
    "note",
    "one_by_one",
    "repeated",
    "tree_cpu",
]

FIVE = 5
"""Steps of each workflow of MANY."""
RECOVER_STEPS = 10
RECOVER_SECONDS = 0.05
"""How long a step of RECOVER takes."""
IDLE_SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a contestant is asked to do.

    Attributes:
        n: Steps (SEQ, FANOUT) or workflows.
        repeat: How often SEQ, MANY and FANOUT are measured in this process.
        url: The contestant's own, unused store.
        server: Process whose tree's CPU time counts as well; 0: none.
        log: File of RECOVER that steps write into.
        again: The second process of RECOVER: finish what the first one left.
    """

    workload: str
    n: int
    repeat: int
    url: str
    queue: str
    server: int
    log: str
    again: bool
    admin: str
    port: int


def job() -> Job:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--n", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--url", default="")
    parser.add_argument("--queue", default="", help="of Valkey, beside the store")
    parser.add_argument("--server", type=int, default=0)
    parser.add_argument("--log", default="")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--admin", default="", help="URL of a server's other door")
    parser.add_argument("--port", type=int, default=0, help="where a service of ours listens")
    return Job(**vars(parser.parse_args()))


@dataclass(kw_only=True)
class Report:
    """What a contestant found out.

    Attributes:
        figures: Samples by figure; never one that is a mean of others.
        settings: What differs from the defaults, for readers.
    """

    packages: Sequence[str] = ()
    settings: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        """Note one sample of each figure."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def print(self, status: int = 0) -> NoReturn:
        """Write the line, and end the process as it stands: no rival's clean-up is measured."""
        from importlib.metadata import version  # noqa: PLC0415 - RECOVER starts without it

        versions = {name: version(name) for name in self.packages}
        line = {
            "figures": self.figures,
            "settings": self.settings,
            "versions": {"python": platform.python_version(), **versions},
        }
        sys.stdout.write(f"\n{json.dumps(line)}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@dataclass
class Cost:
    """Wall and CPU time of a block; ``with Cost(job) as cost:``.

    Attributes:
        wall: Seconds.
        cpu: CPU seconds of this process and its children.
        server: CPU seconds of the job's server.
    """

    job: Job
    wall: float = 0.0
    cpu: float = 0.0
    server: float = 0.0

    def __enter__(self) -> Self:
        self._trees = self._others()  # looking takes milliseconds, which are not to be counted
        self._at = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        children, server = self._others()
        self.wall = wall - self._at[0]
        self.cpu = cpu - self._at[1] + children - self._trees[0]
        self.server = server - self._trees[1]

    def _others(self) -> tuple[float, float]:
        """Return the CPU seconds of this process's children and of the server, in ticks."""
        return tree_cpu(os.getpid(), below=True), tree_cpu(self.job.server)


async def repeated(
    asked: Job, report: Report, steps: int, work: Callable[[], Awaitable[Any]]
) -> None:
    """Measure *work* as often as asked for; it runs *steps* steps."""
    for _ in range(asked.repeat):
        with Cost(asked) as cost:
            await work()
        report.add(
            ms_per_step=cost.wall / steps * 1e3,
            steps_per_s=steps / cost.wall,
            cpu_ms_per_step=cost.cpu / steps * 1e3,
            server_ms_per_step=cost.server / steps * 1e3,
        )


async def one_by_one(
    report: Report, things: Sequence[Any], work: Callable[[Any], Awaitable[Any]]
) -> None:
    """Time *work* for each thing, one after the other."""
    for thing in things:
        began = time.perf_counter()
        await work(thing)
        report.add(ms=(time.perf_counter() - began) * 1e3)


async def idle(asked: Job, report: Report, sleep: Callable[[float], Awaitable[Any]]) -> None:
    """Measure what sleepers cost while nothing is due."""
    with Cost(asked) as cost:
        await sleep(IDLE_SECONDS)
    report.add(cpu_s=cost.cpu, server_cpu_s=cost.server, all_cpu_s=cost.cpu + cost.server)


def note(log: str, word: str, workflow: int, step: int = 0) -> None:
    """Append that a workflow was accepted, or a step began or ended.

    A line is one write in append mode, so that lines of several processes stay whole.
    """
    line = f"{word} {workflow} {step} {time.monotonic_ns()}\n"
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def tree_cpu(root: int, *, below: bool = False) -> float:
    """Return the CPU seconds of a process, its descendants, and those that they waited for.

    Args:
        root: The process; 0: none.
        below: Without *root* itself.
    """
    if not root:
        return 0.0
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for pid, fields in _processes():
        parents[pid] = int(fields[1])
        ticks[pid] = sum(map(int, fields[11:15]))
    wanted = (pid for pid in ticks if not (below and pid == root))
    used = sum(ticks[pid] for pid in wanted if _descends(pid, root, parents))
    return used / os.sysconf("SC_CLK_TCK")


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Return the fields of each process; none where the system does not tell as Linux does."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it ended meanwhile
            continue
        yield int(folder.name), text.rpartition(")")[2].split()


def _descends(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root
