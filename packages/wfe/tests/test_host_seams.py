"""A host over separate providers, many hosts on one store, and a host that lost its lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    ProviderError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.core.clocks import VirtualClock
from wfe.core.errors import StoreUnavailableError
from wfe.core.memory import MemoryStore
from wfe.core.providers import Claimed, Item, Outcome, StoreInfo, WorkerInfo
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


@attrs.define
class Counts:
    """How often each step ran; the application object of these tests."""

    ran: Counter[str] = attrs.field(factory=Counter[str])


async def note(ctx: Ctx) -> None:
    ctx.app.ran[ctx.idempotency_key] += 1
    await asyncio.sleep(0)


def _three(name: str = "three") -> WorkflowDefinition:
    return WorkflowBuilder().start_with(note).then(note).then(note).build(name)


class BareStore:
    """A store that is neither queue nor lock."""

    features: frozenset[str] = frozenset()

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_queue_and_lock_may_live_elsewhere() -> None:
    bare: Any = BareStore(MemoryStore())
    with pytest.raises(ProviderError, match=r"is no queue; pass one with queue="):
        WorkflowHost(bare)
    other = MemoryStore()
    counts = Counts()
    waiting = WorkflowBuilder().wait_for("go", key="k").then(note).build("waiting")

    async with WorkflowHost(bare, queue=other, lock=other, app=counts) as host:
        host.register(_three(), waiting)
        run = await host.start_workflow("three")
        late = await host.start_workflow("waiting")
        assert (await run.wait(5)).status == "complete"
        await host.publish_event("go", "k")
        assert (await late.wait(5)).status == "complete"

    assert set(counts.ran.values()) == {1}


async def test_several_hosts_on_one_store_share_the_work() -> None:
    store = MemoryStore()
    counts = Counts()
    hosts = [WorkflowHost(store, app=counts, max_live=20) for _ in range(3)]
    for host in hosts:
        host.register(_three())
        await host.start()

    runs = [await hosts[0].start_workflow("three") for _ in range(100)]
    instances = [await run.wait(10) for run in runs]
    for host in reversed(hosts):
        await host.stop()

    assert {instance.status for instance in instances} == {"complete"}
    assert len(counts.ran) == 300
    assert set(counts.ran.values()) == {1}


async def test_a_host_that_was_fenced_begins_anew_and_finishes() -> None:
    store = MemoryStore()
    gate = asyncio.Event()
    ran: list[str] = []

    async def held(ctx: Ctx) -> None:
        ran.append("held")
        await gate.wait()

    definition = WorkflowBuilder().start_with(held).then(note).build("held")
    async with WorkflowHost(store, app=Counts()) as host:
        host.register(definition)
        fenced: list[str] = []
        host.subscribe(lambda e: fenced.append(e.kind) if e.kind == "host_fenced" else None)
        run = await host.start_workflow("held")
        await asyncio.sleep(0)
        (worker,) = await store.workers()

        await store.fence([worker.epoch], lease=None)
        await store.orphans(100)
        gate.set()
        instance = await run.wait(10)

    assert instance.status == "complete"
    assert fenced == ["host_fenced"]
    assert ran == ["held", "held"]


def test_a_provider_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(MemoryStore):
        PROVIDER_API = 0

    def made(_url: str) -> Old:
        return Old()

    def load(*_: str) -> Any:
        return made

    monkeypatch.setattr("wfe.host.connect.load", load)
    with pytest.raises(ProviderError, match=r"version 0 of the provider protocols"):
        WorkflowHost("old://")


class Failing:
    """A store whose commits fail for a while."""

    def __init__(self, store: MemoryStore, failures: int) -> None:
        self._store = store
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        if self.failures and epoch is not None and items[0].new is None:
            self.failures -= 1
            raise StoreUnavailableError("test", "gone for a while")
        return await self._store.commit(epoch, items)


async def test_a_store_that_fails_for_a_while_fails_no_step(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store: Any = Failing(MemoryStore(), 2)
    counts = Counts()

    async with WorkflowHost(store, app=counts) as host:
        host.register(_three())
        run = await host.start_workflow("three")
        instance = await run.wait(timedelta(seconds=10))

    assert instance.status == "complete"
    assert set(counts.ran.values()) == {1}
    assert "the store refuses writes" in caplog.text


async def test_a_caller_hears_of_a_store_that_fails() -> None:
    memory = MemoryStore()
    store: Any = Failing(memory, 0)
    async with WorkflowHost(store) as host:
        host.register(_three())
        store.failures = 1
        with pytest.raises(StoreUnavailableError, match="gone for a while"):
            await host.publish_event("go", "k")


async def test_a_run_that_breaks_the_engine_is_suspended_with_the_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        message = "it broke"
        raise RuntimeError(message)

    test = WorkflowTest(app=Counts())
    async with test:
        monkeypatch.setattr("wfe.core.engine.live.decide", broken)
        run = await test.start(_three())
        await test.clock.advance(timedelta(minutes=1))
        header = await test.store.get(run.id)

    assert header is not None
    assert header.status == "suspended"
    assert header.faults == 5
    assert "it broke" in (header.error or "")
    assert "internal error on run" in caplog.text


async def test_a_run_that_killed_its_hosts_is_set_aside_and_may_be_resumed() -> None:
    store = MemoryStore()
    counts = Counts()
    definition = _three()
    async with WorkflowHost(store, app=counts, max_live=0) as starter:
        starter.register(definition)
        run = await starter.start_workflow("three", name="killer")
        header = await store.get("killer")
        assert header is not None
        for _ in range(5):  # five hosts that die with it
            epoch = await store.register(WorkerInfo(name="dies", host="h", pid=1))
            assert len(await store.claim(epoch, [header.d], 1)) == 1
            await store.fence([epoch], lease=None)
            await store.orphans(10)

    async with WorkflowHost(store, app=counts) as host:
        host.register(definition)
        aside = await (await host.run("killer")).wait(5, suspended=True)
        assert counts.ran == Counter()
        assert (await host.find(status="suspended")).items == (aside,)
        await host.resume("killer")
        instance = await (await host.run(run.id)).wait(5)

    assert aside.status == "suspended"
    assert aside.error is not None
    assert aside.error.message == "its host died 5 times while it ran"
    assert instance.status == "complete"
    assert set(counts.ran.values()) == {1}


async def test_only_own_runs_are_driven_when_asked() -> None:
    store = MemoryStore()
    counts = Counts()
    starter = WorkflowHost(store, max_live=0)
    mine = WorkflowHost(store, app=counts, own_runs_only=True)
    for host in (starter, mine):
        host.register(_three())
        await host.start()

    foreign = await starter.start_workflow("three")
    own = await mine.start_workflow("three")
    assert (await own.wait(5)).status == "complete"
    assert (await starter.get(foreign.id)).status == "runnable"
    driven = await mine.drive(foreign.id)
    assert (await driven.wait(5)).status == "complete"
    await mine.stop()
    await starter.stop()

    assert len(counts.ran) == 6


class LosesAnswers(Failing):
    """Each first claim of a run gets it, and says that it may have failed."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store, 0)
        self.lost: set[int] = set()

    async def open(self) -> StoreInfo:
        return attrs.evolve(await self._store.open(), durable=True)

    async def claim(self, *args: Any) -> Sequence[Claimed]:
        claimed = await self._store.claim(*args)
        new = {each.n for each in claimed} - self.lost
        if new:
            self.lost |= new
            raise StoreUnavailableError("test", "the answer was lost", unknown=True)
        return claimed


