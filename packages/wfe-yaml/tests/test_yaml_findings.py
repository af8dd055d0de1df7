"""Warnings that need a whole workflow: what they find, and what they leave alone."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from wfe.yaml import Severity, load_workflows
from wfe.yaml.loader import check_text


def warned(steps: str, head: str = "") -> list[str]:
    text = f"workflow:\n  id: a\n  version: 1\n{head}  steps:\n{steps}"
    found = check_text(text)
    assert all(each.severity is Severity.WARNING for each in found), found
    return [f"{each.line}:{each.code}" for each in found]


@pytest.mark.parametrize(
    "steps",
    [
        "    - {name: a, when: ((on|false)), run: b}\n",
        "    - {if: ((on|false)), then: [{name: a, run: b}]}\n",
        "    - {while: true, max_iterations: 3, do: [{name: a, run: b}]}\n    - {delay: 1s}\n",
        "    - {while: true, timeout: 5m, do: [{name: a, run: b}]}\n    - {name: c, run: d}\n",
        "    - {while: true, do: [{name: a, run: b}]}\n    - {name: c, when: always(), run: d}\n",
        (
            "    - {name: a, needs: [], outputs: {x: string}, run: b}\n"
            "    - {name: c, needs: [a], outputs: {x: string}, run: d}\n"
            "    - {name: e, needs: [c], run: 'f ${{ data.x }}'}\n"
        ),
        (
            "    - {for_each: [1, 2], do: [{name: a, outputs: {x: string}, run: b}]}\n"
            "    - {name: e, run: 'f ${{ data.?x.orValue(0) }}'}\n"
        ),
        "    - {wait_for: {event: a, timeout: 5m}, retry: 2}\n",
        "    - {try: [{name: a, retry: 2, run: b}]}\n",
    ],
)
def test_what_is_meant_is_left_alone(steps: str) -> None:
    assert warned(steps) == []


def test_load_time_variables_switch_steps_on_and_off() -> None:
    steps = (
        "    - {name: a, when: var.on == 1, run: b}\n    - {if: var.on == 2, then: [{delay: 1s}]}\n"
    )
    text = f"workflow:\n  id: a\n  version: 1\n  steps:\n{steps}"

    assert check_text(text, variables={"on": 1}) == []


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ("    - {if: false, then: [{name: a, run: b}], else: [{name: c, run: d}]}\n", ["5:WFE091"]),
        ("    - {while: false, do: [{name: a, run: b}]}\n", ["5:WFE091"]),
        ("    - {name: a, when: '${{ false }}', run: b}\n", ["5:WFE091"]),
        (
            "    - {name: a, run: b, on_failure: [{name: c, when: false, run: d}]}\n",
            ["5:WFE091"],
        ),
        (
            "    - switch: run.id\n      cases:\n        a: [{name: b, when: false, run: c}]\n",
            ["7:WFE091"],
        ),
        ("    - {until: '2026-01-31T12:00:00Z', retry: 3}\n", ["5:WFE095"]),
        (
            (
                "    - parallel:\n        - do: [{name: a, outputs: {x: string}, run: b}]\n"
                "        - {name: c, outputs: {x: string}, run: d}\n"
                "    - {name: e, run: 'f ${{ data.x }}'}\n"
            ),
            ["7:WFE094"],
        ),
    ],
)
def test_what_is_dead_or_doubtful_is_found(steps: str, found: list[str]) -> None:
    assert warned(steps) == found


@pytest.mark.parametrize(
    ("read", "steps"),
    [
        ("an expression", "    - {name: s, run: 'a ${{ inputs.image }}'}\n"),
        ("a variable of the shell", "    - {name: s, run: 'a $IMAGE'}\n"),
        ("all inputs", "    - {name: s, run: 'a ${{ toJson(inputs) }}'}\n"),
        ("a load-time text", "    - {name: s, run: 'a ${{ inputs.image }} ((b|1))'}\n"),
    ],
)
def test_an_input_is_read_by(read: str, steps: str) -> None:
    assert warned(steps, "  inputs: {image: string}\n") == [], read


@pytest.mark.parametrize(
    "reader",
    [
        "    - {name: r, run: 'a ${{ steps.s.outputs.digest }}'}\n",
        "    - {name: r, run: 'a ${{ toJson(steps.s.outputs) }}'}\n",
        "    - {name: r, run: 'a ${{ data.digest }}'}\n",
        "    - {name: r, run: 'a ${{ toJson(data) }}'}\n",
        "    - {name: r, run: 'a ${{ steps.s.?outputs.?digest.orValue(1) }}'}\n",
    ],
)
def test_an_output_is_read_by(reader: str) -> None:
    steps = "    - {name: s, outputs: {digest: string}, run: make}\n"

    assert warned(steps) == ["5:WFE093"]
    assert warned(steps + reader) == []


def test_outputs_in_a_loop_are_read_by_its_results() -> None:
    steps = (
        "    - name: each\n      for_each: [1]\n"
        "      do: [{name: s, outputs: {digest: string}, run: make}]\n"
        "    - {name: r, run: 'a ${{ toJson(steps.each.results) }}'}\n"
    )

    assert warned(steps) == []


def test_an_output_read_in_a_hook_of_its_step_is_read() -> None:
    steps = (
        "    - name: s\n      outputs: {digest: string}\n      run: make\n"
        "      on_success: [{name: r, run: 'a ${{ step.outputs.digest }}'}]\n"
    )

    assert warned(steps) == []


def test_nothing_is_warned_of_while_there_are_errors() -> None:
    found = check_text(
        "workflow:\n  id: a\n  version: 1\n  inputs: {image: string}\n"
        "  steps:\n    - {name: s, run: 'a ${{ inputs.imgae }}'}\n"  # codespell:ignore
    )

    assert [each.code for each in found] == ["WFE032"]


def big(steps: int, needs: str) -> str:
    lines = ["workflow:", "  id: a", "  version: 1", "  steps:"]
    for i in range(steps):
        reads = f" ${{{{ steps.s{i - 1}.outputs.x{i - 1} }}}}" if i else ""
        lines += [
            f"    - name: s{i}",
            f"      outputs: {{x{i}: string}}",
            f"      run: make{reads}",
        ]
        if needs and i:
            lines.append(f"      needs: [s{i - 1}]")
    lines += ["    - name: last", f"      run: echo ${{{{ data.x{steps - 1} }}}}"]
    lines += [f"      needs: [s{steps - 1}]"] if needs else []
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("needs", ["", "needs"])
def test_the_time_of_a_check_grows_with_the_file_and_not_with_its_square(needs: str) -> None:
    def seconds(steps: int) -> float:
        text = big(steps, needs)
        begun = time.process_time()
        assert check_text(text) == []
        return time.process_time() - begun

    seconds(20)
    gc.disable()  # its pauses grow with what all tests before this one have left
    try:
        few, many = (min(seconds(steps) for _ in range(2)) for steps in (150, 1200))
    finally:
        gc.enable()

    assert many < few * 8 * 2.5


def test_a_switched_off_step_still_becomes_a_definition(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "workflow: {id: a, version: 1, steps: [{name: s, when: false, run: make}]}\n",
        encoding="utf-8",
    )

    (definition,) = load_workflows(path)

    assert [node.name for node in definition.walk()] == ["s"]
