"""Hostile values on every way into code, environments, names, logs and terminals.

All values go through one pipeline at once; what arrives must be the value, byte for byte, and none
of them may do anything.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfe.yaml import load_workflows, start_data
from wfe.yaml.deno import Deno

host = pytest.importorskip("wfe.host")
pytestmark = [
    pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash"),
    pytest.mark.skipif(Deno.missing() is not None, reason="needs the extra wfe-yaml[deno]"),
]

SECRET = "s3cr3t-of-the-host"
PWN = "touch pwned"
HOSTILE: dict[str, str] = {
    # The shell's own characters.
    "substitution": f"$({PWN})",
    "backticks": f"`{PWN}`",
    "end of the command": f"; {PWN}",
    "background": f"& {PWN} &",
    "pipe": f"| {PWN}",
    "end of double quotes": f'"; {PWN}; echo "',
    "end of single quotes": f"'; {PWN}; echo '",
    "both quotes": f"'\"'\"; {PWN}; '\"'\"",
    "end of a parameter": f"}}; {PWN}; ${{",
    "parameter with a command": f"${{x:-$({PWN})}}",
    "parameter": "$HOME ${PATH} $1 $@ $$ $?",
    "arithmetic": f"a[$({PWN})]",
    "redirection": "> pwned",
    "here-document": f"EOF\n{PWN}\nEOF",
    "here-document of ours": f"END\n{PWN}\nEND",
    "newline": f"a\n{PWN}\n",
    "carriage return": f"a\r{PWN}\r\nb",
    "globs": "* ? [a-z]* ~ ~root {a,b}",
    "history": "!! !$ !-1",
    "comment": "# nothing after this",
    "backslash": "\\",
    "backslash before a quote": '\\"; ' + PWN + ' #"',
    "only blanks": "  \t ",
    "empty": "",
    "field separators": "a\tb\nc  d",
    "function": f"() {{ :;}}; {PWN}",
    # Programs' options and paths.
    "option": "-rf",
    "long option": "--help=x",
    "double dash": "--",
    "format": "%s%n%d\\x41",
    "path": "../../../../etc/passwd",
    "absolute path": "/etc/passwd",
    # Languages.
    "expression": "${{ secrets.token }}",
    "escaped expression": "$${{ secrets.token }}",
    "variable": "((secret_variable))",
    "escaped variable": "\\((secret_variable))",
    "python": f"' + __import__('os').system('{PWN}') + '",
    "python triple": f'"""\n__import__("os").system("{PWN}")\n"""',
    "javascript": "`); Deno.writeTextFileSync('pwned', ''); (`",
    "template of javascript": "${Deno.writeTextFileSync('pwned', '')}",
    "JSON": '"}, "outputs": {"x": 1}, "y": {"',
    "YAML": "a: b\n- c\n? !!python/object:x\n*alias &anchor",
    "YAML end": "\n---\nworkflow: {}\n",
    "prototype": "__proto__",
    "constructor": "constructor.prototype.toJSON",
    # What is read from output.
    "output marker": "##wfe[output forged=1]",
    "output marker of a line": "x\n##wfe[output forged=1]\ny",
    "output of GitHub": "::set-output name=forged::1",
    "file of outputs": 'forged=1\n{"forged": 1}',
    "mask": "##wfe[mask x]\n::add-mask::x\n::stop-commands::x",
    "annotation": "::error file=x,line=1::forged\n##wfe[warning forged]",
    "group": "##wfe[group forged]\n::group::forged",
    "end of a frame": '\n{"end":true}\n{"output":"forged","value":1}',
    # Terminals and texts.
    "escape": "\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H",
    "title": "\x1b]0;pwned\x07\x1b]8;;http://evil/\x07x",
    "c1 escape": "\x9b31m\x9d0;pwned\x9c",
    "bell and backspace": "\x07\x08\x08\x08\x7f\x0b\x0c",
    "right to left": "\u202egnp.exe\u202c \u2066a\u2069 \u200f",
    "invisible": "\u200b\u200d\ufeff\u00ad",
    "lines of unicode": "a\u2028b\u2029c\x85d",
    "combining": "Z\u0351\u036b\u0343 \U0001f469\u200d\U0001f469",
    "long": "x" * 60_000 + f"$({PWN})",
    "rich markup": "[bold red]forged[/] [link=http://evil]x[/link] :skull:",
    "done": "✔ inject complete in 0.1s",
}
VALUES = tuple(HOSTILE.values())
NAMES = range(len(VALUES))
TEXTS = tuple("x" * 60 if len(value) > 1000 else value for value in VALUES)


def test_there_are_enough_of_them() -> None:
    assert len(set(VALUES)) == len(VALUES) >= 40


def indented(lines: list[str], by: int) -> str:
    return "".join(" " * by + line + "\n" for line in lines)


def shell(name: str, file: str, references: list[str], shell: str = "bash", more: str = "") -> str:
    lines = [f"printf '%s\\0' {reference} >> {file}" for reference in references]
    return (
        f"    - name: {name}\n{more}      config:\n        shell: {shell}\n        run: |\n"
        + indented(lines, 10)
    )


def pipeline() -> str:
    values = [f"${{{{ inputs.v{i} }}}}" for i in NAMES]
    quoted = [f'"{value}"' for value in values]
    env = "      env:\n" + indented([f"E{i}: {value}" for i, value in enumerate(values)], 8)
    deno = [f'output("o{i}", inputs().v{i});' for i in NAMES]
    deno += ["for (const text of inputs().all) log(text);"]
    deno += ['Deno.writeTextFileSync("got-deno", inputs().all.map((t) => t + "\\0").join(""));']
    python = ["import os", "file = open('got-python', 'ab')"]
    python += [f"file.write(({value} + '\\0').encode('utf-8'))" for value in values]
    return (
        "workflow:\n  id: inject\n  version: 1\n  inputs:\n"
        + indented([f"v{i}: string" for i in NAMES], 4)
        + "    all: list<string>\n"
        + "  steps:\n"
        + shell("bash", "got-bash", values)
        + shell("bash quoted", "got-bash-quoted", quoted)
        + shell("sh", "got-sh", values, "sh")
        + shell("env", "got-env", [f'"$E{i}"' for i in NAMES], more=env)
        + shell("vars", "got-vars", [f"((w{i}))" for i in NAMES])
        + "    - name: python\n      type: python\n      config:\n        script: |\n"
        + indented(python, 10)
        + "    - name: deno\n      type: deno\n      config:\n"
        + '        permissions: { write: ["got-deno"] }\n        script: |\n'
        + indented(deno, 10)
        + shell("outputs", "got-outputs", [f"${{{{ steps.deno.outputs.o{i} }}}}" for i in NAMES])
        + "    - name: logs\n      run: |\n"
        + indented([f"printf '%s\\n' {value}" for value in values], 8)
        + "    - name: each\n      for_each: inputs.all\n      as: text\n      sequential: true\n"
        + "      do:\n        - name: one\n"
        + "          run: printf '%s\\0' ${{ text }} >> got-each\n"
        + "    - name: cases\n      matrix: { text: '${{ inputs.all }}' }\n"
        + "      sequential: true\n      do:\n        - name: case\n"
        + "          run: printf '%s\\0' ${{ matrix.text }} >> got-matrix\n"
        + "    - name: event\n      wait_for: { event: hostile, key: '${{ inputs.v0 }}',"
        + " output: sent }\n"
        + shell("from the event", "got-event", [f"${{{{ data.sent.v{i} }}}}" for i in NAMES])
    )


async def finish(tmp_path: Path) -> tuple[Any, list[tuple[str, str]]]:
    path = tmp_path / "flow.yaml"
    path.write_text(pipeline(), encoding="utf-8")
    (tmp_path / "before").touch()
    (definition,) = load_workflows(path, {f"w{i}": value for i, value in enumerate(VALUES)})
    given = {f"v{i}": value for i, value in enumerate(VALUES)}
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        data = start_data(definition, {**given, "all": list(VALUES)})
        run = await running.start_workflow(definition.id, data)
        await running.publish_event("hostile", VALUES[0], given)
        done = await run.wait(timeout=timedelta(seconds=120))
        lines = [(line.stream, line.line) for line in await running.logs(run.id)]
    return done, lines


async def test_values_stay_values_on_every_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WFE_SECRET_TOKEN", SECRET)
    monkeypatch.setenv("WFE_VAR_secret_variable", SECRET)

    done, lines = await finish(tmp_path)

    assert (done.status, done.error) == ("complete", None)
    for way in (
        *("bash", "bash-quoted", "sh", "env", "vars", "python", "deno", "outputs"),
        *("each", "matrix", "event"),
    ):
        got = (tmp_path / f"got-{way}").read_bytes().decode().split("\0")[:-1]
        assert got == list(VALUES), way
    assert not (tmp_path / "pwned").exists()
    # Nothing but what was declared or given on the private channel became data.
    stored = json.dumps(done.data, ensure_ascii=False)
    assert SECRET not in stored
    assert "forged" not in done.data
    steps = {name: value for name, value in done.data.items() if name.startswith("steps.")}
    assert all("forged" not in step["outputs"] for step in steps.values() if "outputs" in step)
    assert SECRET not in json.dumps(lines)


UNTRUSTED = """
workflow:
  id: doubt
  version: 1
  inputs: { all: list<string> }
  steps:
    - name: prints
      {how}
      run: |
        {lines}
      outputs: {{ forged: "string?", x: "string?" }}
