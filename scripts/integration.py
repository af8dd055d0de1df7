"""Run the tests that need real servers, once for each version, and print what ran against what."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from workspace import ROOT

__all__ = ["LEGS", "Leg", "Outcome", "table"]

REPORT = "WFE_TEST_SERVICES_REPORT"
_OLDEST_SQLITE = "pysqlite3-wheels==0.5.0"
_NEWEST_SQLITE = "pysqlite3-binary==0.5.4.post2"
_PLACES = ("packages/wfe", "packages/wfe-testing", "examples")


@attrs.frozen(kw_only=True)
class Leg:
    """One run of pytest against one version of one service."""

    service: str
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])
    arguments: tuple[str, ...]
    binding: str | None = None
    """For SQLite: the distribution that has it."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a leg."""

    leg: str
    services: Mapping[str, tuple[str, str]]
    """Version and source by name."""
    counts: Mapping[str, int]
    seconds: float
    code: int


def _server(service: str, **wanted: str) -> Leg:
    name = f"WFE_TEST_{service.upper()}"
    return Leg(
        service=service,
        environment={f"{name}_{key.upper()}": value for key, value in wanted.items()},
        arguments=("-m", f"services({service}=True)", f"packages/wfe-{service}", *_PLACES),
    )


def _sqlite(binding: str) -> Leg:
    return Leg(
        service="sqlite",
        arguments=("-p", "sqlite_swap", "packages/wfe-sqlite/tests"),
        binding=binding,
    )


LEGS: dict[str, Leg] = {
    "postgres-15": _server("postgres", version="15"),
    "postgres-17": _server("postgres", version="17"),
    "postgres-18": _server("postgres", version="18"),
    "valkey-8": _server("valkey", version="8"),
    "valkey-9": _server("valkey", version="9"),
    "redis-7": _server("valkey", version="7", source="redis-server"),
    "opensearch-2": _server("opensearch", version="2"),
    "opensearch-alike": _server("opensearch", source="osmem-server"),
    "sqlite-oldest": _sqlite(_OLDEST_SQLITE),
    "sqlite-newest": _sqlite(_NEWEST_SQLITE),
}


def _run(name: str, leg: Leg, extra: list[str]) -> Outcome:
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report, junit = Path(folder, "services.json"), Path(folder, "junit.xml")
        environment = {**os.environ, **leg.environment, REPORT: str(report)}
        services: dict[str, tuple[str, str]] = {}
        if leg.binding is not None:
            version = _install(leg.binding, Path(folder, "binding"))
            services["sqlite"] = (version, f"wheel {leg.binding.partition('==')[0]}")
            paths = [str(Path(folder, "binding")), str(ROOT / "scripts")]
            environment["PYTHONPATH"] = os.pathsep.join(paths)
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={junit}", *leg.arguments]
        done = subprocess.run([*command, *extra], cwd=ROOT, check=False, env=environment)
        if report.exists():
            services |= json.loads(report.read_text())
        counts = _counts(junit) if junit.exists() else {}
    return Outcome(
        leg=name,
        services={key: value for key, value in services.items() if key == leg.service},
        counts=counts,
        seconds=time.monotonic() - start,
        code=done.returncode,
    )


def _install(distribution: str, folder: Path) -> str:
    """Install a binding of SQLite into a folder and return its SQLite's version."""
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    install += ["--only-binary=:all:", f"--target={folder}", distribution]
    subprocess.run(install, check=True, env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"})
    asked = "from pysqlite3.dbapi2 import sqlite_version; print(sqlite_version)"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", asked]
    return subprocess.check_output(command, text=True, env=environment).strip()


def _counts(junit: Path) -> dict[str, int]:
    suites = ET.parse(junit).getroot().iter("testsuite")  # noqa: S314 - pytest's own
    counts: dict[str, int] = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for key in counts:
            counts[key] += int(suite.get(key, "0"))
    return counts


def table(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield _line("leg", "service", "version", "source", "tests", "bad", "skip")
    for one in outcomes:
        bad = one.counts.get("failures", 0) + one.counts.get("errors", 0)
        numbers = (one.counts.get("tests", 0), bad, one.counts.get("skipped", 0))
        told = one.services or {"-": ("-", "none was used")}
        for name, (version, source) in told.items():
            verdict = "ok" if one.code == 0 else f"FAILED ({one.code})"
            line = _line(one.leg, name, version, source, *numbers)
            yield f"{line}  {verdict}, {one.seconds:.0f} s"


def _line(*cells: object) -> str:
    widths = (17, 12, 14, 40, -6, -6, -6)
    pairs = zip(map(str, cells), widths, strict=True)
    return "".join(text.ljust(width) if width > 0 else text.rjust(-width) for text, width in pairs)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("legs", nargs="*", metavar="LEG", help=f"all, or some of {', '.join(LEGS)}")
    options, extra = parser.parse_known_args(arguments)
    if unknown := set(options.legs) - set(LEGS):
        parser.error(f"no leg {', '.join(sorted(unknown))}; there are {', '.join(LEGS)}")
    outcomes: list[Outcome] = []
    for name in options.legs or LEGS:
        print(f"\n=== {name}", flush=True)
        outcomes.append(_run(name, LEGS[name], extra))
    print()
    print("\n".join(table(outcomes)))
    # A leg whose service is not here proves nothing, and where services are required it failed.
    unused = [one.leg for one in outcomes if not one.services]
    if unused:
        print(f"no service was used by: {', '.join(unused)}")
    required = os.environ.get("WFE_REQUIRE_SERVICES") == "1"
    return int(any(one.code for one in outcomes) or bool(unused and required))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
