"""Loading files and giving inputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfe.core.errors import DataTypeError, DefinitionError
from wfe.yaml import Limits, WorkflowFileError, check, load_workflow, load_workflows, start_data
from wfe.yaml.shell import Shell

ONE = "workflow:\n  id: one\n  version: 2\n  steps:\n    - {name: a, run: make}\n"
TWO = """workflows:
  - {id: child, version: 1, steps: [{name: a, run: make}]}
  - {id: main, version: 1, steps: [{name: b, type: workflow, config: {workflow: child}}]}
"""


def test_a_workflow_comes_from_text_or_path(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text("\ufeff" + ONE, encoding="utf-8")

    from_text, from_path = load_workflow(ONE), load_workflow(path)

    assert (from_text.id, from_text.version) == ("one", 2)
    assert from_path.root == from_text.root
    attempt = from_path.code["a/body"]
    attempt.script = "true"
    body = attempt._begin()
    assert isinstance(body, Shell)
    assert body.workspace == tmp_path


def test_one_of_several_workflows() -> None:
    assert [definition.id for definition in load_workflows(TWO)] == ["child", "main"]
    assert load_workflow(TWO).id == "main"
    assert load_workflow(TWO, workflow="child").id == "child"
    with pytest.raises(DefinitionError, match="no workflow 'chld'; did you mean child"):
        load_workflow(TWO, workflow="chld")
    both = TWO.replace("{name: b, type: workflow, config: {workflow: child}}", "{name: b, run: x}")
    with pytest.raises(DefinitionError, match="several workflows; name one of child, main"):
        load_workflow(both)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    binary, missing = tmp_path / "b.yaml", tmp_path / "none.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe\x00")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"x" * 100)

    found = [
        *check([binary, missing, tmp_path]),
        *check([large], limits=Limits(file=10)),
    ]

    assert [(Path(d.file).name, d.line, d.column, d.code, d.message) for d in found] == [
        ("b.yaml", 2, 4, "WFE010", "the file is not UTF-8 text: byte 0xff does not fit"),
        ("none.yaml", 1, 1, "WFE010", "the file cannot be read: No such file or directory"),
        (tmp_path.name, 1, 1, "WFE010", "the file cannot be read: Is a directory"),
        ("large.yaml", 1, 1, "WFE002", "the file has more than 10 bytes"),
    ]
    with pytest.raises(WorkflowFileError):
        load_workflow(missing)


def test_warnings_do_not_keep_a_file_from_loading() -> None:
    text = ONE.replace("run: make", "run: make, timeout: 5")

    definition = load_workflow(text)

    (node,) = definition.root.nodes
    assert node.timeout == 5_000


INPUTS = load_workflow(
    """workflow:
  id: w
  version: 1
  inputs:
    name: string
    count: {type: integer, default: 3}
    ratio: number?
    tags: {type: list<string>, default: [a]}
  steps: [{name: a, run: make}]
"""
)


def test_start_data_converts_texts_and_puts_defaults_in() -> None:
    assert start_data(INPUTS, {"name": "7", "ratio": "2"}) == {
        "inputs": {"name": "7", "count": 3, "ratio": 2.0, "tags": ["a"]}
    }
    assert start_data(INPUTS, {"name": "x", "count": 5, "tags": '["b"]'}) == {
        "inputs": {"name": "x", "count": 5, "ratio": None, "tags": ["b"]}
    }


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, DefinitionError, "inputs are missing: name (string); give them as -i name=..."),
        ({"name": "a", "cuont": "1"}, DefinitionError, "there is no input 'cuont'; did you mean"),
        ({"name": "a", "count": "x"}, DataTypeError, "inputs.count: expected an integer, got a"),
        ({"name": 5}, DataTypeError, "inputs.name: expected a string, got a number (5)"),
    ],
)
def test_wrong_inputs(given: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        start_data(INPUTS, given)

    assert message in str(caught.value)


def test_importing_needs_no_heavy_modules() -> None:
    code = (
        "import sys, wfe.yaml\n"
        "heavy = {'ruamel.yaml', 'cel_expr_python', 'click', 'rich', 'wfe.yaml.shell'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert wfe.yaml.check([sys.argv[1]]) == []\n"
    )
    path = Path(__file__).parent / "corpus" / "good" / "first-file.yaml"

    subprocess.run([sys.executable, "-c", code, os.fspath(path)], check=True)
