"""Good files load; each wrong file breaks one rule and gives exactly the reviewed text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wfe.core.definition import WorkflowDefinition
from wfe.yaml import Severity, check, load_workflows
from wfe.yaml.codes import MEANINGS
from wfe.yaml.diagnostics import Problems, Source, render
from wfe.yaml.tree import Limits
from wfe.yaml.variables import Variables
from wfe.yaml.workflows import check_source

CORPUS = Path(__file__).parent / "corpus"
WRONG = sorted((CORPUS / "wrong").glob("*.yaml"))
GOOD = sorted((CORPUS / "good").glob("*.yaml"))


def diagnostics(path: Path) -> Problems:
    problems = Problems()
    source = Source(path.name, path.read_text(encoding="utf-8"))
    check_source(source, Variables(), problems, Limits())
    return problems


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_file_gives_the_reviewed_text(path: Path) -> None:
    expected = path.with_suffix(".txt").read_text(encoding="utf-8")

    assert render(diagnostics(path).in_order()) + "\n" == expected


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_file_is_reported_at_a_place_that_exists(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")

    for found in diagnostics(path).found:
        assert 1 <= found.line <= len(lines)
        assert 1 <= found.column <= len(lines[found.line - 1]) + 1
        assert found.code in MEANINGS


def test_the_corpus_breaks_every_rule() -> None:
    texts = "".join(path.with_suffix(".txt").read_text(encoding="utf-8") for path in WRONG)

    seen = set(re.findall(r"WFE\d{3}", texts))

    # WFE010 is about files that are no text at all: see the loader's tests.
    assert set(MEANINGS) - seen == {"WFE010"}
    assert len(WRONG) >= 30


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_has_nothing_to_report(path: Path) -> None:
    assert check([path]) == []


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_file_becomes_definitions_that_are_data(path: Path) -> None:
    definitions = load_workflows(path)

    for definition in definitions:
        again = WorkflowDefinition.from_json(definition.to_json())
        assert again.hash == definition.hash
        assert definition.missing() == ()


def test_there_are_enough_good_files() -> None:
    assert len(GOOD) >= 12


def test_all_errors_of_a_file_come_in_one_run_in_order() -> None:
    found = diagnostics(CORPUS / "wrong" / "two-errors-and-more.yaml").in_order()

    assert [(d.line, d.code) for d in found] == [(7, "WFE012"), (9, "WFE032"), (10, "WFE016")]
    assert all(d.severity is Severity.ERROR for d in found)
