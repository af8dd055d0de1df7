"""Files that run: from text to the outputs of a finished run, in memory."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.core import WorkflowBuilder
from wfe.yaml import load_workflows, start_data
from wfe.yaml.shell import Shell

host = pytest.importorskip("wfe.host")

HOSTILE = (
    "$(touch pwned) `touch pwned`\"; touch pwned; '\\ ${HOME} ${{ inputs.x }} ((v)) \n"
    "##wfe[output a=forged]"
)


async def finish(text: str, tmp_path: Path, **inputs: object) -> Any:
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    definitions = load_workflows(path, {"v": "from the command line"})
    async with host.WorkflowHost("memory://") as running:
        for definition in definitions:
            running.register(definition)
        main = definitions[-1]
        run = await running.start_workflow(main.id, start_data(main, inputs))
        return await run.wait(timeout=timedelta(seconds=20))


def flow(steps: str, head: str = "") -> str:
    return f"workflow:\n  id: flow\n  version: 1\n{head}  steps:\n{steps}"


async def test_outputs_reach_later_steps_and_the_run_typed(tmp_path: Path) -> None:
    text = flow(
        "    - name: make it\n"
        "      id: make\n"
        "      run: |\n"
        '        echo "count=${{ inputs.n + 1 }}" >> "$WFE_OUTPUT"\n'
        '        echo "digest=0123" >> "$WFE_OUTPUT"\n'
        "      outputs: {count: integer, digest: string}\n"
        "    - name: use\n"
        '      run: echo "##wfe[output text=${{ data.digest }}-${{ data.count }}-$N]"\n'
        "      outputs: {text: string}\n",
        "  inputs: {n: integer}\n"
        "  outputs:\n"
        "    digest: string\n"
        "    text: string\n"
        "    twice: {type: integer, value: '${{ steps.make.outputs.count * 2 }}'}\n",
    )

    instance = await finish(text, tmp_path, n="3")

    assert (instance.status, instance.error) == ("complete", None)
    assert instance.data["outputs"] == {"digest": "0123", "text": "0123-4-3", "twice": 8}


async def test_a_hostile_value_stays_a_value_everywhere(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    text = flow(
        "    - name: show\n"
        "      env: {OWN: '${{ inputs.x }}'}\n"
        "      working_dir: ((dir|sub))\n"
        "      run: |\n"
        "        printf %s ${{ inputs.x }} > one\n"
        '        printf %s "${{ inputs.x }}" > two\n'
        "        cat > three <<END\n"
        "        ${{ inputs.x }}\n"
        "        END\n"
        '        printf %s "$(printf %s ${{ inputs.x }})" > four\n'
        '        printf %s "$OWN" > five\n'
        '        printf %s "$X" > six\n'
        "        printf '%s\\n' ((v)) > seven\n"
        "        echo ${{ inputs.x }}\n"
        "      outputs: {a: 'string?'}\n",
        "  inputs: {x: string}\n",
    )

    instance = await finish(text, tmp_path, x=HOSTILE)

    assert (instance.status, instance.error) == ("complete", None)
    names = ("one", "two", "three", "four", "five", "six")
    found = {name: (tmp_path / "sub" / name).read_text(encoding="utf-8") for name in names}
    assert {text.rstrip("\n") for text in found.values()} == {HOSTILE}
    assert (tmp_path / "sub" / "seven").read_text(encoding="utf-8") == "from the command line\n"
    assert not (tmp_path / "sub" / "pwned").exists()


async def test_control_steps(tmp_path: Path) -> None:
    text = flow(
        "    - for_each: inputs.names\n"
        "      as: name\n"
        "      sequential: true\n"
        "      do:\n"
        '        - {name: each, run: "echo ${{ index }}${{ name }} >> log"}\n'
        "    - if: size(inputs.names) > 5\n"
        "      then: [{name: many, run: echo many >> log}]\n"
        "      else: [{name: few, run: echo few >> log}]\n"
        "    - name: skipped\n"
        "      when: inputs.names[0] == 'z'\n"
        "      run: exit 1\n"
        "      outputs: {o: string}\n"
        "    - name: after\n"
        "      run: echo ${{ steps.skipped.?outputs.o.orValue('none') }} >> log\n"
        "    - {name: failing, continue_on_error: true, run: exit 3}\n"
        "    - delay: 10ms\n"
        "    - name: both\n"
        "      parallel:\n"
        "        - {name: p1, run: echo 1 > p1, outputs: {}}\n"
        "        - do: [{name: p2, run: echo 2 > p2}]\n"
        "    - {name: last, run: cat p1 p2 >> log}\n",
        "  inputs: {names: list<string>}\n",
    )

    instance = await finish(text, tmp_path, names='["a", "b c"]')

    assert (instance.status, instance.error) == ("complete", None)
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert log == "0a\n1b c\nfew\nnone\n1\n2\n"


async def test_a_loop_reads_what_its_body_made(tmp_path: Path) -> None:
    text = flow(
        "    - while: steps.count.?outputs.n.orValue(0) < 3\n"
        "      max_iterations: 5\n"
        "      do:\n"
        "        - name: count\n"
        "          outputs: {n: integer}\n"
        "          run: echo x >> log; echo n=$(wc -l < log) >> $WFE_OUTPUT\n"
        "    - {name: outputs, run: echo end >> log, outputs: {}}\n",
        "  outputs: {n: integer?}\n",
    )

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    assert instance.data["outputs"] == {"n": 3}
    assert (tmp_path / "log").read_text(encoding="utf-8") == "x\nx\nx\nend\n"


async def test_nested_loops_see_the_items_around_them(tmp_path: Path) -> None:
    text = flow(
        "    - for_each: [a, b]\n"
        "      as: outer\n"
        "      sequential: true\n"
        "      do:\n"
        "        - for_each: [1, 2]\n"
        "          sequential: true\n"
        "          do:\n"
        '            - {name: say, run: "echo ${{ outer }}${{ item }} >> log"}\n'
    )

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a1\na2\nb1\nb2\n"


async def test_a_round_reads_what_its_own_steps_made(tmp_path: Path) -> None:
    text = flow(
        "    - for_each: [a, b, c, d]\n"
        "      do:\n"
        "        - name: make\n"
        "          outputs: {word: string}\n"
        '          run: echo "word=${{ item }}${{ index }}" >> $WFE_OUTPUT\n'
        "        - for_each: [x, y]\n"
        "          do:\n"
        "            - name: inner\n"
        "              outputs: {both: string}\n"
        '              run: echo "both=${{ steps.make.outputs.word }}${{ item }}" >> $WFE_OUTPUT\n'
        "            - name: say\n"
        '              run: echo "${{ steps.inner.outputs.both }}" >> log\n'
        "    - name: after\n"
        "      run: echo after ${{ steps.make.?outputs.word.orValue('none') }} >> log\n"
    )

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert lines[-1] == "after d3"
    assert sorted(lines[:-1]) == ["a0x", "a0y", "b1x", "b1y", "c2x", "c2y", "d3x", "d3y"]
    recorded = [name for name in instance.data if name.startswith("steps.")]
    assert sorted(recorded) == [
        "steps.after",
        "steps.inner[3/1]",
        "steps.make[3]",
        "steps.say[3/1]",
    ]


async def test_a_child_in_a_loop_gives_its_outputs_to_its_round(tmp_path: Path) -> None:
    text = """workflows:
  - id: child
    version: 1
    inputs: {n: integer}
    outputs: {m: {type: integer, value: "${{ inputs.n * 2 }}"}}
    steps:
      - {name: nothing, run: "true"}
  - id: parent
    version: 1
    steps:
      - for_each: [1, 2, 3]
        do:
          - {name: twice, type: workflow, config: {workflow: child}, inputs: {n: "${{ item }}"}}
          - {name: say, run: "echo ${{ item }} ${{ steps.twice.outputs.m }} >> log"}
