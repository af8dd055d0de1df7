"""Finds plugins through entry points: listed without importing, imported only when named."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from wfe.core.lazy import importing
from wfe.core.offers import Offer, offers

__all__ = ["GROUPS", "described", "installed", "load"]

GROUPS: Final = (
    "wfe.persistence",
    "wfe.lock",
    "wfe.queue",
    "wfe.search",
    "wfe.blobs",
    "wfe.lifecycle",
    "wfe.artifacts",
    "wfe.secrets",
    "wfe.services",
    "wfe.steps",
    "wfe.executors",
    "wfe.loaders",
    "wfe.cli",
)
"""The groups that WFE looks in; the name is a URL scheme, a step type or a file suffix."""

_PIP: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgres",
    "postgres": "postgres",
    "valkey": "valkey",
    "valkeys": "valkey",
    "redis": "valkey",
    "rediss": "valkey",
    "opensearch": "opensearch",
    "opensearchs": "opensearch",
    "yaml": "yaml",
    "yml": "yaml",
    "shell": "yaml",
    "deno": "deno",
}


@cache  # one walk over sys.path, whatever the number of groups
def _everything() -> Sequence[Offer]:
    return offers("wfe.")


@cache
def _group(group: str) -> dict[str, tuple[Offer, ...]]:
    found: dict[str, tuple[Offer, ...]] = {}
    for offer in _everything():
        if offer.group != group:
            continue
        # The same distribution may stand twice on sys.path (editable and installed): one offer.
        known = found.get(offer.name, ())
        if all(offer.distribution != other.distribution for other in known):
            found[offer.name] = (*known, offer)
    return found


def installed(group: str) -> tuple[str, ...]:
    """Return the names offered in *group*, sorted; imports nothing."""
    return tuple(sorted(_group(group)))


def described(group: str) -> list[tuple[str, str, str]]:
    """Return (name, distribution and version, object) of each offer in *group*; imports nothing."""
    return [
        (name, f"{each.distribution} {each.version}".strip(), each.value)
        for name, offered in sorted(_group(group).items())
        for each in offered
    ]


def _offers(name: str) -> bool:
    """Whether an installed distribution offers *name* in any group of ours."""
    return any(name in _group(group) for group in GROUPS)


def load(group: str, name: str) -> Any:
    """Import and return one plugin object.

    Raises:
        PluginNotFoundError: Nothing installed offers *name*; the error lists what is.
        PluginConflictError: Two distributions offer it.
    """
    points = _group(group).get(name, ())
    if not points:
        extra = _PIP.get(name)
        if extra is not None and _offers(name):  # it is there, and is something else
            extra = None
        install = f'pip install "wfe[{extra}]"' if extra else None
        from wfe.core.errors import PluginNotFoundError  # noqa: PLC0415 - not for `wfe --help`

        raise PluginNotFoundError(group, name, installed(group), install)
    first, *others = points
    if others:
        from wfe.core.errors import PluginConflictError  # noqa: PLC0415 - as above

        raise PluginConflictError(group, name, tuple(each.distribution for each in points))
    with importing():
        return first.load()
