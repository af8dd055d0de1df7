"""The memory store keeps the contracts of searching."""

from __future__ import annotations

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.testing.contracts.changes import ChangesContract
from wfe.testing.contracts.search import SearchContract


class TestMemoryIndex(SearchContract):
    @pytest.fixture
    async def index(self) -> MemoryStore:
        return MemoryStore()


class TestMemoryChanges(ChangesContract):
    @pytest.fixture
    async def store(self) -> MemoryStore:
        return MemoryStore(VirtualClock())
