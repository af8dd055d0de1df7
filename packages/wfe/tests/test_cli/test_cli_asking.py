"""``wfe update`` and ``wfe query``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Wfe: TypeAlias = Callable[..., Any]

BASKET = """\
from datetime import timedelta
from wfe.core import WorkflowBuilder

def positive(data, count):
    if count < 1:
        raise ValueError("order at least one")

def add(data, count):
    data["count"] = data.get("count", 0) + count
    return {"count": data["count"]}

builder = WorkflowBuilder()
builder.on_update("add", add, positive)
builder.on_query("count", lambda data: data.get("count", 0))
basket = builder.delay(timedelta(minutes=10)).build("basket")
"""


@pytest.fixture
def driven(wfe: Wfe, folder: Path) -> Iterator[None]:
    """A run of the basket, driven by another process."""
    (folder / "basket.py").write_text(BASKET)
    command = [sys.executable, "-m", "wfe", "run", "basket.py", "--json"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step_sleeping" in line:
                break
        yield
        process.terminate()
    sys.modules.pop("basket", None)


@pytest.mark.usefixtures("driven")
def test_a_handler_changes_a_run_and_another_reads_it(wfe: Wfe) -> None:
    first = wfe("update", "last", "add", "--data", "2", "--timeout", "30s")
    second = wfe("update", "last", "add", "--data", "3", "--timeout", "30s")
    refused = wfe("update", "last", "add", "--data", "0", "--timeout", "30s")
    asked = wfe("query", "last", "count", "basket.py")

    assert (first.out, second.out) == ('{"count": 2}\n', '{"count": 5}\n')
    assert refused.code == 2
    assert "order at least one" in refused.err
    assert asked == (0, "5\n", "")
    assert wfe("query", "last", "none", "basket.py").code == 2


def test_an_update_that_nobody_answers_is_stored(wfe: Wfe) -> None:
    run = wfe("run", "gate.yaml").run

    ended = wfe("update", "last", "limit", "--data", "5", "--timeout", "1s")

    assert ended.code == 3
    assert f"wfe run --resume {run}" in ended.err


def test_mistakes(wfe: Wfe) -> None:
    wfe("run", "gate.yaml")

    assert wfe("update", "nobody", "x").code == 2
    assert wfe("query", "last", "status", "gate.yaml").code == 2
    assert "--data is not JSON" in wfe("update", "last", "x", "--data", "{").err
    assert "--timeout 'soon' is no time" in wfe("update", "last", "x", "--timeout", "soon").err
    assert json.loads(wfe("show", "last", "--json").out)["status"] == "runnable"
