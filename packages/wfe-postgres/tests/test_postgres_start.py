"""What stands between the start of a process and its first claim, in counts."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from postgres_parts import WORKER, query

from wfe.core.errors import StoreUnavailableError
from wfe.postgres import PostgresStore, database
from wfe.postgres.wire import Wire

_HOST = "from wfe.host import WorkflowHost; WorkflowHost('postgresql://h/db')"
_LATER = {"wfe.core.search", "wfe.core.examining", "psycopg_pool"}
_MOST = 170  # modules of ours
PATIENCE = 20.0  # seconds


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often somebody waits for the server, but for connections."""
    counted: Counter[str] = Counter()
    wait, answered = Wire.wait, Wire._answered

    async def waits(self: Wire, *args: Any, **options: Any) -> Any:
        counted["driver"] += 1
        return await wait(self, *args, **options)

    async def answers(self: Wire, answer: Any) -> Any:
        counted["asked"] += 1
        return await answered(self, answer)

    monkeypatch.setattr(Wire, "wait", waits)
    monkeypatch.setattr(Wire, "_answered", answers)
    return counted


def test_a_host_imports_what_its_first_claim_needs() -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"{_HOST}; import sys; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    found = set(told.stdout.split())

    assert _LATER & found == set()
    assert "wfe.postgres.store" in found
    assert len({each for each in found if each.startswith("wfe")}) <= _MOST


async def test_opening_takes_few_turns(tables: str, turns: Counter[str]) -> None:
    """The server, the tables' version, and two looks at its clock."""
    store = PostgresStore(tables)
    await store.open()

    assert turns == {"driver": 4}
    await store.close()


@pytest.mark.parametrize("prepare", [True, False])
async def test_a_first_question_is_one_turn(
    tables: str, turns: Counter[str], *, prepare: bool
) -> None:
    store = PostgresStore(tables, prepare=prepare)
    await store.open()
    turns.clear()

    await store.register(WORKER)

    assert turns == {"asked": 1, "driver": 1}  # the row, and LISTEN
    for _ in range(2):
        turns.clear()
        await store.workers()
        assert turns == {"asked": 1}
    await store.close()


async def test_the_pool_is_imported_while_the_server_is_busy(
    tables: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(tables)
    db, connected, met = store._database, threading.Event(), threading.Event()
    connect = db.connect_alone

    async def connecting() -> Wire:
        made = await connect()
        connected.set()
        return made

    def load() -> None:
        if connected.wait(PATIENCE):
            met.set()

    monkeypatch.setattr(db, "connect_alone", connecting)
    monkeypatch.setattr(database, "_load_pool", load)
    await store.open()

    assert met.is_set()
    await store.close()


async def test_a_server_that_is_gone_is_told_whatever_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = threading.Event()
    monkeypatch.setattr(database, "_load_pool", lambda: go.wait(PATIENCE))

    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1/db"):
        await PostgresStore("postgresql://127.0.0.1:1/db").open()
    go.set()


async def test_a_statement_that_fails_is_prepared_once(store: PostgresStore) -> None:
    conn = await store._opened.connect_alone()
    for _ in range(3):
        with pytest.raises(Exception, match="division by zero"):
            await conn.ask("SELECT 1 / %(n)s::bigint", {"n": 0})
    with pytest.raises(Exception, match="no_such_table"):
        await conn.ask("SELECT 1 FROM no_such_table")

    asked = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT 1%'"
    assert await conn.ask(asked) == [(1,)]
    await conn.close()


async def test_statements_that_go_together_are_prepared_on_the_way(
    store: PostgresStore, turns: Counter[str]
) -> None:
    conn = await store._opened.connect_alone()
    put, look = "SELECT %(n)s::bigint", "SELECT 2"
    questions: list[Any] = [(put, {"n": 1}), (look, None), (put, {"n": 3})]
    turns.clear()

    assert await conn.ask_all(questions) == [[(1,)], [(2,)], [(3,)]]
    assert await conn.ask_all(questions) == [[(1,)], [(2,)], [(3,)]]

    assert turns == {"asked": 2}
    assert len(conn._names) == 2
    await conn.close()


async def test_a_table_that_appears_later_is_asked_for_again(
    store: PostgresStore, tables: str
) -> None:
    """Nothing is kept of a statement that could not be prepared."""
    conn = await store._opened.connect_alone()
    with pytest.raises(Exception, match="late"):
        await conn.ask("SELECT n FROM late")
    query(tables, "CREATE TABLE late (n bigint)")
    try:
        assert await conn.ask("SELECT n FROM late") == []
    finally:
        query(tables, "DROP TABLE late")
        await conn.close()
