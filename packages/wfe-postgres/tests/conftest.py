"""Databases that have the tables already, and stores on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from postgres_parts import Tables

from wfe.postgres import PostgresStore
from wfe.testing.services.databases import Databases


@pytest.fixture(scope="session")
def postgres_tables(postgres_databases: Databases) -> Tables:
    return Tables(postgres_databases)


@pytest.fixture
def new_tables(postgres_tables: Tables) -> Iterator[Callable[[], str]]:
    """Return URLs of databases with empty tables."""
    made: list[str] = []

    def new() -> str:
        made.append(postgres_tables.take())
        return made[-1]

    yield new
    for url in made:
        postgres_tables.give(url)


@pytest.fixture
def tables(new_tables: Callable[[], str]) -> str:
    """The URL of a database with empty tables."""
    return new_tables()


@pytest.fixture
async def store(tables: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(tables)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def other(tables: str) -> AsyncIterator[PostgresStore]:
    """Another host's store on the same tables."""
    store = PostgresStore(tables)
    await store.open()
    yield store
    await store.close()