async def test_a_claim_whose_answer_is_lost_interrupts_nothing() -> None:
    """What it got is driven all the same, and bodies that run meanwhile go on."""
    memory, counts, slow = MemoryStore(), Counts(), asyncio.Event()

    async def waits(ctx: Ctx) -> None:
        ctx.app.ran[ctx.idempotency_key] += 1
        await slow.wait()

    long = WorkflowBuilder().start_with(waits).build("long")
    async with WorkflowHost(memory) as other:  # starts what it cannot drive for long
        other.register(_three())
        behind = await other.start_workflow("three", delay=timedelta(milliseconds=50))
    store: Any = LosesAnswers(memory)
    async with WorkflowHost(store, app=counts) as host:
        host.register(_three())
        first = await host.start_workflow(long)
        ended = await (await host.run(behind.id)).wait(timedelta(seconds=10))
        slow.set()
        await first.wait(timedelta(seconds=10))

    assert (ended.status, len(store.lost)) == ("complete", 1)
    assert (len(counts.ran), set(counts.ran.values())) == (4, {1})


class ClaimsLate(LosesAnswers):
    """The first claim seems to have failed; a server carries it out when the test says so."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self.kept: tuple[Any, ...] = ()
        self.asked = 0

    async def claim(self, *args: Any) -> Sequence[Claimed]:
        if not self.kept:
            self.kept = args
            raise StoreUnavailableError("test", "the link was cut", unknown=True)
        return ()

    async def owned(self, epoch: int) -> Sequence[Claimed]:
        self.asked += 1
        return await self._store.owned(epoch)

    async def arrive(self) -> int:
        """Carry the claim out; return how many runs it got."""
        return len(await self._store.claim(*self.kept))


async def _passes(clock: VirtualClock, minutes: int) -> None:
    for _ in range(minutes * 6):
        await clock.advance(timedelta(seconds=10))


async def test_a_claim_that_a_server_kept_for_long_is_found_out_some_time() -> None:
    clock, counts = VirtualClock(), Counts()
    memory = MemoryStore(clock)
    async with WorkflowHost(memory) as other:
        other.register(_three())
        behind = await other.start_workflow("three", delay=timedelta(seconds=1))
    store: Any = ClaimsLate(memory)
    async with WorkflowHost(store, app=counts) as host:
        host.register(_three())
        await _passes(clock, 20)
        assert store.kept
        asked = store.asked
        assert await store.arrive() == 1
        await _passes(clock, 16)
        instance = await host.get(behind.id)

    assert instance.status == "complete"
    assert set(counts.ran.values()) == {1}
    assert asked > 10  # at each look for as long as the network may take
    assert store.asked - asked <= 2  # hardly ever after that
