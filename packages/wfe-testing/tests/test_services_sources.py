"""Which source gives a service, and that one asked for by name is never replaced silently."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from wfe.testing.services import (
    Service,
    ServiceError,
    Unavailable,
    containers,
    postgres,
    resolve,
    valkey,
)
from wfe.testing.services.binaries import Binary
from wfe.testing.services.databases import Databases
from wfe.testing.services.keyspaces import emptied
from wfe.testing.services.processes import await_ready, free_port
from wfe.testing.services.valkey import ask_valkey, valkey_version

linux = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux: wheels of servers")


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("postgres", "postgresql://wfe:wfe@127.0.0.1:{port}/wfe"),
        ("valkey", "valkey://127.0.0.1:{port}/0"),
        ("opensearch", "opensearch://127.0.0.1:{port}"),
    ],
)
def test_a_url_that_nobody_answers_is_an_error_and_no_reason_to_take_another(
    name: str, url: str
) -> None:
    variable = f"WFE_TEST_{name.upper()}_URL"

    with pytest.raises(ServiceError, match=f"{variable} is asked for, but no {name} answers"):
        resolve(name, environment={variable: url.format(port=free_port())})


def test_a_compose_project_that_is_down_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(containers.COMPOSE_URLS, "valkey", f"valkey://127.0.0.1:{free_port()}")

    with pytest.raises(ServiceError, match="docker compose up --wait"):
        resolve("valkey", environment={"WFE_TEST_COMPOSE": "1"})


@pytest.mark.services("valkey")
def test_a_named_server_is_taken_as_it_is(valkey_server: Service) -> None:
    environment = {"WFE_TEST_VALKEY_URL": valkey_server.url}

    found = resolve("valkey", environment=environment)
    found.stop()  # stops nothing

    assert found.source == "WFE_TEST_VALKEY_URL"
    assert (found.version, found.process) == (valkey_server.version, None)
    assert found.features == valkey_server.features
    assert ask_valkey(valkey_server.url, ("PING",)) == ("PONG",)


@pytest.mark.services("valkey")
def test_a_named_server_of_another_version_is_an_error(valkey_server: Service) -> None:
    environment = {"WFE_TEST_VALKEY_URL": valkey_server.url}

    with pytest.raises(ServiceError, match="valkey 5 is asked for; WFE_TEST_VALKEY_URL is"):
        resolve("valkey", "5", environment=environment)


@pytest.mark.services("postgres")
def test_a_wrong_password_is_an_error_with_the_server_s_words(postgres_server: Service) -> None:
    wrong = postgres_server.url.replace("postgresql://wfe:", "postgresql://wfe:not")

    with pytest.raises(ServiceError, match="password authentication failed"):
        resolve("postgres", environment={"WFE_TEST_POSTGRES_URL": wrong})


def test_without_any_source_each_says_why() -> None:
    with pytest.raises(Unavailable) as caught:
        resolve("valkey", "5.0", environment={})

    assert str(caught.value).startswith("no valkey 5.0: WFE_TEST_VALKEY_URL is not set; ")
    for reason in ("WFE_TEST_COMPOSE is not 1", "no fitting binary", "wfe-testing[services]"):
        assert reason in str(caught.value)


def test_a_source_can_be_asked_for() -> None:
    with pytest.raises(Unavailable, match="url is not asked for"):
        resolve("valkey", source="nowhere", environment={"WFE_TEST_VALKEY_URL": "valkey://x"})


def test_jars_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no (java|opensearch-2.*jar in)"):
        resolve("opensearch", source="node", environment={"WFE_TEST_OPENSEARCH_LIB": str(tmp_path)})


def test_a_service_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no service 'mysql'; there are postgres, valkey"):
        resolve("mysql")


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        (None, True),
        ("1", False),
        ("17", True),
        ("17.1", False),
        ("17.10", True),
        ("17.10.2", False),
    ],
)
def test_versions_are_compared_part_by_part(version: str | None, fits: bool) -> None:
    assert Binary("wheel", Path("postgres"), "17.10").matches(version) == fits


@linux
@pytest.mark.services("valkey")
def test_a_version_in_the_environment_chooses_the_binary() -> None:
    service = resolve("valkey", own=True, environment={"WFE_TEST_VALKEY_VERSION": "9"})
    try:
        assert service.version.startswith("9.")
        assert service.features == {"ifeq", "hash-ttl"}
    finally:
        service.stop()


@pytest.mark.services("postgres")
def test_databases_are_made_also_after_the_connection_was_cut(
    postgres_databases: Databases,
) -> None:
    first = postgres_databases.new()
    with psycopg.connect(first, autocommit=True) as connection:
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
        connection.execute(f"SELECT pg_terminate_backend(pid) {others}".encode())

    second = postgres_databases.new()

    with psycopg.connect(second) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for url in (first, second):
        postgres_databases.drop(url)


@linux
@pytest.mark.parametrize(("name", "module"), [("valkey", valkey), ("postgres", postgres)])
@pytest.mark.services("postgres", "valkey")
def test_a_port_that_somebody_took_is_given_up(
    name: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        ports = iter((somebody.getsockname()[1], free_port()))
        monkeypatch.setattr(module, "free_port", lambda: next(ports))

        service = resolve(name, own=True)

    assert next(ports, None) is None
    service.stop()


@linux
@pytest.mark.services("valkey")
def test_what_a_durable_valkey_acknowledged_survives_a_kill() -> None:
    service = resolve("valkey", durable=True)
    try:
        assert service.process is not None
        ask_valkey(service.url, ("SET", "kept", "yes"))

        service.process.kill()
        service.process.start()

        assert _when_up(service, ("GET", "kept")) == "yes"
    finally:
        service.stop()


@linux
@pytest.mark.services("postgres")
def test_what_a_durable_postgres_acknowledged_survives_a_kill() -> None:
    service = resolve("postgres", durable=True)
    try:
        assert service.process is not None
        with psycopg.connect(service.url) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            connection.execute("CREATE TABLE kept AS SELECT 1 AS a")

        service.process.kill()
        service.process.start()

        await_ready(service.process, lambda: postgres.postgres_version(service.url))
        with psycopg.connect(service.url) as connection:
            assert connection.execute("SELECT a FROM kept").fetchone() == (1,)
    finally:
        service.stop()


@pytest.mark.services("valkey")
def test_a_named_database_with_something_in_it_is_not_flushed(valkey_server: Service) -> None:
    named = resolve("valkey", environment={"WFE_TEST_VALKEY_URL": f"{valkey_server.url[:-1]}7"})
    ask_valkey(named.url, ("SET", "precious", "1"))

    with pytest.raises(ServiceError, match="database 7 of WFE_TEST_VALKEY_URL holds 1 keys"):
        emptied(named, 0)

    assert ask_valkey(named.url, ("EXISTS", "precious")) == (1,)


@pytest.mark.services("valkey")
def test_each_worker_has_its_own_database_of_a_named_server(valkey_server: Service) -> None:
    named = resolve("valkey", environment={"WFE_TEST_VALKEY_URL": f"{valkey_server.url[:-1]}20"})

    first, second = emptied(named, 0), emptied(named, 1)
    ask_valkey(second, ("SET", "left", "over"))
    assert emptied(named, 1) == second

    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("20", "21")
    assert ask_valkey(second, ("EXISTS", "left")) == (0,)


def _when_up(service: Service, command: tuple[str, ...]) -> object:
    assert service.process is not None
    await_ready(service.process, lambda: valkey_version(service.url))
    return ask_valkey(service.url, command)[0]
