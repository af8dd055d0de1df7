"""The pytest plugin of ``wfe contract``: writes how each law ended, one JSON object a line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

__all__ = ["RECORD", "RECORDS", "REFUSED", "pytest_configure"]

RECORDS: Final = "WFE_CONTRACT_RECORDS"
"""The environment variable with the directory into which a run writes."""

RECORD: Final = "record.jsonl"
REFUSED: Final = "refused.txt"
"""Why the run ended before it began: somebody uses the store."""


class _Recorder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        over = report.when == "call" or report.outcome != "passed"
        if not over or report.nodeid in self._told:
            return
        self._told.add(report.nodeid)
        _, seam, law = report.nodeid.split("::")
        line = {"seam": seam, "law": law, "outcome": report.outcome, "text": _reason(report)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _reason(report: pytest.TestReport) -> str:
    """Return why a law failed or was skipped, in one line."""
    told = report.longrepr
    if isinstance(told, tuple):
        return told[2].removeprefix("Skipped: ")
    crash = getattr(told, "reprcrash", None)
    text = str(told) if crash is None else str(crash.message)
    return text.strip().splitlines()[0] if text.strip() else ""


def pytest_configure(config: pytest.Config) -> None:
    """Record from now on, if somebody wants to know."""
    if directory := os.environ.get(RECORDS):
        config.pluginmanager.register(_Recorder(Path(directory, RECORD)))
