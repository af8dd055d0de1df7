"""Run the tests of the pure rules alone, and fail unless they take every branch of the rules.

With ``--json FILE`` the figures go to that file, and whoever reads it judges them.
"""

from __future__ import annotations

import argparse
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
fail_under = {least}
exclude_also =
    if TYPE_CHECKING:
"""
OPTIONS = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")


def _settings(scratch: str, least: int) -> str:
    return SETTINGS.format(scratch=scratch, least=least)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure how much of the rules their tests take.")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there")
    file: Path | None = parser.parse_args().json
    folder = ROOT / "packages/wfe-core/tests"
    tests = [str(path) for pattern in TESTS for path in sorted(folder.glob(pattern))]
    coverage = (sys.executable, "-m", "coverage")
    with tempfile.TemporaryDirectory() as scratch:
        settings = Path(scratch) / "settings"
        settings.write_text(_settings(scratch, 0 if file else 100), encoding="utf-8")
        rc = f"--rcfile={settings}"
        run = (*coverage, "run", rc, "-m", "pytest", *OPTIONS, *tests)
        reports: list[tuple[str, ...]] = [(*coverage, "report", rc)]
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            reports.append((*coverage, "json", rc, "--quiet", "-o", str(file.resolve())))
        for command in (run, *reports):
            done = subprocess.run(command, cwd=ROOT, check=False)
            if done.returncode:
                return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