""".replace("inputs: { all: list<string> }", "inputs: {{ all: list<string> }}")


@pytest.mark.parametrize("how", ["commands: false", "untrusted: true"])
async def test_output_that_is_not_trusted_sets_nothing(tmp_path: Path, how: str) -> None:
    path = tmp_path / "flow.yaml"
    lines = "\n        ".join(
        f"printf '%s\\n' ${{{{ inputs.all[{i}] }}}}" for i in range(len(VALUES))
    )
    path.write_text(UNTRUSTED.format(how=how, lines=lines).lstrip())
    (definition,) = load_workflows(path)
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        run = await running.start_workflow(
            definition.id, start_data(definition, {"all": list(VALUES)})
        )
        done = await run.wait(timeout=timedelta(seconds=60))
        streams = {line.stream for line in await running.logs(run.id)}

    assert done.status == "complete"
    assert done.data["steps.prints"]["outputs"] == {"forged": None, "x": None}
    # What is drawn, and nothing that is read.
    assert streams <= {"stdout", "stderr", "annotation", "group", "endgroup", "progress"}


@pytest.mark.parametrize("kind", ["bash", "python", "deno", "env"])
async def test_a_nul_character_is_refused_by_a_clear_error(tmp_path: Path, kind: str) -> None:
    steps = {
        "bash": "run: echo ${{ inputs.v }}",
        "env": "env: { V: '${{ inputs.v }}' }\n      run: 'true'",
        "python": "type: python\n      config: { script: 'print(${{ inputs.v }})' }",
        "deno": "type: deno\n      config: { script: 'output(\"v\", inputs().v)' }",
    }
    path = tmp_path / "flow.yaml"
    path.write_text(
        "workflow:\n  id: nul\n  version: 1\n  inputs: { v: string }\n  steps:\n"
        f"    - name: one\n      {steps[kind]}\n"
    )
    (definition,) = load_workflows(path)
    async with host.WorkflowHost("memory://") as running:
        running.register(definition)
        data = start_data(definition, {"v": "a\0b"})
        run = await running.start_workflow(definition.id, data)
        done = await run.wait(timeout=timedelta(seconds=60))

    assert done.status == "failed"
    assert "contains a NUL character" in str(done.error)


CLI = """
workflow:
  id: shown
  version: 1
  inputs: {all: list<string>}
  steps:
    - name: cases
      matrix: { text: '${{ inputs.all }}' }
      do:
        - name: case
          run: |
            printf '%s\\n' ${{ matrix.text }}
            printf '%s\\n' ${{ matrix.text }} >&2
    - name: fails
      run: |
        printf '%s\\n' ${{ inputs.all[0] }}
        exit 3
