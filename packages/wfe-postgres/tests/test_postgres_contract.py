"""The PostgreSQL store keeps the persistence contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import ClassVar

import pytest
from postgres_parts import Tables

from wfe.core.providers import Clock, PersistenceProvider
from wfe.postgres import PostgresStore
from wfe.testing.contracts import PersistenceContract


class TestPostgresStore(PersistenceContract):
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"virtual_clock", "lock", "durable", "shared"}
    )
    examples: ClassVar[int] = 15

    @pytest.fixture
    def new_store(
        self, tables: str, postgres_tables: Tables
    ) -> Callable[[Clock], PersistenceProvider]:
        def new(clock: Clock) -> PersistenceProvider:
            postgres_tables.empty(tables)  # the store before was closed
            return PostgresStore(tables, clock=clock, pool=4)

        return new

    @pytest.fixture
    def another_store(self, store: PostgresStore, tables: str) -> Callable[[], PersistenceProvider]:
        return lambda: PostgresStore(tables, clock=store.clock, pool=4)

    @pytest.fixture
    async def reopen(
        self, store: PostgresStore, tables: str
    ) -> AsyncIterator[Callable[[], Awaitable[PostgresStore]]]:
        again = PostgresStore(tables, clock=store.clock)

        async def reopen() -> PostgresStore:
            await store.close()
            await again.open()
            return again

        yield reopen
        await again.close()
