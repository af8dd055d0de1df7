"""The python step: functions by reference, and scripts in a process of their own."""

from __future__ import annotations

import asyncio
import pickle
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from step_contexts import Lines, step_context

from wfe.core.errors import WfeError
from wfe.core.step_types import COMPUTED
from wfe.core.steps import ExecutionResult
from wfe.yaml import load_workflow, start_data
from wfe.yaml.python_step import Python, PythonCallError
from wfe.yaml.shell import ShellCommandError
from wfe.yaml.step_outputs import StepOutputError

host = pytest.importorskip("wfe.host")

MODULE = """
import asyncio

from wfe.core.steps import ExecutionResult


def add(a, b=1, *, c=0):
    return a + b + c


async def later(name):
    await asyncio.sleep(0)
    return {"hello": name}


def nothing():
    return None


def seen(ctx, image):
    return {"step": ctx.pointer.step, "image": image}


def asks():
    return ExecutionResult.skip()


def breaks():
    raise ValueError("it is broken")


class Tools:
    @staticmethod
    def inner(x):
        return {"x": x}


import_error = __import__("sys").modules  # not callable
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "tools_of_test.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken_of_test.py").write_text("import no_such_thing\n", encoding="utf-8")
    before = list(sys.path)
    yield tmp_path
    sys.path[:] = before
    for name in ("tools_of_test", "broken_of_test"):
        sys.modules.pop(name, None)


async def call(workspace: Path, function: str, **fields: Any) -> Any:
    step = Python(call=f"tools_of_test:{function}", workspace=workspace, **fields)
    return await step.run(step_context())


@pytest.mark.parametrize(
    ("function", "fields", "result"),
    [
        pytest.param("add", {"args": {"a": 2, "c": 3}}, {"result": 6}, id="by-name"),
        pytest.param("add", {"inputs": {"a": 1, "z": 9}}, {"result": 2}, id="inputs-that-fit"),
        pytest.param(
            "add", {"inputs": {"a": 1, "b": 2}, "args": {"a": 10}}, {"result": 12}, id="both"
        ),
        pytest.param(
            "add", {"args": {"a": 2}, "outputs": {"sum": "integer"}}, {"sum": 3}, id="only-output"
        ),
        pytest.param("later", {"inputs": {"name": "Ada"}}, {"hello": "Ada"}, id="async"),
        pytest.param("nothing", {}, None, id="nothing"),
        pytest.param(
            "seen", {"inputs": {"image": "i"}}, {"step": "the step", "image": "i"}, id="context"
        ),
        pytest.param("Tools.inner", {"args": {"x": 1}}, {"x": 1}, id="dotted"),
    ],
)
async def test_a_function_gets_arguments_and_gives_outputs(
    workspace: Path, function: str, fields: dict[str, Any], result: object
) -> None:
    assert await call(workspace, function, **fields) == result


async def test_what_a_function_asks_of_the_engine_is_passed_on(workspace: Path) -> None:
    result = await call(workspace, "asks")

    assert isinstance(result, ExecutionResult)
    assert result.kind == "skip"


@pytest.mark.parametrize(
    ("reference", "args", "message"),
    [
        ("no_module_of_test:x", None, "there is no module 'no_module_of_test'"),
        ("tools_of_test.sub:x", None, "there is no module 'tools_of_test.sub'"),
        ("tools_of_test:nobody", None, "the module 'tools_of_test' has no function 'nobody'"),
        ("tools_of_test:import_error", None, "has no function 'import_error'"),
        ("tools_of_test:add", None, "missing a required argument: 'a'; it takes (a, b=1, *, c=0)"),
        ("tools_of_test:add", [1], "the `args` of a function are a map"),
        ("tools_of_test:add", {"a": 1, "d": 1}, "got an unexpected keyword argument 'd'"),
    ],
)
async def test_what_cannot_be_called_says_why(
    workspace: Path, reference: str, args: Any, message: str
) -> None:
    with pytest.raises(PythonCallError) as caught:
        await Python(call=reference, args=args, workspace=workspace).run(step_context())

    assert message in str(caught.value)
    assert caught.value.retryable is False


async def test_errors_of_the_function_and_of_its_module_are_its_own(workspace: Path) -> None:
    with pytest.raises(ValueError, match="it is broken"):
        await call(workspace, "breaks")
    with pytest.raises(ModuleNotFoundError, match="no_such_thing"):
        await Python(call="broken_of_test:x", workspace=workspace).run(step_context())


async def test_the_workspace_never_stands_in_for_an_installed_module(workspace: Path) -> None:
    (workspace / "this.py").write_text("raise SystemExit", encoding="utf-8")
    (workspace / "json.py").write_text("raise SystemExit", encoding="utf-8")

    result = await Python(call="json:dumps", args={"obj": [1]}, workspace=workspace).run(
        step_context()
    )

    assert result == {"result": "[1]"}


async def script(code: str, workspace: Path, lines: Lines | None = None, **fields: Any) -> Any:
    return await Python(script=code, workspace=workspace, **fields).run(step_context(lines))


async def test_a_script_has_inputs_and_gives_outputs(workspace: Path) -> None:
    lines: Lines = []
    code = (
        "import os, json, sys\n"
        "print('in', inputs['list'], sys.argv[1:], __name__, os.environ['WFE_STEP'])\n"
        "output('twice', inputs['n'] * 2)\n"
        "with open(os.environ['WFE_OUTPUT'], 'a') as file:\n"
        "    file.write('plain=text\\n')\n"
        "print(json.load(open(os.environ['WFE_INPUTS']))['n'])\n"
    )

    outputs = await script(
        code,
        workspace,
        lines,
        inputs={"n": 21, "list": [1, "ü"]},
        outputs={"twice": "integer"},
        args=["a b", "2"],
    )

    assert outputs == {"twice": 42, "plain": "text"}
    assert [line for stream, line in lines if stream == "stdout"] == [
        "in [1, 'ü'] ['a b', '2'] __main__ the step",
        "21",
    ]


async def test_a_script_runs_in_the_workspace_with_its_own_environment(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "secret of the host")
    (workspace / "sub").mkdir()
    (workspace / "sub/beside.py").write_text("name = 'beside'\n", encoding="utf-8")
    code = (
        "import os, beside; output('found', [beside.name, os.environ.get('MINE'), os.environ['X']])"
    )

    outputs = await script(code, workspace, working_dir="sub", env={"X": 3})

    assert outputs == {"found": ["beside", None, "3"]}


async def test_a_script_that_fails_shows_its_own_lines(workspace: Path) -> None:
    lines: Lines = []
    with pytest.raises(ShellCommandError) as caught:
        await script("x = 1\nraise KeyError('gone')\n", workspace, lines)

    assert caught.value.exit_code == 1
    assert "KeyError: 'gone'" in str(caught.value)
    assert any("line 2" in line for _, line in lines)
    assert any("raise KeyError('gone')" in line for _, line in lines)


async def test_a_script_that_declares_an_output_must_make_it(workspace: Path) -> None:
    with pytest.raises(StepOutputError, match="declares 'n'"):
        await script("pass", workspace, outputs={"n": "integer"})


async def test_another_interpreter(workspace: Path) -> None:
    fake = workspace / "my-python"
    fake.write_text(f'#!/bin/sh\nVIA=me exec {sys.executable} "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    code = "import os; output('via', os.environ.get('VIA'))"

    assert await script(code, workspace, python="./my-python") == {"via": "me"}
    with pytest.raises(PythonCallError, match="there is no interpreter 'no-such-python'"):
        await script(code, workspace, python="no-such-python")


async def test_a_cancelled_script_is_ended(workspace: Path) -> None:
    started = workspace / "started"
    code = f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(600)\n"
    task = asyncio.create_task(script(code, workspace))
    while not started.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)


HOSTILE = "'); import os; os.system('touch pwned'); ('\n\"\"\" ${HOME} $(touch pwned) \\"


async def test_in_a_file_a_hostile_value_stays_a_value(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text(
        "workflow:\n"
        "  id: flow\n"
        "  version: 1\n"
        "  inputs: {x: string}\n"
        "  outputs: {a: string, b: string, c: any}\n"
        "  steps:\n"
        "    - name: it\n"
        "      type: python\n"
        "      inputs: {y: '${{ inputs.x }}'}\n"
        "      outputs: {a: string, b: string, c: any}\n"
        "      config:\n"
        "        args: [1.10, 007, yes, '${{ inputs.x }}']\n"
        "        script: |\n"
        "          import sys\n"
        "          output('c', sys.argv[1:])\n"
        "          output('a', ${{ inputs.x }})\n"
        "          output('b', inputs['y'])\n",
        encoding="utf-8",
    )
    definition = load_workflow(path)
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        run = await running.start_workflow("flow", start_data(definition, {"x": HOSTILE}))
        instance = await run.wait(timeout=timedelta(seconds=20))

    assert (instance.status, instance.error) == ("complete", None)
    assert instance.data["outputs"] == {
        "a": HOSTILE,
        "b": HOSTILE,
        "c": ["1.10", "007", "yes", HOSTILE],
    }
    assert [child.name for child in tmp_path.iterdir()] == ["flow.yaml"]


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"call": "a.b:c"}, []),
        ({"script": "x", "python": "python3", "args": COMPUTED}, []),
        ({}, ["script"]),
        ({"call": "a:b", "script": "x"}, ["script"]),
        ({"call": "a.b"}, ["call"]),
        ({"call": "a:b()"}, ["call"]),
        ({"call": "a:b", "python": "x"}, ["python"]),
        ({"script": "x", "args": {"a": 1}}, ["args"]),
        ({"call": "a:b", "args": ["x"]}, ["args"]),
    ],
)
def test_what_a_file_may_say(config: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _, _ in Python.check_config(config)] == keys


def test_the_source_of_a_function_is_part_of_what_a_cache_knows(workspace: Path) -> None:
    known = Python(call="tools_of_test:add", workspace=workspace).cache_identity()

    assert known is not None
    assert known.startswith("def add(")
    assert Python(script="x").cache_identity() is None
    assert Python(call="math:sqrt").cache_identity() is None


def test_its_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(PythonCallError("a:b", "no")))

    assert isinstance(error, WfeError)
    assert str(error) == "a:b: no"
