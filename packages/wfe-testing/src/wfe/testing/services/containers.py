"""The services as containers: the repository's compose project, or one for these tests alone."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import attrs

from wfe.testing.services.processes import ServerProcess, keep, work_folder
from wfe.testing.services.records import Unavailable

__all__ = ["COMPOSE_URLS", "Started", "image_of", "start_container"]

COMPOSE_URLS = {
    "postgres": "postgresql://wfe:wfe@127.0.0.1:5433/wfe",
    "valkey": "valkey://127.0.0.1:6379/0",
    "opensearch": "opensearch://127.0.0.1:9200",
}
"""Where docker-compose.yml of WFE's repository puts them."""

_PROBE = 3
"""Seconds that Docker has to answer."""
# Follows a container's output, and ends with it.
_FOLLOW = """
import sys, docker
for line in docker.from_env().containers.get(sys.argv[1]).logs(stream=True, follow=True):
    sys.stdout.buffer.write(line); sys.stdout.flush()
"""
_REMOVE = """
import sys, docker
docker.from_env().containers.get(sys.argv[1]).remove(force=True, v=True)
"""


@attrs.frozen
class Image:
    """How to run a service's image; ``{password}`` stands for one made for each container."""

    name: str
    port: int
    url: str
    environment: Mapping[str, str] = attrs.field(factory=dict[str, str])
    command: tuple[str, ...] = ()


@attrs.frozen
class Started:
    """A container that was started; it need not be ready."""

    image: str
    url: str
    server: ServerProcess
    """Follows the container's output, and removes the container when it is closed."""


_IMAGES: dict[str, Callable[[str | None], Image]] = {
    "postgres": lambda version: Image(
        f"postgres:{version or 17}",
        5432,
        "postgresql://wfe:{password}@{host}:{port}/wfe",
        {"POSTGRES_USER": "wfe", "POSTGRES_PASSWORD": "{password}"},
        ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"),
    ),
    "valkey": lambda version: Image(
        f"valkey/valkey:{version or 8}",
        6379,
        "valkey://:{password}@{host}:{port}/0",
        {},
        ("valkey-server", "--save", "", "--requirepass", "{password}"),
    ),
    "opensearch": lambda version: Image(
        f"opensearchproject/opensearch:{version or 2}",
        9200,
        "opensearch://{host}:{port}",
        {
            "discovery.type": "single-node",
            "DISABLE_SECURITY_PLUGIN": "true",
            "DISABLE_INSTALL_DEMO_CONFIG": "true",
            "OPENSEARCH_JAVA_OPTS": "-Xms512m -Xmx512m",
        },
    ),
}


def image_of(name: str, version: str | None = None) -> str:
    """Return the image of a service, such as ``postgres:17``; None takes the compose project's."""
    return _IMAGES[name](version).name


def start_container(name: str, version: str | None, parent: int | None) -> Started:
    """Start a container of an image that Docker has; nothing is pulled.

    Args:
        name: One of ``postgres``, ``valkey``, ``opensearch``.
        version: Of the image; None takes the one that the compose project has.
        parent: The process with whose end the container is removed; None means this one.

    Raises:
        Unavailable: There is no testcontainers, no Docker, or no such image.
        ServiceError: The container did not start.
    """
    image = _IMAGES[name](version)
    _probe(image.name)
    settings: Any = importlib.import_module("testcontainers.core.config")
    containers: Any = importlib.import_module("testcontainers.core.container")
    # Their own reaper is one more image to pull; our keeper removes what we start.
    settings.testcontainers_config.ryuk_disabled = True
    secret = {"{password}": secrets.token_urlsafe(12)}
    container = containers.DockerContainer(image.name).with_exposed_ports(image.port)
    for key, value in image.environment.items():
        container.with_env(key, secret.get(value, value))
    if image.command:
        container.with_command([secret.get(part, part) for part in image.command])
    container.start()
    try:
        server = _kept(image, str(container.get_wrapped_container().id), parent)
    except BaseException:
        container.stop()
        raise
    url = image.url.format(
        password=secret["{password}"],
        host=container.get_container_host_ip(),
        port=container.get_exposed_port(image.port),
    )
    return Started(image.name, url, server)


def _kept(image: Image, number: str, parent: int | None) -> ServerProcess:
    """Let a keeper remove the container, also when nobody is left to ask for it."""
    return keep(
        f"the container of {image.name}",
        [sys.executable, "-c", _FOLLOW, number],
        folder=work_folder("box"),
        parent=parent,
        after=[sys.executable, "-c", _REMOVE, number],
    )


def _probe(image: str) -> None:
    if importlib.util.find_spec("testcontainers") is None:
        raise Unavailable("testcontainers is not installed")
    if not _listens():
        raise Unavailable("Docker does not listen")
    docker: Any = importlib.import_module("docker")
    errors: Any = importlib.import_module("docker.errors")
    try:
        with closing(docker.from_env(timeout=_PROBE)) as client:
            client.images.get(image)
    except errors.ImageNotFound:
        raise Unavailable(f"Docker has no image {image} (docker pull {image})") from None
    except (errors.DockerException, OSError):
        raise Unavailable("Docker does not answer") from None


def _listens() -> bool:
    """Ask the socket itself: Docker's own client leaves one open when nobody listens."""
    host = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if host.scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE)
        try:
            probe.connect(host.path)
        except OSError:
            return False
    return True
