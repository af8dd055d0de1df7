"""Who may take over from whom, with a lock in the store and with one elsewhere."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.engine.membership import Heartbeat, Takeover, leave, rarely
from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.memory import MemoryStore
from wfe.core.models import WorkflowStatus
from wfe.core.providers import Done, Header, Item, WorkerInfo, WorkerRow

LEASE = 30_000_000  # µs
DAY = 86_400_000_000  # µs
RARELY = rarely(LEASE)
STEP = LEASE // 10


class Failing(MemoryStore):
    """A store that fails while it is told to, and may know whose process ended."""

    fails = False
    ended: frozenset[int] = frozenset()
    beats = 0

    async def beat(self, epoch: int, lease: int) -> bool:
        self.beats += 1
        return await super().beat(epoch, lease)

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        silent = await super().dead(epochs, lease)
        return [epoch for epoch in epochs if epoch in self.ended or epoch in silent]

    async def workers(self) -> Sequence[WorkerRow]:
        if self.fails:
            raise StoreUnavailableError("test", "gone")
        return await super().workers()


class Elsewhere:
    """A lock that is not the store, and says what it is told to."""

    def __init__(self) -> None:
        self.silent: set[int] = set()
        self.certain: set[int] = set()
        self.buried: list[int] = []
        self.fails = self.hangs = self.left = self.closed = False
        self.asked = 0

    async def _answer(self) -> None:
        self.asked += 1
        if self.fails:
            raise StoreUnavailableError("lock", "gone")
        if self.hangs:
            await asyncio.Event().wait()

    async def beat(self, epoch: int, lease: int) -> bool:
        await self._answer()
        return epoch not in self.certain

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        await self._answer()
        silent = self.silent if lease == LEASE else ()
        return [epoch for epoch in epochs if epoch in self.certain or epoch in silent]

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        return True

    async def bury(self, epochs: Sequence[int]) -> None:
        await self._answer()
        self.buried += epochs

    async def leave(self) -> None:
        self.left = True

    async def close(self) -> None:
        self.closed = True
        await self._answer()


class Hosts:
    """This host and another one on a store."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = Failing(self.clock)
        self.lock = Elsewhere()
        self.mine = self.other = 0

    async def join(self, *, foreign: bool, idle: bool = False) -> Takeover:
        """Register both; the other one owns a run unless it is *idle*."""
        self.mine = await self.store.register(WorkerInfo(name="a", host="h", pid=1))
        self.other = await self.store.register(WorkerInfo(name="b", host="h", pid=2))
        if not idle:
            await self.own(self.other)
        lock: Any = self.lock if foreign else self.store
        return Takeover(self.store, lock, LEASE, lambda: self.mine, foreign=foreign)

    async def own(self, epoch: int) -> None:
        d = await self.store.put_definition("order", 1, "hash", "{}")
        n = await self.store.allocate(1)
        new = Header(
            n=n,
            id=f"run-{n}",
            d=d,
            definition="order",
            version=1,
            status=WorkflowStatus.RUNNABLE.value,
            wake=None,
            root_id=f"run-{n}",
            owner=epoch,
        )
        (outcome,) = await self.store.commit(epoch, [Item(n=n, new=new, rows=("[]",))])
        assert isinstance(outcome, Done)

    async def pass_(self, takeover: Takeover, steps: int) -> None:
        for _ in range(steps):
            self.clock.move_to(self.clock.now() + STEP)
            await takeover.look()

    def fenced(self) -> bool:
        return self.store._workers[self.other].fenced is not None


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


async def test_who_is_silent_for_a_lease_is_taken_over_from(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=False)
    await takeover.look()

    await hosts.pass_(takeover, 10)
    assert not hosts.fenced()
    await hosts.pass_(takeover, 1)

    assert hosts.fenced()


@pytest.mark.parametrize("foreign", [False, True])
async def test_who_wakes_is_not_fenced_by_what_was_concluded_before(
    hosts: Hosts, foreign: bool
) -> None:
    """The other host took this one for dead, and its fence arrives when this one is awake again."""
    takeover = await hosts.join(foreign=foreign)
    await takeover.look()
    hosts.clock.move_to(hosts.clock.now() + 2 * LEASE)
    began = takeover.seen

    await takeover.look()
    fenced = await hosts.store.fence([hosts.mine], lease=LEASE)

    assert not fenced
    assert takeover.seen > began


