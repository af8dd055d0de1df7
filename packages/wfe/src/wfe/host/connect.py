"""Makes providers from URLs."""

from __future__ import annotations

from typing import Any, TypeVar

from wfe.core.errors import ProviderError
from wfe.core.lean import frozen
from wfe.core.plugins import load
from wfe.core.providers import (
    PROVIDER_API,
    LockProvider,
    PersistenceProvider,
    QueueProvider,
)

__all__ = ["DEFAULT_URL", "Providers", "connect", "connect_part"]

P = TypeVar("P")

DEFAULT_URL = "sqlite:///.wfe/wfe.db"
"""Where the command ``wfe`` keeps its runs."""


@frozen
class Providers:
    """A store with its queue and lock."""

    persistence: PersistenceProvider
    queue: QueueProvider
    lock: LockProvider

    def different(self, **more: object) -> list[tuple[str, object]]:
        """Return (what it is, provider) of each and of *more*, those of one object once."""
        found: list[tuple[str, object]] = [("store", self.persistence)]
        for name, provider in {"queue": self.queue, "lock": self.lock, **more}.items():
            if provider is not None and all(provider is not known for _, known in found):
                found.append((name, provider))
        return found


def connect(
    persistence: str | PersistenceProvider,
    queue: str | QueueProvider | None = None,
    lock: str | LockProvider | None = None,
) -> Providers:
    """Return the providers behind URLs or objects; without its own, the store is queue and lock.

    Raises:
        PluginNotFoundError: No installed distribution handles a URL's scheme.
        ProviderError: A URL has no scheme, or the store cannot be queue or lock itself.
    """
    store: Any = _made("wfe.persistence", persistence)
    if not hasattr(store, "features"):
        problem = f"{store!r} is no store; pass a URL such as sqlite:///runs.db, or a provider"
        raise ProviderError("host", problem, False)
    return Providers(
        store,
        _seam("queue", store, queue),
        _seam("lock", store, lock),
    )


def connect_part(group: str, given: str | P | None) -> P | None:
    """Return what stands beside a store (an index, a publisher …) behind a URL or object.

    Args:
        group: Of entry points, such as ``wfe.search``.
        given: ``None``: nothing.

    Raises:
        PluginNotFoundError: No installed distribution handles the URL's scheme.
        ProviderError: The URL has no scheme.
    """
    found: P | None = _made(group, given)
    return found


def _made(group: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    scheme, colon, _ = given.partition(":")
    if not colon:
        problem = f"{given!r} is no URL; write for example sqlite:///runs.db or memory://"
        raise ProviderError("host", problem, False)
    provider = load(group, scheme)(given)
    made_for = getattr(provider, "PROVIDER_API", PROVIDER_API)
    if made_for != PROVIDER_API:
        problem = (
            f"the plugin for {scheme!r} was made for version {made_for} of the provider protocols,"
            f" this host has version {PROVIDER_API}; install versions that fit together"
        )
        raise ProviderError("host", problem, False)
    return provider


def _seam(name: str, store: Any, given: Any) -> Any:
    if given is not None:
        return _made(f"wfe.{name}", given)
    if name in store.features:
        return store
    problem = f"{type(store).__name__} is no {name}; pass one with {name}=..."
    raise ProviderError("host", problem, False)
