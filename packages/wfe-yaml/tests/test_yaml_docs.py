"""The documents on workflow files: their examples are sound, their lists are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wfe.yaml import check, load_workflows
from wfe.yaml.codes import MEANINGS

ROOT = Path(__file__).parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
REFERENCE = ROOT / "docs" / "reference"
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMPLETE = re.compile(r"^workflows?:$", re.MULTILINE)


def complete_files(page: str) -> list[str]:
    """Return the YAML blocks of *page* that are whole files."""
    return [block for block in _FENCE.findall(page) if _COMPLETE.search(block)]


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


FILES = [
    pytest.param(text, id=f"{path.stem}-{number}")
    for path in PAGES
    for number, text in enumerate(complete_files(path.read_text(encoding="utf-8")), 1)
]


@pytest.mark.parametrize("text", FILES)
def test_each_example_is_sound_and_becomes_definitions(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert check([path]) == []
    assert all(definition.missing() == () for definition in load_workflows(path))


def test_every_kind_of_step_has_an_example() -> None:
    files = complete_files(read("workflow-files.md"))
    together = "\n".join(files)

    assert len(files) >= 15
    for key in ("run", "type", "parallel", "do", "if", "for_each", "while", "wait_for", "delay"):
        assert re.search(rf"^ *(?:- )?{key}:", together, re.MULTILINE), key


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    page = "text\n\n```yaml\nworkflow:\n  id: a\n```\n\n```yaml\n- name: a part\n```\n"
    (text,) = complete_files(page)
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert [found.code for found in check([path])] == ["WFE013", "WFE013"]


CONTEXT = """workflow:
  id: docs
  version: 1
  inputs: {image: string, mode: string, count: integer}
  steps:
    - {name: build, outputs: {digest: string}, run: make}
    - {name: maybe, when: inputs.count > 1, outputs: {size: integer}, run: make}
    - name: example
"""
LINES = re.findall(r"^\| (WFE\d{3}) \| `(.*)` \| `(.*)` \|$", read("diagnostics.md"), re.MULTILINE)


def _codes(line: str, path: Path) -> list[str]:
    line = line.replace("\\|", "|")
    run = "" if line.startswith("run:") else "      run: make\n"
    path.write_text(f"{CONTEXT}      {line}\n{run}", encoding="utf-8")
    return [found.code for found in check([path])]


@pytest.mark.parametrize(("code", "wrong", "right"), LINES)
def test_a_wrong_line_gives_its_code_and_the_right_one_gives_none(
    code: str, wrong: str, right: str, tmp_path: Path
) -> None:
    assert _codes(wrong, tmp_path / "wrong.yaml") == [code]
    assert _codes(right, tmp_path / "right.yaml") == []


def test_the_common_codes_have_a_wrong_and_a_right_line() -> None:
    assert len(LINES) >= 15


def test_the_page_of_diagnostics_names_each_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| (WFE\d{3}) \| ([^|]+) \|$", read("diagnostics.md"), re.MULTILINE)

    assert dict(rows) == dict(MEANINGS)
    assert len(rows) == len(MEANINGS)


def test_the_page_of_diagnostics_names_no_other_code() -> None:
    assert set(re.findall(r"WFE\d{3}", read("diagnostics.md"))) == set(MEANINGS)
