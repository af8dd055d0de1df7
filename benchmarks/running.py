"""Runs one contestant's script once, and reads the line that it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

import attrs

from benchmarks.lanes import Lane
from benchmarks.measuring import percentiles
from benchmarks.rivals import Contestant, python_of

__all__ = [
    "ROOT",
    "Answer",
    "PeerError",
    "answer_in",
    "imported",
    "last_line",
    "measured_once",
    "started",
]

ROOT: Final = Path(__file__).parent.parent
_IMPORT: Final = """
import json, sys, time
began = time.perf_counter()
{statement}
took = time.perf_counter() - began
print(json.dumps({{"figures": {{"import_ms": [took * 1e3], "modules": [len(sys.modules)]}}}}))
"""


class PeerError(RuntimeError):
    """A contestant crashed, took too long, or wrote no line that can be read."""


@attrs.frozen(kw_only=True)
class Answer:
    """What a contestant's line says: samples by figure, versions, and settings for readers."""

    figures: Mapping[str, Sequence[float]]
    versions: Mapping[str, str] = attrs.field(factory=dict[str, str])
    settings: str = ""


def answer_in(output: str) -> Answer:
    """Return what the last line says; whatever libraries wrote above it is theirs.

    ``ms`` (a sample for each thing done) becomes ``p50_ms`` and ``p99_ms``.

    Raises:
        PeerError: The last line is not such a line.
    """
    lines = output.strip().splitlines()
    last = lines[-1] if lines else ""
    try:
        said = json.loads(last)
        figures = {name: [float(one) for one in many] for name, many in said["figures"].items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PeerError(f"its last line is no line of figures: {last[:200]!r}") from error
    if not figures or not all(figures.values()):
        raise PeerError(f"its line has no figures: {last[:200]!r}")
    if "ms" in figures:
        both = percentiles([one / 1e3 for one in figures.pop("ms")])
        figures |= {name: [value] for name, value in both.items()}
    return Answer(
        figures=figures, versions=said.get("versions", {}), settings=said.get("settings", "")
    )


def measured_once(
    contestant: Contestant, workload: str, lane: Lane, *, n: int, repeat: int, patience: float
) -> Answer:
    """Run a workload in a process of the contestant's own.

    Args:
        patience: Seconds after which it is killed.

    Raises:
        PeerError: It did not come to an end, or not to a good one.
    """
    more = ("--n", str(n), "--repeat", str(repeat), *lane.arguments())
    command = [str(python_of(contestant)), "-m", contestant.module, workload, *more]
    return answer_in(_output(command, lane.environment, patience))


def imported(contestant: Contestant, patience: float = 60) -> Answer:
    """Return what importing the contestant costs a new process.

    Raises:
        PeerError: It cannot be imported.
    """
    code = _IMPORT.format(statement=contestant.imports)
    return answer_in(_output([str(python_of(contestant)), "-c", code], {}, patience))


def _output(command: Sequence[str], environment: Mapping[str, str], patience: float) -> str:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        with started(command, environment, out) as process:
            try:
                status: int | None = process.wait(patience)
            except subprocess.TimeoutExpired:
                status = None
        out.seek(0)
        text = out.read()
    if status is None:
        raise PeerError(f"not done after {patience:g} s; killed")
    if status:
        raise PeerError(f"ended with {status}: {last_line(text)}")
    return text


def last_line(text: str) -> str:
    """Return the last line that a process wrote, which mostly says why it ended."""
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "it wrote nothing"


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], out: TextIO
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a process group of its own, of which nothing is left afterwards.

    Its output goes to a file, as a pipe would stay open in a child that it leaves behind.
    """
    process = subprocess.Popen(
        command,
        stdout=out,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