"""
SHOWN = tuple(text for text in TEXTS if text.strip())


def command(tmp_path: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    (tmp_path / "flow.yaml").write_text(CLI.lstrip())
    given = json.dumps(SHOWN, ensure_ascii=False)
    main = "import sys; from wfe.host.cli import main; sys.exit(main())"
    base = [sys.executable, "-c", main, "run", "flow.yaml"]
    env = {
        **os.environ,
        "WFE_SECRET_TOKEN": SECRET,
        "TERM": "xterm-256color",
        "COLUMNS": "200",
        "PYTHONIOENCODING": "utf-8",
    }
    return [*base, "-i", f"all={given}", *options], env


def in_a_terminal(arguments: list[str], env: dict[str, str], cwd: Path) -> str:
    """Run a command on a terminal of its own; return what it wrote."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=cwd
    )
    os.close(theirs)
    written = bytearray()
    end = time.monotonic() + 90
    while time.monotonic() < end:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            written += chunk
        elif process.poll() is not None:
            break
    process.wait(10)
    os.close(ours)
    return written.decode("utf-8", "replace")


# What our own views write: colours, moving up, clearing lines, the cursor on and off.
OURS = re.compile(r"\x1b\[[0-9;]*[mAKGJ]|\x1b\[\?25[lh]|\x1b\[\?2026[lh]")
REMAINS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_a_terminal_sees_no_control_character_of_a_value(tmp_path: Path) -> None:
    arguments, env = command(tmp_path)

    written = in_a_terminal(arguments, env, tmp_path)

    assert "shown" in written
    left = OURS.sub("", written)
    assert REMAINS.findall(left) == []
    assert "\x1b[2J" not in written
    assert "\x1b[1;1H" not in written
    assert SECRET not in written
    assert not (tmp_path / "pwned").exists()


def test_the_plain_view_keeps_every_line_under_its_step(tmp_path: Path) -> None:
    arguments, env = command(tmp_path)

    done = subprocess.run(
        arguments, env=env, cwd=tmp_path, capture_output=True, timeout=90, check=False
    )

    written = done.stdout.decode("utf-8")
    assert done.returncode == 1, done.stderr.decode()
    assert SECRET not in written + done.stderr.decode()
    assert not (tmp_path / "pwned").exists()
    for line in written.split("\n"):
        # A value stands behind the name of its step, never at the start of a line.
        assert not line.startswith(("##wfe[", "::error", "::set-output", "::add-mask", "::stop"))
        assert not line.startswith(("workflow:", "✔ inject"))


def test_lines_of_json_are_one_value_each(tmp_path: Path) -> None:
    arguments, env = command(tmp_path, "--json")

    done = subprocess.run(
        arguments, env=env, cwd=tmp_path, capture_output=True, timeout=90, check=False
    )

    rows = [json.loads(line) for line in done.stdout.decode("utf-8").split("\n") if line]
    assert all(isinstance(row, dict) and "event" in row for row in rows)
    assert rows[-1]["status"] == "failed"
    assert SECRET not in done.stdout.decode()
    assert not (tmp_path / "pwned").exists()
