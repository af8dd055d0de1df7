"""Run the tests of the host over each kind of store and print how many passed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STORES = ("sqlite", "postgres", "postgres+valkey")
# The command line's tests start processes with a store of their own.
WHAT = ("packages/wfe/tests", "--ignore=packages/wfe/tests/test_cli")
_COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)")


def run(store: str, arguments: list[str]) -> tuple[int, str]:
    """Run the tests over *store*; return pytest's code and what to print of it."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n2", *WHAT, *arguments],
        cwd=ROOT,
        env={**os.environ, "WFE_TEST_STORE": store, "WFE_REQUIRE_SERVICES": "1"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines = done.stdout.rstrip().splitlines()
    if done.returncode:
        print(done.stdout)
    counts = ", ".join(f"{n} {what}" for n, what in _COUNTS.findall(lines[-1] if lines else ""))
    servers = next((line for line in lines if line.startswith("services: ")), "services: none")
    seconds = time.monotonic() - began
    return done.returncode, f"{store}: {counts or 'no tests'} in {seconds:.0f} s; {servers}"


def main(arguments: list[str]) -> int:
    """Run over the stores that are named first, or over all; the rest is pytest's."""
    wanted = [each for each in arguments if each in STORES] or list(STORES)
    rest = [each for each in arguments if each not in STORES]
    told = [run(store, rest) for store in wanted]
    for _, line in told:
        print(line)
    return max(code for code, _ in told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
