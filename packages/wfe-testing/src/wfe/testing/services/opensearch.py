"""OpenSearch for tests: a real node of Maven's jars, or a small server that speaks alike."""

from __future__ import annotations

import secrets
import signal
import socket
from pathlib import Path

from wfe.testing.services.binaries import Binary
from wfe.testing.services.opensearch_client import opensearch_version
from wfe.testing.services.opensearch_jars import Node, node_command
from wfe.testing.services.processes import (
    ServerProcess,
    await_ready,
    free_port,
    keep,
    work_folder,
)
from wfe.testing.services.records import Service, ServiceError

__all__ = ["EVERYTHING", "start_opensearch", "start_opensearch_node"]

_ALIKE = {
    "osmem-server": frozenset({"composite", "percentiles", "pit", "reindex", "wildcard-delete"}),
    "noida-db": frozenset({"ingest", "near-real-time", "painless", "reindex", "rollover"}),
}
EVERYTHING = frozenset({"data-streams", "durable", "real"}).union(*_ALIKE.values())
"""What a real OpenSearch can do, as far as some other server cannot."""
_PORTS = range(9201, 9300)
"""Those that the runner takes."""


def start_opensearch_node(node: Node, *, parent: int | None = None) -> Service:
    """Start a real node.

    Args:
        node: Its jars.
        parent: The process with whose end the node ends; None means this one.

    Raises:
        ServiceError: It could not be started; with what it said.
    """
    if not node.classes.exists():
        _archive(node)

    folder, port = work_folder("search"), _free_node_port()
    command = node_command(node, folder, port)
    server, url, version = _started("OpenSearch", command, folder, port, parent)
    return Service(
        name="opensearch",
        source="node of Maven's jars",
        version=version,
        url=url,
        features=EVERYTHING - {"ingest"},  # a role that the runner does not give
        log=server.log,
        process=server,
        stop=server.close,
    )


def start_opensearch(binary: Binary, *, parent: int | None = None) -> Service:
    """Start a small server that speaks as OpenSearch does, but for what is not in its features.

    Args:
        binary: ``osmem-server`` or ``noida-db``.
        parent: The process with whose end it ends; None means this one.

    Raises:
        ServiceError: It could not be started; with what it said.
    """
    name = binary.path.name
    folder, port = work_folder("search"), free_port()
    if name == "osmem-server":
        options = ["-addr", f"127.0.0.1:{port}", "-no-stdin-watch"]
    else:
        where = ["--data-dir", str(folder / "data"), "--elasticsearch-port", str(port)]
        options = ["start", "--only", "elasticsearch", *where]
    server, url, _ = _started(name, [str(binary.path), *options], folder, port, parent)
    return Service(
        name="opensearch",
        source=f"{binary.source}, which speaks alike",
        version=binary.version,
        url=url,
        features=_ALIKE[name],
        log=server.log,
        process=server,
        stop=server.close,
    )


def _started(
    name: str, command: list[str], folder: Path, port: int, parent: int | None
) -> tuple[ServerProcess, str, str]:
    """Start a server and wait until it is ready; return it, its URL and its version."""
    server = keep(name, command, folder=folder, ending=signal.SIGTERM, parent=parent)
    url = f"opensearch://127.0.0.1:{port}"
    try:
        version = await_ready(server, lambda: opensearch_version(url), seconds=120)
    except BaseException:
        server.close()
        raise
    return server, url, version


def _free_node_port() -> int:
    ports = list(_PORTS)
    while ports:
        port = ports.pop(secrets.randbelow(len(ports)))
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServiceError(f"no port is free from {_PORTS.start} to {_PORTS.stop - 1}")


def _archive(node: Node) -> None:
    """Run a node once to keep its loaded classes: it makes each later start three times shorter."""
    made = node.classes.with_suffix(f".{secrets.token_hex(4)}")
    folder, port = work_folder("search"), _free_node_port()
    command = node_command(node, folder, port, archive=made)
    server, _, _ = _started("OpenSearch", command, folder, port, None)
    server.halt(grace=60)  # it is written at the end
    server.close()
    if made.exists():  # a JVM that cannot do it says so and goes on
        made.replace(node.classes)
