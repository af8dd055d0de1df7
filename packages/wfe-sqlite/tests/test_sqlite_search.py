"""The SQLite store keeps the contracts of searching, and those who never search pay nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.providers import Item, LogRow
from wfe.core.search import Gone, LogDocument, SearchDocument, SearchQuery
from wfe.core.search_text import parse_terms
from wfe.sqlite import SqliteStore, search_index, searching
from wfe.sqlite.search_query import RUNS, statement
from wfe.testing.contracts.changes import ChangesContract
from wfe.testing.contracts.runs import begin, final, one, worker
from wfe.testing.contracts.search import SearchContract


@pytest.fixture(params=["file", ":memory:"])
async def opened(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SqliteStore]:
    path = tmp_path / "wfe.db" if request.param == "file" else ":memory:"
    store = SqliteStore(path, clock=VirtualClock())
    await store.open()
    yield store
    await store.close()


class TestSqliteIndex(SearchContract):
    @pytest.fixture
    async def index(self, opened: SqliteStore) -> SqliteStore:
        return opened


class TestSqliteIndexWithoutFts(SearchContract):
    @pytest.fixture
    async def index(self, opened: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
        def has_none(_: sqlite3.Connection) -> bool:
            return False

        monkeypatch.setattr(search_index, "has_fts", has_none)
        return opened


class TestSqliteChanges(ChangesContract):
    @pytest.fixture
    async def store(self, opened: SqliteStore) -> SqliteStore:
        return opened


# -- what it costs, and whom ----------------------------------------------------------------------


def _made(store: SqliteStore) -> set[str]:
    db = sqlite3.connect(store.path)
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    db.close()
    return {name for name in names if "search" in name or "changes" in name}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "wfe.db", clock=VirtualClock())
    await store.open()
    yield store
    await store.close()


async def test_who_never_searches_has_nothing_of_it(store: SqliteStore) -> None:
    epoch = await worker(store)
    n = await begin(store, epoch)
    await one(store, epoch, Item(n=n, base=0, header=final()))

    assert await store.search_cursors() == (None, None)
    assert (await store.search_runs(SearchQuery())).hits == ()
    assert _made(store) == set()


async def test_a_feed_costs_no_statement_and_no_commit(store: SqliteStore) -> None:
    epoch = await worker(store)
    counts: list[tuple[int, int, int]] = []
    for asked in (False, True):
        if asked:
            await store.changes(None, 10)
        n = await begin(store, epoch)
        before = attrs.evolve(store.stats)
        await one(store, epoch, Item(n=n, base=0, rows=("[1]",), header=final()))
        now = store.stats
        counts.append(
            (
                now.commits - before.commits,
                now.statements - before.statements,
                now.rows - before.rows,
            )
        )

    assert counts[0] == counts[1]


async def test_two_processes_of_which_one_asked(store: SqliteStore) -> None:
    other = SqliteStore(store.path, clock=store.clock)
    await other.open()
    epoch = await worker(other)
    n = await begin(other, epoch)  # its statements are prepared before the triggers are there
    cursor = (await store.changes(None, 10)).cursor
    cursor = (await store.changes(cursor, 10)).cursor

    await one(other, epoch, Item(n=n, base=0, header=final()))
    m = await begin(other, epoch)

    page = await store.changes(cursor, 10)
    assert [each.n for each in page.changed] == [n, m]
    assert (await other.changes(page.cursor, 10)).changed == ()
    await other.close()


async def test_the_cursor_of_another_file_is_a_beginning(tmp_path: Path) -> None:
    cursors: list[str] = []
    for name in ("a", "b"):
        store = SqliteStore(tmp_path / f"{name}.db", clock=VirtualClock())
        await store.open()
        epoch = await worker(store)
        n = await begin(store, epoch)
        await store.append_logs(
            [LogRow(n=n, at=1, step=None, pointer=None, stream="stdout", line="a line")]
        )
        page = await store.changes(cursors[0] if cursors else None, 10)
        assert [each.n for each in page.changed] == [n]
        page = await store.changes(page.cursor, 10)
        lines = await store.log_changes(cursors[1] if cursors else None, 10)
        assert [each.row.line for each in lines.lines] == ["a line"]
        cursors += [page.cursor, lines.cursor]
        await store.close()


async def test_an_index_with_fts5_says_so_where_there_is_none(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.search_apply([], [], "a")
    monkeypatch.setattr(searching, "_HAS_FTS", "SELECT 1 WHERE 0")

    for work in (
        store.search_runs(SearchQuery()),
        store.search_apply([], [], "b"),
        store.search_clear(),
    ):
        with pytest.raises(ProviderError, match=r"made with FTS5, which SQLite .* without"):
            await work


async def test_words_use_the_index(store: SqliteStore) -> None:
    """However many runs there are: a search reads those that have the words."""
    await store.search_apply([], [], "a")
    query = SearchQuery(terms=parse_terms("word"), definition="d")
    sql, args, _ = statement(RUNS, query, full=True)
    db = sqlite3.connect(store.path)
    plan = " / ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", args))
    db.close()

    assert "SCAN wfe_search_run_words VIRTUAL TABLE INDEX" in plan
    assert "SCAN x" not in plan


async def test_revs_grow_when_the_last_runs_are_deleted(store: SqliteStore) -> None:
    epoch = await worker(store)
    await store.changes(None, 10)
    revs: list[int] = []
    cursor: str | None = (await store.changes(None, 10)).cursor
    for _ in range(3):
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, header=final()))
        await store.purge([n])
        page = await store.changes(cursor, 10)
        cursor = page.cursor
        revs += [each.rev for each in page.changed]
        revs += [each.rev for each in page.gone]

    assert revs == sorted(set(revs))
    assert len(revs) == 3


async def test_the_words_are_those_of_the_documents(store: SqliteStore) -> None:
    """What FTS5 keeps is changed with the tables beside it, or it finds what is not there."""

    def run(n: int, rev: int, text: str) -> SearchDocument:
        return SearchDocument(
            n=n,
            rev=rev,
            id=f"run-{n}",
            definition="d",
            version=1,
            name="",
            reference=None,
            status="complete",
            created_at=n,
            completed_at=None,
            parent_id=None,
            root_id=f"run-{n}",
            text=text,
        )

    lines = [
        LogDocument(
            l=k,
            n=k % 3,
            id=f"run-{k % 3}",
            definition="d",
            at=k,
            step=None,
            pointer=None,
            stream="stdout",
            line=f"line {k}",
            text=f"line {k}",
        )
        for k in range(1, 10)
    ]
    await store.search_apply([run(n, 1, f"old {n}") for n in range(3)], [], "a")
    await store.search_apply_logs(lines, "a")
    await store.search_apply([run(1, 3, "new word"), run(2, 0, "late")], [], "b")
    await store.search_apply([run(2, 4, "again")], [Gone(0, 5, "run-0", 0)], "c")
    await store.search_apply_logs(lines, "b")

    db = sqlite3.connect(store.path)
    for table in ("wfe_search_run_words", "wfe_search_line_words"):
        db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('integrity-check', 1)")
    (left,) = db.execute("SELECT count(*) FROM wfe_search_lines").fetchone()
    db.close()
    assert left == 6
