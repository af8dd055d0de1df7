"""The page about kinds of history entries lists exactly those that the rules write."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
RULES = ROOT / "packages/wfe-core/src/wfe/core/rules"
PAGE = ROOT / "docs/reference/history.md"
SENT_ONLY = {"step_started"}


def written() -> set[str]:
    text = "\n".join(path.read_text() for path in RULES.glob("*.py"))
    found = set(re.findall(r'\.(?:row|note)\(\s*"([a-z_]+)"', text))
    return found | set(re.findall(r'"(workflow_[a-z]+)"', text))


def listed() -> set[str]:
    first_cells = re.findall(r"^\| (`.+?`) \| ", PAGE.read_text(), re.MULTILINE)
    return {kind for cell in first_cells for kind in re.findall(r"`([a-z_]+)`", cell)}


def test_every_kind_is_listed_and_no_other() -> None:
    assert len(written()) > 25
    assert listed() - SENT_ONLY == written()
