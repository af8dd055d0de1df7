"""Scripts of the Deno step that do not end, want everything, or forge what they give back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from deno_scripts import needs_deno
from deno_scripts import run as run_script
from step_contexts import Lines, step_context

from wfe.core.errors import WfeError
from wfe.yaml.deno import Deno, DenoMemoryError, DenoScriptError, Permissions
from wfe.yaml.step_outputs import StepOutputError

pytestmark = [
    needs_deno,
    pytest.mark.skipif(sys.platform == "win32", reason="needs process groups"),
]


async def run(workspace: Path, script: str, **fields: Any) -> tuple[dict[str, Any], Lines]:
    return await run_script(script, workspace=workspace, **fields)


@contextlib.contextmanager
def survivors_of(marker: str) -> Generator[None]:
    """Check that no process with *marker* in its command line is left."""
    yield
    end = time.monotonic() + 5
    while (left := _with(marker)) and time.monotonic() < end:
        threading.Event().wait(0.02)
    assert left == []


def _with(marker: str) -> list[str]:
    found: list[str] = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if marker in command:
                    found.append(command)
    return found


ENDLESS = {
    "a loop": "for (;;) {}",
    "a loop of promises": "const f = () => Promise.resolve().then(f); await f()",
    "a promise that waits": "setInterval(() => {}, 1000); await new Promise(() => {})",
    "deaf": "Deno.addSignalListener('SIGTERM', () => {}); for (;;) {}",
    "deaf and waiting": (
        "Deno.addSignalListener('SIGTERM', () => {}); setInterval(() => {}, 1000);"
    ),
    "a worker that loops": (
        "new Worker('data:text/javascript,for(;;){}', {type: 'module'});await new Promise(() => {})"
    ),
    "a log without end": "for (;;) console.log('x'.repeat(1000))",
    "a regular expression": "/^(a+)+$/.test('a'.repeat(60) + 'b')",
    "many workers": (
        "for (let i = 0; i < 20; i++)"
        " new Worker('data:text/javascript,setInterval(()=>{},9)', {type: 'module'});"
        "await new Promise(() => {})"
    ),
}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks through /proc")
@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
async def test_a_timeout_ends_whatever_runs(workspace: Path, script: str) -> None:
    lines: Lines = []
    body = Deno(script=script, workspace=workspace, grace=0.1, memory="16GiB")
    with survivors_of(str(workspace)):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await body.run(step_context(lines))
    assert time.monotonic() - began < 5


async def test_a_bomb_of_processes_ends_with_the_step(workspace: Path) -> None:
    # Bounded by itself, in case that it is not ended: 60 processes, of two generations.
    marker = f"sleep 61.{os.getpid()}"
    bomb = f"for i in 1 2 3 4 5; do (for j in 1 2 3 4 5 6; do {marker} & done; wait) & done; wait"
    script = (
        f"for (let i = 0; i < 2; i++) new Deno.Command('sh', {{args: ['-c', {bomb!r}]}}).spawn();"
        "await new Promise((yes) => setTimeout(yes, 60000))"
    )
    permissions = Permissions(run=["sh"])
    body = Deno(script=script, workspace=workspace, permissions=permissions, grace=0.1)
    with survivors_of(marker):
        task = asyncio.create_task(body.run(step_context()))
        async with asyncio.timeout(10):
            while len(_with(marker)) < 60:  # noqa: ASYNC110 - processes set no event
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


BOMBS = {
    "objects": "const a = []; for (;;) a.push({x: [1, 2, 3]})",
    "texts": "const a = []; for (let i = 0;; i++) a.push(`${i}`.repeat(1000) + i)",
    "a map": "const m = new Map(); for (let i = 0;; i++) m.set(i, {i})",
    "workers": (
        "for (let i = 0; i < 500; i++)"
        " new Worker('data:text/javascript,setInterval(()=>{},9)', {type: 'module'});"
        "await new Promise(() => {})"
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize("script", BOMBS.values(), ids=BOMBS)
async def test_a_bomb_of_memory_ends_its_own_process(workspace: Path, script: str) -> None:
    with pytest.raises(DenoMemoryError, match="the limit is 32 MiB"):
        async with asyncio.timeout(60):
            await run(workspace, script, memory="32MiB")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
@pytest.mark.parametrize(
    "make",
    [
        "new Uint8Array(5e7).fill(1)",
        "new SharedArrayBuffer(5e7) && new Uint8Array(new ArrayBuffer(5e7)).fill(1)",
        "new WebAssembly.Memory({initial: 1000}) && new Uint8Array(5e7).fill(1)",
    ],
    ids=["typed arrays", "shared", "wasm"],
)
async def test_the_limit_of_memory_holds_outside_of_the_heap(workspace: Path, make: str) -> None:
    script = f"const a = []; for (let i = 0; i < 100; i++) {{ a.push({make}); output('n', i); }}"

    with pytest.raises((DenoScriptError, DenoMemoryError)) as caught:
        await run(workspace, script, memory="64MiB")

    if isinstance(caught.value, DenoScriptError):
        assert "(`memory` is 64MiB)" in str(caught.value)


FORGERIES = {
    "frames on stdout": 'console.log(\'{"output":"x","value":1}\'); console.log(\'{"end":true}\')',
    "markers on stdout": "console.log('##wfe[output x=1]'); console.log('::set-output name=x::1')",
    "a variable of the shell step": "output('path', 'WFE_OUTPUT' in globalThis)",
    "prototypes": """
        Object.prototype.toJSON = function () { return {forged: 1} };
        Array.prototype.toJSON = () => 'forged';
        JSON.stringify = () => '{"output":"x","value":1}';
        String.prototype.toJSON = () => 'forged';
        TextEncoder.prototype.encode = () => new Uint8Array();
        Reflect.apply = () => 0;
        RegExp.prototype.exec = () => ['x'];
        delete Object.prototype.toJSON; delete Array.prototype.toJSON;
    """,
    "getters": """
        Object.prototype.__defineGetter__('output', () => 'x');
        Object.prototype.__defineGetter__('end', () => true);
    """,
    "events": "globalThis.dispatchEvent(new Event('unload'))",
    "the API": "try { Wfe.setOutput = () => {}; Wfe.getData = 1 } catch {}",
}


@pytest.mark.parametrize("script", FORGERIES.values(), ids=FORGERIES)
async def test_outputs_are_what_the_script_gave(workspace: Path, script: str) -> None:
    made, _ = await run(workspace, f"{script}\nWfe.setOutput('y', {{a: ['ö', null]}})")

    made.pop("path", None)
    assert made == {"y": {"a": ["ö", None]}}


@pytest.mark.parametrize(
    "write",
    [
        "core.writeSync(rid, new TextEncoder().encode(frame))",
        "fs.writeSync(rid, frame)",
    ],
    ids=["by resource", "by descriptor"],
)
async def test_what_gets_at_the_channel_without_its_word_fails_the_step(
    workspace: Path, write: str
) -> None:
    script = f"""
    const core = Deno[Deno.internal].core;
    const fs = (await import('node:fs')).default;
    const frame = '{{"output":"x","value":1}}\\n';
    for (let rid = 3; rid < 40; rid++) {{ try {{ {write} }} catch {{ }} }}
    """

    try:
        made, _ = await run(workspace, script)
    except StepOutputError as error:
        assert "something other than the script wrote" in str(error)  # noqa: PT017 - either is right
    else:
        assert made == {}


async def test_a_program_that_inherits_the_channel_cannot_add_outputs(workspace: Path) -> None:
    shell = (
        "for f in /proc/self/fd/*; do"
        " case $(readlink $f) in pipe:*)"
        ' echo "{\\"output\\":\\"x\\",\\"value\\":1}" >$f;; esac; done'
    )
    script = f"new Deno.Command('sh', {{args: ['-c', {shell!r}], stdout: 'null'}}).outputSync()"

    try:
        made, _ = await run(workspace, script, permissions={"run": ["sh"]})
    except StepOutputError as error:
        assert "something other than the script wrote" in str(error)  # noqa: PT017 - either is right
    else:
        assert made == {}


async def test_what_the_bootstrap_was_told_cannot_be_read_again(workspace: Path) -> None:
    script = """
    const fs = (await import('node:fs')).default;
    let read = Deno.stdin.readSync(new Uint8Array(100));
    for (let fd = 0; fd < 40; fd++)
      try { read ??= fs.readSync(fd, new Uint8Array(9), 0, 9, 0) || null } catch { }
    const child = new Deno.Command('sh', {args: ['-c', 'head -c 100'], stdin: 'inherit'});
    output('read', [read, child.outputSync().stdout.length])
    """

    made, _ = await run(workspace, script, permissions={"run": ["sh"]})

    assert made == {"read": [None, 0]}


async def test_the_channel_cannot_be_opened_again(workspace: Path) -> None:
    script = """
    let opened = 0;
    for (let fd = 3; fd < 40; fd++) for (const base of ['/dev/fd/', '/proc/self/fd/'])
      try { Deno.openSync(base + fd, {write: true}); opened++ } catch { }
    output('opened', opened)
    """

    made, _ = await run(workspace, script, permissions={"write": ["."], "read": ["."]})

    assert made == {"opened": 0}


ENDS = {
    "exit 0": ("output('a', 1); Deno.exit(0)", None),
    "exit 0 later": (
        "output('a', 1); setTimeout(() => Deno.exit(0)); await new Promise(() => {})",
        None,
    ),
    "exit 3": ("Deno.exit(3)", "with code 3"),
    "exit by node": ("(await import('node:process')).default.exit(4)", "with code 4"),
    "never resolved": ("await new Promise(() => {})", "never resolved"),
    "thrown later": ("setTimeout(() => { throw new RangeError('late') })", "RangeError: late"),
    "rejected later": ("Promise.reject(new RangeError('late'))", "RangeError: late"),
    "thrown text": ("throw 'only a text'", "only a text"),
    "thrown nothing": ("throw undefined", "undefined"),
    "thrown proxy": (
        "throw new Proxy(new Error('x'), {get() { throw new Error('no') }})",
        "cannot be shown",
    ),
    "kill oneself": ("(await import('node:process')).default.abort()", "SIGABRT"),
    "syntax": ("let = ;", "SyntaxError"),
    "exit in a child of the import": (
        "export default 1; throw new Error('at the end')",
        "at the end",
    ),
}


@pytest.mark.parametrize(("script", "error"), ENDS.values(), ids=ENDS)
async def test_ends(workspace: Path, script: str, error: str | None) -> None:
    if error is None:
        made, _ = await run(workspace, script)
        assert made == {"a": 1}
        return
    with pytest.raises(WfeError, match=error):
        await run(workspace, script)


HUGE = {
    "one value": "output('x', 'x'.repeat(2 ** 20))",
    "many values": "for (let i = 0; i < 2000; i++) output(`x${i}`, 'x'.repeat(1000))",
    "caught": "try { output('x', 'x'.repeat(2 ** 20)) } catch { }; throw new Error('more than')",
    "depth": "let a = []; for (let i = 0; i < 5000; i++) a = [a]; output('x', a)",
    "half of a character": "output('x', '\\ud800')",
    "half of a character in a name": "output('x', {'\\udfff': 1})",
    "not a number": "output('x', NaN)",
    "not a number, inside": "output('x', {a: [1, -Infinity]})",
    "a bigint": "output('x', 10n)",
    "a function": "output('x', () => 1)",
    "nothing": "output('x')",
    "a circle": "const a = {}; a.a = a; output('x', a)",
    "a name that is none": "output('a b', 1)",
    "an empty name": "output('', 1)",
    "a long name": "output('x'.repeat(201), 1)",
    "another step's name": "output('steps.other', {outputs: {}})",
    "a name of the run": "output('inputs', {})",
    "a prototype": "output({toString: () => 'x'}, 1)",
}


@pytest.mark.parametrize("script", HUGE.values(), ids=HUGE)
async def test_outputs_that_cannot_be_taken_fail_the_step(workspace: Path, script: str) -> None:
    with pytest.raises((DenoScriptError, StepOutputError)) as caught:
        await run(workspace, script)

    assert len(str(caught.value)) < 1000


async def test_names_of_javascript_are_ordinary_outputs(workspace: Path) -> None:
    names = ("__proto__", "constructor", "toString", "hasOwnProperty")
    script = "".join(f"output('{name}', {{__proto__x: '{name}'}});" for name in names)

    made, _ = await run(workspace, script)

    assert made == {name: {"__proto__x": name} for name in names}


async def test_a_huge_log_is_streamed(workspace: Path) -> None:
    _, lines = await run(workspace, "for (let i = 0; i < 20000; i++) console.log(`line ${i}`)")

    assert lines[-1] == ("stdout", "line 19999")
    assert len(lines) == 20_000
