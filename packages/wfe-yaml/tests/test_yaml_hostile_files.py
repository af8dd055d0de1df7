"""Files that are made to hurt are refused quickly and in little memory, each in a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# CPU seconds of the check, measured against the start of the same process where the machine is
# slow or busy: a check may take as long as the start, ten times over.
SECONDS = 1.0
STARTS = 10
MEMORY = 200 * 1024 * 1024  # bytes of the largest resident set, of the whole process

PROBE = r"""
import json, re, sys, time
from pathlib import Path
began = time.process_time()
from wfe.yaml.diagnostics import render, render_github, render_json
from wfe.yaml.loader import check
check([sys.argv[1]])  # what is imported late is imported now
start = time.process_time() - began
began = time.process_time()
found = check([sys.argv[2]])
shown = [show(found) for show in (render, render_json, render_github)]
took = time.process_time() - began
# The process's own high-water mark: getrusage() has that of who forked it, too.
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({
    "codes": sorted({d.code for d in found}), "start": start, "took": took, "peak": peak,
    "widest": max((len(line) for line in shown[0].split("\n")), default=0), "count": len(found),
}))
"""

STEPS = "steps: [{name: x, run: make}]"


def _bomb(head: str, line: str) -> str:
    lines = [head]
    lines += [line.format(i=i, before=i - 1) for i in range(1, 30)]
    return "\n".join(lines) + f"\nworkflow: {{id: a, version: 1, {STEPS}}}\n"


def _step(keys: str) -> bytes:
    text = f"workflow: {{id: a, version: 1, inputs: {{a: string}}, steps: [{{name: x, {keys}}}]}}\n"
    return text.encode()


def _run(script: str) -> bytes:
    return _step(f"run: {json.dumps(script)}")


NINE = ", ".join(["*a{before}"] * 9)
FILES: dict[str, tuple[bytes, str]] = {
    "aliases of lists": (_bomb("_0: &a0 [x]", f"_{{i}}: &a{{i}} [{NINE}]").encode(), "WFE002"),
    "aliases of maps": (
        _bomb(
            "_0: &a0 {k: x}", "_{i}: &a{i} {{a: *a{before}, b: *a{before}, c: *a{before}}}"
        ).encode(),
        "WFE002",
    ),
    "merges of merges": (
        _bomb("_0: &a0 {k0: x}", "_{i}: &a{i} {{<<: [*a{before}, *a{before}], k{i}: x}}").encode(),
        "WFE002",
    ),
    "a scalar of 20 MB": (b"workflow: '" + b"x" * 20_000_000 + b"'\n", "WFE002"),
    "a plain scalar of 4 MB": (b"workflow: " + b"x" * 4_000_000 + b"\n", "WFE002"),
    "a block of 1.2 MB": (b"workflow: |\n" + b"  xxxxxxx\n" * 140_000, "WFE002"),
    "a comment of 4 MB": (b"# " + b"x" * 4_000_000 + b"\n", "WFE002"),
    "blank lines": (b"\n" * 400_000, "WFE008"),
    "10,000 brackets": (b"workflow: " + b"[" * 10_000, "WFE002"),
    "10,000 braces": (b"workflow: " + b"{a: " * 10_000, "WFE002"),
    "10,000 indents": (
        b"".join(b" " * i + b"a:\n" for i in range(2_500)) + b" " * 2_500 + b"b: c\n",
        "WFE002",
    ),
    "10,000 dashes": (b"- " * 10_000 + b"a\n", "WFE002"),
    "10,000 question marks": (b"? " * 10_000 + b"a\n", "WFE002"),
    "binary": (bytes(range(256)) * 4_000, "WFE010"),
    "zeros": (b"\0" * 400_000, "WFE001"),
    "an archive": (b"\x1f\x8b\x08" + b"\0\xff" * 100_000, "WFE010"),
    "a megabyte of anchors": (b"".join(b"- &a%d x\n" % i for i in range(60_000)), "WFE002"),
    "a list of 9,000 aliases": (b"_x: &x y\n_l: [" + b"*x, " * 9_000 + b"]\n", ""),
    "a megabyte of quotes": (b"a: '" + b"''" * 500_000, "WFE001"),
    "a megabyte of escapes": (b'a: "' + b"\\n" * 400_000, "WFE001"),
    "a megabyte of braces in text": (b"a: '" + b"${{" * 300_000 + b"'", "WFE012"),
    "a megabyte of parentheses": (b"a: '" + b"((" * 400_000 + b"'", "WFE012"),
    "many variables": (b"a: '" + b"((x)) " * 50_000 + b"'", "WFE021"),
    "five megabytes of dashes": (b"-" * (5 * 1024 * 1024), "WFE002"),
    "five megabytes of lines of dashes": (b"-\n" * (2 * 1024 * 1024), "WFE002"),
    "a million anchors": (b"".join(b"- &a%d\n" % i for i in range(400_000)), "WFE002"),
    "a key of half a megabyte": (b"? " + b"k" * 500_000 + b"\n: x\n", "WFE012"),
    "keys of 200,000 characters": (
        b"".join(b"? " + b"%d" % i + b"k" * 200_000 + b"\n: x\n" for i in range(10)),
        "WFE012",
    ),
    "15,000 unknown keys": (b"".join(b"key%d: x\n" % i for i in range(15_000)), "WFE012"),
    "8,000 wrong steps": (
        b"workflow:\n  id: a\n  version: 1\n  steps:\n" + b"  - {rum: x}\n" * 8_000,
        "WFE012",
    ),
    "a NUL in an escape": (_run("echo \0 ${{ inputs.a }}"), "WFE001"),
    "UTF-16 with its mark": ("workflow: {}\n".encode("utf-16"), "WFE010"),
    "UTF-32 without one": ("workflow: {}\n".encode("utf-32-le"), "WFE001"),
    "an expression of half a megabyte": (_run("echo ${{ " + "1 + " * 120_000 + "1 }}"), "WFE030"),
    "an expression of words": (_step(f"run: make, when: '{'a' * 19_000} b'"), "WFE030"),
    "an expression of signs": (_step(f"run: make, when: '{'é' * 19_000}'"), "WFE030"),
    "quotes that nothing closes": (_run("echo ${{ '" + r"\'" * 200_000 + " }}"), "WFE030"),
    "expressions with open quotes": (_run(r"${{ x\" }} " * 50_000), "WFE030"),
    "blanks in a path": (_step(f"run: make, when: 'inputs{' . a' * 30}[\"x\\\\y\"]'"), "WFE031"),
    "a type of question marks": (
        _step(f"run: make, outputs: {{a: 'int{'?' * 500_000}'}}"),
        "WFE017",
    ),
    "a type of lists": (_step(f"run: make, outputs: {{a: '{'list<' * 100_000}'}}"), "WFE017"),
    "a duration of digits": (_step(f"run: make, timeout: '{'9' * 500_000}d'"), "WFE016"),
    "a number of digits": (_step(f"run: make, retry: {{max: {'9' * 500_000}}}"), "WFE011"),
    "a name of half a megabyte": (_step(f"run: make, id: '{'n' * 500_000}'"), "WFE020"),
    "a script of parentheses": (_run("((" * 200_000 + " ${{ inputs.a }}"), "WFE037"),
    "a script of here-documents": (_run("<<A " * 100_000 + "\n${{ inputs.a }}\n"), ""),
    "a script of braces": (_run("${" * 200_000 + "${{ inputs.a }}"), "WFE037"),
    "20,000 interpolations": (_run("echo ${{ inputs.a }}\n" * 20_000), ""),
    "20,000 interpolations in PowerShell": (
        _step("config: {shell: pwsh, run: " + json.dumps("echo -a${{ inputs.a }} " * 20_000) + "}"),
        "WFE037",
    ),
    "20,000 interpolations after a variable": (_run("((a|b))${{ inputs.a }} " * 20_000), ""),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.yaml"
    text = (
        f"workflow: {{id: a, version: 1, inputs: {{n: integer}}, {STEPS[:-1]}, "
        "{name: y, run: 'echo ${{ inputs.n + 1 }}'}]}\n"
    )
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_quickly(name: str, good: Path, tmp_path: Path) -> None:
    content, code = FILES[name]
    path = tmp_path / "hostile.yaml"
    path.write_bytes(content)

    ended = subprocess.run(
        [sys.executable, "-c", PROBE, str(good), str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    assert (code in found["codes"]) if code else found["codes"] == []
    assert found["took"] < max(SECONDS, STARTS * found["start"])
    assert found["peak"] < MEMORY
    assert found["count"] <= 502
    assert found["widest"] < 5_000
