"""The command, called in this process in a folder of workflow files."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from wfe.host.cli import main

HELLO = """\
workflow:
  id: hello
  version: 1
  inputs:
    who: {type: string, default: world}
    times: {type: integer, default: 1}
  outputs:
    greeting: string
  steps:
    - name: greet
      run: |
        echo "hello ${{ inputs.who }}"
        echo "greeting=hello ${{ inputs.who }}" >> "$WFE_OUTPUT"
      outputs: {greeting: string}
    - name: bye
      env: {TIMES: "${{ inputs.times }}"}
      run: echo bye
"""

FAILING = """\
workflow:
  id: failing
  version: 1
  steps:
    - {name: fine, run: echo fine}
    - {name: broken, run: "echo it broke; exit 3"}
    - {name: never, run: echo never}
"""

GATE = """\
workflow:
  id: gate
  version: 1
  steps:
    - {name: before, run: echo before >> effects}
    - name: gate
      wait_for: {event: approved, key: "7"}
    - {name: after, run: echo after >> effects}
"""

PARENT = """\
workflows:
  - id: parent
    version: 1
    steps:
      - {name: first, run: echo in parent}
      - name: kid
        type: workflow
        config: {workflow: child}
  - id: child
    version: 1
    steps:
      - {name: inner, run: echo in child}
"""

PYTHON = """\
import attrs
from wfe.core.definition import Block, Kind, Node, WorkflowDefinition

@attrs.define
class Order:
    id: str = ""
    amount: int = 0
    receipt: str | None = None

def check(amount):
    if amount <= 0:
        raise ValueError("amount must be positive")

def charge(ctx):
    ctx.log.info("charging %s", ctx.data.amount)
    ctx.data.receipt = f"r-{ctx.data.id}"

order = WorkflowDefinition(
    id="order",
    root=Block((Node(name="check", kind=Kind.STEP), Node(name="charge", kind=Kind.STEP))),
    code={"check/body": check, "charge/body": charge},
    data_type=Order,
)
number = 1
"""

FILES = {
    "hello.yaml": HELLO,
    "failing.yaml": FAILING,
    "gate.yaml": GATE,
    "parent.yaml": PARENT,
    "cli_orders.py": PYTHON,
}

RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class Ended(NamedTuple):
    """How a command ended; equal to the tuple of its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def run(self) -> str:
        """The id of the first run that was named."""
        found = RUN_ID.search(self.out)
        assert found is not None, self
        return found.group()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON objects that were printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with workflow files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def wfe(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Ended]]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", list(sys.path))
    for name in ("WFE_DB", "WFE_CONFIG", "WFE_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: str) -> Ended:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    yield call
    sys.modules.pop("cli_orders", None)
