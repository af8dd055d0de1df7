"""The JSON Schema for editors: it takes every good file, and refuses what it can see is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wfe.yaml import keys
from wfe.yaml.diagnostics import Problems, Source
from wfe.yaml.parsing import parse
from wfe.yaml.schema import json_schema, step_types
from wfe.yaml.schema_parts import STEP, WORKFLOW
from wfe.yaml.tree import Limits
from wfe.yaml.variables import to_plain

jsonschema = pytest.importorskip("jsonschema")

CORPUS = Path(__file__).parent / "corpus"
GOOD = sorted((CORPUS / "good").rglob("*.yaml"))
HEAD = "workflow:\n  id: a\n  version: 1\n  steps:\n    - name: b\n"


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def plain(name: str, text: str) -> object:
    root = parse(Source(name, text), Problems(), Limits())
    assert root is not None
    return to_plain(root)


def wrong(validator: Any, text: str) -> list[str]:
    return [str(error.message) for error in validator.iter_errors(plain("x.yaml", text))]


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_files_fit(validator: Any, path: Path) -> None:
    errors = validator.iter_errors(plain(path.name, path.read_text(encoding="utf-8")))

    assert [(list(error.absolute_path), error.message) for error in errors] == []


@pytest.mark.parametrize(
    "name",
    [
        "boolean-word",
        "both-workflow-keys",
        "choice-wrong",
        "config-key-unknown",
        "config-not-a-map",
        "duration-fraction",
        "env-name",
        "file-key-unknown",
        "id-missing",
        "kind-misspelt",
        "not-a-map",
        "retry-unknown-key",
        "run-is-boolean",
        "script-list",
        "step-key-unknown",
        "steps-empty",
        "steps-not-a-list",
        "text-in-list",
        "value-out-of-range",
        "workflow-key-unknown",
    ],
)
def test_bad_files_do_not(validator: Any, name: str) -> None:
    text = (CORPUS / "wrong" / f"{name}.yaml").read_text(encoding="utf-8")

    assert wrong(validator, text) != []


@pytest.mark.parametrize(
    ("right", "bad"),
    [
        ("type: http\n      config: {url: x}", "type: http\n      config: {method: GET}"),
        ("type: http\n      config: {url: x}", "type: http\n      config: {url: x, metod: GET}"),
        (
            "type: http\n      config: {url: x, max_bytes: '${{ inputs.n }}'}",
            "type: http\n      config: {url: x, max_bytes: many}",
        ),
        ("type: git-repo\n      config: {depth: 1}", "type: git-repo\n      config: {depth: x}"),
        ("type: python\n      config: {args: [1]}", "type: python\n      config: {args: 1}"),
        (
            "type: workflow\n      config: {workflow: a, workflow_version: 2}",
            "type: workflow\n      config: {workflow: a, version: 2}",
        ),
        ("type: workflow\n      config: {workflow: a}", "type: workflow\n      config: {}"),
        ("config: {run: ls, shell: sh}", "config: {run: ls, shel: sh}"),
        ("type: of-a-plugin\n      config: {any: thing}", "type: [shell]"),
        ("run: ls\n      timeout: ((t))", "run: ls\n      timeout: soon"),
        ("run: ls\n      retry: {max: 3, on: exit:3}", "run: ls\n      retry: {maxx: 3}"),
    ],
)
def test_configs_are_those_of_their_types(validator: Any, right: str, bad: str) -> None:
    assert wrong(validator, f"{HEAD}      {right}\n") == []
    assert wrong(validator, f"{HEAD}      {bad}\n") != []


def test_no_key_of_the_language_is_forgotten() -> None:
    kinds = {key for known in keys.KIND_KEYS.values() for key in known}
    step = {*keys.MODIFIERS, *keys.LEAF_KEYS, *kinds} - {"type"}

    assert step - set(STEP) == set()
    assert set(keys.WORKFLOW) - set(WORKFLOW) == set()


def test_it_is_plain_json_and_names_every_usable_type() -> None:
    schema = json_schema()

    assert json.loads(json.dumps(schema)) == schema
    usable = {row.name for row in step_types() if row.keys or row.problem is None}
    assert {f"config_{name}" for name in usable} <= set(schema["$defs"])
    assert {"shell", "http", "python", "git-repo", "workflow"} <= usable
