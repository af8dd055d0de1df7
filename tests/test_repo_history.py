"""The page about kinds of history entries lists exactly those that the rules write."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
CORE = ROOT / "packages/wfe-core/src/wfe/core"
PAGE = ROOT / "docs/reference/history.md"
SENT_ONLY = {"step_started"}


def written() -> set[str]:
    rules = "\n".join(path.read_text() for path in (CORE / "rules").glob("*.py"))
    durable = "\n".join(path.read_text() for path in (CORE / "durable").glob("*.py"))
    found = set(re.findall(r'\.(?:row|note)\(\s*"([a-z_]+)"', rules))
    found |= set(re.findall(r'_row\(draft, "([a-z_]+)"', rules))
    found |= set(re.findall(r'(?:kind=|\.note\(made, )"([a-z_]+)"', durable))
    return found | set(re.findall(r'"(workflow_[a-z]+)"', rules))


def listed() -> set[str]:
    text = PAGE.read_text()
    cells = re.findall(r"^\| (`.+?`) \| ", text, re.MULTILINE)
    cells += re.findall(r"Of a durable function alone: (.+?)\n\n", text, re.DOTALL)
    return {kind for cell in cells for kind in re.findall(r"`([a-z_]+)`", cell)} - {"gather"}


def test_every_kind_is_listed_and_no_other() -> None:
    assert len(written()) > 25
    assert listed() - SENT_ONLY == written()
