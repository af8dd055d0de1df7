"""What checking a file costs: modules that are imported, and time by ruamel.yaml's own parse."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from wfe.yaml.loader import check_text

HEAD = (
    "workflow:\n  id: big\n  version: 1\n"
    "  inputs:\n    target: {type: string, default: all}\n  steps:\n"
)
PROBE = """
import sys
from wfe.host.cli import main
code = main(["validate", sys.argv[1]])
print(code, len(sys.modules), *sorted(sys.modules))
"""
# What checks no file: the engine, what runs steps, stores, drawing, and what is slow to import.
NOT_NEEDED = frozenset(
    {
        *("asyncio", "ssl", "httpx", "rich", "sqlite3", "cattrs", "multiprocessing"),
        *("wfe.core.engine", "wfe.core.steps", "wfe.core.records", "wfe.core.providers"),
        *("wfe.core.models", "wfe.core.data", "wfe.core.durable", "wfe.core.builder"),
        *("wfe.host.host", "wfe.host.collect", "wfe.sqlite", "wfe.yaml.shell_run"),
        *("wfe.yaml.step_body", "wfe.yaml.process", "wfe.yaml.controls", "wfe.yaml.schema"),
    }
)
MOST_MODULES = 360


def plain(steps: int) -> str:
    return HEAD + "".join(
        f"    - name: s{i}\n      timeout: 5m\n      env:\n        PART: p{i}\n"
        "      outputs:\n        size: integer\n      run: |\n"
        f'        echo "part {i} of ${{{{ inputs.target }}}}"\n'
        f"        echo {'' if not i else f'${{{{ steps.s{i - 1}.outputs.size + {i} }}}}'}\n"
        '        echo "size=1" >> "$WFE_OUTPUT"\n'
        for i in range(steps)
    )


def graph(steps: int) -> str:
    lines = [HEAD]
    for i in range(steps):
        needs = ", ".join(f"s{j}" for j in sorted({i // 2, i - 1}) if 0 <= j < i)
        lines.append(f"    - name: s{i}\n      needs: [{needs}]\n      outputs: {{v: integer}}\n")
        read = f"${{{{ steps.s{i // 2}.outputs.v }}}}" if i else "${{ inputs.target }}"
        lines.append(f"      run: echo {read}\n")
    return "".join(lines)


def wrong(steps: int) -> str:
    return HEAD + "".join(
        f"    - name: s{i}\n      rum: make\n      when: inputs.tarjet == 'x'\n"
        "      run: make ${{ steps.zz.outputs.x }}\n"
        for i in range(steps)
    )


@pytest.mark.parametrize(
    ("text", "lines"),
    [(plain(499), 4_990), (graph(1_250), 5_000), (wrong(1_250), 5_000)],
    ids=["a list", "a graph", "nothing but errors"],
)
def test_5_000_lines_take_at_most_3_times_as_long_as_their_parse(text: str, lines: int) -> None:
    assert text.count("\n") >= lines
    check_text(plain(2))  # what is imported late is imported now

    # Both are measured in turn, each at its best: the machine is busy with other tests.
    checks: list[float] = []
    parses: list[float] = []
    parser: Any = YAML(typ="safe", pure=True)
    for _ in range(3):
        checks.append(_seconds(lambda: check_text(text)))
        parses.append(_seconds(lambda: parser.load(text)))

    assert min(checks) <= 3.0 * min(parses)


def test_twice_the_steps_take_about_twice_as_long() -> None:
    check_text(plain(2))
    for make in (plain, graph):
        small, big = make(300), make(1_200)

        ratio = min(_ratio(small, big) for _ in range(3))

        assert ratio < 8, make.__name__  # 4 if linear, 16 if quadratic


def test_validating_imports_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(plain(10), encoding="utf-8")

    ended = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)], capture_output=True, text=True, check=True
    )

    code, count, *modules = ended.stdout.split("\n")[-2].split()
    assert code == "0", ended.stdout
    assert sorted(NOT_NEEDED.intersection(modules)) == []
    assert int(count) <= MOST_MODULES


def _ratio(small: str, big: str) -> float:
    return _seconds(lambda: check_text(big)) / _seconds(lambda: check_text(small))


def _seconds(run: Callable[[], object]) -> float:
    gc.disable()  # its pauses grow with what all tests before this one have left
    try:
        began = time.process_time()
        run()
        return time.process_time() - began
    finally:
        gc.enable()
