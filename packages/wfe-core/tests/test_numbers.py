"""Numbers of instances: who needs few takes few."""

from __future__ import annotations

from typing import Any

import pytest

from wfe.core.engine.ids import Numbers


class Counter:
    """A store that only gives out numbers."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def allocate(self, count: int) -> int:
        first = 1 + sum(self.asked)
        self.asked.append(count)
        return first


@pytest.mark.parametrize(
    ("few", "asked"), [(False, [1000]), (True, [1, 2, 4, 8, 16])], ids=["many", "few"]
)
async def test_blocks(few: bool, asked: list[int]) -> None:
    store: Any = Counter()
    numbers = Numbers(store, few=few)

    assert [await numbers.take() for _ in range(20)] == list(range(1, 21))

    assert store.asked == asked


async def test_blocks_do_not_grow_without_end() -> None:
    store: Any = Counter()
    numbers = Numbers(store, few=True)

    for _ in range(3000):
        await numbers.take()

    assert max(store.asked) == 1000
