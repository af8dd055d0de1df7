"""Lets the host's tests run, unchanged, over any store: ``WFE_TEST_STORE=postgres+valkey pytest``.

Without the variable a ``WorkflowTest`` keeps its runs in memory, but for the tests of the modules
that are marked ``every_store``: those run over each kind of store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import pytest
from postgres_parts import Tables

import wfe.host.parts as host_module
from wfe.core.engine import Settings
from wfe.core.providers import Clock, PersistenceProvider
from wfe.host import WorkflowHost
from wfe.postgres import open_url
from wfe.sqlite import SqliteStore
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
def postgres_tables(request: pytest.FixtureRequest) -> Tables:
    """PostgreSQL databases that have our tables."""
    tables = Tables(request.getfixturevalue("postgres_databases"))
    tables.give(tables.take())  # now: the first is made with an event loop of its own
    return tables


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


@pytest.fixture(params=_EVERY)
def providers(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Arguments of a host: an empty store of each kind, with a real clock."""
    return _providers(request, tmp_path)


@pytest.fixture(params=_EVERY[1:])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Arguments of hosts: an empty store of each kind that processes may share."""
    return _providers(request, tmp_path)


def _providers(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    kind: str = request.param
    if kind in ("memory", "sqlite"):
        url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path / 'runs.db'}"
        return {"persistence": url}
    found = {"persistence": request.getfixturevalue("new_tables")()}
    if kind == "postgres+valkey":
        valkey = request.getfixturevalue("valkey_url")
        found.update(queue=valkey, lock=valkey)
    return found


def _new_store(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Clock], PersistenceProvider]:
    numbers = count()
    if store == "sqlite":
        return lambda clock: SqliteStore(tmp_path / f"runs-{next(numbers)}.db", clock=clock)
    new_tables: Callable[[], str] = request.getfixturevalue("new_tables")
    return lambda clock: open_url(new_tables(), clock=clock, pool=4)


@pytest.fixture(autouse=True)
def tested_store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Give every ``WorkflowTest`` a new store of the kind that was asked for."""
    store: str = getattr(request, "param", STORE)
    if store == "memory":
        return
    monkeypatch.setattr(workflow_test, "MemoryStore", _new_store(store, request, tmp_path))
    name: str = cast("Any", request).module.__name__
    poll = _POLLS.get(name, _HOUR)
    beside: dict[str, Any] = {"lease": timedelta(hours=8)}
    numbers = count()
    valkey = request.getfixturevalue("valkey_url") if store.endswith("+valkey") else None

    def host(*args: Any, **options: Any) -> WorkflowHost:
        if valkey is not None:
            url = f"{valkey}?prefix=t{next(numbers)}:"
            beside.update(queue=url, lock=url)
        with monkeypatch.context() as patched:
            patched.setattr(host_module, "Settings", partial(Settings, poll=poll))
            return WorkflowHost(*args, **{**beside, **options})

    monkeypatch.setattr(workflow_test, "WorkflowHost", host)
