"""Expressions in runs: what the checker took, the engine evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wfe.core.models import WorkflowStatus
from wfe.testing import WorkflowTest
from wfe.yaml import load_workflow
from wfe.yaml.inputs import start_data


async def outputs(text: str, tmp_path: Path, given: Mapping[str, object]) -> dict[str, Any]:
    path = tmp_path / "workflow.yaml"
    path.write_text(text, encoding="utf-8")
    definition = load_workflow(path)

    async with WorkflowTest(definition) as run:
        instance = await run.run(definition, start_data(definition, given))

    assert instance.status is WorkflowStatus.COMPLETE, instance.error
    found: dict[str, Any] = instance.data["outputs"]
    return found


async def test_functions_give_at_run_time_what_they_were_checked_to_give(tmp_path: Path) -> None:
    text = """workflow:
  id: expressions
  version: 1
  inputs:
    file: string
    tags: list<string>
    note: string?
    at: timestamp
    more: any
  outputs:
    name: {type: string, value: "${{ stem(inputs.file) }}"}
    tags: {type: list<string>, value: "${{ sorted(unique(inputs.tags)) }}"}
    note: {type: string, value: "${{ default(inputs.note, 'none') }}"}
    day: {type: string, value: "${{ formatTime(inputs.at, '%d.%m.%Y') }}"}
    json: {type: string, value: "${{ toJson(inputs.more) }}"}
    back: {type: any, value: "${{ fromJson(toJson(inputs.more)).b[1] }}"}
    begun: {type: bool, value: "${{ run.started > timestamp('2001-01-01T00:00:00Z') }}"}
    late: {type: string, value: "${{ formatTime(run.started, '%Y').size() == 4 ? 'ok' : 'no' }}"}
    text: {type: string, value: "${{ 6.0 / 2.0 }}/${{ inputs.note }}/${{ inputs.tags }}"}
    made: {type: integer, value: "${{ steps.make.outputs.size * 2 }}"}
  steps:
    - name: make
      outputs: {size: integer}
      run: echo "size=${{ inputs.tags.size() }}" >> "$WFE_OUTPUT"
"""
    given = {
        "file": "dist/app.tar.gz",
        "tags": ["b", "a", "b"],
        "note": None,
        "at": "2026-01-31T12:00:00Z",
        "more": {"b": [1, {"c": None}], "a": "é"},
    }

    found = await outputs(text, tmp_path, given)

    assert found == {
        "name": "app.tar",
        "tags": ["a", "b"],
        "note": "none",
        "day": "31.01.2026",
        "json": '{"a":"é","b":[1,{"c":null}]}',
        "back": {"c": None},
        "begun": True,
        "late": "ok",
        "text": '3//["b","a","b"]',
        "made": 6,
    }


@pytest.mark.parametrize("fails", [True, False])
async def test_failure_and_always_are_asked_of_the_run(tmp_path: Path, fails: bool) -> None:
    path = tmp_path / "workflow.yaml"
    path.write_text(
        """workflow:
  id: status
  version: 1
  inputs: {fails: bool}
  steps:
    - name: test
      run: test ${{ inputs.fails }} = false
    - name: tell
      when: failure() && inputs.fails
      run: touch told
    - name: good
      when: success()
      run: touch good
    - name: sweep
      when: always()
      run: touch swept
""",
        encoding="utf-8",
    )
    definition = load_workflow(path)

    async with WorkflowTest(definition) as run:
        instance = await run.run(definition, start_data(definition, {"fails": fails}))

    ends = WorkflowStatus.FAILED if fails else WorkflowStatus.COMPLETE
    assert instance.status is ends
    assert (tmp_path / "told").exists() is fails
    assert (tmp_path / "good").exists() is not fails
    assert (tmp_path / "swept").exists()


async def test_python_gets_values_and_no_code(tmp_path: Path) -> None:
    text = """workflow:
  id: python
  version: 1
  inputs: {name: string, count: integer}
  outputs: {said: string}
  steps:
    - name: say
      outputs: {said: string}
      config:
        shell: python
        run: |
          import json, os
          said = ${{ inputs.name }} * int(${{ inputs.count }})  # ${{ inputs.name }}
          with open(os.environ["WFE_OUTPUT"], "a") as file:
              file.write(json.dumps({"said": said}) + "\\n")
"""
    hostile = "'; import sys; sys.exit(3) #\n"

    found = await outputs(text, tmp_path, {"name": hostile, "count": 2})

    assert found == {"said": hostile * 2}
