"""Stores that earlier versions made are opened, and their runs go on, with the code of today.

``stores/first_files.sql`` was made by the version before the whole language of workflow files: its
process was killed when one run was complete, one suspended, and three waited (``loop`` and
``parallel`` for events, ``end`` for a time).
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core.definition import WorkflowDefinition
from wfe.host import WorkflowHost
from wfe.yaml.step_body import step_bodies

STORE = Path(__file__).parent / "stores" / "first_files.sql"
RAN = {
    "loop": ["left", "right", "tell"],
    "parallel": ["tell"],
    "suspend": ["stuck", "tell"],
    "end": ["tell"],
}
"""What was still to be done, by run."""


MOMENT = re.compile(r"\b1[78]\d{14}\b")  # µs since 1970, of our years


def _just_made(text: str) -> str:
    """Return the store as if it had been made a minute ago: its runs have an hour to end in."""
    made = min(int(moment) for moment in MOMENT.findall(text))
    ago = time.time_ns() // 1000 - 60_000_000 - made
    return MOMENT.sub(lambda moment: str(int(moment[0]) + ago), text)


def _store(folder: Path) -> Path:
    path = folder / "runs.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(_just_made(STORE.read_text(encoding="utf-8")))
        db.execute("PRAGMA journal_mode = wal")
    return path


def _definitions(path: Path, workspace: Path) -> list[WorkflowDefinition]:
    """Return the stored definitions with the code of today."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT body, hash FROM wfe_definitions").fetchall()
    found = [(WorkflowDefinition.from_json(json.loads(body)), key) for body, key in rows]
    assert all(definition.hash == key for definition, key in found), "another hash: another version"
    return [attrs.evolve(each, code=step_bodies(each, workspace)) for each, _ in found]


@pytest.fixture
def ready(tmp_path: Path) -> tuple[Path, WorkflowHost]:
    path = _store(tmp_path)
    host = WorkflowHost(f"sqlite:///{path}")
    host.register(*_definitions(path, tmp_path))
    return tmp_path, host


async def _go_on(host: WorkflowHost, name: str, folder: Path) -> Any:
    if name in ("loop", "parallel"):
        await host.publish_event("go", name, {"by": "today"})
    elif name == "suspend":
        (folder / "repaired").touch()
        await host.resume(name)
    run = await host.run(name)
    return await run.wait(20)


@pytest.mark.parametrize("name", RAN)
async def test_a_run_of_an_earlier_version_goes_on(
    ready: tuple[Path, WorkflowHost], name: str
) -> None:
    folder, host = ready
    async with host:
        ended = await _go_on(host, name, folder)
        rows = await host.history(ended.id)

    assert (ended.status, ended.error) == ("complete", None)
    assert ended.data["outputs"] == {"all": "1-y-42"}
    log = Counter((folder / "log").read_text(encoding="utf-8").split())
    assert log >= Counter(RAN[name])
    assert log["first"] == log["each"] == 0, "what was done is not done again"
    done = Counter((row.step, row.pointer) for row in rows if row.kind == "step_completed")
    assert set(done.values()) == {1}


async def test_what_an_earlier_version_wrote_can_be_read(
    ready: tuple[Path, WorkflowHost],
) -> None:
    _, host = ready
    async with host:
        none = await host.get("none")
        rows = await host.history("none")
        ends = {row.step: row.kind for row in rows if row.step}

    assert none.status == "complete"
    assert none.data["outputs"] == {"all": "1-y-42"}
    assert none.data["steps.kid"] == {"outputs": {"double": 42}}
    assert (ends["fragile"], ends["tell"]) == ("step_failed", "step_completed")
