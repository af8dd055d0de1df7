"""Listing the runs of a memory store looks at the page that is wanted, not at all runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_order import MemoryOrder
from wfe.core.memory_run import MemoryRun
from wfe.core.providers import Done, Header, InstanceQuery, Item


class Counting(dict[int, MemoryRun]):
    """Runs that count how often one of them is looked at."""

    looks = 0

    def get(self, key: int, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)

    def __getitem__(self, key: int) -> MemoryRun:
        self.looks += 1
        return super().__getitem__(key)

    def looked(self) -> int:
        """Return how often since the last time."""
        looks, self.looks = self.looks, 0
        return looks


def header(n: int, definition: str = "d") -> Header:
    return Header(n=n, id=f"run {n}", root_id=f"run {n}", d=1, definition=definition, version=1)


def made(n: int, at: int) -> MemoryRun:
    return MemoryRun(new=header(n), created_at=at, status="runnable", wake=None)


async def store_of(count: int) -> MemoryStore:
    store = MemoryStore(VirtualClock())
    await store.open()
    first = await store.allocate(count)
    items = [Item(n=n, new=header(n), rows=("{}",)) for n in range(first, first + count)]
    assert all(isinstance(each, Done) for each in await store.commit(None, items))
    return store


def test_a_page_costs_as_many_looks_as_it_has_runs() -> None:
    runs = Counting({n: made(n, at=n // 3) for n in range(1, 5001)})
    order = MemoryOrder(runs)
    assert len(list(order.runs(None, None, newest_first=True))) == 5000
    runs.looked()

    pages: list[Iterator[MemoryRun]] = [
        order.runs(None, None, newest_first=True),
        order.runs((1000, 3001), None, newest_first=True),
        order.runs((1000, 3001), None, newest_first=False),
        order.runs(None, 1000, newest_first=False),
    ]
    for page in pages:
        found = [next(page).new.n for _ in range(10)]
        assert len(set(found)) == 10
        assert runs.looked() <= 12


def test_who_was_started_since_costs_one_look_each() -> None:
    runs = Counting({n: made(n, at=n) for n in range(1, 5001)})
    order = MemoryOrder(runs)
    next(order.runs(None, None, newest_first=True))
    runs.looked()

    runs.update({n: made(n, at=n) for n in range(5001, 5011)})

    assert next(order.runs(None, None, newest_first=True)).new.n == 5010
    assert runs.looked() <= 12


def test_places_of_deleted_runs_are_given_up() -> None:
    runs = Counting({n: made(n, at=n) for n in range(1, 5001)})
    order = MemoryOrder(runs)
    next(order.runs(None, None, newest_first=True))
    for n in range(1, 4991):
        del runs[n]
    assert [run.new.n for run in order.runs(None, None, newest_first=False)] == [*range(4991, 5001)]
    runs.looked()

    assert [run.new.n for run in order.runs(None, None, newest_first=False)] == [*range(4991, 5001)]
    assert runs.looked() <= 12


_made = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(_made, min_size=1, max_size=4),
    numbers=st.permutations(range(1, 49)),
    after=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 49)),
    since=st.none() | st.integers(0, 6),
    newest_first=st.booleans(),
)
def test_the_order_is_that_of_sorting_them_all(
    parts: list[list[tuple[int, bool]]],
    numbers: list[int],
    after: tuple[int, int] | None,
    since: int | None,
    *,
    newest_first: bool,
) -> None:
    """Whatever the clock does, in whatever order numbers are used, whoever is deleted."""
    runs: dict[int, MemoryRun] = {}
    order = MemoryOrder(runs)
    left = iter(numbers)
    for part in parts:
        for at, deletes in part:
            n = next(left)
            runs[n] = made(n, at)
            if deletes:
                del runs[min(runs)]
        wanted = sorted(((run.created_at, n) for n, run in runs.items()), reverse=newest_first)
        if after is not None:
            wanted = [place for place in wanted if (place < after) is newest_first]
            wanted = [place for place in wanted if place != after]
        wanted = [place for place in wanted if since is None or place[0] >= since]

        found = order.runs(after, since, newest_first=newest_first)

        assert [(run.created_at, run.new.n) for run in found] == wanted


async def test_pages_of_the_store_are_all_runs() -> None:
    store = await store_of(25)

    for newest_first in (True, False):
        found: list[int] = []
        after: tuple[int, int] | None = None
        while True:
            query = InstanceQuery(limit=10, after=after, newest_first=newest_first)
            page = await store.find(query)
            found += [run.n for run in page]
            if len(page) < 10:
                break
            after = (page[-1].created_at, page[-1].n)
        assert found == sorted(found, reverse=newest_first)
        assert len(set(found)) == 25
