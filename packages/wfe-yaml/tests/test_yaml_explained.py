"""Each code has a page; its wrong example gives that code alone, its right one gives nothing."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

import pytest

from wfe.yaml import Severity, check
from wfe.yaml.codes import MEANINGS, WARNINGS

# What the wrong example stands for is not so on the machine of the tests; the step types' own tests
# show it there.
ELSEWHERE: Final = {"WFE061", "WFE111"}
ENCODINGS: Final[Mapping[str, str]] = {"WFE010": "latin-1"}
_PAGE = re.compile(
    r"# (WFE\d{3}): (?P<meaning>[^\n]+)\n\n(?P<text>.+?)\n\n"
    r"## Wrong\n\n```yaml\n(?P<wrong>.+?)```\n\n## Right\n\n```yaml\n(?P<right>.+?)```\n",
    re.DOTALL,
)


def page(code: str) -> re.Match[str]:
    text = (files("wfe.yaml") / "explained" / f"{code}.md").read_text(encoding="utf-8")
    found = _PAGE.fullmatch(text)
    assert found, f"the page of {code} has another form than the others"
    return found


def findings(text: str, path: Path, encoding: str = "utf-8") -> set[tuple[str, Severity]]:
    path.write_bytes(text.encode(encoding))
    return {(found.code, found.severity) for found in check([path])}


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    pages = {each.name for each in (files("wfe.yaml") / "explained").iterdir()}

    assert pages == {f"{code}.md" for code in MEANINGS}


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_a_page_says_what_the_code_means(code: str) -> None:
    found = page(code)

    assert (found[1], found["meaning"]) == (code, MEANINGS[code])
    assert 100 <= len(found["text"]) <= 900
    assert "## " not in found["text"]


@pytest.mark.parametrize("code", sorted(set(MEANINGS) - ELSEWHERE))
def test_the_wrong_example_gives_the_code_and_nothing_else(code: str, tmp_path: Path) -> None:
    encoding = ENCODINGS.get(code, "utf-8")
    severity = Severity.WARNING if code in WARNINGS else Severity.ERROR

    found = findings(page(code)["wrong"], tmp_path / "workflows.yaml", encoding)

    assert found == {(code, severity)}


@pytest.mark.parametrize("code", sorted(MEANINGS))
def test_the_right_example_gives_nothing(code: str, tmp_path: Path) -> None:
    assert findings(page(code)["right"], tmp_path / "workflows.yaml") == set()


@pytest.mark.parametrize("code", sorted(set(MEANINGS) - set(ENCODINGS)))
def test_the_examples_are_one_edit_apart(code: str) -> None:
    wrong, right = page(code)["wrong"].splitlines(), page(code)["right"].splitlines()
    matcher = difflib.SequenceMatcher(None, wrong, right, autojunk=False)

    assert sum(step[0] != "equal" for step in matcher.get_opcodes()) == 1
