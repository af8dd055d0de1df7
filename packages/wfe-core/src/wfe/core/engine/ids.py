"""Ids of runs and numbers of instances."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Final

from wfe.core.providers import PersistenceProvider

__all__ = ["Numbers", "number_in", "shown_name", "uuid7"]

_BLOCK: Final = 1000


def shown_name(name: str | None, definition: str, n: int) -> str:
    """Return what a run is called: its *name*, else its definition and number."""
    return f"{definition}-{n}" if name is None else name


def number_in(name: str) -> tuple[str, int] | None:
    """Return (definition, number) of a name that :func:`shown_name` made, ``None`` for others."""
    definition, dash, digits = name.rpartition("-")
    if not dash or not digits.isascii() or not digits.isdigit() or digits.startswith("0"):
        return None
    return (definition, int(digits)) if len(digits) < 19 else None  # it fits 63 bits


def uuid7() -> str:
    """Return a new UUID version 7 as text: sortable by time, else random.

    Source: RFC 9562, section 5.7.
    """
    stamp = time.time_ns() // 1_000_000
    value = (stamp << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Numbers:
    """Gives out instance numbers from blocks, so that a start needs no round trip for one."""

    def __init__(self, store: PersistenceProvider, *, few: bool = False) -> None:
        """Take blocks from *store*; who needs *few* begins with one number, and doubles that."""
        self._store = store
        self._size = 1 if few else _BLOCK
        self._next = 0
        self._left = 0
        self._turn = asyncio.Lock()

    def next(self) -> int | None:
        """Return a number that nobody else has; ``None``: a block is to be taken first."""
        if not self._left:
            return None
        self._left -= 1
        self._next += 1
        return self._next - 1

    async def take(self) -> int:
        """Return a number that nobody else has."""
        if not self._left:
            async with self._turn:
                if not self._left:
                    self._next = await self._store.allocate(self._size)
                    self._left = self._size
                    self._size = min(2 * self._size, _BLOCK)
        self._left -= 1
        self._next += 1
        return self._next - 1
