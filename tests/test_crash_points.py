"""kill -9 at every commit boundary: nothing done is done again, nothing is lost."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

ROOT = Path(__file__).parents[1]
STEPS = Counter(
    {
        **dict.fromkeys(
            ["first", "second", "third", "fourth", "yes", "yes2", "left", "left2", "right"], 1
        ),
        **dict.fromkeys(["far", "far2", "case-a", "c1", "c2", "almost", "last"], 1),
        "item": 3,
        "turn": 2,
    }
)


@attrs.frozen
class Processes:
    """Forks a process for each run of the workflow."""

    server: subprocess.Popen[str]

    def run(self, folder: Path, *, kill_at: int = 0, phase: str = "", plant: bool = False) -> int:
        """Run the workflow to its end, or to its death; return the exit code."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = {
            "db": str(folder / "crash.db"),
            "effects": str(folder / "effects"),
            "marker": str(folder / "marker"),
            "kill_at": kill_at,
            "phase": phase,
            "plant": plant,
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash_workflow", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        yield Processes(server)
        assert server.stdin is not None
        server.stdin.close()
        server.wait(timeout=10)


def _effects(folder: Path) -> list[tuple[str, str]]:
    path = folder / "effects"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(key, step) for key, step, _ in (line.split() for line in lines)]


def _journal(folder: Path) -> list[tuple[str, int, list[Any]]]:
    """Return (run id, seq, row) of everything committed, as another program would read it."""
    db = sqlite3.connect(f"file:{folder}/crash.db?mode=ro", uri=True)
    try:
        rows = db.execute(
            "SELECT i.id, j.seq, j.event FROM wfe_journal j JOIN wfe_instances i"
            " ON i.n = j.instance ORDER BY i.n, j.seq"
        ).fetchall()
    except sqlite3.OperationalError:  # killed before the schema was there
        return []
    finally:
        db.close()
    return [(run, seq, json.loads(event)) for run, seq, event in rows]


def _completed(folder: Path) -> set[str]:
    """Return the idempotency keys of the steps whose completion is committed."""
    done = [(run, row) for run, _, row in _journal(folder) if row[1] == "step_completed"]
    return {f"{run}:{row[2]}" for run, row in done}


def _violations(folder: Path, before: Counter[str], completed: set[str]) -> list[str]:
    """Return what is wrong after a death and a resume; *before*: effects by key at the death."""
    effects = _effects(folder)
    after = Counter(key for key, _ in effects)
    wrong = [f"{key} was done, and ran again" for key in completed if after[key] > before[key]]
    wrong += [f"{key} ran {times} times" for key, times in after.items() if times > 2]
    names = Counter(dict(set(effects)).values())
    if names != STEPS:
        wrong.append(f"steps that ran: {sorted((names - STEPS) + (STEPS - names))} differ")
    seqs: dict[str, list[int]] = {}
    for run, seq, _ in _journal(folder):
        seqs.setdefault(run, []).append(seq)
    wrong += [f"gap in {run}" for run, found in seqs.items() if found != list(range(len(found)))]
    ends = [row for _, _, row in _journal(folder) if row[1] == "workflow_completed"]
    if len(ends) != 2:  # the run and its sub-workflow
        wrong.append(f"{len(ends)} runs completed")
    return wrong


def _die_and_resume(
    processes: Processes, folder: Path, kill_at: int, phase: str, *, plant: bool = False
) -> tuple[bool, list[str]]:
    """Return whether the point was reached, and what was wrong after the resume."""
    folder.mkdir()
    code = processes.run(folder, kill_at=kill_at, phase=phase)
    if code == 0:
        return False, _violations(folder, Counter(), set())
    assert code == -9
    assert (folder / "marker").read_text(encoding="utf-8") == f"{phase} {kill_at}"
    before = Counter(key for key, _ in _effects(folder))
    completed = _completed(folder)

    assert processes.run(folder, plant=plant) == 0

    return True, _violations(folder, before, completed)


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kill_at_any_commit_loses_and_repeats_nothing(
    processes: Processes, tmp_path: Path, phase: str
) -> None:
    reached = 0
    while True:
        point = reached + 1
        died, wrong = _die_and_resume(processes, tmp_path / f"{phase}-{point}", point, phase)
        assert wrong == [], f"killed {phase} commit {point}"
        if not died:
            break
        reached = point

    assert reached >= 25, "the workflow has fewer commits than it should"


def test_a_planted_rerun_is_found(processes: Processes, tmp_path: Path) -> None:
    found = [
        _die_and_resume(processes, tmp_path / str(point), point, "after", plant=True)[1]
        for point in (12, 16, 20)
    ]

    assert all(any("ran again" in wrong for wrong in each) for each in found)
