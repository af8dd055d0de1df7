"""Sentences of the language's contract, each tried with a small file."""

from __future__ import annotations

from pathlib import Path

import pytest
from flow_files import finish, ran

from wfe.yaml import check
from wfe.yaml.http_step import Http

pytest.importorskip("wfe.host")
pytest.importorskip("wfe.testing")

HEAD = "workflow:\n  id: w\n  version: 1\n"


def told(tmp_path: Path, body: str) -> list[tuple[str, str, int]]:
    path = tmp_path / "w.yaml"
    path.write_text(HEAD + body, encoding="utf-8")
    return [(found.code, str(found.severity), found.line) for found in check([path])]


async def test_a_failed_need_skips_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    steps = """
    - {name: boom, run: exit 1}
    - {name: held, needs: boom, run: echo held >> log}
    - {name: slow, run: 'sleep 0.3; echo slow >> log'}
    - {name: next, needs: slow, run: echo next >> log}
"""
    instance = await finish(tmp_path, steps)

    assert (instance.status, ran(tmp_path)) == ("failed", ["slow", "next"])


async def test_an_optional_secret_that_is_not_given_is_empty(tmp_path: Path) -> None:
    steps = """
    - {name: a, env: {T: '${{ inputs.t }}'}, run: 'echo "a[$T]" >> log'}
    - {name: b, secrets: {T: '${{ inputs.t }}'}, run: 'echo "b[$T]" >> log'}
    - {name: c, env: {T: 'x${{ inputs.t }}'}, run: 'echo "c[$T]" >> log'}
"""
    instance = await finish(tmp_path, steps, "  inputs: {t: secret?}\n")

    assert (instance.status, ran(tmp_path)) == ("complete", ["a[]", "b[]", "c[x]"])


async def test_a_container_hands_down_that_its_steps_are_not_trusted(tmp_path: Path) -> None:
    marker = 'echo "##wfe[output x=set]"'
    steps = f"""
    - untrusted: true
      do:
        - {{name: a, outputs: {{x: string?}}, run: '{marker}'}}
        - {{name: b, commands: true, outputs: {{x: string?}}, run: '{marker}'}}
    - commands: false
      parallel:
        - {{name: c, outputs: {{x: string?}}, run: '{marker}'}}
    - {{name: d, outputs: {{x: string?}}, run: '{marker}'}}
    - name: show
      run: |
        echo ${{{{ steps.a.outputs.x == null }}}} ${{{{ steps.b.outputs.x == null }}}} >> log
        echo ${{{{ steps.c.outputs.x == null }}}} ${{{{ steps.d.outputs.x }}}} >> log
"""
    await finish(tmp_path, steps)

    assert ran(tmp_path) == ["true true", "true set"]


def test_a_wait_runs_nothing_that_could_be_trusted(tmp_path: Path) -> None:
    assert told(tmp_path, "  steps:\n    - {delay: 1s, untrusted: true}\n") == [
        ("WFE012", "error", 5)
    ]


@pytest.mark.parametrize(
    ("steps", "severity"),
    [
        ("    - {STEP}\n", "error"),
        ("    - {STEP, when: inputs.go}\n", "warning"),
        ("    - {if: inputs.go, then: [{STEP}]}\n", "warning"),
        ("    - {do: [{STEP}], when: inputs.go}\n", "warning"),
        ("    - {name: a, run: 'true', on_failure: {STEP}}\n", "warning"),
        ("    - {name: a, run: 'true', ensure: {STEP}}\n", "error"),
        ("    - {do: [{STEP}]}\n", "error"),
    ],
)
def test_what_a_step_lacks_is_an_error_only_where_it_surely_runs(
    steps: str, severity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Http, "missing", lambda: ("it lacks a friend", "find one"))
    step = "name: s, type: http, config: {url: 'https://example.org/'}"
    inputs = "  inputs: {go: bool}\n" if "inputs.go" in steps else ""
    found = told(tmp_path, f"{inputs}  steps:\n{steps.replace('STEP', step)}")

    assert [(code, how) for code, how, _ in found] == [("WFE111", severity)]


@pytest.mark.parametrize(
    "body",
    [
        "  name: 5\n  steps: [{name: a, run: 'true'}]\n",
        "  description: true\n  steps: [{name: a, run: 'true'}]\n",
        "  steps:\n    - {name: 5, run: 'true'}\n",
        "  steps:\n    - {name: null, run: 'true'}\n",
    ],
)
def test_a_name_is_a_text(body: str, tmp_path: Path) -> None:
    assert [code for code, _, _ in told(tmp_path, body)] == ["WFE011"]
