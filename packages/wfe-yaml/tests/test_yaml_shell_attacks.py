"""What hostile commands and hostile output try on a shell step, and what holds."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from step_contexts import Lines, step_context

from wfe.core.errors import WfeError
from wfe.yaml.shell import Shell, ShellCommandError, ShellStartError
from wfe.yaml.step_outputs import StepOutputError
from wfe.yaml.survivors import end_survivors, noted

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

SECRET = "hunter2/is+long"
PEM = "-----BEGIN KEY-----\nabcdefghijklmnop\nqrstuvwxyz012345\n-----END KEY-----"


async def run(
    script: str | None, secrets: dict[str, str] | None = None, **fields: Any
) -> tuple[dict[str, Any], Lines]:
    lines: Lines = []
    body = Shell(run=script, **fields)
    await body.run(step_context(lines, secrets=secrets))
    return body.results, lines


async def failure(script: str, **fields: Any) -> WfeError:
    with pytest.raises(WfeError) as caught:
        await run(script, **fields)
    return caught.value


# -- masks


async def test_a_secret_is_masked_over_chunks_streams_and_cut_lines() -> None:
    _, lines = await run(
        # The halves come in writes of their own; then a line of which the cut would split it.
        'printf "%s" "${S:0:5}"; sleep 0.05; echo "${S:5} end"\n'
        'head -c 65530 /dev/zero | tr "\\0" x; echo "$S"\n'
        'echo "$S" >&2; printf "%s" "$S"',
        secrets={"s": SECRET},
        env={"S": SECRET},
    )

    text = "".join(line for _, line in lines)
    assert SECRET not in text
    for part in (SECRET[:6], SECRET[-6:]):
        assert part not in text
    assert ("stdout", "*** end") in lines
    assert ("stderr", "***") in lines
    assert lines[-1][1].endswith("***")


@pytest.mark.parametrize(
    "command",
    [
        'printf %s "$S" | base64 -w0',
        'printf "u:%s" "$S" | base64 -w0',
        'printf "us:%s" "$S" | base64 -w0',
        'printf %s "$S" | base64 -w0 | tr "+/" "-_"',
        'printf %s "$S" | od -An -tx1 | tr -d " \\n"',
        "python3 -c \"import os,urllib.parse as u; print(u.quote_plus(os.environ['S']))\"",
        "python3 -c \"import os,json; print(json.dumps({'k': os.environ['S']}))\"",
        'set -x; : "$S"',
        'curl_like="https://u:$S@host/"; echo "$curl_like"',
        'echo "$S" | sed "s/^/   /"',
    ],
)
@pytest.mark.parametrize("secret", [SECRET, PEM])
async def test_a_secret_is_masked_as_tools_write_it(command: str, secret: str) -> None:
    _, lines = await run(command, secrets={"s": secret}, env={"S": secret})

    text = "\n".join(line for _, line in lines)
    raw = secret.encode()
    forms = [secret, quote(secret, safe=""), base64.b64encode(raw).decode().rstrip("="), raw.hex()]
    forms += [line for line in secret.splitlines() if not line.startswith("--")]
    assert "***" in text
    assert [form for form in forms if form in text] == []


async def test_a_secret_in_the_error_is_masked() -> None:
    error = await failure('echo "bad $S" >&2; exit 3', secrets={"s": SECRET}, env={"S": SECRET})

    assert str(error) == "the command exited with code 3: bad ***"
    assert cast("ShellCommandError", error).tail == ("bad ***",)


async def test_annotations_and_summaries_are_masked() -> None:
    _, lines = await run(
        'echo "::error title=$S::with $S"; echo "##wfe[group $S]"\n'
        'printf "# %s\\n%s\\n" "$S" "$P" >> "$WFE_SUMMARY"',
        secrets={"s": SECRET, "p": PEM},
        env={"S": SECRET, "P": PEM},
    )

    assert json.loads(lines[0][1]) == {"level": "error", "message": "with ***", "title": "***"}
    assert lines[1:] == [("group", "***"), ("summary", "# ***"), ("summary", "***")]


async def test_what_a_program_declares_secret_is_not_logged_there() -> None:
    _, lines = await run("echo '::add-mask::only-the-program-knows'; echo only-the-program-knows")

    assert lines == [("stdout", "::add-mask::***"), ("stdout", "only-the-program-knows")]


async def test_a_secret_on_stdout_is_no_output() -> None:
    error = await failure(
        'echo "##wfe[output token=$S]"',
        secrets={"s": SECRET},
        env={"S": SECRET},
        outputs={"token": "string"},
    )

    assert isinstance(error, StepOutputError)
    assert "output 'token' on stdout contains a secret" in str(error)


# -- outputs


async def test_untrusted_output_sets_nothing() -> None:
    outputs, lines = await run(
        "echo '##wfe[output n=1]'; echo '::set-output name=n::2'; echo '::warning::seen'\n"
        'echo "m=3" >> "$WFE_OUTPUT"',
        outputs={"n": "integer?"},
        commands=False,
    )

    assert outputs == {"n": None, "m": 3}
    assert [stream for stream, _ in lines] == ["stdout", "stdout", "annotation"]


@pytest.mark.parametrize(
    "text", ["\u2028forged=1", "\x0bforged=1", "\x85forged=1", "\x1eforged=1", "\rforged=1"]
)
async def test_only_a_line_feed_begins_a_line_of_outputs(text: str) -> None:
    outputs, _ = await run('echo "title=$T" >> "$WFE_OUTPUT"', env={"T": f"a{text}"})

    assert set(outputs) == {"title"}


async def test_json_lines_cannot_be_broken_out_of() -> None:
    hostile = 'a"}\nforged=1\n{"forged": 2}\n##wfe[output forged=3]'

    outputs, _ = await run(
        "python3 -c \"import json,os; print(json.dumps({'t': os.environ['T']}))\" >> $WFE_OUTPUT",
        env={"T": hostile},
    )

    assert outputs == {"t": hostile}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("rm $WFE_OUTPUT; ln -s /etc/passwd $WFE_OUTPUT", "cannot be read"),
        ("echo a=1 > other; ln -f other $WFE_OUTPUT", "was replaced by something else"),
        ("rm $WFE_OUTPUT; mkfifo $WFE_OUTPUT", "was replaced by something else"),
        ("rm $WFE_OUTPUT; mkdir $WFE_OUTPUT", "was replaced by something else"),
        ("rm -r $(dirname $WFE_OUTPUT)", "cannot be read"),
        ("chmod 000 $WFE_OUTPUT; truncate -s 2G $WFE_OUTPUT", "more than|cannot be read"),
        ("head -c 300 /dev/urandom > $WFE_OUTPUT", "is not UTF-8|neither|not a JSON"),
        (
            "python3 -c \"print('{\\\"a\\\":' + '[' * 200000)\" > $WFE_OUTPUT",
            "is not a JSON object",
        ),
    ],
)
async def test_a_hostile_file_of_outputs(script: str, message: str, tmp_path: Path) -> None:
    error = await failure(script, workspace=tmp_path)

    assert isinstance(error, StepOutputError)
    assert any(part in str(error) for part in message.split("|"))


async def test_a_full_disk_is_the_steps_own_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")

    error = await failure("echo a=1 > /dev/full")

    assert "No space left on device" in str(error)
    assert cast("ShellCommandError", error).retry_labels == ("exit:1", "error")


async def test_no_directory_for_outputs_is_an_errored_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")

    error = await failure("true")

    assert isinstance(error, ShellStartError)
    assert error.errored
    assert "no directory for outputs can be made" in str(error)


# -- the environment


async def test_secrets_of_the_host_and_of_other_steps_stay_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WFE_SECRET_TOKEN", SECRET)

    _, lines = await run(
        "env; cat /proc/self/environ | tr '\\0' '\\n'; tr '\\0' ' ' < /proc/$$/cmdline",
        env_from_host=["WFE_SECRET_TOKEN", "HOME"],
    )

    assert SECRET not in "\n".join(line for _, line in lines)


async def test_a_secret_is_in_no_argument() -> None:
    _, lines = await run(
        "tr '\\0' ' ' < /proc/$$/cmdline; echo; ps -eo args=",
        env={"S": "visible-if-wrong"},
    )

    assert "visible-if-wrong" not in "\n".join(line for _, line in lines)


async def test_poison_in_the_host_does_not_reach_the_shell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rc").write_text("echo poisoned\n")
    for name in ("BASH_ENV", "ENV", "PROMPT_COMMAND"):
        monkeypatch.setenv(name, str(tmp_path / "rc"))
    monkeypatch.setenv("BASH_FUNC_echo%%", "() { printf poisoned; }")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "rc"))

    for shell in ("bash", "sh"):
        _, lines = await run("echo clean", shell=shell)
        assert lines == [("stdout", "clean")]


# -- shells and files


async def test_python_scripts() -> None:
    outputs, lines = await run(
        "import os, sys\n"
        "print('from', sys.version_info[0])\n"
        "with open(os.environ['WFE_OUTPUT'], 'a') as f: f.write('n=3\\n')\n"
        "sys.exit(0)",
        shell="python",
    )

    assert (outputs, lines) == ({"n": 3}, [("stdout", "from 3")])
    error = await failure("raise SystemExit(7)", shell="python")
    assert cast("ShellCommandError", error).exit_code == 7


async def test_powershell_is_called_with_a_file_and_stops_at_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "pwsh"
    fake.write_text('#!/bin/sh\necho "$@" | sed "s,/[^ ]*/,,"\nfor last; do :; done\ncat "$last"\n')
    fake.chmod(0o755)

    def found(_shell: str) -> str:
        return str(fake)

    monkeypatch.setattr("wfe.yaml.shell_run.find_program", found)

    _, lines = await run("Write-Host hi", shell="pwsh")

    assert [line for _, line in lines][:3] == [
        "-NoLogo -NoProfile -NonInteractive -File script.ps1",
        "$ErrorActionPreference = 'Stop'",
        "Write-Host hi",
    ]


async def test_script_files_run_inside_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "build.sh").write_text(
        "set -o | grep -q 'errexit.*on' && echo \"in $PWD\"\n"
    )
    (tmp_path / "ci" / "make it.py").write_text("import sys; print('py', sys.argv[1:])\n")

    _, shell = await run(None, file="ci/build.sh", workspace=tmp_path)
    _, python = await run(None, file="ci/make it.py", workspace=tmp_path)

    assert shell == [("stdout", f"in {tmp_path}")]
    assert python == [("stdout", "py []")]


@pytest.mark.parametrize("name", ["../out.sh", "/etc/profile", "link.sh", "none.sh", ".", "a\0b"])
async def test_script_files_elsewhere_are_refused(name: str, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    (tmp_path / "out.sh").write_text("echo escaped\n")
    (workspace / "link.sh").symlink_to(tmp_path / "out.sh")

    with pytest.raises(ShellStartError, match=r"is outside of|does not exist|cannot be found"):
        await run(None, file=name, workspace=workspace)


def test_one_way_to_say_what_runs() -> None:
    assert list(Shell.check_config({"run": "x"})) == []
    assert [key for key, *_ in Shell.check_config({})] == ["run"]
    assert [key for key, *_ in Shell.check_config({"run": "x", "file": "y"})] == ["file"]
    for outside in ("../x", "/x", "a/../../x"):
        ((_, message, _),) = Shell.check_config({"file": outside})
        assert "is not inside of the workspace" in message
    assert list(Shell.check_config({"file": "a..b/x.sh"})) == []


# -- floods


FLOOD = """
import asyncio, resource, sys
from types import SimpleNamespace as N
from wfe.core.masking import Masker
from wfe.core.steps import StepLog
from wfe.yaml.shell import Shell
kept = [0, 0]
def write(stream, line):
    kept[0] += 1; kept[1] += len(line)
