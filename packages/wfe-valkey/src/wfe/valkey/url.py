"""From ``valkey:`` and ``redis:`` URLs to providers."""

from __future__ import annotations

from wfe.valkey.address import parsed
from wfe.valkey.lifecycle import ValkeyLifecycle
from wfe.valkey.locks import ValkeyLock
from wfe.valkey.queues import ValkeyQueue

__all__ = ["open_lifecycle", "open_lock", "open_queue"]


def open_lock(url: str) -> ValkeyLock:
    """Return the lock on the server that *url* names; nothing is opened yet.

    Args:
        url: ``valkey://[user:password@]host[:6379][/database][?prefix=wfe:]``; see
            :func:`wfe.valkey.address.parsed` for all options.

    Raises:
        ProviderError: The URL names no server, or asks for something unknown.
    """
    return ValkeyLock(parsed(url))


def open_queue(url: str) -> ValkeyQueue:
    """Return the queue on the server that *url* names, as :func:`open_lock`.

    Raises:
        ProviderError: As there.
    """
    return ValkeyQueue(parsed(url))


def open_lifecycle(url: str) -> ValkeyLifecycle:
    """Return the publisher on the server that *url* names, as :func:`open_lock`.

    Raises:
        ProviderError: As there.
    """
    return ValkeyLifecycle(parsed(url))
