"""kill -9 at every commit boundary of the whole engine: what was promised holds afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.crash_checks import Seen, look, violations
from tests.crash_engine import SCENARIOS, UNDONE

ROOT = Path(__file__).parents[1]
LEAST = {"undo": 30, "wait": 25, "mend": 25, "call": 20, "fire": 12}
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
        server.wait(timeout=10)


def _die_and_go_on(
    processes: Processes,
    scenario: str,
    folder: Path,
    wanted: Seen,
    point: tuple[int, str],
    plant: str | None = None,
) -> tuple[bool, list[str]]:
    """Return whether a process died at *point*, and what was wrong after another one went on."""
    folder.mkdir()
    kill_at, phase = point
    code = processes.live(scenario, folder, kill_at=kill_at, phase=phase)
    death = look(folder)
    if code == 0:
        return False, violations(wanted, Seen(), death, UNDONE)
    assert code == -9
    assert (folder / "marker").read_text(encoding="utf-8") == f"{phase} {kill_at}"

    assert processes.live(scenario, folder, plant=plant) == 0

    return True, violations(wanted, death, look(folder), UNDONE)


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_at_any_commit_keeps_every_promise(
    processes: Processes, tmp_path: Path, scenario: str, phase: str
) -> None:
    wanted = processes.undisturbed(scenario, tmp_path / "undisturbed")
    assert violations(wanted, Seen(), wanted, UNDONE) == []
    reached = 0
    while True:
        point = (reached + 1, phase)
        folder = tmp_path / f"{phase}-{reached + 1}"
        died, wrong = _die_and_go_on(processes, scenario, folder, wanted, point)
        assert wrong == [], f"killed {phase} commit {reached + 1}"
        if not died:
            break
        reached += 1

    assert reached >= LEAST[scenario], "the scenario has fewer commits than it should"
