"""How diagnostics are shown."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from wfe.yaml import (
    Diagnostic,
    Severity,
    WorkflowFileError,
    load_workflow,
    render,
    render_github,
    render_json,
)
from wfe.yaml.codes import MEANINGS
from wfe.yaml.diagnostics import Problems, Source, Span, nearest

SOURCE = Source("dir/a,b.yaml", "one\n\ttwo: x\n" + "y" * 300 + "\n")


def problems() -> Problems:
    found = Problems()
    found.warning("WFE051", Span(SOURCE, 2, 7), "later", "do\nthis")
    found.error("WFE012", Span(SOURCE, 2, 2, 3), "first: 100%")
    return found


def test_text_has_line_and_caret_under_the_place_also_behind_tabs() -> None:
    assert render(problems().in_order()) == (
        "dir/a,b.yaml:2:2: error[WFE012]: first: 100%\n"
        "    2 | \ttwo: x\n"
        "      | \t^^^\n"
        "dir/a,b.yaml:2:7: warning[WFE051]: later\n"
        "    2 | \ttwo: x\n"
        "      | \t     ^\n"
        "      = help: do\\nthis"
    )


def test_a_very_long_line_is_cut_around_the_place() -> None:
    found = Problems()
    found.error("WFE012", Span(SOURCE, 3, 200, 5), "here")

    line, caret = render(found.in_order()).split("\n")[1:]

    assert len(line) < 200
    assert line.count("...") == 2
    assert caret.index("^") < len(line)


def test_json_has_the_documented_fields() -> None:
    rows = json.loads(render_json(problems().in_order()))

    assert rows[0] == {
        "file": "dir/a,b.yaml",
        "line": 2,
        "column": 2,
        "code": "WFE012",
        "severity": "error",
        "message": "first: 100%",
        "hint": None,
    }


def test_github_annotations_are_escaped() -> None:
    assert render_github(problems().in_order()).split("\n") == [
        "::error file=dir/a%2Cb.yaml,line=2,col=2,title=WFE012::first: 100%25",
        "::warning file=dir/a%2Cb.yaml,line=2,col=7,title=WFE051::later (do\\nthis)",
    ]


def test_the_same_thing_is_reported_once() -> None:
    found = problems()
    found.error("WFE012", Span(SOURCE, 2, 2, 3), "first: 100%")

    assert len(found.found) == 2


def test_the_error_of_a_file_survives_pickle_and_copy() -> None:
    with pytest.raises(WorkflowFileError) as caught:
        load_workflow("workflow:\n  id: a\n")

    for again in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert again.diagnostics == caught.value.diagnostics
        assert str(again) == str(caught.value)
    first = caught.value.diagnostics[0]
    assert isinstance(first, Diagnostic)
    assert first.severity is Severity.ERROR


def test_codes_are_numbered_and_said_in_a_sentence() -> None:
    for code, meaning in MEANINGS.items():
        assert code.startswith("WFE")
        assert len(code) == 6
        assert meaning.endswith(".")


@pytest.mark.parametrize(
    ("name", "found"),
    [("timout", "timeout"), ("TIMEOUT", "timeout"), ("zzz", None), ("", None)],  # codespell:ignore
)
def test_nearest(name: str, found: str | None) -> None:
    assert nearest(name, ["timeout", "retry"]) == found
