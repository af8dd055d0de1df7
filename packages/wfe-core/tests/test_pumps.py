"""Rows that wait for a store that refuses them."""

from __future__ import annotations

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
