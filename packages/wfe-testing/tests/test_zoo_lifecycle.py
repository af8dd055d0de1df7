"""The lifecycle contract catches publishers that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import attrs
import pytest

from wfe.core.memory_lifecycle import MemoryLifecycle, MemorySubscription
from wfe.core.models import LifecycleEvent
from wfe.testing.contracts import LifecycleContract
from wfe.testing.contracts import lifecycle as laws

FAILURES = (AssertionError, TimeoutError, ValueError, LookupError, pytest.fail.Exception)


class LosesFields(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        await super().publish(source, first, [attrs.evolve(e, attempt=None) for e in events])


class RoundsTimes(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        coarse = [attrs.evolve(e, at=e.at.replace(microsecond=0)) for e in events]
        await super().publish(source, first, coarse)


class TurnsBatchesRound(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        await super().publish(source, first, events[::-1])


class TellsOne(MemoryLifecycle):
    """As a queue does: each event goes to one of the subscribers."""

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        await super().publish(source, first, events)
        for each in list(self._subscriptions)[1:]:
            each._position = self._count


class BeginsLate(MemoryLifecycle):
    """A subscription begins when it is read."""

    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        subscription = await super().subscribe(kinds, after=after)
        if after is None:
            subscription.__class__ = _Late
        return subscription


class _Late(MemorySubscription):
    async def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        self._position = self._lifecycle._count
        async for event in super().__aiter__():
            yield event


class TellsTheOld(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        return await super().subscribe(kinds, after=after or "")


class IgnoresKinds(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        await super().subscribe(kinds, after=after)
        return await super().subscribe(None, after=after)


class TakesLettersForKinds(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        return await super().subscribe(None if kinds is None else list(kinds), after=after)


class TellsTwice(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        self._told.clear()
        await super().publish(source, first, events)


class DropsOverlaps(MemoryLifecycle):
    """What was told in part is taken for told."""

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        if self._told.get(source, 0) < first:
            await super().publish(source, first, events)


class WaitsForMissingNumbers(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        if first <= self._told.get(source, 0) + 1:
            await super().publish(source, first, events)


class MixesSources(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        await super().publish("everybody", first, events)


class KeepsNothing(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        return await super().subscribe(kinds, after=after or None)


class ForgetsThePlace(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        return await super().subscribe(kinds, after=str(int(after) - 1) if after else after)


class NeverEnds(MemoryLifecycle):
    def end(self, subscription: MemorySubscription) -> None:
        subscription._closed = False


class EndsAll(MemoryLifecycle):
    def end(self, subscription: MemorySubscription) -> None:
        for each in self._subscriptions:
            each._closed = True


class LeavesReadersBehind(MemoryLifecycle):
    async def close(self) -> None:
        """End nothing."""


class WaitsForTheSlow(MemoryLifecycle):
    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        await super().publish(source, first, events)
        async with asyncio.timeout(laws.SOON * 2):
            for each in self._subscriptions:
                while self._count - each._position > 1000:  # noqa: ASYNC110 - as the broken do
                    await asyncio.sleep(0.01)


class KeepsEverything(MemoryLifecycle):
    def __init__(self, kept: int = 10_000) -> None:
        super().__init__(kept * 100)


class TakesAnyPosition(MemoryLifecycle):
    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> MemorySubscription:
        known = after is None or not after or after.isdecimal()
        return await super().subscribe(kinds, after=after if known else None)


ZOO: list[tuple[type[MemoryLifecycle], str]] = [
    (LosesFields, "every_field_arrives"),
    (RoundsTimes, "every_field_arrives"),
    (TurnsBatchesRound, "order_is_kept"),
    (TurnsBatchesRound, "twenty_publishers_keep_their_orders"),
    (TellsOne, "every_subscriber_gets_everything"),
    (BeginsLate, "a_subscription_begins_at_the_call"),
    (TellsTheOld, "a_subscription_begins_at_the_call"),
    (IgnoresKinds, "only_the_wanted_kinds_arrive"),
    (TakesLettersForKinds, "kinds_are_a_collection"),
    (TellsTwice, "what_is_told_again_is_told_once"),
    (DropsOverlaps, "what_is_told_again_is_told_once"),
    (WaitsForMissingNumbers, "numbers_may_be_left_out"),
    (MixesSources, "each_source_has_its_own_numbers"),
    (KeepsNothing, "all_that_is_kept_can_be_read_later"),
    (ForgetsThePlace, "a_new_subscription_has_a_position"),
    (ForgetsThePlace, "a_later_subscription_goes_on_where_another_was"),
    (TakesAnyPosition, "a_position_of_something_else_is_refused"),
    (NeverEnds, "closing_ends_the_iterator"),
    (EndsAll, "a_closed_subscription_harms_no_other"),
    (LeavesReadersBehind, "closing_the_publisher_ends_its_subscriptions"),
    (WaitsForTheSlow, "who_does_not_read_holds_nobody_up"),
    (KeepsEverything, "what_is_kept_is_bounded"),
]


async def _law(kind: type[MemoryLifecycle], law: str) -> None:
    contract: Any = LifecycleContract()
    contract.kept = 100
    lifecycle = kind(100 if "bounded" in law else 10_000)
    method = getattr(contract, f"test_{law}")
    parts = {"lifecycle": lifecycle, "elsewhere": lifecycle}
    await method(**{name: parts[name] for name in parts if name in method.__annotations__})


@pytest.mark.parametrize(("broken", "law"), ZOO)
async def test_lifecycle_contract_catches(
    broken: type[MemoryLifecycle], law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laws, "SOON", 0.3)  # in memory it takes no longer
    await _law(MemoryLifecycle, law)
    with pytest.raises(FAILURES):
        await _law(broken, law)
