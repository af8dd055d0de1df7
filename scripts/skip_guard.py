"""A pytest plugin: in CI a skipped test fails the run unless the list allows it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import attrs
import pytest

__all__ = ["AllowedSkip", "SkipGuard", "parse_allowed_skips"]

REQUIRED = "WFE_REQUIRE_SERVICES"
ALLOWED_FILE = "tests/allowed_skips.txt"


@attrs.frozen
class AllowedSkip:
    """One line of the list; the pattern is searched in ``nodeid: reason``."""

    pattern: re.Pattern[str]
    why: str


def parse_allowed_skips(text: str) -> tuple[AllowedSkip, ...]:
    """Read lines of ``PATTERN  # why``; lines that begin with ``#`` and empty ones are nothing.

    Raises:
        ValueError: A line has no reason, or its pattern is not a regular expression.
    """
    allowed: list[AllowedSkip] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        pattern, _, why = line.partition("  # ")
        if not why.strip():
            raise ValueError(f"line {number}: write the reason after two spaces and '# '")
        try:
            allowed.append(AllowedSkip(re.compile(pattern.strip()), why.strip()))
        except re.error as error:
            raise ValueError(f"line {number}: {pattern!r} is no pattern: {error}") from error
    return tuple(allowed)


@attrs.define(eq=False)  # pytest keeps its plugins in sets
class SkipGuard:
    """Collects the skips that nothing allows and turns the exit code to failure."""

    allowed: tuple[AllowedSkip, ...]
    refused: list[str] = attrs.field(factory=list[str], init=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def _note(self, nodeid: str, longrepr: object) -> None:
        # Pytest gives (file, line, reason) here; a plugin may give anything else.
        parts = cast("tuple[object, ...]", longrepr) if isinstance(longrepr, tuple) else (longrepr,)
        reason = str(parts[-1])
        line = f"{nodeid}: {reason.removeprefix('Skipped: ')}"
        if not any(each.pattern.search(line) for each in self.allowed):
            self.refused.append(line)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.refused and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        yield

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.refused:
            terminalreporter.section(f"skips that {ALLOWED_FILE} does not allow", red=True)
            for line in self.refused:
                terminalreporter.line(line)


def required(environment: Mapping[str, str]) -> bool:
    return environment.get(REQUIRED) == "1"


def pytest_configure(config: pytest.Config) -> None:
    if not required(os.environ) or hasattr(config, "workerinput"):
        return
    file = Path(config.rootpath, ALLOWED_FILE)
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        allowed = parse_allowed_skips(text)
    except ValueError as error:
        raise pytest.UsageError(f"{ALLOWED_FILE}: {error}") from error
    config.pluginmanager.register(SkipGuard(allowed), "wfe-skip-guard")
