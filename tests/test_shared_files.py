"""Processes on one SQLite file that run workflow files: limits, shared results, superseded runs."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.crash_checks import look, sound
from tests.crash_yaml import definitions

from wfe.host import WorkflowHost

ROOT = Path(__file__).parents[1]
RUNS = 60
GROUPS = 6
LANES = 12
LIMIT = 2


@contextlib.contextmanager
def _worker(folder: Path) -> Generator[subprocess.Popen[str]]:
    places = [f"{folder}/crash.db", f"{folder}/effects"]
    command = [sys.executable, "-m", "tests.crash_shared", *places, "sharing", "lane"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@attrs.frozen
class Effect:
    """One line that a body wrote."""

    key: str
    attempt: str
    what: str
    pid: str


def _effects(folder: Path) -> list[Effect]:
    path = folder / "effects"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Effect(*line.split("\t")) for line in lines]


async def _share(folder: Path, kill_after: int | None = None) -> None:
    """Let two processes do all the work; one of them may be killed after some effects."""
    host = WorkflowHost(f"sqlite:///{folder}/crash.db?synchronous=normal", max_live=0)
    host.register(*definitions(folder, "sharing", "lane"))
    async with host:
        with contextlib.ExitStack() as stack:
            one, _ = [stack.enter_context(_worker(folder)) for _ in range(2)]
            for number in range(RUNS):
                await host.start_workflow("sharing", {"inputs": {"group": number % GROUPS}})
                if number < LANES:
                    await host.start_workflow("lane", {"inputs": {"last": True}})
            if kill_after is not None:
                await _until(lambda: len(_effects(folder)) >= kill_after)
                one.kill()
                one.wait()
            await _until_settled(host)


async def _until(holds: Any) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def _until_settled(host: WorkflowHost) -> None:
    deadline = time.monotonic() + 30
    while True:
        found = [await host.find(status=each, limit=100) for each in ("complete", "terminated")]
        if sum(len(page.items) for page in found) == RUNS + LANES:
            return
        assert time.monotonic() < deadline, "not everything settles"
        await asyncio.sleep(0.05)


def _check(folder: Path) -> list[Effect]:
    """Check what holds after any sharing; return the effects."""
    seen = look(folder)
    assert sound(seen) == []
    values = Counter(
        run.stored.data["outputs"]["value"] for run in seen.runs if run.definition == "sharing"
    )
    assert values == {group * 10: RUNS // GROUPS for group in range(GROUPS)}
    ended = Counter(run.status for run in seen.runs if run.definition == "lane")
    assert ended["complete"] >= 1, "nobody was in the way of the last one that asked"
    effects = _effects(folder)
    assert _most(effects, {"begin"}, {"end"}) <= LIMIT
    assert _most(effects, {"enter"}, {"leave", "ride.on_abort"}, by_run=True) <= 1
    return effects


def _most(effects: list[Effect], begins: set[str], ends: set[str], *, by_run: bool = False) -> int:
    """Return how many were inside at most; one that was killed is until it was repeated."""
    inside: set[str] = set()
    most = 0
    for effect in effects:
        key = effect.key.partition(":")[0] if by_run else effect.key
        if effect.what in begins:
            inside.add(key)
        elif effect.what in ends:
            inside.discard(key)
        most = max(most, len(inside))
    return most


async def test_two_processes_make_each_result_once(tmp_path: Path) -> None:
    await _share(tmp_path)

    effects = _check(tmp_path)
    assert Counter(each.what for each in effects)["made"] == GROUPS
    bodies = Counter((each.key, each.attempt, each.what) for each in effects)
    assert set(bodies.values()) == {1}
    assert _most(effects, {"begin"}, {"end"}) == LIMIT, "the limit was never reached"
    assert len({each.pid for each in effects}) == 2, "one process did everything"


@pytest.mark.parametrize("moment", [2, 20, 60])
async def test_what_a_killed_process_was_making_is_made_by_the_other(
    tmp_path: Path, moment: int
) -> None:
    await _share(tmp_path, moment)

    effects = _check(tmp_path)
    made = Counter(each.what for each in effects)["made"]
    assert GROUPS <= made <= 2 * GROUPS
