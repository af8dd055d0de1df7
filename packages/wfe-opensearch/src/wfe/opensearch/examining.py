"""What ``wfe doctor`` says of an OpenSearch cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.examining import Finding

if TYPE_CHECKING:
    from opensearchpy import AsyncOpenSearch

__all__ = ["examined", "judged"]

_SLOW: Final = 1.0  # seconds


async def examined(client: AsyncOpenSearch, cluster: str, version: str) -> Sequence[Finding]:
    """Return what an operator should know of the cluster behind *client*."""
    began = time.perf_counter()
    health: Any = await client.cluster.health()
    took = time.perf_counter() - began
    return list(judged(f"{cluster}: OpenSearch {version}", health, took))


def judged(cluster: str, health: Mapping[str, Any], took: float) -> Iterator[Finding]:
    """Yield what there is to say of a cluster.

    Args:
        cluster: Shown to operators.
        health: What ``_cluster/health`` answers.
        took: Seconds.
    """
    status = str(health.get("status", "unknown"))
    nodes = health.get("number_of_nodes", 0)
    text = f"{cluster} answers in {took * 1000:.0f} ms, {nodes} node(s), status {status}"
    if status == "red":
        hint = "parts of the index are missing: search may fail; runs go on, and it catches up"
        yield Finding(level="problem", topic="search", text=text, hint=hint)
    elif status == "yellow" and nodes > 1:
        hint = "replicas are missing: see _cluster/allocation/explain"
        yield Finding(level="warning", topic="search", text=text, hint=hint)
    else:
        yield Finding(level="ok", topic="search", text=text)
    if took > _SLOW:
        text = f"{cluster} is slow"
        hint = "searches wait for it; the feed only falls behind"
        yield Finding(level="warning", topic="search", text=text, hint=hint)
