"""kill -9 at every commit boundary of the whole engine: what was promised holds afterwards."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.crash_checks import Seen, look, violations
from tests.crash_engine import SCENARIOS, UNDONE
from tests.crash_yaml import SECRET

ROOT = Path(__file__).parents[1]
LEAST = {
    "undo": 30,
    "wait": 25,
    "mend": 25,
    "call": 20,
    "fire": 12,
    "pipe": 20,
    "keep": 15,
    "lane": 12,
}
"""Commits that a scenario has at least; a few may fall together by chance."""


@attrs.frozen
class Processes:
    """Forks a process for each life of a scenario."""

    server: subprocess.Popen[str]

    def live(self, scenario: str, folder: Path, **options: Any) -> int:
        """Drive a scenario to its end, or to its death; return the exit code."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = {
            "scenario": scenario,
            "db": str(folder / "crash.db"),
            "effects": str(folder / "effects"),
            "marker": str(folder / "marker"),
            "kill_at": 0,
            "phase": "",
            "plant": None,
            **options,
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def undisturbed(self, scenario: str, folder: Path) -> Seen:
        """Return what comes of a scenario when nobody dies."""
        folder.mkdir()
        assert self.live(scenario, folder) == 0
        return look(folder)


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash_engine"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        yield Processes(server)
        assert server.stdin is not None
        server.stdin.close()
        server.wait(timeout=60)


@attrs.frozen
class Lives:
    """Several processes, one after the other, on one scenario.

    Attributes:
        died: How many of them died.
        wrong: What was wrong after the last one.
    """

    died: int
    wrong: list[str]


def _lives(
    processes: Processes,
    scenario: str,
    folder: Path,
    wanted: Seen,
    points: Iterable[tuple[int, str]],
) -> Lives:
    """Let one process after the other die at its point, until one comes to the end."""
    folder.mkdir()
    deaths: list[Seen] = []
    for kill_at, phase in points:
        code = processes.live(scenario, folder, kill_at=kill_at, phase=phase)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert (folder / "marker").read_text(encoding="utf-8") == f"{phase} {kill_at}"
        deaths.append(look(folder))
    wrong = [*violations(wanted, deaths, look(folder), UNDONE), *_leaks(folder)]
    return Lives(len(deaths), wrong)


def _leaks(folder: Path) -> Iterator[str]:
    """Yield files that hold the secret."""
    for path in folder.rglob("*"):
        if path.is_file() and SECRET.encode() in path.read_bytes():
            yield f"{path.name} holds the secret"


END = (0, "")  # nobody dies there


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_commit_keeps_every_promise(
    processes: Processes, tmp_path: Path, scenario: str, phase: str
) -> None:
    wanted = processes.undisturbed(scenario, tmp_path / "undisturbed")
    assert violations(wanted, [], wanted, UNDONE) == []
    reached = 0
    while True:
        point = (reached + 1, phase)
        folder = tmp_path / f"{reached + 1}"
        lives = _lives(processes, scenario, folder, wanted, [point, END])
        assert lives.wrong == [], f"killed {phase} commit {reached + 1}"
        if not lives.died:
            break
        reached += 1

    assert reached >= LEAST[scenario], "the scenario has fewer commits than it should"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_processes_that_die_again_and_again_come_to_the_end(
    processes: Processes, tmp_path: Path, scenario: str
) -> None:
    wanted = processes.undisturbed(scenario, tmp_path / "undisturbed")
    # A life needs some commits to take over; after five lives without progress a run is suspended.
    for every in (11, 14):
        points = itertools.repeat((every, "after"), 100)
        lives = _lives(processes, scenario, tmp_path / str(every), wanted, points)

        assert lives.wrong == [], f"each killed after commit {every}"
        assert lives.died >= (every == 11)


@pytest.mark.parametrize(
    ("plant", "scenario", "symptom"),
    [
        ("run again", "undo", "was completed"),
        ("undo again", "undo", "and undid"),
        ("repeat hooks", "undo", "rows: "),
        ("lose signals", "wait", "results: "),
        ("forget results", "keep", "when its result was kept"),
    ],
)
def test_planted_bugs_are_found(
    processes: Processes, tmp_path: Path, plant: str, scenario: str, symptom: str
) -> None:
    wanted = processes.undisturbed(scenario, tmp_path / "undisturbed")
    found: list[str] = []
    for point in range(6, 40):  # which commit a bug needs is not always the same one
        folder = tmp_path / str(point)
        folder.mkdir()
        if processes.live(scenario, folder, kill_at=point, phase="after") == 0:
            break
        death = look(folder)
        processes.live(scenario, folder, plant=plant)
        found += violations(wanted, [death], look(folder), UNDONE)
        if any(symptom in wrong for wrong in found):
            return

    pytest.fail(f"the bug was not found, only {found}")
