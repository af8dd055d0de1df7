"""The plain loop that the engine is compared with writes what the engine committed."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from benchmarks.counting import CountingStore
from benchmarks.limits import Batch, batches, postgres_loop, sqlite_loop
from benchmarks.measuring import finished, sequence

from wfe.core.memory import MemoryStore

RUNS = "SELECT n, status, ended IS NOT NULL FROM run ORDER BY n"
STEPS = "SELECT run, seq, event FROM step ORDER BY run, seq"


@pytest.fixture
async def committed() -> Sequence[Batch]:
    """Two runs of three steps, as the engine committed them."""
    store = CountingStore(MemoryStore())
    store.reset(keep=True)
    async with store.host() as host:
        host.register(sequence("three", 3))
        await finished(host, "three")
        await finished(host, "three")
        assert store.commits == len(store.batches)
        return batches(store.batches)


def _wanted(committed: Sequence[Batch]) -> list[tuple[int, int, str]]:
    return sorted((run, seq, event) for batch in committed for run, seq, _, event in batch.rows)


def test_a_batch_has_the_rows_starts_and_ends(committed: Sequence[Batch]) -> None:
    assert len(committed) == 2 * 4
    assert sum(len(batch.starts) for batch in committed) == 2
    assert sum(len(batch.ends) for batch in committed) == 2
    assert len({row[:2] for batch in committed for row in batch.rows}) == len(_wanted(committed))
    assert len(_wanted(committed)) == 2 * 5


@pytest.mark.parametrize("synchronous", ["FULL", "NORMAL"])
def test_sqlite_is_given_all_of_it(
    tmp_path: Path, committed: Sequence[Batch], synchronous: str
) -> None:
    seconds = sqlite_loop(tmp_path / "loop.db", committed, synchronous)

    assert seconds > 0
    with closing(sqlite3.connect(tmp_path / "loop.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute(STEPS).fetchall() == _wanted(committed)
        assert [row[1:] for row in db.execute(RUNS)] == [("complete", 1)] * 2


def test_postgres_is_given_all_of_it(postgres_url: str, committed: Sequence[Batch]) -> None:
    seconds = postgres_loop(postgres_url, committed)
    postgres_loop(postgres_url, committed)  # as often as wanted

    assert seconds > 0
    with psycopg.connect(postgres_url) as db:
        assert db.execute(STEPS).fetchall() == _wanted(committed)
        assert [row[1:] for row in db.execute(RUNS)] == [("complete", True)] * 2
