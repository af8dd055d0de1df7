"""Keys of records have one order in every process: stored outputs and cache keys depend on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wfe.core.cel import CelType, compile_cel

FILE = """\
workflow:
  id: main
  version: 1
  inputs: {tags: list<string>}
  outputs:
    made:
      type: any
      value: "${{ {'z': 1, 'y': 2, 'x': 3, 'w': 4, 'v': {'b': 1, 'a': 2, 'c': 3}} }}"
  steps:
    - name: work
      cache: true
      env:
        WHOLE: "${{ {'q': 1, 'p': 2, 'o': 3, 'n': 4, 'm': 5, 'l': 6, 'tags': inputs.tags} }}"
      run: |
        echo ran >> log
        echo "whole=$WHOLE" >> "$WFE_OUTPUT"
      outputs: {whole: any}
"""

RUN = """\
import asyncio, json
from pathlib import Path
from wfe.host import WorkflowHost
from wfe.yaml import load_workflow

async def main():
    async with WorkflowHost("sqlite:///runs.db") as host:
        host.register(load_workflow(Path("main.yaml")))
        run = await host.start_workflow("main", {"inputs": {"tags": ["b", "a"]}})
        instance = await run.wait(timeout=30)
        assert instance.status == "complete", instance.error
        print(json.dumps(instance.data["outputs"]["made"]), instance.data["whole"])

asyncio.run(main())
"""


def test_two_processes_write_the_same_and_share_a_result(tmp_path: Path) -> None:
    (tmp_path / "main.yaml").write_text(FILE)

    said = [_said(tmp_path, hashseed) for hashseed in ("1", "2", "3")]

    whole = json.dumps(
        {"l": 6, "m": 5, "n": 4, "o": 3, "p": 2, "q": 1, "tags": ["b", "a"]},
        separators=(",", ":"),
    )
    made = json.dumps({"v": {"a": 2, "b": 1, "c": 3}, "w": 4, "x": 3, "y": 2, "z": 1})
    assert said == [f"{made} {whole}\n"] * 3
    assert (tmp_path / "log").read_text() == "ran\n"  # the others found its result


def _said(folder: Path, hashseed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hashseed}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("{'b': 1, 'a': 2, 'c': 3}", ["a", "b", "c"]),
        ("{3: 'x', 1: 'y', 2: 'z'}", [1, 2, 3]),
        ("given", ["a", "b", "c"]),
    ],
)
def test_maps_have_their_keys_in_order(text: str, keys: list[Any]) -> None:
    program = compile_cel(text, {"given": CelType.DYN})

    found: Any = program.evaluate({"given": {"c": 1, "a": 1, "b": 1}})

    assert list(found) == keys


def test_sets_have_their_items_in_order() -> None:
    program = compile_cel("given", {"given": CelType.DYN})

    assert program.evaluate({"given": {"c", "a", "b"}}) == ["a", "b", "c"]
