"""Fuzzes the targets with atheris: ``python -m fuzz --seconds 60 [TARGET ...]``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

__all__ = ["main"]

_SLOWEST: Final = 1.0  # CPU seconds of one input
_STAT: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_MOST_CRASHES: Final = 5


@attrs.define
class _Tally:
    """What came of fuzzing one target."""

    runs: int = 0
    kept: int = 0
    crashes: list[str] = attrs.field(factory=list[str])


def main() -> int:
    """Fuzz what the arguments name; return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all of them")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--corpus", type=Path, help="keep what was learnt in this directory")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.child:
        _child(options.targets[0], [*options.targets[1:], *rest])
        return 0
    from fuzz.targets import TARGETS  # noqa: PLC0415 - the child imports them instrumented

    unknown = sorted(set(options.targets) - set(TARGETS))
    if unknown or rest:
        parser.error(f"unknown: {', '.join([*unknown, *rest])}; targets: {', '.join(TARGETS)}")
    with contextlib.ExitStack() as stack:
        corpus = options.corpus or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return _all(options.targets or list(TARGETS), options.seconds, corpus)


def _all(names: Sequence[str], seconds: int, corpus: Path) -> int:
    found = 0
    for name in names:
        tally = _one(name, max(2, seconds // len(names)), corpus / name)
        found += len(tally.crashes)
        print(f"{name:12} {tally.runs:9,} runs  {tally.kept:6,} kept  {len(tally.crashes)} found")
        for crash in tally.crashes:
            print(crash, flush=True)
    return 1 if found else 0


def _one(name: str, seconds: int, folder: Path) -> _Tally:
    """Fuzz one target, beginning again after each find until the time is over."""
    from fuzz.targets import TARGETS  # noqa: PLC0415 - as above

    target, tally = TARGETS[name], _Tally()
    learnt, finds = folder / "corpus", folder / "finds"
    for each in (learnt, finds):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (learnt / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in target.words)
    words.write_text("".join(f'"{word}"\n' for word in escaped), encoding="utf-8")
    until = time.monotonic() + seconds
    while (left := int(until - time.monotonic())) > 0 and len(tally.crashes) < _MOST_CRASHES:
        command = [sys.executable, "-m", "fuzz", "--child", name, str(learnt)]
        command += [f"-max_total_time={left}", "-timeout=20", "-max_len=6000", "-rss_limit_mb=2048"]
        command += [f"-dict={words}", f"-artifact_prefix={finds}{os.sep}", "-print_final_stats=1"]
        ended = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False
        )
        output = ended.stdout + ended.stderr
        tally.runs += sum(int(count) for count in _STAT.findall(output))
        if ended.returncode != 0:
            tally.crashes.append(_find(output))
    tally.kept = sum(1 for _ in learnt.iterdir())
    return tally


def _find(output: str) -> str:
    """Return the part of a child's output that says what it found, with the input."""
    for begin in ("=== Uncaught", "ERROR: libFuzzer"):
        if begin in output:
            return output[output.index(begin) :][:6000]
    return output[-6000:]


def _child(name: str, arguments: Sequence[str]) -> None:
    atheris = importlib.import_module("atheris")  # no dependency of the tests
    with atheris.instrument_imports(include=["wfe", "ruamel"]):
        from fuzz.targets import TARGETS, BrokenPromiseError  # noqa: PLC0415 - instrumented
    run = TARGETS[name].run

    def once(data: bytes) -> None:
        began = time.process_time()
        run(data)
        if time.process_time() - began > _SLOWEST:
            raise BrokenPromiseError("an input is read within a second")

    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
