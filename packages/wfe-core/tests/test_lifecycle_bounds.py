"""What waits for a subscriber is bounded, and what is missing is marked."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio

import pytest

from wfe.core.engine import lifecycle
from wfe.core.engine.lifecycle import Lifecycle, Subscription
from wfe.core.models import LifecycleEvent, from_micros

MOST = 5


def event(number: int, kind: str = "step_started") -> LifecycleEvent:
    return LifecycleEvent(
        kind=kind, instance_id="run", definition="d", at=from_micros(number), pointer=number
    )


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_MOST", MOST)


async def test_a_slow_subscriber_misses_the_oldest_and_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent = Lifecycle()
    subscription = Subscription(sent, ["step_started"])
    for number in range(MOST + 3):
        sent.send(event(number))
        sent.send(event(number, "step_completed"))
    subscription.close()

    mark, *rest = [each async for each in subscription]

    assert (mark.kind, mark.data, mark.at) == ("events_missed", {"count": 3}, from_micros(2))
    assert [each.pointer for each in rest] == list(range(3, MOST + 3))
    assert caplog.text.count("misses some") == 1


async def test_each_gap_is_marked_in_its_place() -> None:
    sent = Lifecycle()
    subscription = Subscription(sent, None)
    events = aiter(subscription)
    for number in range(MOST + 1):
        sent.send(event(number))
    seen = [await anext(events) for _ in range(3)]
    for number in range(MOST + 1, MOST + 4):
        sent.send(event(number))
    subscription.close()
    seen += [each async for each in events]

    told = [each.data or each.pointer for each in seen]
    assert told == [{"count": 1}, 1, 2, {"count": 1}, 4, 5, 6, 7, 8]


async def test_who_reads_in_time_misses_nothing() -> None:
    sent = Lifecycle()
    subscription = Subscription(sent, None)
    seen: list[int | None] = []

    async def read() -> None:
        seen.extend([each.pointer async for each in subscription])

    reading = asyncio.create_task(read())
    for number in range(10 * MOST):
        sent.send(event(number))
        await asyncio.sleep(0)
    subscription.close()
    await reading

    assert seen == list(range(10 * MOST))
    assert not sent.observed
