"""The memory store keeps the contracts of results and artifact names."""

from __future__ import annotations

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.testing.contracts import ArtifactIndexContract, CacheIndexContract


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(VirtualClock())


class TestMemoryCache(CacheIndexContract):
    pass


class TestMemoryArtifactIndex(ArtifactIndexContract):
    pass
