"""What ``wfe run`` of three echoes costs before it begins and after it: counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

THREE = """\
workflow:
  id: three
  version: 1
  steps:
    - {name: a, type: shell, run: echo one}
    - {name: b, type: shell, run: echo two}
    - {name: c, type: shell, run: echo three}
"""
# A process as the console script makes it, which tells in the end what it has done.
PROBE = """
import atexit, gc, itertools, json, sqlite3, sys

connect, written, before = sqlite3.connect, [], []

def traced(*args, **options):
    connection = connect(*args, **options)
    written.append([])
    connection.set_trace_callback(written[-1].append)
    return connection

def transactions():
    # Those of the output's lines are left out: how many there are depends on the machine.
    pairs = [pair for texts in written for pair in itertools.pairwise(texts)]
    return sum(a.startswith("BEGIN IMMEDIATE") and "wfe_logs" not in b for a, b in pairs)

def tell():
    looks = [stats["collections"] for stats in gc.get_stats()]
    told = {
        "code": code,
        "modules": sorted(sys.modules),
        "classes": sum(hasattr(each, "__attrs_attrs__") for each in classes()),
        "transactions": transactions(),
        "looks": sum(looks) - sum(before),
        "frozen": gc.get_freeze_count(),
    }
    print(json.dumps(told), file=sys.stderr)

def classes():
    waiting, seen = [object], {object}
    while waiting:
        # type's own __subclasses__ needs an argument; no class here has a metaclass but ABCMeta
        below = [each for each in type.__subclasses__(waiting.pop()) if each not in seen]
        seen.update(below)
        waiting.extend(below)
    return seen

atexit.register(tell)
sqlite3.connect = traced
from wfe.host.cli import main
before = [stats["collections"] for stats in gc.get_stats()]
code = main()
"""
# What runs no shell step, or is needed only for something that the file does not have.
NOT_NEEDED = frozenset(
    {
        *("httpx", "rich", "cattrs", "cel_expr_python", "sqlite_utils", "cronsim", "pluggy"),
        *("multiprocessing", "concurrent.futures.process", "pickle", "unittest", "xml", "http"),
        *("wfe.core.builder", "wfe.core.durable", "wfe.core.dag", "wfe.core.memory"),
        *("wfe.core.masking", "wfe.core.oci", "wfe.core.artifact_index", "wfe.core.cache_index"),
        *("wfe.core.engine.artifacts", "wfe.core.engine.caching", "wfe.core.engine.work"),
        *("wfe.host.sync", "wfe.host.cli.reading", "wfe.host.cli.view_live"),
        *("wfe.host.cli.view_json", "wfe.host.cli.view_github", "wfe.host.cli.explaining"),
        *("wfe.yaml.deno", "wfe.yaml.http_step", "wfe.yaml.git_repo", "wfe.yaml.python_step"),
        *("wfe.yaml.schema", "wfe.yaml.matrix", "wfe.yaml.compat", "wfe.yaml.services"),
    }
)
MOST_MODULES = 560
MOST_CLASSES = 325  # made by attrs, at 0.4 ms each: a third of the time
# Each waits for the disk: four to begin, the start, three steps, the end; one more holds others off
# while the log is made long enough.
MOST_TRANSACTIONS = 10


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the process tells of a run into a new store."""
    folder = tmp_path_factory.mktemp("three")
    return _told(folder)


def test_nothing_is_imported_that_the_file_does_not_need(told: dict[str, Any]) -> None:
    assert told["code"] == 0
    assert sorted(NOT_NEEDED.intersection(told["modules"])) == []
    assert len(told["modules"]) <= MOST_MODULES
    assert told["classes"] <= MOST_CLASSES


def test_a_run_waits_for_the_disk_once_a_step(told: dict[str, Any], tmp_path: Path) -> None:
    assert told["transactions"] <= MOST_TRANSACTIONS

    _told(tmp_path)

    # The second run finds tables and definition.
    assert _told(tmp_path)["transactions"] <= MOST_TRANSACTIONS - 2


def test_nobody_looks_for_garbage_in_what_starting_makes(told: dict[str, Any]) -> None:
    assert told["looks"] == 0
    assert told["frozen"] > 10_000  # and the interpreter does not in the end


def _told(folder: Path) -> dict[str, Any]:
    (folder / "three.yaml").write_text(THREE, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-c", PROBE, "run", "three.yaml", "--db", "sqlite:///runs.db"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told: dict[str, Any] = json.loads(ended.stderr.splitlines()[-1])
    return told
