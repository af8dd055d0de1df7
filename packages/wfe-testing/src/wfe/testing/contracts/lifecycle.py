"""The lifecycle contract: what hosts tell reaches every subscriber, in order, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from wfe.core.errors import ProviderError
from wfe.core.lifecycle_provider import LifecyclePublisher, LifecycleSubscription
from wfe.core.models import LifecycleEvent

__all__ = ["LifecycleContract"]

SOON = 3.0  # seconds
AT = datetime(2025, 1, 1, 12, 30, 0, 123456, tzinfo=UTC)
WHOLE = LifecycleEvent(
    kind="step_completed",
    instance_id="0194-run",
    definition="order",
    at=AT,
    step="pay",
    pointer=7,
    attempt=2,
    data={"text": "Grüße\x00 \u2028", "big": 2**53 + 1, "list": [None, 1.5, {"x": []}], "": ""},
)


class LifecycleContract:
    """Subclass as ``TestMyLifecycle`` and give the class fixtures ``lifecycle`` and ``elsewhere``.

    Both are publishers on the same backend, as two processes have them; they may be the same
    object when the backend is one of a process.

    Attributes:
        capabilities: ``bounded``: it keeps about ``kept`` events and not ever more.
        kept: How many late subscribers find; at most twice as many are kept.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    kept: ClassVar[int] = 0

    async def test_every_field_arrives(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        bare = LifecycleEvent(kind="host_fenced", instance_id="", definition="", at=AT)
        subscription = await elsewhere.subscribe()

        await lifecycle.publish("a", 1, [WHOLE, bare])

        assert await _take(subscription, 2) == [WHOLE, bare]

    async def test_order_is_kept(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        for first in range(1, 200, 20):
            await lifecycle.publish("a", first, _events(range(first, first + 20)))

        assert _numbers(await _take(subscription, 200)) == list(range(1, 201))

    async def test_every_subscriber_gets_everything(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        publishers = [lifecycle, elsewhere, lifecycle, elsewhere]
        subscriptions = [await publisher.subscribe() for publisher in publishers]

        await lifecycle.publish("a", 1, _events(range(1, 31)))

        got = await asyncio.gather(*(_take(each, 30) for each in subscriptions))
        assert [_numbers(each) for each in got] == [list(range(1, 31))] * 4

    async def test_twenty_publishers_keep_their_orders(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        async def tell(source: int) -> None:
            for first in range(1, 11, 2):
                events = _events([first, first + 1], run=f"run-{source}")
                await (lifecycle, elsewhere)[source % 2].publish(f"source-{source}", first, events)

        await asyncio.gather(*(tell(source) for source in range(20)))

        got = await _take(subscription, 200)
        for source in range(20):
            of_source = [event for event in got if event.instance_id == f"run-{source}"]
            assert _numbers(of_source) == list(range(1, 11))

    async def test_a_subscription_begins_at_the_call(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        await lifecycle.publish("a", 1, _events([1]))
        subscription = await elsewhere.subscribe()
        await lifecycle.publish("a", 2, _events([2]))

        assert _numbers(await _take(subscription, 1)) == [2]

    async def test_only_the_wanted_kinds_arrive(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe({"even", "last"})

        await lifecycle.publish("a", 1, _events(range(1, 10), kinds=("even", "odd")))
        await lifecycle.publish("a", 10, _events([10], kinds=("last",)))

        assert _numbers(await _take(subscription, 5)) == [2, 4, 6, 8, 10]

    async def test_kinds_are_a_collection(self, lifecycle: LifecyclePublisher) -> None:
        with pytest.raises(TypeError, match="kinds must be a collection"):
            await lifecycle.subscribe("workflow_completed")

    async def test_what_is_told_again_is_told_once(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        await lifecycle.publish("a", 1, _events([1, 2, 3]))
        await lifecycle.publish("a", 1, _events([1, 2, 3]))
        await lifecycle.publish("a", 2, _events([2, 3, 4, 5]))

        assert _numbers(await _take(subscription, 5)) == [1, 2, 3, 4, 5]
        await lifecycle.publish("a", 6, _events([6]))
        assert _numbers(await _take(subscription, 1)) == [6]

    async def test_numbers_may_be_left_out(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        await lifecycle.publish("a", 5, _events([5]))
        await lifecycle.publish("a", 9, _events([9]))

        assert _numbers(await _take(subscription, 2)) == [5, 9]

    async def test_each_source_has_its_own_numbers(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        await lifecycle.publish("a", 1, _events([1], run="a"))
        await elsewhere.publish("b", 1, _events([1], run="b"))

        got = await _take(subscription, 2)
        assert [event.instance_id for event in got] == ["a", "b"]

    async def test_all_that_is_kept_can_be_read_later(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        await lifecycle.publish("a", 1, _events([1, 2, 3]))

        subscription = await elsewhere.subscribe(after="")
        await lifecycle.publish("a", 4, _events([4]))

        assert _numbers(await _take(subscription, 4)) == [1, 2, 3, 4]

    async def test_a_later_subscription_goes_on_where_another_was(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        first = await elsewhere.subscribe({"even"})
        await lifecycle.publish("a", 1, _events(range(1, 10), kinds=("even", "odd")))
        assert _numbers(await _take(first, 2)) == [2, 4]
        await first.close()

        await lifecycle.publish("a", 10, _events([10], kinds=("even",)))
        second = await lifecycle.subscribe({"even"}, after=first.position)

        assert _numbers(await _take(second, 3)) == [6, 8, 10]

    async def test_a_new_subscription_has_a_position(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        await lifecycle.publish("a", 1, _events([1]))
        unread = await elsewhere.subscribe()
        await lifecycle.publish("a", 2, _events([2]))

        again = await elsewhere.subscribe(after=unread.position)

        assert _numbers(await _take(again, 1)) == [2]

    async def test_a_position_of_something_else_is_refused(
        self, lifecycle: LifecyclePublisher
    ) -> None:
        with pytest.raises(ProviderError):
            await lifecycle.subscribe(after="yesterday")

    async def test_closing_ends_the_iterator(self, lifecycle: LifecyclePublisher) -> None:
        subscription = await lifecycle.subscribe()
        reading = asyncio.create_task(_all(subscription))
        await lifecycle.publish("a", 1, _events([1]))
        await asyncio.sleep(0.05)

        await subscription.close()
        await subscription.close()

        async with asyncio.timeout(SOON):
            assert _numbers(await reading) == [1]

    async def test_a_closed_subscription_harms_no_other(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        closed, other = await elsewhere.subscribe(), await elsewhere.subscribe()
        await closed.close()

        await lifecycle.publish("a", 1, _events([1, 2]))

        assert _numbers(await _take(other, 2)) == [1, 2]

    async def test_closing_the_publisher_ends_its_subscriptions(
        self, lifecycle: LifecyclePublisher
    ) -> None:
        subscription = await lifecycle.subscribe()
        reading = asyncio.create_task(_all(subscription))
        await asyncio.sleep(0)

        await lifecycle.close()

        async with asyncio.timeout(SOON):
            assert await reading == []

    async def test_who_does_not_read_holds_nobody_up(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        slow, fast = await elsewhere.subscribe(), await elsewhere.subscribe()

        async with asyncio.timeout(SOON):
            for first in range(1, 2000, 200):
                await lifecycle.publish("a", first, _events(range(first, first + 200)))

        assert len(await _take(fast, 100)) == 100
        assert len(await _take(slow, 100)) == 100

    async def test_telling_nothing_is_nothing(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        subscription = await elsewhere.subscribe()

        await lifecycle.publish("a", 1, [])
        await lifecycle.publish("a", 1, _events([1]))

        assert _numbers(await _take(subscription, 1)) == [1]

    @pytest.mark.needs("bounded")
    async def test_what_is_kept_is_bounded(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        count = 4 * self.kept
        for first in range(1, count, self.kept):
            await lifecycle.publish("a", first, _events(range(first, first + self.kept)))
        await lifecycle.publish("a", count + 1, _events([count + 1], kinds=("end",)))

        late = await elsewhere.subscribe(after="")
        got = _numbers(await _until_end(late))

        assert self.kept <= len(got) <= 2 * self.kept
        assert got == list(range(count + 2 - len(got), count + 2))


def _events(
    numbers: Sequence[int] | range, *, run: str = "run", kinds: Collection[str] = ("odd",)
) -> list[LifecycleEvent]:
    """Return an event for each number, with the kinds in turn."""
    names = list(kinds)
    return [
        LifecycleEvent(
            kind=names[number % len(names)],
            instance_id=run,
            definition="order",
            at=AT,
            pointer=number,
        )
        for number in numbers
    ]


def _numbers(events: Sequence[LifecycleEvent]) -> list[int | None]:
    return [event.pointer for event in events]


async def _take(subscription: LifecycleSubscription, count: int) -> list[LifecycleEvent]:
    """Return the next events; fail when they do not come soon."""
    got: list[LifecycleEvent] = []
    async with asyncio.timeout(SOON):
        async for event in subscription:
            got.append(event)
            if len(got) == count:
                break
    return got


async def _until_end(subscription: LifecycleSubscription) -> list[LifecycleEvent]:
    got: list[LifecycleEvent] = []
    async with asyncio.timeout(SOON):
        async for event in subscription:
            got.append(event)
            if event.kind == "end":
                break
    return got


async def _all(subscription: LifecycleSubscription) -> list[LifecycleEvent]:
    return [event async for event in subscription]
