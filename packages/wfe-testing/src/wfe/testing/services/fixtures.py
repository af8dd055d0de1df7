"""Fixtures that give a test its database, and the report of where the servers came from."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import attrs
import pytest

from wfe.testing.services.records import NAMES, Service, Unavailable, last_words

if TYPE_CHECKING:
    from wfe.testing.services.databases import Databases

__all__ = [
    "Services",
    "opensearch_server",
    "opensearch_url",
    "postgres_databases",
    "postgres_server",
    "postgres_url",
    "pytest_collection_modifyitems",
    "pytest_runtest_makereport",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
    "valkey_server",
    "valkey_url",
    "wfe_services",
]

_FIXTURES = {f"{name}_{kind}": name for name in NAMES for kind in ("url", "server", "databases")}
_USED = pytest.StashKey[dict[str, tuple[str, str]]]()
_REPORT = "WFE_TEST_SERVICES_REPORT"
_OUTPUT = "wfe_services"


@attrs.define(eq=False)
class Services:
    """The servers of one worker of a test session, each started when it is first asked for."""

    config: pytest.Config
    folder: Path
    """The same in all workers of the session."""
    _own: dict[str, Service] = attrs.field(factory=dict[str, Service], init=False)

    def get(self, name: str) -> Service:
        """Return a server, or skip the test (fail it where services are required).

        Raises:
            ServiceError: It was asked for by name and is not there, or it did not start.
        """
        if name not in self._own:
            reason = ""
            try:
                self._own[name] = self._resolve(name)
            except Unavailable as error:
                reason = str(error)
            if reason:
                _without(reason)
            one = self._own[name]
            used = self.config.stash.setdefault(_USED, {})
            used[name] = (one.version, one.source)
        return self._own[name]

    def last_words(self, name: str) -> str | None:
        """Return the end of what a server wrote; None for one that was not started here."""
        service = self._own.get(name)
        return None if service is None or service.log is None else last_words(service.log)

    def stop(self) -> None:
        """Stop what this worker started for itself alone."""
        for service in self._own.values():
            service.stop()

    def _resolve(self, name: str) -> Service:
        from wfe.testing.services import resolving, sharing  # noqa: PLC0415 - for those who use it

        # A Valkey starts in no time, and one for each worker keeps channels and functions apart.
        if name == "valkey":
            return resolving.resolve(name)
        worker = hasattr(self.config, "workerinput")
        return sharing.resolve_shared(name, self.folder, os.getppid() if worker else os.getpid())


def _without(reason: str) -> Never:
    if os.environ.get("WFE_REQUIRE_SERVICES") == "1":
        pytest.fail(f"WFE_REQUIRE_SERVICES=1, and there is {reason}", pytrace=False)
    pytest.skip(reason)


def _need_features(request: pytest.FixtureRequest, service: Service) -> None:
    """Skip a test marked ``services(…, features=(…,))`` if this source's server lacks one."""
    for marker in request.node.iter_markers("services"):
        for feature in sorted(set(marker.kwargs.get("features", ())) - service.features):
            pytest.skip(f"{service.name} {service.version} ({service.source}) lacks {feature!r}")


_SERVICES = pytest.StashKey[Services]()


@pytest.fixture(scope="session")
def wfe_services(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """The session's :class:`Services`."""
    base = tmp_path_factory.getbasetemp()
    worker = hasattr(request.config, "workerinput")
    services = Services(request.config, (base.parent if worker else base) / "wfe-services")
    request.config.stash[_SERVICES] = services
    yield services
    services.stop()


@pytest.fixture(scope="session")
def postgres_server(wfe_services: Services) -> Service:
    """The session's PostgreSQL; do not stop it: start your own by ``resolve(…, own=True)``."""
    return wfe_services.get("postgres")


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: Service) -> Iterator[Databases]:
    """Makes databases: ``new(template=None)``; all are dropped at the end."""
    from wfe.testing.services.databases import Databases  # noqa: PLC0415 - for those who use it

    databases = Databases(postgres_server.url)
    yield databases
    databases.drop_all()


@pytest.fixture
def postgres_url(postgres_databases: Databases) -> Iterator[str]:
    """The URL of a new empty PostgreSQL database."""
    url = postgres_databases.new()
    yield url
    postgres_databases.drop(url)


@pytest.fixture(scope="session")
def valkey_server(wfe_services: Services) -> Service:
    """This worker's Valkey; do not stop it: start your own by ``resolve(…, own=True)``."""
    return wfe_services.get("valkey")


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest, valkey_server: Service) -> str:
    """The URL of an empty Valkey database."""
    from wfe.testing.services.keyspaces import emptied  # noqa: PLC0415 - for those who use it

    _need_features(request, valkey_server)
    worker: dict[str, Any] = getattr(request.config, "workerinput", {})
    return emptied(valkey_server, int(str(worker.get("workerid", "gw0")).removeprefix("gw")))


@pytest.fixture(scope="session")
def opensearch_server(wfe_services: Services) -> Service:
    """The session's OpenSearch; its ``features`` tell what a mere look-alike cannot do."""
    return wfe_services.get("opensearch")


@pytest.fixture
def opensearch_url(request: pytest.FixtureRequest, opensearch_server: Service) -> Iterator[str]:
    """The URL of OpenSearch with a prefix of its own: ``opensearch://host:port/?prefix=…``.

    What has that prefix is deleted after the test.
    """
    from wfe.testing.services import opensearch_client  # noqa: PLC0415 - for those who use it

    _need_features(request, opensearch_server)
    prefix = f"wfe-{secrets.token_hex(4)}-"
    yield f"{opensearch_server.url}/?prefix={prefix}"
    opensearch_client.forget_prefix(opensearch_server.url, prefix)


@pytest.hookimpl(tryfirst=True)  # before pytest's own, which deselects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a service, for ``-m services`` and ``-m "services(valkey=True)"``."""
    for item in items:
        names: list[str] = getattr(item, "fixturenames", [])
        used = {_FIXTURES[name] for name in names if name in _FIXTURES}
        for marker in item.iter_markers("services"):
            used.update(marker.args)
        if used:
            item.add_marker(pytest.mark.services(**dict.fromkeys(sorted(used), True)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show, with a failure, what the servers wrote last."""
    report = yield
    services = item.config.stash.get(_SERVICES, None)
    if report.failed and services is not None:
        for name in sorted({_FIXTURES.get(each, "") for each in getattr(item, "fixturenames", ())}):
            if words := services.last_words(name):
                report.sections.append((f"the end of what {name} wrote", words))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the controller of a distributed run which servers this worker used."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = session.config.stash.get(_USED, None) or {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker tells."""
    told: dict[str, tuple[str, str]] = getattr(node, "workeroutput", {}).get(_OUTPUT, {})
    node.config.stash.setdefault(_USED, {}).update(told)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell which servers the tests ran against, also to the file that a variable names."""
    if used := config.stash.get(_USED, None):
        told = [f"{name} {version} ({source})" for name, (version, source) in sorted(used.items())]
        terminalreporter.line(f"services: {', '.join(told)}")
        if report := os.environ.get(_REPORT):
            Path(report).write_text(json.dumps(used), encoding="utf-8")
