"""Every promise on the pages about semantics and security names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = {"semantics": 40, "security": 25}
"""How many promises each page has at least."""


def promises(page: str) -> list[tuple[str, list[tuple[str, str]]]]:
    text = (ROOT / f"docs/explanation/{page}.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!---)(.+) \| (.+) \|$", text, re.MULTILINE)
    return [
        (promise, re.findall(r"`([^:`]+)::([^`]+)`", tests))
        for promise, tests in rows
        if tests != "held by"
    ]


def missing(tests: list[tuple[str, str]]) -> list[str]:
    """Return which of (file, test) are not there."""
    found: list[str] = []
    for file, test in tests:
        path = ROOT / file
        text = path.read_text() if path.exists() else ""
        if not re.search(rf"^(async )?def {re.escape(test)}\(", text, re.MULTILINE):
            found.append(f"{file}::{test}")
    return found


@pytest.mark.parametrize(("page", "least"), PAGES.items())
def test_every_promise_names_a_test_that_exists(page: str, least: int) -> None:
    rows = promises(page)
    assert len(rows) > least
    assert [(promise, lost) for promise, tests in rows if (lost := missing(tests))] == []
    assert [promise for promise, tests in rows if not tests] == []


def test_a_test_that_is_not_there_is_found() -> None:
    here = "tests/test_repo_semantics.py"
    assert missing([(here, "test_nothing"), ("tests/none.py", "test_x")]) == [
        f"{here}::test_nothing",
        "tests/none.py::test_x",
    ]
