"""Databases that have the tables already, one after another; and runs to put into them."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from wfe.core.providers import Done, Header, Item, WorkerInfo
from wfe.postgres import PostgresStore
from wfe.testing.services.databases import Databases

__all__ = ["WORKER", "Tables", "begin", "query", "start"]

WORKER = WorkerInfo(name="w", host="h", pid=1)

# Much cheaper than TRUNCATE while there is little in the tables.
EMPTY = """
DO $$
DECLARE
    v_name text;
BEGIN
    FOR v_name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public'
            AND tablename NOT IN ('wfe_meta', 'wfe_migrations') LOOP
        EXECUTE format('DELETE FROM %I', v_name);
    END LOOP;
    DELETE FROM wfe_meta WHERE key NOT IN ('schema', 'min_reader');
    PERFORM setval(format('%I', sequencename)::regclass, 1, false)
    FROM pg_sequences WHERE schemaname = 'public';
END $$"""


class Tables:
    """Databases with tables; those that a test is done with are emptied for the next."""

    def __init__(self, databases: Databases) -> None:
        self._databases = databases
        self._idle: list[str] = []
        self._template: str | None = None

    def take(self) -> str:
        """Return the URL of a database with empty tables."""
        if self._template is None:
            self._template = self._databases.new()
            asyncio.run(self._migrate(self._template))
        if not self._idle:
            return self._databases.new(template=self._template)
        url = self._idle.pop()
        self.empty(url)
        return url

    def give(self, url: str) -> None:
        """Take a database back that nobody is connected to any more."""
        self._idle.append(url)

    def empty(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(EMPTY)

    async def _migrate(self, url: str) -> None:
        store = PostgresStore(url)
        await store.open()
        await store.close()


def start(n: int, d: int, **columns: Any) -> Item:
    named: dict[str, Any] = {
        "id": f"run-{n}",
        "root_id": f"run-{n}",
        "definition": "order",
        "version": 1,
        "wake": 0,
    }
    return Item(n=n, new=Header(n=n, d=d, **{**named, **columns}), rows=('"begin"',))


async def begin(store: PostgresStore, count: int, epoch: int | None = None) -> list[int]:
    first = await store.allocate(count)
    d = await store.put_definition("order", 1, "hash", "{}")
    runs = list(range(first, first + count))
    outcomes = await store.commit(epoch, [start(n, d, owner=epoch) for n in runs])
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    return runs


def query(url: str, sql: str, *args: object) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), args or None)
        return cursor.fetchall() if cursor.description is not None else []