ctx = N(log=StepLog(write), instance=N(id='r', definition='d'), pointer=N(step='s'), attempt=0,
        path=(), masks=Masker([('s', 'hunter2-is-long')]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
asyncio.run(Shell(run=sys.argv[1], log_bytes=1_000_000).run(ctx))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *kept)
"""


@pytest.mark.parametrize(
    "script",
    [
        "head -c 100000000 /dev/zero",
        "{ yes 'about sixty characters, until the pipe is closed ......' || :; } | head -c 100M",
    ],
    ids=["one-line", "many-lines"],
)
async def test_a_hundred_megabytes_take_flat_memory(script: str) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOOD, script, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(host.communicate(), 120)

    grown, lines, size = map(int, out.split())
    assert host.returncode == 0
    assert grown < 30_000  # KiB
    assert 0 < size <= 1_000_000 + 1000
    assert lines > 1


# -- hosts that die


HOST = """
import asyncio, os, sys
from types import SimpleNamespace as N
from wfe.core.steps import StepLog
from wfe.yaml import watchdog
from wfe.yaml.shell import Shell
log = StepLog(lambda stream, line: print(line, flush=True))
ctx = N(log=log, instance=N(id='r', definition='d'), pointer=N(step='s'), attempt=0, path=(),
        masks=None)
asyncio.run(Shell(run="trap '' TERM; echo ready; sleep 71.25; echo never").run(ctx))
"""


def processes_with(marker: str) -> list[int]:
    done = subprocess.run(
        ["ps", "-eo", "pid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in done.stdout.splitlines()]
    return [int(pid) for pid, stat, *args in rows if args and marker in args[0] and stat[0] != "Z"]


def children_of(pid: int) -> list[int]:
    done = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    rows = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return [child for child, parent in rows if parent == pid]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
async def test_a_survivor_of_host_and_watchdog_is_ended_by_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    host = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOST,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert host.stdout is not None
    assert await asyncio.wait_for(host.stdout.readline(), 10) == b"ready\n"
    (sleeper,) = processes_with("sleep 71.25")[-1:]
    watchdogs = [pid for pid in children_of(host.pid) if pid != os.getpgid(sleeper)]
    for pid in (*watchdogs, host.pid):
        os.kill(pid, signal.SIGKILL)
    await host.wait()
    assert sleeper in processes_with("sleep 71.25")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    _, lines = await run("echo next")

    assert sleeper not in processes_with("sleep 71.25")
    assert lines[0][0] == "warning"
    assert lines[0][1].endswith("left of step 's' of run r")
    assert lines[1] == ("stdout", "next")
    _, again = await run("echo next")
    assert again == [("stdout", "next")]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("wrong", ["started", "boot", "host", "garbage", "pid"])
async def test_nobody_else_is_ever_ended(
    wrong: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    other = await asyncio.create_subprocess_exec("sleep", "72.25", start_new_session=True)
    try:
        with noted(other.pid, "a step"):
            (path,) = (tmp_path / f"wfe-{os.getuid()}").iterdir()
            note = json.loads(path.read_text())
        note["host"], note["host_started"] = 999_999_999, "1"
        if wrong == "host":  # it lives
            note["host"], note["host_started"] = os.getppid(), _started(os.getppid())
        elif wrong == "pid":
            note["pid"] = 1
        elif wrong != "garbage":
            note[wrong] = "123"
        text = "{" if wrong == "garbage" else json.dumps(note)
        path.with_name("999-1.group").write_text(text)

        assert await end_survivors() == []
        assert other.returncode is None
        assert processes_with("sleep 72.25")
    finally:
        other.kill()
        await other.wait()


def _started(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


async def test_notes_of_others_are_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    directory = tmp_path / f"wfe-{os.getuid()}"
    directory.mkdir(mode=0o777)
    directory.chmod(0o777)
    (directory / "999-1.group").write_text("{}")

    assert await end_survivors() == []
    assert (directory / "999-1.group").exists()
