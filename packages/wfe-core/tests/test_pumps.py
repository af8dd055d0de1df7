"""Rows that wait for a store that refuses them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from wfe.core.engine.pumps import Pump
from wfe.core.errors import StoreUnavailableError


class Refusing:
    """A store that refuses while it is told to."""

    def __init__(self) -> None:
        self.refuses = False
        self.rows: list[int] = []

    async def store(self, rows: Sequence[int]) -> None:
        if self.refuses:
            raise StoreUnavailableError("test", "the disk is full")
        self.rows.extend(rows)


async def test_trouble_is_told_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    store = Refusing()
    pump = Pump("rows", store.store)

    for number, refuses in enumerate((True, True, True, False, True, True, False)):
        store.refuses = refuses
        pump.take(number)
        await pump.flush()
    await pump.close()

    assert store.rows == [0, 1, 2, 3, 4, 5, 6]
    assert [each.getMessage().partition(":")[0] for each in caplog.records] == [
        "rows wait, the store refuses writes",
        "rows wait, the store refuses writes",
    ]


async def test_rows_of_threads_come_in_their_order_before_what_follows_them() -> None:
    store = Refusing()
    pump = Pump("rows", store.store)

    def bring() -> None:
        for number in range(5000):
            pump.take(number)

    await asyncio.to_thread(bring)
    pump.take(5000)
    assert pump.waiting
    await pump.close()

    assert store.rows == list(range(5001))
    assert not pump.waiting


async def test_a_thread_that_brings_too_much_waits_for_the_store() -> None:
    most = 0

    async def slow(rows: Sequence[int]) -> None:
        nonlocal most
        await asyncio.sleep(0)
        most = max(most, pump.length)

    class Watched(Pump[int]):
        @property
        def length(self) -> int:
            return len(self._rows) + len(self._handed)

    pump = Watched("rows", slow)

    def bring() -> None:
        for number in range(100_000):
            pump.take(number)

    await asyncio.to_thread(bring)
    await pump.close()

    assert 10_000 < most + 1000 <= 12_000


async def test_a_thread_goes_on_though_the_store_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfe.core.engine.pumps._PATIENCE", 0.0)
    store = Refusing()
    store.refuses = True
    pump = Pump("rows", store.store)

    def bring() -> None:
        for number in range(12_000):
            pump.take(number)

    await asyncio.to_thread(bring)
    store.refuses = False
    await pump.close()

    assert store.rows == list(range(12_000))
