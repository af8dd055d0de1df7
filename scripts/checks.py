"""Run the linters, the type checkers or the rules' coverage, and say which failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from workspace import ROOT, distributions, requirement_name

__all__ = ["Check", "checks"]


@attrs.frozen
class Check:
    """One command; *cwd* is relative to the repository's root."""

    name: str
    command: tuple[str, ...]
    cwd: str = "."


def _tool(name: str) -> str:
    """Return the path of a command of this interpreter's environment."""
    beside = shutil.which(name, path=sysconfig.get_path("scripts"))
    if beside is None:
        raise SystemExit(f"{name} is not installed here: pip install -r requirements/dev.txt")
    return beside


def _lint() -> Iterator[Check]:
    yield Check("ruff check", (_tool("ruff"), "check", "--quiet"))
    yield Check("ruff format", (_tool("ruff"), "format", "--check", "--quiet"))
    yield Check("import-linter", (_tool("lint-imports"), "--no-cache"))
    yield Check("codespell", (_tool("codespell"),))
    deptry = (_tool("deptry"), "src", "--known-first-party", "wfe")
    for each in distributions():
        command = (*deptry, "--per-rule-ignores", _deptry_ignores(each.extras))
        yield Check(f"deptry {each.name}", command, f"packages/{each.name}")


def _deptry_ignores(extras: dict[str, list[str]]) -> str:
    """Name what may be declared without an import: siblings, extras and pytest's plugins."""
    optional = [requirement_name(each) for wanted in extras.values() for each in wanted]
    first_party = [each.name for each in distributions()]
    unused = f"DEP002={'|'.join([*first_party, *optional, 'pytest-asyncio'])}"
    # Imported where they are, and done without where they are not: Python 3.14's zstd, and a
    # reader of YAML for files of secrets, which comes with wfe-yaml.
    return f"{unused},DEP001=compression,DEP003=ruamel"


def _types() -> Iterator[Check]:
    mypy = _tool("mypy")
    yield Check("mypy", (mypy,))
    for path in sorted(ROOT.glob("packages/*/tests/conftest.py")):
        name = str(path.relative_to(ROOT))
        yield Check(f"mypy {name}", (mypy, name))
    pyright = _tool("pyright")
    yield Check("pyright", (pyright, "--pythonpath", sys.executable))
    for each in distributions():
        verify = ("--ignoreexternal", "--verifytypes", each.part)
        yield Check(f"verifytypes {each.part}", (pyright, *verify))


def _rules() -> Iterator[Check]:
    yield Check("coverage of the rules", (sys.executable, "scripts/rules_coverage.py"))


_KINDS = {"lint": _lint, "types": _types, "rules": _rules}


def checks(kind: str) -> tuple[Check, ...]:
    """Return the checks of ``lint``, ``types`` or ``rules``, cheap ones first."""
    return tuple(_KINDS[kind]())


def _run(check: Check) -> bool:
    # `pyright --verifytypes` asks the first python on the path, whatever its options say.
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    start = time.monotonic()
    done = subprocess.run(
        check.command,
        cwd=ROOT / check.cwd,
        check=False,
        env={**os.environ, "PATH": path},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    ok = done.returncode == 0
    print(f"{'ok    ' if ok else 'FAILED'} {check.name} ({time.monotonic() - start:.1f} s)")
    if not ok:
        print(done.stdout, flush=True)
    return ok


def main(arguments: list[str]) -> int:
    if not arguments or not set(arguments) <= set(_KINDS):
        print(f"usage: {Path(__file__).name} {'|'.join(_KINDS)} …", file=sys.stderr)
        return 2
    results = [_run(check) for kind in arguments for check in checks(kind)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
