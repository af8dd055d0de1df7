"""Two processes on one SQLite file: every step once, and a dead one's work is taken over."""

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
from datetime import timedelta
from pathlib import Path

import pytest
from tests.crash_workflow import short

from wfe.host import WorkflowHost

SCRIPT = Path(__file__).with_name("crash_workflow.py")
RUNS = 500
LEASE = 2.0  # seconds, as the workers have it


@contextlib.contextmanager
def _worker(db: Path, effects: Path) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), "work", str(db), str(effects)],
        stdout=subprocess.PIPE,
        text=True,
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


@pytest.fixture(autouse=True)
def _time_limit() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < timedelta(seconds=60).total_seconds()
