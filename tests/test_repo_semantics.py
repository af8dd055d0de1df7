"""Every promise on the page about semantics names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/explanation/semantics.md"


def promises() -> list[tuple[str, list[tuple[str, str]]]]:
    rows = re.findall(r"^\| (.+?) \| (`.+`) \|$", PAGE.read_text(), re.MULTILINE)
    return [(promise, re.findall(r"`([^:`]+)::([^`]+)`", tests)) for promise, tests in rows]


def missing(tests: list[tuple[str, str]]) -> list[str]:
    """Return which of (file, test) are not there."""
    found: list[str] = []
    for file, test in tests:
        path = ROOT / file
        text = path.read_text() if path.exists() else ""
        if not re.search(rf"^(async )?def {re.escape(test)}\(", text, re.MULTILINE):
            found.append(f"{file}::{test}")
    return found


def test_every_promise_names_a_test_that_exists() -> None:
    rows = promises()
    assert len(rows) > 40
    assert [(promise, lost) for promise, tests in rows if (lost := missing(tests))] == []
    assert [promise for promise, tests in rows if not tests] == []


def test_a_test_that_is_not_there_is_found() -> None:
    here = "tests/test_repo_semantics.py"
    assert missing([(here, "test_nothing"), ("tests/none.py", "test_x")]) == [
        f"{here}::test_nothing",
        "tests/none.py::test_x",
    ]
