"""The reference pages of workflow files: their examples are sound, their lists are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wfe.yaml import check, load_workflows
from wfe.yaml.codes import MEANINGS

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMPLETE = re.compile(r"^workflows?:$", re.MULTILINE)


def complete_files(page: str) -> list[str]:
    """Return the YAML blocks of *page* that are whole files."""
    return [block for block in _FENCE.findall(page) if _COMPLETE.search(block)]


def read(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


FILES = complete_files(read("workflow-files.md"))


def _id(text: str) -> str:
    found = re.search(r"id: (\S+)", text)
    return found[1] if found else text[:40]


@pytest.mark.parametrize("text", FILES, ids=_id)
def test_each_example_is_sound_and_becomes_definitions(text: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert check([path]) == []
    assert all(definition.missing() == () for definition in load_workflows(path))


def test_every_kind_of_step_has_an_example() -> None:
    together = "\n".join(FILES)

    assert len(FILES) >= 15
    for key in ("run", "type", "parallel", "do", "if", "for_each", "while", "wait_for", "delay"):
        assert re.search(rf"^ *(?:- )?{key}:", together, re.MULTILINE), key


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    page = "text\n\n```yaml\nworkflow:\n  id: a\n```\n\n```yaml\n- name: a part\n```\n"
    (text,) = complete_files(page)
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert [found.code for found in check([path])] == ["WFE013", "WFE013"]


def test_the_page_of_diagnostics_names_each_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| (WFE\d{3}) \| (.*?) \|", read("diagnostics.md"), re.MULTILINE)

    assert dict(rows) == dict(MEANINGS)
    assert len(rows) == len(MEANINGS)


def test_the_page_of_diagnostics_names_no_other_code() -> None:
    assert set(re.findall(r"WFE\d{3}", read("diagnostics.md"))) == set(MEANINGS)
