"""A store that counts what the engine asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfe.core.providers import Item, Outcome

__all__ = ["CountingStore"]


class CountingStore:
    """Passes everything on; counts commits, items and rows."""

    def __init__(self, store: Any) -> None:
        """Count for *store*."""
        self._store = store
        self.reset()

    def reset(self) -> None:
        """Begin anew at zero."""
        self.commits = self.items = self.rows = self.writes = 0

    def __getattr__(self, name: str) -> Any:
        """Pass on what is not counted."""
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Count and pass on."""
        self.commits += 1
        self.items += len(items)
        self.rows += sum(len(item.rows) for item in items)
        outcomes: Sequence[Outcome] = await self._store.commit(epoch, items)
        return outcomes

    async def claim(self, *args: Any) -> Any:
        """Count claims that own something as a write, and pass on."""
        claimed = await self._store.claim(*args)
        self.writes += bool(claimed)
        return claimed
