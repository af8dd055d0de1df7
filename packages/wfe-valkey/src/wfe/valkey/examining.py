"""What ``wfe doctor`` says of a Valkey server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from wfe.core.examining import Finding
from wfe.valkey.clients import Connections, answered

__all__ = ["examined", "judged"]

_LEAST: Final = 7
_SLOW: Final = 0.1  # seconds
_FULL: Final = 0.9  # of the memory that the server may use


async def examined(connections: Connections) -> Sequence[Finding]:
    """Return what an operator should know of the server behind *connections*.

    Raises:
        ProviderError: It cannot be asked.
    """
    address = connections.address
    began = time.perf_counter()
    told: Any = await answered(address, connections.plain.info())
    took = time.perf_counter() - began
    if address.cluster:  # one answer for each node
        told = next(iter(cast("Mapping[str, Any]", told).values()))
    return list(judged(address.shown, told, took))


def judged(server: str, told: Mapping[str, Any], took: float) -> Iterator[Finding]:
    """Yield what there is to say of a server.

    Args:
        server: Shown to operators.
        told: What ``INFO`` answers.
        took: Seconds.
    """
    kind = "Valkey" if "valkey_version" in told else "Redis"
    version = str(told.get("valkey_version") or told.get("redis_version", "0"))
    used, most = int(told.get("used_memory", 0)), int(told.get("maxmemory", 0))
    text = f"{server}: {kind} {version}, {used >> 20} MiB used"
    yield Finding(level="ok", topic="valkey", text=text)
    if took > _SLOW:
        text = f"{server} took {took * 1000:.0f} ms to answer"
        hint = "hints are late then; nothing else depends on it"
        yield Finding(level="warning", topic="valkey", text=text, hint=hint)
    if int(version.partition(".")[0]) < _LEAST:
        text = f"{server}: version {version} is older than {_LEAST}, with which WFE is tested"
        yield Finding(level="warning", topic="valkey", text=text, hint="update the server")
    if told.get("role") == "slave":
        text = f"{server} is a replica: it takes no writes"
        yield Finding(level="problem", topic="valkey", text=text, hint="name the primary")
    policy = str(told.get("maxmemory_policy", "noeviction"))
    if most and policy.startswith("allkeys"):
        text = f"{server} drops any key when memory is short (maxmemory-policy {policy})"
        hint = "set maxmemory-policy noeviction: a dropped heartbeat looks like a dead worker"
        yield Finding(level="warning", topic="valkey", text=text, hint=hint)
    if most and used > _FULL * most:
        text = f"{server} uses {used >> 20} of {most >> 20} MiB"
        hint = "give it more memory, or keep fewer lifecycle events (?events=1000)"
        yield Finding(level="warning", topic="valkey", text=text, hint=hint)
