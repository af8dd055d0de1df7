"""Write constraints.txt and requirements/*.txt from the pyproject files."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from workspace import ROOT, distributions, group, requirement_name, third_party

__all__ = ["dev_requirements", "normal_names", "run_requirements"]

# The paths of `-e` are relative to where pip runs, that of `-c` to this file.
_HEADER = "# Written by `nox -s lock`; install from the repository's root.\n"


def run_requirements(root: Path = ROOT) -> str:
    """Return requirements/run.txt: what a user of the checkout needs."""
    names = [each.name for each in distributions(root) if each.name != "wfe-testing"]
    editable = "".join(f"-e packages/{name}\n" for name in names)
    return f"{_HEADER}-c ../constraints.txt\n{editable}"


def dev_requirements(root: Path = ROOT) -> str:
    """Return requirements/dev.txt: everything, for tests and checks."""
    tools = "".join(f"{_unpinned(each)}\n" for each in group("dev", root))
    return f"{_HEADER}-c ../constraints.txt\n-r run.txt\n-e packages/wfe-testing\n{tools}"


def _unpinned(requirement: str) -> str:
    """Return a requirement without its versions, which the constraints choose; the marker stays."""
    _, semicolon, marker = requirement.partition(";")
    return f"{requirement_name(requirement)}{semicolon}{marker}"


def normal_names(root: Path = ROOT) -> set[str]:
    """Return the names that constraints.txt must hold, in the registry's spelling."""
    names = (requirement_name(each) for each in third_party(root))
    return {re.sub(r"[._-]+", "-", name).lower() for name in names}


def _write_constraints(*, upgrade: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "-",
        "--universal",
        "--python-version=3.11",
        "--quiet",
    ]
    command += ["--no-header", "--no-annotate", "--no-emit-index-url"]
    command += ["--output-file=constraints.txt"] + (["--upgrade"] if upgrade else [])
    subprocess.run(
        command,
        cwd=ROOT,
        check=True,
        input="\n".join(third_party()),
        text=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    options = parser.parse_args(arguments)
    (ROOT / "requirements").mkdir(exist_ok=True)
    (ROOT / "requirements/run.txt").write_text(run_requirements())
    (ROOT / "requirements/dev.txt").write_text(dev_requirements())
    _write_constraints(upgrade=options.upgrade)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
