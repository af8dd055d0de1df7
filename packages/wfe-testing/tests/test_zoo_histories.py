"""Drawn histories catch queues and locks that are wrong only now and then."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from test_contracts_zoo import (
    LOCK_ZOO,
    QUEUE_ZOO,
    ForgetsNames,
    GrantsAll,
    KeepsTheLastOnly,
    NeverExpires,
    TellsEverybody,
    TrustsTheFenced,
    WaitsForEver,
    _lock_law,
    _queue_law,
)
from zoo_parts import FAILURES

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.providers import Hint, WorkerInfo
from wfe.testing.contracts import LockContract, QueueContract
from wfe.testing.contracts.histories import (
    LockWorld,
    drawn,
    follow_hints,
    follow_locks,
    hint_histories,
    lock_histories,
)
from wfe.testing.contracts.queues import count_epochs


class LosesEveryFifth(MemoryStore):
    hinted = 0

    async def hint(self, hints: Sequence[Hint]) -> None:
        self.hinted += len(hints)
        await super().hint([hint for k, hint in enumerate(hints) if (self.hinted + k) % 5])


@pytest.mark.parametrize("broken", [TellsEverybody, KeepsTheLastOnly, LosesEveryFifth])
def test_histories_of_hints_catch(broken: type[MemoryStore]) -> None:
    @drawn
    @given(history=hint_histories)
    def follow(history: Sequence[tuple[str, Any]], kind: type[MemoryStore]) -> None:
        asyncio.run(follow_hints(kind(), count_epochs(), history))

    follow(kind=MemoryStore)
    with pytest.raises((*FAILURES, ExceptionGroup)):
        follow(kind=broken)


@pytest.mark.parametrize(
    "broken", [GrantsAll, NeverExpires, ForgetsNames, WaitsForEver, TrustsTheFenced]
)
def test_histories_of_locks_catch(broken: type[MemoryStore]) -> None:
    @drawn
    @given(history=lock_histories)
    def follow(history: Sequence[tuple[str, Any]], kind: type[MemoryStore]) -> None:
        store = kind(clock := VirtualClock())
        world = LockWorld(
            store,
            lambda: store.register(WorkerInfo(name="w", host="h", pid=1)),
            move=lambda by: clock.move_to(clock.now() + by),
            fence=lambda epoch: store.fence([epoch], lease=None),
        )
        asyncio.run(follow_locks(world, history))

    follow(kind=MemoryStore)
    with pytest.raises((*FAILURES, ExceptionGroup)):
        follow(kind=broken)


# -- plain laws that no history is needed for ----------------------------------------------------


class TellsOnlyWhoWaits(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        if any(box._waiter is not None for box in self._queue._mail.values()):
            await super().hint(hints)


class WakesForNothing(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        await super().hint(hints or [Hint(0, 1, None)])


class ForgetsWhoGaveUp(MemoryStore):
    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        try:
            return await super().wait(epoch, timeout)
        except asyncio.CancelledError:
            self._queue.forget(epoch)
            raise


class BuriesEverybody(MemoryStore):
    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        return list(epochs)


MORE_QUEUES: list[tuple[type[MemoryStore], str]] = [
    (TellsOnlyWhoWaits, "hints_between_two_waits_are_kept"),
    (WakesForNothing, "no_hints_are_no_work"),
    (ForgetsWhoGaveUp, "a_cancelled_wait_harms_nobody"),
]
MORE_LOCKS: list[tuple[type[MemoryStore], str]] = [(BuriesEverybody, "who_beats_is_not_dead")]


@pytest.mark.parametrize(("broken", "law"), MORE_QUEUES)
async def test_plain_laws_of_queues_catch(broken: type[MemoryStore], law: str) -> None:
    await _queue_law(MemoryStore(), law)
    with pytest.raises(FAILURES):
        await _queue_law(broken(), law)


@pytest.mark.parametrize(("broken", "law"), MORE_LOCKS)
async def test_plain_laws_of_locks_catch(broken: type[MemoryStore], law: str) -> None:
    await _lock_law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _lock_law(broken, law)


@pytest.mark.parametrize(
    ("contract", "zoo"),
    [(QueueContract, QUEUE_ZOO + MORE_QUEUES), (LockContract, LOCK_ZOO + MORE_LOCKS)],
)
def test_every_law_is_broken_by_somebody(
    contract: type, zoo: list[tuple[type[MemoryStore], str]]
) -> None:
    laws = {name.removeprefix("test_") for name in dir(contract) if name.startswith("test_")}

    plain = {law for law in laws if not law.startswith("in_any_history")}
    assert plain == {law for _, law in zoo}
