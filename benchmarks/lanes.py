"""Fresh places for contestants: a database, file or server that nobody used before."""

from __future__ import annotations

import itertools
import os
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import attrs
import psycopg

from benchmarks.rivals import Contestant, absurd_schema, restate_server
from wfe.testing.services import Service, resolve
from wfe.testing.services.databases import Databases
from wfe.testing.services.processes import ServerProcess, await_ready, free_port, keep, work_folder

__all__ = ["Lane", "Servers"]

_PREFECT: Final = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "ERROR",
}
_LANGGRAPH: Final = {"LANGSMITH_TRACING": "false"}


@attrs.frozen(kw_only=True)
class Lane:
    """Where one run of one workload happens; arguments and environment of the contestant.

    Attributes:
        server: Process whose CPU time is the contestant's, too; 0: none.
    """

    url: str = ""
    queue: str = ""
    admin: str = ""
    port: int = 0
    server: int = 0
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])

    def arguments(self) -> list[str]:
        """Return them for the command line."""
        given = {
            "--url": self.url,
            "--queue": self.queue,
            "--admin": self.admin,
            "--port": str(self.port or ""),
            "--server": str(self.server or ""),
        }
        return [part for name, value in given.items() if value for part in (name, value)]


class Servers:
    """PostgreSQL (which syncs its commits) and Valkey, started when somebody needs them."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._databases: Databases | None = None
        self._numbers = itertools.count(1)

    def described(self) -> dict[str, str]:
        """Return the versions of servers that were needed."""
        return {name: f"{one.version} ({one.source})" for name, one in self._services.items()}

    @contextmanager
    def lane(self, contestant: Contestant) -> Iterator[Lane]:
        """Make a place for one run, and take it away.

        Raises:
            Unavailable: There is no such server here.
            ServiceError: It did not start.
        """
        if contestant.store == "memory":
            yield Lane(url="memory://")
        elif contestant.store.startswith("postgres"):
            with self._database(contestant) as lane:
                yield lane
        elif contestant.store == "own server":
            with _restate(contestant) as lane:
                yield lane
        else:
            with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
                yield _files(contestant, Path(folder))

    @contextmanager
    def _database(self, contestant: Contestant) -> Iterator[Lane]:
        server = self._service("postgres", durable=True)
        if self._databases is None:
            self._databases = Databases(server.url)
        url = self._databases.new()
        queue = ""
        if "valkey" in contestant.store:
            prefix = urlencode({"prefix": f"b{next(self._numbers)}:"})
            queue = f"{self._service('valkey', durable=False).url}?{prefix}"
        if contestant.peer is not None and contestant.peer.data is not None:
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(absurd_schema(contestant.peer).encode())
        try:
            yield Lane(url=url, queue=queue, server=_pid(server.process), environment=_LANGGRAPH)
        finally:
            self._databases.drop(url)

    def _service(self, name: str, *, durable: bool) -> Service:
        if name not in self._services:
            self._services[name] = resolve(name, own=True, durable=durable)
        return self._services[name]

    def close(self) -> None:
        """Stop what was started."""
        if self._databases is not None:
            self._databases.drop_all()
        for service in self._services.values():
            service.stop()


def _pid(process: ServerProcess | None) -> int:
    return 0 if process is None else process.pid


def _files(contestant: Contestant, folder: Path) -> Lane:
    """Return a new file, or for Prefect a home in which its server makes one."""
    if contestant.store == "own SQLite":
        return Lane(environment={**_PREFECT, "PREFECT_HOME": str(folder)})
    weaker = "?synchronous=normal" if contestant.store == "sqlite-normal" else ""
    return Lane(url=f"sqlite:///{folder}/bench.db{weaker}", environment=_LANGGRAPH)


@contextmanager
def _restate(contestant: Contestant) -> Iterator[Lane]:
    """Start a Restate server over a folder of its own."""
    assert contestant.peer is not None
    folder = work_folder("restate")
    ingress, admin, node, service = (free_port() for _ in range(4))
    environment = {
        **os.environ,
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    binary = restate_server(contestant.peer)
    command: list[str | Path] = [binary, "--no-logo", "--base-dir", folder / "data"]
    command += ["--bind-ip", "127.0.0.1", "--bind-port", str(node), "--listen-mode", "tcp"]
    server = keep("Restate", command, folder=folder, environment=environment)
    try:
        await_ready(server, lambda: _answers(f"http://127.0.0.1:{admin}/health"))
        await_ready(server, lambda: _answers(f"http://127.0.0.1:{ingress}/restate/health"))
        yield Lane(
            url=f"http://127.0.0.1:{ingress}",
            admin=f"http://127.0.0.1:{admin}",
            port=service,
            server=server.pid,
        )
    finally:
        server.close()


def _answers(url: str) -> str:
    """Return nothing of interest, once somebody answers with success (URLError is an OSError)."""
    with urllib.request.urlopen(url, timeout=2) as answer:
        return str(answer.status)
