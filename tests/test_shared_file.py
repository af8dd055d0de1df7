"""Processes on one SQLite file: every step once, and a dead one's work is taken over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.crash_checks import look, outline, sound
from tests.crash_shared import LIMIT, definitions
from tests.crash_workflow import short

from wfe.host import WorkflowHost

ROOT = Path(__file__).parents[1]
RUNS = 500
LEASE = 2.0  # seconds, as the workers have it


@contextlib.contextmanager
def _worker(db: Path, effects: Path) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash_workflow", "work", str(db), str(effects)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


@contextlib.asynccontextmanager
async def _client(db: Path) -> AsyncGenerator[WorkflowHost]:
    """Yield a host that starts runs but drives none."""
    host = WorkflowHost(f"sqlite:///{db}", max_live=0)
    host.register(short())
    async with host:
        yield host


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


async def _until_complete(host: WorkflowHost, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        page = await host.find(status="complete", limit=RUNS)
        if len(page.items) == RUNS:
            return
        assert time.monotonic() < deadline, f"only {len(page.items)} of {RUNS} complete"
        await asyncio.sleep(0.05)


async def _until_some_steps_ran(effects: Path) -> None:
    deadline = time.monotonic() + 30
    while not effects.exists() or len(_effects(effects)) < 100:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def _effects(path: Path) -> list[tuple[str, int]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(key, int(pid)) for key, _, pid in (line.split() for line in lines)]


async def test_two_processes_share_the_work_and_do_each_step_once(tmp_path: Path) -> None:
    db, effects = tmp_path / "shared.db", tmp_path / "effects"
    async with _client(db) as host:
        for _ in range(RUNS):
            await host.start_workflow("short")
        with _worker(db, effects) as one, _worker(db, effects) as two:
            await asyncio.to_thread(_ready, one)
            await asyncio.to_thread(_ready, two)
            await _until_complete(host, 30)

    keys = Counter(key for key, _ in _effects(effects))
    assert len(keys) == RUNS * 5
    assert set(keys.values()) == {1}


async def test_the_work_of_a_killed_process_is_finished_by_the_other(tmp_path: Path) -> None:
    db, effects = tmp_path / "shared.db", tmp_path / "effects"
    async with _client(db) as host:
        for _ in range(RUNS):
            await host.start_workflow("short")
        with _worker(db, effects) as one, _worker(db, effects) as two:
            await asyncio.to_thread(_ready, one)
            await asyncio.to_thread(_ready, two)
            await _until_some_steps_ran(effects)
            os.kill(one.pid, signal.SIGKILL)
            one.wait()
            killed = time.monotonic()
            await _until_complete(host, 30)
            took = time.monotonic() - killed
        repeated = _repeated_after_completion(await _histories(host), _effects(effects))

    keys = Counter(key for key, _ in _effects(effects))
    assert len(keys) == RUNS * 5
    assert max(keys.values()) <= 2
    assert repeated == []
    assert took < LEASE + 1


async def _histories(host: WorkflowHost) -> dict[str, int]:
    """Return how often each step was recorded as completed."""
    completed: Counter[str] = Counter()
    for instance in (await host.find(limit=RUNS)).items:
        entries = await host.history(instance.id)
        done = [entry for entry in entries if entry.kind == "step_completed"]
        completed.update(f"{instance.id}:{entry.pointer}" for entry in done)
    return dict(completed)


def _repeated_after_completion(
    completed: dict[str, int], effects: list[tuple[str, int]]
) -> list[str]:
    """Return the steps that were recorded more than once: a transition happened twice."""
    assert {key for key, _ in effects} == set(completed)
    return [key for key, times in completed.items() if times != 1]


SHARED = 60
FIRES = 12
EVERY = timedelta(milliseconds=80)


@contextlib.contextmanager
def _sharer(folder: Path) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.crash_shared", f"{folder}/crash.db"]
    with subprocess.Popen(
        [*command, f"{folder}/effects"], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def _share(folder: Path, count: int, kill_after: int | None) -> set[int]:
    """Let processes share work until all is done; return the ids of those that were killed."""
    killed: set[int] = set()
    host = WorkflowHost(f"sqlite:///{folder}/crash.db?synchronous=normal", max_live=0)
    host.register(*definitions())
    async with host:
        with contextlib.ExitStack() as stack:
            sharers = [stack.enter_context(_sharer(folder)) for _ in range(count)]
            for each in sharers:
                await asyncio.to_thread(_ready, each)
            for number in range(SHARED):
                await host.start_workflow("shared", {"number": number})
            start = datetime.now(UTC) + EVERY
            end = start + EVERY * FIRES
            await host.schedules.create(
                "often", "tick", every=EVERY, start=start, end=end, overlap="queue", catch_up=100
            )
            for number in range(SHARED):
                await host.publish_event("go", str(number), number, id=f"go {number}")
            if kill_after is not None:
                await _until_lines(folder / "effects", kill_after)
                sharers[0].kill()
                sharers[0].wait()
                killed.add(sharers[0].pid)
            await _until_ended(host, SHARED + FIRES, 30)
    return killed


async def _until_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or len(_lines(path)) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def _until_ended(host: WorkflowHost, count: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while len((await host.find(status="complete", limit=count)).items) < count:
        assert time.monotonic() < deadline, "not everything settles"
        await asyncio.sleep(0.05)


def _lines(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def _most_at_a_time(lines: list[list[str]]) -> int:
    """Return how many held a place at most; one that was killed keeps it until it was repeated."""
    holding: set[str] = set()
    most = 0
    for key, _, what, _ in lines:
        if what == "begin":
            holding.add(key)
        elif what == "end":
            holding.discard(key)
        most = max(most, len(holding))
    return most


def _check_shared(folder: Path) -> list[list[str]]:
    """Check what holds after any sharing; return the effects."""
    seen = look(folder)
    assert sound(seen) == []
    outlines = [outline(run) for run in seen.runs]
    assert len(outlines) == SHARED + FIRES
    for name in ("shared", "tick"):
        same = {frozenset(each.items()) for each in outlines if any(name in key for key in each)}
        assert len(same) == 1, f"runs of {name} differ: {same}"
    data = [run.stored.data for run in seen.runs if run.definition == "shared"]
    wanted = [{"number": k, "review": "fine", "went": k} for k in range(SHARED)]
    assert sorted(data, key=lambda each: each["number"]) == wanted
    lines = _lines(folder / "effects")
    assert _most_at_a_time(lines) <= LIMIT
    return lines


async def test_three_processes_share_limits_activities_events_and_schedules(
    tmp_path: Path,
) -> None:
    await _share(tmp_path, 3, None)

    lines = _check_shared(tmp_path)
    assert _most_at_a_time(lines) == LIMIT, "the limit was never reached: nothing is proved"
    bodies = Counter((key, attempt, what) for key, attempt, what, _ in lines)
    assert len(bodies) == SHARED * 5 + FIRES
    assert set(bodies.values()) == {1}
    assert len({pid for *_, pid in lines}) > 1, "one process did everything"


@pytest.mark.parametrize("moment", [25, 80, 140, 200])
async def test_all_that_a_killed_process_had_is_settled_by_the_other(
    tmp_path: Path, moment: int
) -> None:
    killed = await _share(tmp_path, 2, moment)

    lines = _check_shared(tmp_path)
    first: dict[tuple[str, str, str], int] = {}
    for key, attempt, what, pid in lines:
        body = (key, attempt, what)
        assert body not in first or (first[body] in killed and int(pid) not in killed), body
        first[body] = int(pid)


@pytest.fixture(autouse=True)
def _time_limit() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < timedelta(seconds=60).total_seconds()
