"""WFE's files: its constructs load, its mistakes are told, and with ``compat`` as warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfe.core.definition import Kind
from wfe.core.policies import Compensate, Retry, Suspend, Terminate
from wfe.yaml import check, load_workflows
from wfe.yaml.codes import MEANINGS
from wfe.yaml.compat import ACCEPTED
from wfe.yaml.loader import check_text

CORPUS = Path(__file__).parent / "corpus"
MISTAKES = CORPUS / "compat" / "mistakes.yaml"

TOLD = [
    (11, "WFE016", "`timeout` is a duration, not `1h30`"),
    (19, "WFE012", "the `config` of a shell step has no key `retries`"),
    (31, "WFE017", "there is no type `boolean`"),
    (39, "WFE012", "a workflow has no key `triggrs`"),
    (43, "WFE012", "the `config` of a workflow step has no key `version`"),
    (44, "WFE042", "the workflow `test` has no output `all_tests_passed`"),
    (48, "WFE042", "the workflow `cover` has no output `coverage`"),
    (51, "WFE022", "there is no workflow `image-of-another-file`"),
    (55, "WFE042", "the workflow `publish` has no output `published`"),
    (56, "WFE032", "no step before this one makes the output `all_tests_passed`"),
    (60, "WFE042", "the workflow `release` has no output `released`"),
]


def test_the_mistakes_of_wfes_own_pipeline_are_told() -> None:
    found = check([MISTAKES])

    assert [(d.line, d.code, d.message) for d in found] == TOLD
    assert {d.severity for d in found} == {"error"}


def test_with_compat_they_are_warnings() -> None:
    found = check([MISTAKES], compat=True)

    assert [(d.line, d.code, d.message) for d in found] == TOLD
    assert {d.severity for d in found} == {"warning"}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("id: a\n  version: 1\n  steps: []", "WFE013"),
        (
            "id: a\n  version: 1\n  steps:\n    - {name: x, run: a}\n    - {name: x, run: b}",
            "WFE018",
        ),
        (
            "id: a\n  version: 1\n  steps: [{name: x, type: shell, parallel: [{name: y, run: a}]}]",
            "WFE019",
        ),
    ],
)
def test_what_wfe_refuses_stays_an_error(wrong: str, code: str) -> None:
    (found,) = check_text(f"workflow:\n  {wrong}\n", compat=True)

    assert (found.code, found.severity) == (code, "error")


def test_all_accepted_codes_have_a_meaning() -> None:
    assert set(MEANINGS) >= ACCEPTED


def test_wfes_constructs_become_what_they_say() -> None:
    found = {each.id: each for each in load_workflows(CORPUS / "good" / "wfe-pipeline.yaml")}

    nodes = {node.name: node for each in found.values() for node in each.walk()}
    assert list(found) == ["checkout", "test", "publish", "ci"]
    assert nodes["suites"].kind is Kind.PARALLEL
    assert nodes["unit"].timeout == 300_000_000
    assert [name for name, _ in nodes["integration"].hooks] == ["ensure"]
    assert {name for name, _ in nodes["assert-threshold"].hooks} >= {"on_success", "on_failure"}
    assert isinstance(nodes["clone"].on_error, Retry)
    assert isinstance(nodes["tier-1"].on_error, Suspend)
    assert isinstance(nodes["publish"].on_error, Compensate)
    assert isinstance(found["test"].default_error, Terminate)
    assert list(found["test"].meta["services"]) == ["postgres", "valkey", "opensearch"]
    assert found["ci"].meta["shared_volume"] == {"mount_path": "/workspace", "size": "15Gi"}
    assert nodes["publish"].run_if is not None


def test_a_list_of_inputs_and_outputs_may_have_paths_that_nobody_reads() -> None:
    text = (
        "workflow:\n  id: a\n  version: 1\n  inputs: {x: string}\n  outputs: {y: any}\n  steps:\n"
        "    - name: s\n      type: shell\n      config: {run: make}\n"
        "      inputs: [{name: x, path: /tmp/x}]\n"
        "      outputs: [{name: y, json_path: $.y}]\n"
    )

    found = check_text(text)

    assert [(d.code, d.severity, d.message) for d in found] == [
        ("WFE052", "warning", "`path` has no effect"),
        ("WFE052", "warning", "`json_path` has no effect"),
    ]