async def test_an_answer_is_as_old_as_its_question(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that is paused while it asks reads the answer when that is true no more."""
    takeover = await hosts.join(foreign=False)
    asked = hosts.clock.now()
    answers = hosts.store.workers

    async def late() -> Sequence[WorkerRow]:
        found = await answers()
        hosts.clock.move_to(hosts.clock.now() + 2 * LEASE)
        return found

    monkeypatch.setattr(hosts.store, "workers", late)
    await takeover.look()

    assert takeover.seen == asked


async def test_a_store_that_was_gone_says_nothing_about_the_others(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=False)
    await takeover.look()
    await hosts.pass_(takeover, 9)
    hosts.store.fails = True
    for _ in range(4):  # it refuses at once, and is asked in time
        hosts.clock.move_to(hosts.clock.now() + STEP)
        with pytest.raises(StoreUnavailableError):
            await takeover.look()
    hosts.store.fails = False

    await hosts.pass_(takeover, 10)
    assert not hosts.fenced()
    await hosts.pass_(takeover, 1)

    assert hosts.fenced()


async def test_a_lock_elsewhere_says_who_is_silent(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    await takeover.look()

    await hosts.pass_(takeover, 15)
    assert not hosts.fenced()  # its row in the store is old, and that says nothing
    hosts.lock.silent.add(hosts.other)
    await hosts.pass_(takeover, 1)

    assert hosts.fenced()
    assert hosts.lock.buried == [hosts.other]


async def test_who_registered_just_now_is_not_fenced_for_want_of_a_beat(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    await takeover.look()
    await hosts.pass_(takeover, 9)
    hosts.other = await hosts.store.register(WorkerInfo(name="c", host="h", pid=3))
    await hosts.own(hosts.other)
    hosts.lock.silent.add(hosts.other)

    await hosts.pass_(takeover, 9)
    assert not hosts.fenced()
    await hosts.pass_(takeover, 2)

    assert hosts.fenced()


async def test_a_lock_that_fails_keeps_nothing_else_from_going_on(
    hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    takeover = await hosts.join(foreign=True)
    await hosts.store.fence([hosts.other], lease=None)
    third = await hosts.store.register(WorkerInfo(name="c", host="h", pid=3))
    await hosts.own(third)
    hosts.lock.fails = True
    hosts.lock.silent.add(third)

    await hosts.pass_(takeover, 20)

    assert hosts.store._workers[third].fenced is None
    assert takeover.seen == hosts.clock.now()
    assert caplog.text.count("nobody is taken over from") == 1


async def test_a_lock_that_hangs_is_left_alone_for_a_while(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    hosts.lock.hangs = True
    await takeover.look()
    asked = hosts.lock.asked

    for _ in range(10):
        hosts.clock.move_to(hosts.clock.now() + 100_000)
        await takeover.look()

    assert hosts.lock.asked == asked


async def test_a_host_sees_that_it_was_fenced(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    await takeover.look()
    assert takeover.fenced == 0

    await hosts.store.fence([hosts.mine], lease=None)
    await takeover.look()

    assert takeover.fenced == hosts.mine
    assert not await takeover.fit()


@pytest.mark.parametrize("foreign", [False, True])
async def test_an_idle_host_is_fit_when_nobody_fenced_it(hosts: Hosts, foreign: bool) -> None:
    takeover = await hosts.join(foreign=foreign)

    assert await takeover.fit()
    hosts.lock.certain.add(hosts.mine)
    assert await takeover.fit() is not foreign


@pytest.mark.parametrize("foreign", [False, True])
async def test_who_beat_lately_need_not_beat_before_it_claims(hosts: Hosts, foreign: bool) -> None:
    takeover = await hosts.join(foreign=foreign)
    assert takeover.fresh is not foreign  # registering is a beat, but not in a lock elsewhere

    assert await takeover.fit()
    assert takeover.fresh
    hosts.clock.move_to(hosts.clock.now() + LEASE // 3)
    assert not takeover.fresh


async def test_a_beat_that_failed_is_none(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    hosts.lock.fails = True

    assert await takeover.fit()
    assert not takeover.fresh


async def test_who_was_fenced_is_no_other_host_any_more(hosts: Hosts) -> None:
    takeover = await hosts.join(foreign=True)
    await takeover.look()
    assert takeover.others == 1

    hosts.lock.certain.add(hosts.other)
    await takeover.look()
    assert takeover.others == 0


async def test_without_its_lock_a_host_works_on_unless_it_was_fenced_for_that(
    hosts: Hosts,
) -> None:
    takeover = await hosts.join(foreign=True)
    hosts.lock.fails = True
    await takeover.look()
    assert await takeover.fit()  # all may be in the same plight

    await hosts.store.fence([hosts.mine], lease=None)
    await takeover.look()
    hosts.mine = await hosts.store.register(WorkerInfo(name="a", host="h", pid=1))
    with pytest.raises(ProviderError, match="it claims nothing"):
        await takeover.fit()

    hosts.lock.fails = False
    hosts.clock.move_to(hosts.clock.now() + LEASE)
    assert await takeover.fit()


@pytest.mark.parametrize("foreign", [False, True])
async def test_who_owns_nothing_is_left_alone_for_a_day(hosts: Hosts, foreign: bool) -> None:
    takeover = await hosts.join(foreign=foreign, idle=True)
    hosts.lock.silent.add(hosts.other)
    await takeover.look()

    await hosts.pass_(takeover, 50)
    rows = {row.epoch: row for row in await hosts.store.workers()}
    assert not hosts.fenced()
    assert not rows[hosts.other].owns

    hosts.clock.move_to(hosts.clock.now() + DAY)
    await takeover.look()
    assert hosts.fenced()
    assert hosts.other not in {row.epoch for row in await hosts.store.workers()}


async def test_who_just_began_to_own_has_a_lease_to_beat(hosts: Hosts) -> None:
    """It was idle for long, so its last beat is old; a host beats only when it owns something."""
    takeover = await hosts.join(foreign=False, idle=True)
    await takeover.look()
    await hosts.pass_(takeover, 30)

    await hosts.own(hosts.other)
    await hosts.pass_(takeover, 10)
    assert not hosts.fenced()
    await hosts.pass_(takeover, 1)

    assert hosts.fenced()


async def test_a_process_that_ended_is_seen_at_once_whoever_keeps_the_beats(hosts: Hosts) -> None:
    hosts.store.features = hosts.store.features | {"deaths"}
    takeover = await hosts.join(foreign=True)
    await takeover.look()
    assert not hosts.fenced()

    hosts.store.ended = frozenset({hosts.other})
    await takeover.look()

    assert hosts.fenced()
    assert hosts.lock.buried == [hosts.other]


@pytest.mark.parametrize("foreign", [False, True])
async def test_an_idle_host_beats_rarely(hosts: Hosts, foreign: bool) -> None:
    takeover = await hosts.join(foreign=foreign)
    for _ in range(10):
        hosts.clock.move_to(hosts.clock.now() + RARELY // 10 - 1)
        assert await takeover.show(idle=True)
    assert hosts.store.beats == 0

    hosts.clock.move_to(hosts.clock.now() + 10)
    assert await takeover.show(idle=True)
    assert await takeover.show(idle=True)
    rows = {row.epoch: row for row in await hosts.store.workers()}
    assert hosts.store.beats >= 1
    assert rows[hosts.mine].beat == hosts.clock.now()

    await hosts.store.fence([hosts.mine], lease=None)
    hosts.clock.move_to(hosts.clock.now() + RARELY)
    assert not await takeover.show(idle=True)


class Beaten(Elsewhere):
    """Counts beats, and is seen from another thread."""

    beats = 0

    async def beat(self, epoch: int, lease: int) -> bool:
        self.beats += 1
        return await super().beat(epoch, lease)


async def _until(condition: Coroutine[Any, Any, None]) -> None:
    async with asyncio.timeout(5):
        await condition


async def test_beats_go_on_when_one_fails_or_hangs(caplog: pytest.LogCaptureFixture) -> None:
    lock = Beaten()
    lease = 90_000  # µs
    heartbeat = Heartbeat(lock, lease, lambda: 1, lambda: True)

    async def beaten(times: int) -> None:
        goal = lock.beats + times
        while lock.beats < goal:  # noqa: ASYNC110 - another thread's
            await asyncio.sleep(0.005)

    heartbeat.start()
    await _until(beaten(2))
    lock.fails = True
    await _until(beaten(3))
    lock.fails, lock.hangs = False, True
    await _until(beaten(3))
    lock.hangs = False
    await _until(beaten(2))
    await heartbeat.close()

    assert caplog.text.count("heartbeat failed, trying again") == 1
    assert lock.left


async def test_a_lock_and_a_queue_that_fail_keep_no_host_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock, store = Elsewhere(), MemoryStore()
    lock.fails = True

    await leave(lock, store, 1)

    assert lock.closed
    assert "the lock did not take the good-bye of this host: lock: gone" in caplog.text
    assert "Elsewhere did not close: lock: gone" in caplog.text
