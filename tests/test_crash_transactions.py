"""kill -9 around every commit: what steps did in their transactions is there exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import psycopg
import pytest
from tests.crash_transactions import NOTES, TABLE

from wfe.postgres import PostgresStore
from wfe.testing.services.databases import Databases

ROOT = Path(__file__).parents[1]


@attrs.frozen
class Deaths:
    """Forks a process for each life."""

    server: subprocess.Popen[str]

    def run(self, where: str, folder: Path, *, kill_at: int = 0, phase: str = "") -> int:
        """Run the workflows to their end, or to the process's; return the exit code."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        request = {
            "where": where,
            "marker": str(folder / "marker"),
            "kill_at": kill_at,
            "phase": phase,
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return int(self.server.stdout.readline())


@pytest.fixture(scope="module")
def deaths() -> Iterator[Deaths]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash_transactions", "serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as server:
        yield Deaths(server)
        assert server.stdin is not None
        server.stdin.close()
        server.wait(timeout=10)


def _ask(where: str, sql: str) -> list[tuple[str, ...]]:
    if "://" in where:
        with psycopg.connect(where, autocommit=True) as conn:
            cursor = conn.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []
    with contextlib.closing(sqlite3.connect(where, isolation_level=None)) as db:
        return db.execute(sql).fetchall()


def _completions(where: str) -> Counter[str]:
    """Return the steps that the journal says are done, of those that write notes."""
    try:
        rows = _ask(where, "SELECT event FROM wfe_journal")
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return Counter()
    events = [json.loads(event) for (event,) in rows]
    return Counter(
        row[3]
        for row in events
        if row[1] == "step_committed"
        or (row[1] == "step_completed" and row[3] in {"called", "undo called"})
    )


def _effects(where: str) -> Counter[str]:
    return Counter(step for (step,) in _ask(where, "SELECT step FROM notes"))


def _dies_everywhere(
    deaths: Deaths, new: Callable[[int], str], folder: Path, phase: str, stride: int = 1
) -> int:
    """Die at each commit, in a database of its own; return how many there are."""
    point = 1
    while True:
        where = new(point)
        _ask(where, TABLE)
        code = deaths.run(where, folder, kill_at=point, phase=phase)
        # Whatever is there now, effects and completions agree.
        assert _effects(where) == _completions(where), f"killed {phase} commit {point}"
        if code == 0:
            assert _effects(where) == Counter(NOTES)
            return point
        assert code == -9

        assert deaths.run(where, folder) == 0

        assert _effects(where) == _completions(where) == Counter(NOTES), f"{phase} commit {point}"
        point += stride


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kill_at_any_commit_of_a_file(deaths: Deaths, tmp_path: Path, phase: str) -> None:
    stride = 1 if phase == "before" else 2  # what is there after one is there before the next

    def new(point: int) -> str:
        return str(tmp_path / f"{point}.db")

    reached = _dies_everywhere(deaths, new, tmp_path, phase, stride)

    assert reached >= 20


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_kill_at_commits_of_a_server(
    deaths: Deaths, tmp_path: Path, postgres_databases: Databases, phase: str
) -> None:
    template = postgres_databases.new()
    asyncio.run(_migrate(template))
    made: list[str] = []

    def new(_: int) -> str:
        made.append(postgres_databases.new(template=template))
        return made[-1]

    try:
        reached = _dies_everywhere(deaths, new, tmp_path, phase, stride=2)
    finally:
        for url in (*made, template):
            postgres_databases.drop(url)

    assert reached >= 15


async def _migrate(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.close()
