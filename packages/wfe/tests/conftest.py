"""Lets the host's tests run, unchanged, over any store: ``WFE_TEST_STORE=postgres+valkey pytest``.

Without the variable a ``WorkflowTest`` keeps its runs in memory, but for the tests of the modules
that are marked ``every_store``: those run over each kind of store.
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
_POSTGRES: Final = pytest.param("postgres", marks=pytest.mark.services("postgres"))
_VALKEY: Final = pytest.param("postgres+valkey", marks=pytest.mark.services("postgres", "valkey"))
_EVERY: Final = ("memory", "sqlite", _POSTGRES, _VALKEY)
_HOUR: Final = 3600 * 1_000_000  # µs
# Nobody else writes to these stores: to look for others' work each virtual second would cost hours.
# Where a test waits for something that nobody announces, it is looked for often enough.
_POLLS: Final = {"test_host_activities": _HOUR // 60}


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "every_store: run over each kind of store, not in memory alone",
        "memory_only(reason): says something of the store in memory alone",
    ):
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if STORE == "memory" and metafunc.definition.get_closest_marker("every_store"):
        metafunc.parametrize("tested_store", _EVERY, indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if STORE != "memory":
        left_out = [item for item in items if item.get_closest_marker("memory_only")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest) -> str:
    """A PostgreSQL database that has our tables, to be copied."""
    from wfe.postgres import open_url  # noqa: PLC0415 - only tests of it pay for it

    url: str = request.getfixturevalue("postgres_databases").new()
    store = open_url(url)

    async def migrate() -> None:
        await store.open()
        await store.close()

    asyncio.run(migrate())
    return url


@pytest.fixture(params=_EVERY)
def providers(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a host: an empty store of each kind, with a real clock."""
    kind: str = request.param
    if kind in ("memory", "sqlite"):
        url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
        return {"persistence": url}
    found = {"persistence": request.getfixturevalue("postgres_url")}
    if kind == "postgres+valkey":
        valkey = request.getfixturevalue("valkey_url")
        found.update(queue=valkey, lock=valkey)
    return found


def _new_store(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Clock], PersistenceProvider]:
    numbers = count()
    if store == "sqlite":
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


@pytest.fixture(autouse=True)
def tested_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Give every ``WorkflowTest`` a new store of the kind that was asked for."""
    store: str = getattr(request, "param", STORE)
    if store == "memory":
        return
    monkeypatch.setattr(workflow_test, "MemoryStore", _new_store(store, request, tmp_path))
    poll = _POLLS.get(request.module.__name__, _HOUR)
    monkeypatch.setattr(host_module, "Settings", partial(Settings, poll=poll))
    beside: dict[str, Any] = {"lease": timedelta(hours=8)}
    numbers = count()
    valkey = request.getfixturevalue("valkey_url") if store.endswith("+valkey") else None

    def host(*args: Any, **options: Any) -> WorkflowHost:
        if valkey is not None:
            url = f"{valkey}?prefix=t{next(numbers)}:"
            beside.update(queue=url, lock=url)
        return WorkflowHost(*args, **{**beside, **options})

    monkeypatch.setattr(workflow_test, "WorkflowHost", host)