"""

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert sorted(lines) == ["1 2", "2 4", "3 6"]


async def test_needs_order_the_steps(tmp_path: Path) -> None:
    text = flow(
        '    - {name: c, needs: [a, b], run: "echo ${{ data.x }}$(cat b) > c"}\n'
        "    - {name: b, needs: a, run: echo b > b}\n"
        '    - {name: a, run: "echo x=1 >> $WFE_OUTPUT", outputs: {x: integer}}\n'
    )

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    assert (tmp_path / "c").read_text(encoding="utf-8") == "1b\n"


async def test_a_child_workflow_gives_its_outputs(tmp_path: Path) -> None:
    text = """workflows:
  - id: child
    version: 1
    inputs: {image: string, scale: {type: number, default: 2}}
    outputs: {digest: string}
    steps:
      - name: build
        run: echo "digest=${{ inputs.image }}:${{ inputs.scale * 1.5 }}" >> "$WFE_OUTPUT"
        outputs: {digest: string}
  - id: main
    version: 1
    inputs: {n: integer}
    outputs: {digest: string, own: {type: string, value: "${{ steps.go.outputs.digest }}"}}
    steps:
      - name: go
        type: workflow
        config: {workflow: child}
        inputs: {image: app, scale: "${{ inputs.n }}"}
