"""Lock, queue and lifecycle events over Valkey or Redis, for several hosts on one store."""

from __future__ import annotations

from wfe.valkey.lifecycle import ValkeyLifecycle
from wfe.valkey.locks import Lease, ValkeyLock
from wfe.valkey.queues import ValkeyQueue
from wfe.valkey.url import open_lifecycle, open_lock, open_queue

__all__ = [
    "Lease",
    "ValkeyLifecycle",
    "ValkeyLock",
    "ValkeyQueue",
    "open_lifecycle",
    "open_lock",
    "open_queue",
]
