"""What the parts of the store stand on: it opens, reads and writes for them."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, TypeVar

from wfe.core.providers import Clock
from wfe.sqlite.reads import Reader

__all__ = ["Readers", "SqlitePart"]

T = TypeVar("T")


class Readers(Protocol):
    """What the parts need of an open store."""

    @property
    def reader(self) -> Reader:
        """For short reads in the event loop."""
        ...

    @property
    def scanner(self) -> Reader:
        """For long ones in a thread."""
        ...


class SqlitePart(ABC):
    """A part of :class:`~wfe.sqlite.store.SqliteStore`; its file has what is abstract here."""

    clock: Clock

    @property
    @abstractmethod
    def _opened(self) -> Readers:
        """What there is while the store is open; raises when it is not."""

    @abstractmethod
    async def _write(self, work: Callable[[sqlite3.Connection, int], T], size: int = 1) -> T:
        """Run *work* with the connection and the time inside a write transaction."""
