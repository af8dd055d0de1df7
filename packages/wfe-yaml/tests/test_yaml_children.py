"""Child workflows: of other files, in versions, with secrets and optional outputs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.yaml import check, load_workflows, start_data

host = pytest.importorskip("wfe.host")

BUILD = """workflows:
  - id: build
    version: {version}
    inputs: {{image: string, note: "string?", token: secret}}
    outputs: {{digest: string, size: "integer?"}}
    steps:
      - name: make
        env: {{TOKEN: "${{{{ inputs.token }}}}"}}
        outputs: {{digest: string, size: "integer?"}}
        run: |
          echo "digest=v{version}-$IMAGE-$NOTE-${{#TOKEN}}" >> "$WFE_OUTPUT"
"""
MAIN = """include: [build1.yaml, build2.yaml]
workflow:
  id: main
  version: 1
  inputs: {{token: secret}}
  outputs:
    digest: {{type: string, value: "${{{{ steps.go.outputs.digest }}}}"}}
    size: {{type: any, value: "${{{{ steps.go.outputs.size }}}}"}}
  steps:
    - name: go
      type: workflow
      config: {config}
      inputs: {inputs}
    - name: use
      run: test -n ${{{{ inputs.token }}}}
"""


def write(where: Path, config: str, inputs: str = "{image: app}") -> Path:
    for version in (1, 2):
        text = BUILD.format(version=version)
        (where / f"build{version}.yaml").write_text(text, encoding="utf-8")
    main = where / "main.yaml"
    main.write_text(MAIN.format(config=config, inputs=inputs), encoding="utf-8")
    return main


async def finish(path: Path) -> Any:
    definitions = load_workflows(path)
    main = next(each for each in definitions if each.id == "main")
    async with host.WorkflowHost("memory://", secrets={"npm": "s3cret-value"}) as running:
        for definition in definitions:
            running.register(definition)
        data = start_data(main, {"token": "npm"})
        run = await running.start_workflow("main", data)
        return await run.wait(timeout=timedelta(seconds=20))


@pytest.mark.parametrize(
    ("config", "inputs", "digest"),
    [
        ("{workflow: build}", "{image: app, token: npm, note: null}", "v2-app--12"),
        (
            "{workflow: build, workflow_version: 1}",
            "{image: app, note: x, token: npm}",
            "v1-app-x-12",
        ),
        ("{workflow: build}", '{image: app, token: "${{ inputs.token }}"}', "v2-app--12"),
        ("{workflow: build}", '{image: app, token: "${{ secrets.npm }}"}', "v2-app--12"),
    ],
)
async def test_a_child_of_another_file_runs(
    tmp_path: Path, config: str, inputs: str, digest: str
) -> None:
    path = write(tmp_path, config, inputs)

    assert check([path]) == []
    instance = await finish(path)

    assert (instance.status, instance.error) == ("complete", None)
    assert instance.data["outputs"] == {"digest": digest, "size": None}
    assert "s3cret" not in str(instance.data)


@pytest.mark.parametrize(
    ("config", "inputs", "message"),
    [
        (
            "{workflow: build, workflow_version: 3}",
            "{image: a}",
            "the workflow `build` has versions 1 and 2, not 3",
        ),
        ("{workflow: biuld}", "{image: a}", "there is no workflow `biuld`"),
        (
            "{workflow: build, version: 1}",
            "{image: a}",
            "the `config` of a workflow step has no key `version`",
        ),
        ("{workflow: build}", "{}", "the workflow `build` needs the input `image` (string)"),
        (
            "{workflow: build}",
            '{image: "${{ secrets.npm }}"}',
            "the secret `npm` would flow into the input `image` of a child workflow",
        ),
    ],
)
def test_what_does_not_fit_the_child_is_said(
    tmp_path: Path, config: str, inputs: str, message: str
) -> None:
    found = check([write(tmp_path, config, inputs)])

    assert any(each.message.startswith(message) for each in found)
