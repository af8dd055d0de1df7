"""The key `secrets` of steps: what is refused, what steps get, what becomes of it in runs."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.yaml import check, load_workflows
from wfe.yaml.inputs import start_data

host = pytest.importorskip("wfe.host")

SECRET = "hunter2-is-long"
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def diagnostics(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    return [(found.code, found.message) for found in check([path])]


def step(keys: str, inputs: str = "") -> str:
    head = "workflow:\n  id: w\n  version: 1\n"
    return f"{head}{inputs}  steps:\n    - name: s\n      run: 'true'\n{keys}"


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ("      secrets: 3\n", "WFE011", "`secrets` is a list of names, or a map"),
        ("      secrets: [[a]]\n", "WFE011", "the name of a secret is a text"),
        ("      secrets: {A: [a]}\n", "WFE011", "the name of a secret is a text"),
        ("      secrets: [a b]\n", "WFE020", "the name of a secret cannot be `a b`"),
        ("      secrets: [.a]\n", "WFE020", "the name of a secret cannot be `.a`"),
        ("      secrets: ['']\n", "WFE020", "the name of a secret is empty"),
        ("      secrets: {A-B: a}\n", "WFE020", "an environment variable cannot be called `A-B`"),
        ("      secrets: [path]\n", "WFE050", "a secret cannot be in the environment variable"),
        ("      secrets: {LD_PRELOAD: a}\n", "WFE050", "a secret cannot be in the environment"),
        ("      secrets: {WFE_X: a}\n", "WFE050", "a secret cannot be in the environment"),
        (
            "      secrets: [7up]\n",
            "WFE020",
            "in the environment variable `7UP`",
        ),
        ("      secrets: [a-b, a.b]\n", "WFE018", "the variable `A_B` would hold two secrets"),
        ("      secrets: [a]\n      env: {A: x}\n", "WFE018", "`A` stands in `env`, and a secret"),
        ("      env_from_host: [WFE_SECRET_A]\n", "WFE100", "`WFE_SECRET_A` holds a secret"),
        ("      secrets: ['${{ inputs.t }}']\n", "WFE100", "the variable of a computed secret"),
    ],
)
def test_what_is_refused(keys: str, code: str, message: str, tmp_path: Path) -> None:
    inputs = "  inputs: {t: secret}\n" if "inputs.t" in keys else ""
    found = [d for d in diagnostics(tmp_path, step(keys, inputs)) if d[0] != "WFE052"]

    assert [each for each, _ in found] == [code]
    assert message in found[0][1]


@pytest.mark.parametrize(
    "keys",
    [
        "      secrets: [token, npm-token, api.key_2]\n",
        "      secrets: {A: token, B: token}\n",
        "      secrets: {T: '${{ inputs.t }}'}\n",
        "      secrets: {T: '${{ secrets.x }}'}\n",
    ],
)
def test_what_is_fine(keys: str, tmp_path: Path) -> None:
    inputs = "  inputs: {t: secret}\n" if "inputs.t" in keys else ""

    assert diagnostics(tmp_path, step(keys, inputs)) == []


def test_a_child_workflow_declares_its_own(tmp_path: Path) -> None:
    text = (
        "workflows:\n"
        "  - {id: c, version: 1, steps: [{name: x, run: 'true'}]}\n"
        "  - id: w\n    version: 1\n    steps:\n"
        "      - {name: s, type: workflow, config: {workflow: c}, secrets: [a]}\n"
    )

    assert [code for code, _ in diagnostics(tmp_path, text)] == ["WFE100"]


async def ran(
    tmp_path: Path, text: str, secrets: dict[str, str], **inputs: Any
) -> tuple[Any, list[tuple[str, str]]]:
    path = tmp_path / "w.yaml"
    path.write_text(text, encoding="utf-8")
    definitions = load_workflows(path)
    async with host.WorkflowHost("memory://", secrets=secrets) as running:
        running.register(*definitions)
        data = start_data(definitions[-1], inputs)
        run = await running.start_workflow(definitions[-1].id, data)
        instance = await run.wait(timedelta(seconds=20))
        return instance, [(line.stream, line.line) for line in await running.logs(run.id)]


@needs_bash
async def test_a_step_gets_its_secrets_and_the_next_one_does_not(tmp_path: Path) -> None:
    text = (
        "workflow:\n  id: w\n  version: 1\n  inputs: {t: secret}\n  steps:\n"
        "    - name: with\n"
        "      secrets: {A: token, B: '${{ inputs.t }}'}\n"
        "      env: {C: \"x${{ secrets['other.one'] }}\"}\n"
        "      run: |\n"
        '        echo "${#A} ${#B} ${#C} $A $B $C"\n'
        "    - name: without\n"
        "      run: |\n"
        '        echo "[$A$B$C]"; env | grep -c hunter2 || true\n'
    )
    secrets = {"token": SECRET, "other.one": "second-secret", "b": "third-secret"}

    instance, lines = await ran(tmp_path, text, secrets, t="b")

    assert instance.status == "complete"
    assert lines == [("stdout", "15 12 14 *** *** x***"), ("stdout", "[]"), ("stdout", "0")]


@needs_bash
@pytest.mark.parametrize(
    ("run", "where"),
    [
        ('echo "url=https://u:$TOKEN@h" >> "$WFE_OUTPUT"', "data.url contains the secret"),
        ('echo "{\\"k\\": [\\"$TOKEN\\"]}" >> "$WFE_OUTPUT"', "data.k[0] contains the secret"),
        (
            'printf "b=%s" "$(echo "$TOKEN" | base64)" >> "$WFE_OUTPUT"',
            "data.b contains the secret",
        ),
        ('echo "##wfe[output url=$TOKEN]"', "output 'url' on stdout contains a secret"),
    ],
)
async def test_a_secret_in_an_output_fails_the_step(run: str, where: str, tmp_path: Path) -> None:
    text = (
        "workflow:\n  id: w\n  version: 1\n  steps:\n    - name: s\n      secrets: [token]\n"
        f"      outputs: {{url: string?}}\n      run: |\n        {run}\n"
    )

    instance, _ = await ran(tmp_path, text, {"token": SECRET})

    assert instance.status == "failed"
    assert where in instance.error.message
    assert SECRET not in repr(instance)


@needs_bash
async def test_an_optional_secret_that_is_not_given_is_empty(tmp_path: Path) -> None:
    text = (
        "workflow:\n  id: w\n  version: 1\n  inputs: {t: secret?}\n  steps:\n    - name: s\n"
        "      secrets: {TOKEN: '${{ inputs.t }}'}\n      run: echo \"[$TOKEN]\"\n"
    )

    _, without = await ran(tmp_path, text, {"x": SECRET})
    _, given = await ran(tmp_path, text, {"x": SECRET}, t="x")

    assert (without, given) == ([("stdout", "[]")], [("stdout", "[***]")])


@needs_bash
async def test_a_failing_step_tells_no_secret(tmp_path: Path) -> None:
    text = (
        "workflow:\n  id: w\n  version: 1\n  steps:\n    - name: s\n      secrets: [token]\n"
        '      run: |\n        echo "no access with $TOKEN" >&2; exit 4\n'
    )

    instance, _ = await ran(tmp_path, text, {"token": SECRET})

    assert instance.error.message == "the command exited with code 4: no access with ***"


@needs_bash
async def test_outputs_that_are_too_deep_fail_the_step_and_nothing_else(tmp_path: Path) -> None:
    text = (
        "workflow:\n  id: w\n  version: 1\n  steps:\n"
        "    - name: s\n"
        "      config:\n"
        "        shell: python\n"
        "        run: |\n"
        "          import os\n"
        "          with open(os.environ['WFE_OUTPUT'], 'w') as file:\n"
        "              file.write('{\"k\":' + '[' * 500 + ']' * 500 + '}')\n"
    )

    instance, _ = await ran(tmp_path, text, {})

    assert instance.status == "failed"
    assert instance.error.step == "s"
