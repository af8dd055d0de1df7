"""Kills a contestant in the middle of its work, starts it again, and judges what it made of it."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TextIO

import attrs

from benchmarks.lanes import Lane
from benchmarks.peers.harness import RECOVER_STEPS
from benchmarks.rivals import Contestant, python_of
from benchmarks.running import Answer, PeerError, last_line, started

__all__ = ["Log", "judged", "read_log", "recovered"]

_LOOK: Final = 0.02  # seconds between two looks into the log


@attrs.define
class Log:
    """What steps and their starter noted.

    Attributes:
        accepted: Workflows whose start was acknowledged.
        begun: How often each (workflow, step) began.
        ended: When each ended first, ns.
    """

    accepted: set[int] = attrs.field(factory=set[int])
    begun: Counter[tuple[int, int]] = attrs.field(factory=Counter[tuple[int, int]])
    ended: dict[tuple[int, int], int] = attrs.field(factory=dict[tuple[int, int], int])


def read_log(text: str) -> Log:
    """Return what a log says; a line that the crash cut off does not count."""
    log = Log()
    for line in text[: text.rfind("\n") + 1].splitlines():
        match line.split():
            case [word, workflow, step, at]:
                pass
            case _:
                continue
        key = int(workflow), int(step)
        if word == "accepted":
            log.accepted.add(key[0])
        elif word == "begin":
            log.begun[key] += 1
        else:
            log.ended.setdefault(key, int(at))
    return log


def judged(crash: Log, end: Log, restart: int) -> dict[str, float]:
    """Return what became of the work.

    Args:
        crash: The log when the process was dead.
        end: The log when all was done.
        restart: When the second process was started, ns.

    Returns:
        ``recover_s`` from the restart to the end of the last step; ``left``, steps that had not
        ended at the crash; ``running``, steps in flight then; ``lost``, steps of accepted
        workflows that never ended; ``twice``, steps that began more than once.
    """
    wanted = _steps(crash)
    return {
        "recover_s": (max(end.ended.values(), default=restart) - restart) / 1e9,
        "left": len(wanted - crash.ended.keys()),
        "running": sum(_in_flight(key, crash) for key in crash.begun),
        "lost": len(wanted - end.ended.keys()),
        "twice": sum(count > 1 for count in end.begun.values()),
    }


def _half(n: int, log: Log) -> bool:
    """Return whether all of *n* workflows are accepted, and half of their steps done."""
    return len(log.accepted) >= n and len(log.ended) >= n * RECOVER_STEPS // 2


def _over(rest: set[tuple[int, int]], log: Log) -> bool:
    return rest <= log.ended.keys()


def _steps(log: Log) -> set[tuple[int, int]]:
    """Return all steps of the workflows that were accepted."""
    return {(workflow, step) for workflow in log.accepted for step in range(RECOVER_STEPS)}


def _in_flight(key: tuple[int, int], crash: Log) -> bool:
    """Return whether a step was not known to be recorded: the next one had not begun."""
    workflow, step = key
    if step == RECOVER_STEPS - 1:
        return key not in crash.ended
    return (workflow, step + 1) not in crash.begun


def recovered(contestant: Contestant, lane: Lane, *, n: int, patience: float) -> Answer:
    """Kill a contestant when half of all steps are done, restart it, and wait for the rest.

    All workflows are accepted by then; one that is slow to accept has more than half done.

    Raises:
        PeerError: It ended by itself, or took too long before the crash or after it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
    ):
        log = Path(folder) / "steps"
        log.touch()
        more = ("--n", str(n), "--log", str(log), *lane.arguments())
        command = [str(python_of(contestant)), "-m", contestant.module, "RECOVER", *more]
        half = n * RECOVER_STEPS // 2
        with started(command, lane.environment, out) as process:
            if not _reached(log, half, partial(_half, n), process, out, patience):
                raise PeerError(f"half of the steps were not done after {patience:g} s")
        crash = read_log(log.read_text(encoding="ascii"))
        rest = _steps(crash)
        restart = time.monotonic_ns()
        with started([*command, "--again"], lane.environment, out) as process:
            if not _reached(log, len(rest), partial(_over, rest), process, out, patience):
                raise PeerError(f"not all steps were done {patience:g} s after the restart")
        figures = judged(crash, read_log(log.read_text(encoding="ascii")), restart)
    return Answer(figures={name: [float(value)] for name, value in figures.items()})


def _reached(
    log: Path,
    least: int,
    done: Callable[[Log], bool],
    process: subprocess.Popen[bytes],
    out: TextIO,
    patience: float,
) -> bool:
    """Wait until *done* says so; it is not asked before so many steps have ended.

    Returns:
        Whether that was in time.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until:
        text = log.read_text(encoding="ascii")
        if text.count("end ") >= least and done(read_log(text)):
            return True
        if process.poll() is not None:
            out.seek(0)
            raise PeerError(f"ended with {process.returncode}: {last_line(out.read())}")
        time.sleep(_LOOK)  # noqa: TID251 - another process is waited for
    return False
