"""Run the tests of the pure rules alone, and fail unless they take every branch of the rules."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from workspace import ROOT

__all__ = ["main"]

TESTS = ("test_rules_*.py", "test_dag_triggers.py", "test_schedules_rules.py")
SETTINGS = """
[run]
branch = true
source_pkgs = wfe.core.rules
data_file = {scratch}/data
[report]
show_missing = true
skip_covered = true
fail_under = 100
exclude_also =
    if TYPE_CHECKING:
"""
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")


def main() -> int:
    folder = ROOT / "packages/wfe-core/tests"
    tests = [str(path) for pattern in TESTS for path in sorted(folder.glob(pattern))]
    coverage = (sys.executable, "-m", "coverage")
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "settings"
        settings.write_text(SETTINGS.format(scratch=scratch), encoding="utf-8")
        rc = f"--rcfile={settings}"
        run = (*coverage, "run", rc, "-m", "pytest", *OPTIONS, *tests)
        for command in (run, (*coverage, "report", rc)):
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
