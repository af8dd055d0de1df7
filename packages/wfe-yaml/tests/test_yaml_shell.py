"""The shell step with real processes."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from step_contexts import Lines, step_context

from wfe.core.errors import WfeError
from wfe.core.steps import ExecutionResult, StepLog
from wfe.yaml.output_lines import LONGEST_LINE, LineCutter
from wfe.yaml.shell import Shell, ShellCommandError, ShellStartError
from wfe.yaml.step_outputs import StepOutputError

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


async def run(script: str, **fields: Any) -> tuple[dict[str, Any], Lines]:
    lines: Lines = []
    body = Shell(run=script, **fields)
    result = await body.run(step_context(lines, attempt=2))
    assert isinstance(result, ExecutionResult)
    assert result.kind == "next"
    return body.results, lines


async def failure(script: str, **fields: Any) -> WfeError:
    with pytest.raises(WfeError) as caught:
        await run(script, **fields)
    return caught.value


async def test_lines_come_with_their_stream() -> None:
    _, lines = await run("echo out; echo err >&2; printf 'no end'")

    assert sorted(lines) == [("stderr", "err"), ("stdout", "no end"), ("stdout", "out")]


async def test_outputs_come_from_the_file_and_from_declared_markers() -> None:
    outputs, lines = await run(
        "echo '##wfe[output count=3]'\n"
        "echo '##wfe[output forged=1]'; echo '##wfe[output forged=2]'\n"
        'echo "digest=a=b" >> "$WFE_OUTPUT"\n'
        'echo \'{"list": [1, null], "extra": {"k": 2.5}}\' >> "$WFE_OUTPUT"\n'
        "echo '##wfe[group x]'",
        outputs={"count": "integer", "digest": "string", "maybe": "string?"},
    )

    assert outputs == {
        "count": 3,
        "digest": "a=b",
        "list": [1, None],
        "extra": {"k": 2.5},
        "maybe": None,
    }
    warnings = [line for stream, line in lines if stream == "warning"]
    ignored = "output 'forged' on stdout is ignored, the step does not declare it"
    assert warnings == [f"{ignored}; declare it in the step's `outputs`"]


async def test_in_a_builder_the_outputs_are_on_the_step() -> None:
    body = Shell(run='echo "a=1" >> "$WFE_OUTPUT"')

    result = await body.run(step_context(attempt=2))

    assert (result.kind, body.results) == ("next", {"a": 1})


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "the command exited with code 3"),
        ("echo why >&2; exit 3", "the command exited with code 3: why"),
        ("false | true", "the command exited with code 1"),
        ("false; echo unreached", "the command exited with code 1"),
        ("kill -KILL $$", "the command was ended by signal SIGKILL"),
    ],
)
async def test_a_command_that_fails(script: str, message: str) -> None:
    error = await failure(script)

    assert isinstance(error, ShellCommandError)
    assert error.retryable
    assert str(error) == message


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo x >> $WFE_OUTPUT", "line 1 of $WFE_OUTPUT is neither name=value nor"),
        ("echo '{' >> $WFE_OUTPUT", "line 1 of $WFE_OUTPUT is not a JSON object"),
        ("echo '{\"a\": NaN}' >> $WFE_OUTPUT", "NaN is not JSON"),
        ("printf 'ok=1\\n\\nn=x\\n' >> $WFE_OUTPUT", "line 3 of $WFE_OUTPUT, 'n': expected an"),
        ('echo \'{"n": "x"}\' >> $WFE_OUTPUT', "line 1 of $WFE_OUTPUT, 'n': expected an int"),
        ("echo 'a b=1' >> $WFE_OUTPUT", "an output cannot be called 'a b'"),
        ("echo 'inputs=1' >> $WFE_OUTPUT", "an output cannot be called 'inputs'"),
        ("echo '##wfe[output n=x]'", "output 'n': expected an integer, got a text ('x')"),
        ("ln -sf /etc/hostname $WFE_OUTPUT", "the file of $WFE_OUTPUT cannot be read"),
        ("rm $WFE_OUTPUT; mkfifo $WFE_OUTPUT", "was replaced by something else"),
        ("rm $WFE_OUTPUT", "the file of $WFE_OUTPUT cannot be read: No such file"),
        ("head -c 9999 /dev/zero > $WFE_OUTPUT", "has more than 1,000 bytes"),
        ("printf '\\377' > $WFE_OUTPUT", "is not UTF-8 text"),
        ("true", "the step declares 'n', and did not make it; write: echo 'n=VALUE' >>"),
    ],
)
async def test_outputs_that_cannot_be_taken(script: str, message: str) -> None:
    error = await failure(script, outputs={"n": "integer"}, output_limit=1000)

    assert isinstance(error, StepOutputError)
    assert message in str(error)


async def test_the_environment_is_explicit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_HOST", "s")
    monkeypatch.setenv("WANTED", "w")

    _, lines = await run(
        "env", env={"A": "x y", "L": [1, "b"], "N": None, "F": 3.0}, env_from_host=["WANTED", "NO"]
    )

    found = dict(line.split("=", 1) for _, line in lines)
    own = {name: value for name, value in found.items() if name.startswith("WFE_")}
    assert Path(own.pop("WFE_OUTPUT")).name == "output"
    assert Path(own.pop("WFE_SUMMARY")).name == "summary"
    assert own == {
        "WFE_RUN_ID": "run-1",
        "WFE_WORKFLOW": "wf",
        "WFE_STEP": "the step",
        "WFE_ATTEMPT": "2",
    }
    assert {name: found[name] for name in ("A", "L", "N", "F", "WANTED")} == {
        "A": "x y",
        "L": '[1,"b"]',
        "N": "",
        "F": "3",
        "WANTED": "w",
    }
    of_shell = {"PWD", "SHLVL", "_", "OLDPWD"}
    allowed = {"PATH", "HOME", "LANG", "TMPDIR", "A", "L", "N", "F", "WANTED"} | of_shell
    assert {name for name in found if not name.startswith("WFE_")} <= allowed


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"working_dir": "none"}, "the working directory '{base}/none' does not exist"),
        ({"env": {"A": "a\0b"}}, "the value of A contains a NUL character"),
        ({"env": {"A": "x" * 200_000}}, "(the value of A has 200,000 characters)"),
        ({"shell": "zsh-of-nobody"}, "the shell 'zsh-of-nobody' is not installed"),
    ],
)
async def test_a_command_that_cannot_start(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    error = await failure("true", workspace=tmp_path, **fields)

    assert isinstance(error, ShellStartError)
    assert message.replace("{base}", str(tmp_path)) in str(error)


async def test_it_runs_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()

    _, lines = await run("pwd -P", workspace=tmp_path, working_dir="sub")

    assert lines == [("stdout", str((tmp_path / "sub").resolve()))]


async def test_sh_can_be_asked_for_and_a_long_script_still_runs() -> None:
    _, lines = await run("echo start\n" + ": padding\n" * 20_000 + "echo end", shell="sh")

    assert [line for _, line in lines] == ["start", "end"]


async def test_garbage_and_very_long_lines_become_text() -> None:
    _, lines = await run(
        "head -c 200000 /dev/zero | tr '\\0' x; echo\n"
        "printf 'a\\377\\0b\\r\\n'; printf '\\303\\251'"
    )

    texts = [line for _, line in lines]
    assert [len(text) for text in texts[:4]] == [LONGEST_LINE] * 3 + [200_000 - 3 * LONGEST_LINE]
    assert texts[4:] == ["a\ufffd\ufffdb", "é"]


def test_lines_do_not_depend_on_the_chunks() -> None:
    text = b"a\r\n\nb" + b"x" * (2 * LONGEST_LINE) + b"\nend\r\nlast"

    def cut(size: int) -> list[str]:
        cutter = LineCutter()
        chunks = [text[k : k + size] for k in range(0, len(text), size)]
        return [*(line for chunk in chunks for line in cutter.feed(chunk)), *cutter.close()]

    whole = cut(len(text))
    assert whole[:2] == ["a", ""]
    assert whole[-2:] == ["end", "last"]
    assert [cut(size) for size in (1000, LONGEST_LINE, LONGEST_LINE + 1)] == [whole] * 3


def test_a_long_line_is_not_cut_inside_a_character() -> None:
    cutter = LineCutter()
    text = "x" * (LONGEST_LINE - 1) + "é" * 10

    lines = [*cutter.feed(text.encode()), *cutter.close()]

    assert "".join(lines) == text
    assert len(lines) == 2


def processes_with(marker: str) -> list[str]:
    done = subprocess.run(["ps", "-eo", "stat=,args="], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return [line for line in lines if marker in line and not line.startswith("Z")]


async def cancelled(script: str, grace: float, times: int = 1) -> tuple[float, Lines]:
    lines: Lines = []
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(stream: str, line: str) -> None:
        lines.append((stream, line))
        if line == "ready":
            loop.call_soon(ready.set)

    ctx = step_context(lines, attempt=2)
    cast("Any", ctx).log = StepLog(write)
    task = asyncio.create_task(Shell(run=script, grace=grace).run(ctx))
    await asyncio.wait_for(ready.wait(), 10)
    start = loop.time()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0.05)
    with pytest.raises(asyncio.CancelledError):
        await task
    return loop.time() - start, lines


async def test_a_cancel_ends_the_whole_group_politely() -> None:
    seconds, lines = await cancelled(
        "trap 'echo cleaned; exit 1' TERM; sleep 61.25 & echo ready; wait", grace=5
    )

    assert ("stdout", "cleaned") in lines
    assert seconds < 3
    assert processes_with("sleep 61.25") == []


async def test_what_does_not_end_politely_is_killed() -> None:
    seconds, _ = await cancelled(
        "trap '' TERM; sleep 62.25 & echo ready; sleep 62.25; wait", grace=0.1
    )

    assert 0.1 <= seconds < 3
    assert processes_with("sleep 62.25") == []


async def test_a_second_cancel_does_not_wait() -> None:
    seconds, _ = await cancelled("trap '' TERM; echo ready; sleep 63.25", grace=30, times=2)

    assert seconds < 3
    assert processes_with("sleep 63.25") == []


async def test_a_stopped_process_is_ended_too() -> None:
    seconds, _ = await cancelled("echo ready; kill -STOP $$", grace=5)

    assert seconds < 3


async def test_a_failed_command_takes_its_background_processes_with_it() -> None:
    await failure("sleep 64.25 & exit 1")

    assert processes_with("sleep 64.25") == []


async def test_a_process_in_the_background_does_not_hold_the_step_up() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()

    _, lines = await run("sleep 3.25 & echo done")

    assert loop.time() - start < 2
    assert lines[0] == ("stdout", "done")
    assert lines[1][0] == "warning"


HOST = """
import asyncio, sys
from types import SimpleNamespace as N
from wfe.core.steps import StepLog
from wfe.yaml.shell import Shell
log = StepLog(lambda stream, line: print(line, flush=True))
ctx = N(log=log, instance=N(id='r', definition='d'), pointer=N(step='s'), attempt=0, path=(),
        masks=None)
asyncio.run(Shell(run="trap '' TERM; echo ready; sleep 65.25").run(ctx))
"""


@pytest.mark.skipif(not Path("/bin/sh").exists(), reason="needs /bin/sh")
async def test_processes_die_with_their_host() -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOST, stdout=asyncio.subprocess.PIPE
    )
    assert host.stdout is not None
    assert await asyncio.wait_for(host.stdout.readline(), 10) == b"ready\n"
    assert processes_with("sleep 65.25") != []

    os.kill(host.pid, signal.SIGKILL)
    await host.wait()

    async with asyncio.timeout(10):
        while processes_with("sleep 65.25"):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "error",
    [ShellCommandError(3, ("a", "b")), ShellStartError("x"), StepOutputError("y")],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickle_and_copy(error: WfeError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(again) == str(error)
