"""Lifecycle events leave a host in order, bounded, and without holding anything up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.engine.publishing import Publishing
from wfe.core.errors import StoreUnavailableError
from wfe.core.memory_lifecycle import MemoryLifecycle
from wfe.core.models import LifecycleEvent

LEASE = 30_000_000  # µs


def event(number: int) -> LifecycleEvent:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    data = {"number": number}
    return LifecycleEvent(
        kind="k", instance_id="i", definition="d", at=at, pointer=number, data=data
    )


class Flaky(MemoryLifecycle):
    """Fails, or hangs, while it is told to."""

    def __init__(self) -> None:
        super().__init__(kept=20_000)
        self.fails = 0
        self.open = asyncio.Event()
        self.open.set()
        self.calls: list[tuple[int, int]] = []
        self.closed = False

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        self.calls.append((first, len(events)))
        await self.open.wait()
        await super().publish(source, first, events)
        if self.fails:  # the answer is lost: it was told all the same
            self.fails -= 1
            raise StoreUnavailableError("test", "the link is cut")

    async def close(self) -> None:
        self.closed = True
        await super().close()


@pytest.fixture
def publisher() -> Flaky:
    return Flaky()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def publishing(publisher: Flaky, clock: VirtualClock) -> AsyncIterator[Publishing]:
    publishing = Publishing(publisher, clock, LEASE)
    publishing.start()
    yield publishing
    publisher.open.set()
    await publishing.close()
    assert publisher.closed


async def told(publisher: Flaky) -> list[int | None]:
    return [each.pointer for each in publisher.after(0)[1]]


async def settled(publishing: Publishing) -> None:
    async with asyncio.timeout(5):
        while publishing.state["waiting"]:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.01)


async def test_events_leave_in_order_and_in_batches(
    publisher: Flaky, publishing: Publishing
) -> None:
    for number in range(1, 1201):
        publishing.take(event(number))
    await settled(publishing)

    assert await told(publisher) == list(range(1, 1201))
    assert publisher.calls == [(1, 500), (501, 500), (1001, 200)]
    assert publishing.state == {"sent": 1200, "dropped": 0, "waiting": 0, "trouble": None}


async def test_a_lost_answer_doubles_nothing(
    publisher: Flaky, publishing: Publishing, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.fails = 2
    for number in (1, 2, 3):
        publishing.take(event(number))
    await settled(publishing)

    assert await told(publisher) == [1, 2, 3]
    assert len(publisher.calls) == 3
    assert caplog.text.count("publishing fails: test: the link is cut") == 1


async def test_what_finds_no_room_is_dropped_and_told_of(
    publisher: Flaky, publishing: Publishing, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.open.clear()
    publishing.take(event(1))
    while not publisher.calls:  # noqa: ASYNC110 - until it is under way
        await asyncio.sleep(0)
    for number in range(2, 12_002):
        publishing.take(event(number))
    state = publishing.state
    publisher.open.set()
    await settled(publishing)

    assert (state["waiting"], state["dropped"]) == (10_000, 2001)
    assert await told(publisher) == [1, *range(2002, 12_002)]
    assert "2001 lifecycle events were dropped" in caplog.text


async def test_what_waited_for_a_lease_is_not_told(
    publisher: Flaky, publishing: Publishing, clock: VirtualClock
) -> None:
    publisher.fails = 1
    publishing.take(event(1))
    await asyncio.sleep(0.01)
    publishing.take(event(2))
    clock.move_to(clock.now() + LEASE + 1)
    publishing.take(event(3))
    await settled(publishing)

    assert await told(publisher) == [1, 3]  # 1 was told before its answer was lost
    assert publishing.state["dropped"] == 2


async def test_a_fenced_host_tells_nothing_more_of_what_was(
    publisher: Flaky, publishing: Publishing
) -> None:
    publishing.take(event(1))
    publishing.fenced()
    publishing.take(event(2))
    await settled(publishing)

    assert await told(publisher) == [2]


async def test_data_stays_at_home_when_it_must(publisher: Flaky, clock: VirtualClock) -> None:
    publishing = Publishing(publisher, clock, LEASE, data=False)
    publishing.start()
    publishing.take(event(1))
    await publishing.close()

    assert [each.data for each in publisher.after(0)[1]] == [None]


async def test_closing_tells_the_rest(publisher: Flaky, clock: VirtualClock) -> None:
    publishing = Publishing(publisher, clock, LEASE)
    publishing.start()
    for number in range(1, 1001):
        publishing.take(event(number))

    await publishing.close()

    assert len(await told(publisher)) == 1000


async def test_closing_waits_for_no_publisher_that_hangs(
    publisher: Flaky, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    publishing = Publishing(publisher, clock, LEASE)
    publishing.start()
    publisher.open.clear()
    publishing.take(event(1))
    await asyncio.sleep(0)

    async with asyncio.timeout(timedelta(seconds=3).total_seconds()):
        await publishing.close()

    assert "1 lifecycle events were not published" in caplog.text
    assert publishing.state["dropped"] == 1


async def test_a_publisher_that_fails_in_its_own_way_keeps_no_host_from_stopping(
    publisher: Flaky,
    clock: VirtualClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("not an error of a provider")

    monkeypatch.setattr(publisher, "publish", fail)
    monkeypatch.setattr(publisher, "close", fail)
    publishing = Publishing(publisher, clock, LEASE)
    publishing.take(event(1))

    await publishing.close()

    assert "1 lifecycle events were not published" in caplog.text
    assert "did not close: not an error of a provider" in caplog.text
