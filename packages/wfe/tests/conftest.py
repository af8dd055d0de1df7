"""Lets the host's tests run, unchanged, over any store: ``WFE_TEST_STORE=postgres+valkey pytest``.

Without the variable a ``WorkflowTest`` keeps its runs in memory.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

import wfe.host.host as host_module
from wfe.core.engine import Settings
from wfe.core.providers import Clock, PersistenceProvider
from wfe.host import WorkflowHost
from wfe.testing import workflow_test

__all__: list[str] = []

STORE: Final = os.environ.get("WFE_TEST_STORE", "memory")


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> str:
    """A PostgreSQL database that has our tables, to be copied."""
    from wfe.postgres import open_url  # noqa: PLC0415 - only with WFE_TEST_STORE

    url: str = request.getfixturevalue("postgres_databases").new()
    store = open_url(url)

    async def migrate() -> None:
        await store.open()
        await store.close()

    asyncio.run(migrate())
    return url


def _new_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Clock], PersistenceProvider]:
    numbers = count()
    if STORE == "sqlite":
        from wfe.sqlite import SqliteStore  # noqa: PLC0415 - as above

        return lambda clock: SqliteStore(tmp_path / f"runs-{next(numbers)}.db", clock=clock)
    from wfe.postgres import open_url  # noqa: PLC0415 - as above

    databases: Any = request.getfixturevalue("postgres_databases")
    template: str = request.getfixturevalue("migrated")
    made: list[str] = []
    request.addfinalizer(lambda: [databases.drop(url) for url in made])

    def postgres(clock: Clock) -> PersistenceProvider:
        made.append(databases.new(template=template))
        return open_url(made[-1], clock=clock, pool=4)

    return postgres


@pytest.fixture(autouse=STORE != "memory")
def tested_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Give every ``WorkflowTest`` a new store of the kind that was asked for."""
    monkeypatch.setattr(workflow_test, "MemoryStore", _new_store(request, tmp_path))
    # Nobody else writes to it: to look for others' work each virtual second would cost hours.
    monkeypatch.setattr(host_module, "Settings", partial(Settings, poll=3600 * 1_000_000))
    beside: dict[str, Any] = {"lease": timedelta(hours=8)}
    numbers = count()
    valkey = request.getfixturevalue("valkey_url") if STORE.endswith("+valkey") else None

    def host(*args: Any, **options: Any) -> WorkflowHost:
        if valkey is not None:
            url = f"{valkey}?prefix=t{next(numbers)}:"
            beside.update(queue=url, lock=url)
        return WorkflowHost(*args, **{**beside, **options})

    monkeypatch.setattr(workflow_test, "WorkflowHost", host)
