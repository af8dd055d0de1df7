"""The documents on workflow files: their examples are sound, their lists are whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import diagnostics_page
from wfe.yaml import check, keys, load_workflows
from wfe.yaml.codes import MEANINGS
from wfe.yaml.schema import StepTypeRow, step_types

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
# The page of diagnostics has wrong examples on purpose: see test_yaml_explained.py.
DIAGNOSTICS = REFERENCE / "diagnostics.md"
PAGES = (
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path != DIAGNOSTICS),
)
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

    variables = _variables(text)

    assert check([path], variables) == []
    assert all(definition.missing() == () for definition in load_workflows(path, variables))


def _variables(text: str) -> dict[str, str]:
    """Return the load-time variables that the command in the first line of a file gives."""
    command = re.match(r"# wfe run .*", text)
    return dict(re.findall(r" -v (\w+)=(\S+)", command[0])) if command else {}


def test_every_kind_of_step_has_an_example() -> None:
    files = complete_files(read("workflow-files.md"))
    together = "\n".join(files)

    assert len(files) >= 15
    for key in ("run", "type", *keys.CONTROLS):
        assert re.search(rf"^ *(?:- )?{key}:", together, re.MULTILINE), key


def explained(page: str) -> set[str]:
    """Return the keys that have a row of a table, or a heading of their own."""
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", page, re.MULTILINE)
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)} | set(headings)


LANGUAGE = {
    *keys.FILE,
    *keys.WORKFLOW,
    *keys.MODIFIERS,
    *keys.LEAF_MODIFIERS,
    *keys.LEAF_KEYS,
    *(key for kind in keys.KIND_KEYS.values() for key in kind),
}
IN_PROSE = {"untrusted"}
"""Keys that stand in the row of another one."""


def test_every_key_of_the_language_is_explained_in_the_reference() -> None:
    page = read("workflow-files.md")

    assert LANGUAGE - explained(page) - IN_PROSE == set()
    assert {key for key in IN_PROSE if f"`{key}" not in page} == set()


@pytest.mark.parametrize("row", step_types(), ids=lambda row: row.name)
def test_every_key_of_a_step_type_is_explained_in_the_reference(row: StepTypeRow) -> None:
    page = read("workflow-files.md")
    section = page.partition(f"\n### {row.name}\n")[2].partition("\n### ")[0]

    names = set(re.findall(r"`(\w+)`", section))
    assert {each.name for each in row.keys} - names == set()
    assert set(row.outputs) - names == set()


def test_a_planted_fault_is_found(tmp_path: Path) -> None:
    page = "text\n\n```yaml\nworkflow:\n  id: a\n```\n\n```yaml\n- name: a part\n```\n"
    (text,) = complete_files(page)
    path = tmp_path / "example.yaml"
    path.write_text(text, encoding="utf-8")

    assert [found.code for found in check([path])] == ["WFE013", "WFE013"]


def test_the_page_of_diagnostics_names_each_code_with_its_meaning() -> None:
    page = read("diagnostics.md")
    rows = re.findall(r"^\| \[(WFE\d{3})\]\(#wfe\d{3}\) \| ([^|]+) \|$", page, re.MULTILINE)

    assert dict(rows) == dict(MEANINGS)
    assert len(rows) == len(MEANINGS)


def test_the_page_of_diagnostics_is_up_to_date() -> None:
    assert DIAGNOSTICS.read_text(encoding="utf-8") == diagnostics_page.page()


def test_the_page_of_diagnostics_has_a_section_for_each_code() -> None:
    sections = re.findall(r"^### (WFE\d{3})$", read("diagnostics.md"), re.MULTILINE)

    assert sections == sorted(MEANINGS)


def test_the_page_of_diagnostics_names_no_other_code() -> None:
    assert set(re.findall(r"WFE\d{3}", read("diagnostics.md"))) == set(MEANINGS)