"""

    instance = await finish(text, tmp_path, n="3")

    assert (instance.status, instance.error) == ("complete", None)
    assert instance.data["outputs"] == {"digest": "app:4.5", "own": "app:4.5"}


async def test_a_failed_step_fails_the_run_with_its_exit_code(tmp_path: Path) -> None:
    instance = await finish(flow("    - {name: bad, run: 'echo why >&2; exit 7'}\n"), tmp_path)

    assert instance.status == "failed"
    assert instance.error.step == "bad"
    assert instance.error.message == "the command exited with code 7: why"


async def test_a_retry_runs_the_commands_again(tmp_path: Path) -> None:
    text = flow(
        "    - name: flaky\n"
        "      run: echo $WFE_ATTEMPT >> log; test $WFE_ATTEMPT = 2\n"
        "      retry: {max: 2, interval: 1ms}\n"
    )

    instance = await finish(text, tmp_path)

    assert (instance.status, instance.error) == ("complete", None)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "0\n1\n2\n"


async def test_a_timeout_ends_the_commands(tmp_path: Path) -> None:
    text = flow(
        "    - name: slow\n"
        "      timeout: 100ms\n"
        "      run: trap 'echo ended > log; exit' TERM; sleep 30 & wait\n"
    )

    instance = await finish(text, tmp_path)

    assert instance.status == "failed"
    assert instance.error.type == "StepTimeoutError"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "ended\n"


async def test_an_event_wakes_a_waiting_run(tmp_path: Path) -> None:
    text = flow(
        "    - wait_for: {event: approved, key: '${{ inputs.id }}', output: approval}\n"
        "    - {name: go, run: 'echo ${{ data.approval.by }} > log'}\n",
        "  inputs: {id: string}\n",
    )
    path = tmp_path / "flow.yaml"
    path.write_text(text, encoding="utf-8")
    (definition,) = load_workflows(path)

    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        run = await running.start_workflow("flow", start_data(definition, {"id": "7"}))
        await running.publish_event("approved", "7", {"by": "me"})
        instance = await run.wait(timeout=timedelta(seconds=20))

    assert (instance.status, instance.error) == ("complete", None)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "me\n"


def _result_a(body: Shell) -> object:
    return body.results["a"]


async def test_a_shell_step_works_in_a_builder_too(tmp_path: Path) -> None:
    definition = (
        WorkflowBuilder()
        .start_with(Shell(run='echo "a=1" >> "$WFE_OUTPUT"', workspace=tmp_path))
        .output("got", _result_a)
        .build("built", version=1)
    )

    instance = await host.arun(definition, {})

    assert (instance.status, instance.data["got"]) == ("complete", 1)
