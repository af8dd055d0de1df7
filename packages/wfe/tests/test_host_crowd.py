"""Many hosts on one store: they do not all look at the same moment."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import attrs

from wfe.core import WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.providers import Claimed, StoreInfo
from wfe.host import WorkflowHost

SLEEPER = WorkflowBuilder().delay(timedelta(seconds=10)).build("sleeper")
HOSTS = 12


class Shared(MemoryStore):
    """A store that hosts take for one of several processes; counts claims and looks."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.claims = 0
        self.looks: list[int] = []

    async def open(self) -> StoreInfo:
        return attrs.evolve(await super().open(), durable=True)

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        self.claims += 1
        return await super().claim(epoch, definitions, limit, hints)

    async def due(self, definitions: Sequence[int]) -> int | None:
        self.looks.append(self.clock.now())
        found = await super().due(definitions)
        for _ in range(5):  # the answer is on its way
            await asyncio.sleep(0)
        return found


async def crowd(store: Shared) -> list[WorkflowHost]:
    hosts = [WorkflowHost(store, name=f"h{k}", linger=timedelta(0)) for k in range(HOSTS)]
    for host in hosts:
        host.register(SLEEPER)
        await host.start()
    return hosts


async def test_what_is_due_is_not_claimed_by_all_hosts_at_once() -> None:
    clock = VirtualClock()
    store = Shared(clock)
    hosts = await crowd(store)
    try:
        run = await hosts[0].start_workflow("sleeper")
        began = clock.now()
        await clock.advance(timedelta(seconds=9))
        store.claims = 0
        await clock.advance(timedelta(seconds=1, milliseconds=40))

        ended = await run.wait(timeout=10)
        assert ended.completed_at is not None
        took = ended.completed_at.timestamp() - began / 1e6
        assert 10 <= took < 10.04
        assert 0 < store.claims < HOSTS // 2
    finally:
        for host in hosts:
            await host.stop()


async def test_hosts_that_started_together_do_not_look_together() -> None:
    clock = VirtualClock()
    store = Shared(clock)
    hosts = await crowd(store)
    try:
        await clock.advance(timedelta(seconds=20))
        store.looks.clear()
        began = clock.now()
        await clock.advance(timedelta(seconds=10))

        periods = {host._engine.seeker.poll for host in hosts}
        assert all(900_000 <= each <= 1_000_000 for each in periods)
        assert len(periods) > HOSTS // 2
        # Each about every second, in moments of its own.
        assert HOSTS * 9 <= len(store.looks) <= HOSTS * 12
        slots = {(at - began) // 10_000 for at in store.looks}
        assert len(slots) > len(store.looks) // 2
    finally:
        for host in hosts:
            await host.stop()
