"""Drawn histories catch queues and locks that are wrong only now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from test_contracts_zoo import (
    ForgetsNames,
    GrantsAll,
    KeepsTheLastOnly,
    NeverExpires,
    TellsEverybody,
    TrustsTheFenced,
    WaitsForEver,
)
from zoo_parts import FAILURES

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.providers import Hint, WorkerInfo
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
