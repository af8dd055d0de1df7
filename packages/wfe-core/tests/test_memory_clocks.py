"""The two clocks, and what only the memory store does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from wfe.core.clocks import SystemClock, VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore, open_url
from wfe.core.models import to_micros
from wfe.core.providers import (
    Hint,
    LockProvider,
    PersistenceProvider,
    QueueProvider,
    WorkerInfo,
)

SECOND = 1_000_000  # µs
DAY_NS = 86_400 * 10**9


class Machine:
    """A wall clock and a monotonic clock that a test sets, ns."""

    def __init__(self) -> None:
        self.wall = 1_000 * DAY_NS
        self.monotonic = 5 * 10**9

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall, lambda: self.monotonic)

    def pass_time(self, ns: int) -> None:
        self.wall += ns
        self.monotonic += ns


def test_system_clock_is_the_wall_clock() -> None:
    before = to_micros(datetime.now(UTC))
    now = SystemClock().now()
    after = to_micros(datetime.now(UTC))

    assert before - 1000 <= now <= after + 1000


def test_a_step_of_the_wall_clock_changes_nothing_until_it_is_measured() -> None:
    machine = Machine()
    clock = machine.clock()
    start = clock.now()

    machine.pass_time(10**9)
    machine.wall += DAY_NS

    assert clock.now() == start + SECOND
    assert clock.sync() == DAY_NS // 1000
    assert clock.now() == start + SECOND + DAY_NS // 1000


def test_a_step_back_makes_time_stand_still_not_run_back() -> None:
    machine = Machine()
    clock = machine.clock()
    start = clock.now()

    machine.wall -= 3 * 10**9
    assert clock.sync() == -3 * SECOND
    times = [clock.now()]
    for _ in range(4):
        machine.pass_time(10**9)
        times.append(clock.now())

    assert times == [start, start, start, start, start + SECOND]


async def test_system_clock_sleeps_until() -> None:
    clock = SystemClock()
    when = clock.now() + 5000

    await clock.sleep_until(when)
    await clock.sleep_until(when - SECOND)

    assert clock.now() >= when


async def test_virtual_clock_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock(datetime(2030, 5, 1, tzinfo=UTC))
    start = clock.now()
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep_until(start + seconds * SECOND)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (30, 10, 20, 0):
            group.create_task(sleep(seconds))
        await asyncio.sleep(0.001)
        assert woken == [0]
        assert clock.next_due == start + 10 * SECOND
        await clock.advance(timedelta(seconds=9))
        assert woken == [0]
        await clock.advance(timedelta(seconds=11))
        assert woken == [0, 10, 20]
        await clock.advance(timedelta(days=1))

    assert woken == [0, 10, 20, 30]
    assert clock.now() == start + 86_420 * SECOND
    assert clock.next_due is None


async def test_virtual_clock_stops_at_each_time_on_the_way() -> None:
    clock = VirtualClock()
    start = clock.now()
    times: list[int] = []

    async def tick() -> None:
        for _ in range(3):
            await clock.sleep_until(clock.now() + SECOND)
            times.append(clock.now() - start)

    ticking = asyncio.create_task(tick())
    settled = 0

    async def settle() -> None:
        nonlocal settled
        settled += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    await clock.advance(timedelta(seconds=10), settle)
    await ticking

    assert times == [SECOND, 2 * SECOND, 3 * SECOND]
    assert settled == 5


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = VirtualClock()
    sleeper = asyncio.create_task(clock.sleep_until(clock.now() + SECOND))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)

    assert clock.next_due is None
    assert clock.move_to(clock.now() + SECOND) == 0


def test_virtual_clock_never_goes_back() -> None:
    clock = VirtualClock()
    start = clock.now()

    clock.move_to(start - SECOND)

    assert clock.now() == start


async def test_waiting_for_hints_goes_by_the_stores_clock() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    waiting = asyncio.create_task(store.wait(7, 60 * SECOND))
    await asyncio.sleep(0.001)
    assert not waiting.done()

    await clock.advance(timedelta(seconds=61))

    assert list(await waiting) == []


async def test_unregistering_forgets_the_mailbox() -> None:
    store = MemoryStore()
    epoch = await store.register(WorkerInfo(name="w", host="h", pid=1))
    await store.wait(epoch, 0)

    await store.unregister(epoch)
    await store.hint([Hint(1, 1, epoch), Hint(2, 1, None)])

    assert list(await store.wait(epoch, 0)) == []


def test_the_store_is_all_three_providers() -> None:
    store = MemoryStore()
    persistence: PersistenceProvider = store
    queue: QueueProvider = store
    lock: LockProvider = store

    assert [id(part) for part in (persistence, queue, lock)] == [id(store)] * 3
    assert store.features == {"queue", "lock", "cache", "artifacts", "changes", "search"}


async def test_urls() -> None:
    clock = VirtualClock()

    store = open_url("memory://", clock=clock)

    assert store.clock is clock
    assert (await store.open()).kind == "memory"
    assert not (await store.open()).durable
    with pytest.raises(ProviderError, match="memory: 'memory://shared': a memory store has no"):
        open_url("memory://shared")
