"""Laws of ownership: epochs, claims, fences, orphans, faults."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.models import from_micros
from wfe.core.providers import (
    Claimed,
    Done,
    Fenced,
    Item,
    LockProvider,
    Outcome,
    PersistenceProvider,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    definition,
    final,
    header,
    load,
    one,
    parked,
    tell,
    worker,
)

__all__ = ["OwnerLaws"]

LEASE = 30_000_000  # µs
UNKNOWN = 4711


class OwnerLaws:
    """Who owns an instance, and how it changes hands."""

    # -- workers --------------------------------------------------------------------------------

    async def test_epochs_are_random_and_never_repeat(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store) for _ in range(20)]

        assert len(set(epochs)) == 20
        assert all(0 < epoch < 2**63 for epoch in epochs)
        assert max(epochs) > 2**48  # a counter would not be

    async def test_workers_are_listed_while_they_may_write_or_own(
        self, store: PersistenceProvider
    ) -> None:
        alive, idle, holding = [await worker(store, name) for name in ("a", "b", "c")]
        await begin(store, holding)
        await store.fence([idle, holding], lease=None)

        rows = {row.epoch: row for row in await store.workers()}

        assert set(rows) == {alive, holding}
        assert (rows[alive].name, rows[alive].host, rows[alive].pid) == ("a", "laptop", 4711)
        assert rows[alive].fenced is None
        assert rows[holding].fenced is not None

    async def test_a_worker_that_owns_is_listed_as_one(self, store: PersistenceProvider) -> None:
        """Nobody takes over from who is said to own nothing."""
        epoch, other = await worker(store), await worker(store)
        n = await begin(store, epoch, wake=store.clock.now())
        assert {row.epoch: row.owns for row in await store.workers()}[epoch]

        await store.unregister(epoch)
        await store.claim(other, [await definition(store)], 10)

        assert (await load(store, n)).header.owner == other
        assert [(row.epoch, row.owns) for row in await store.workers()] == [(other, True)]

    async def test_fence_returns_whom_this_call_fenced(self, store: PersistenceProvider) -> None:
        first, second = await worker(store), await worker(store)

        assert list(await store.fence([first, UNKNOWN], lease=None)) == [first]
        assert list(await store.fence([first, second], lease=None)) == [second]
        assert list(await store.fence([first, second], lease=None)) == []
        assert list(await store.fence([], lease=None)) == []

    async def test_fence_by_lease_spares_who_was_heard_of(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)

        assert list(await store.fence([epoch], lease=HOUR)) == []
        n = await begin(store, epoch)
        assert isinstance(await one(store, epoch, Item(n=n, base=0, rows=("[]",))), Done)

    @pytest.mark.needs("virtual_clock", "lock")
    async def test_fence_by_lease_takes_the_silent(self, store: PersistenceProvider) -> None:
        silent, beating = await worker(store), await worker(store)
        for _ in range(4):
            _move(store, LEASE // 3)
            assert await _lock(store).beat(beating, LEASE)

        fenced = await store.fence([silent, beating], lease=LEASE)

        assert list(fenced) == [silent]
        assert not await _lock(store).beat(silent, LEASE)

    async def test_unregister_hands_back_without_counting_a_takeover(
        self, store: PersistenceProvider
    ) -> None:
        epoch, other = await worker(store), await worker(store)
        n = await begin(store, epoch)

        await store.unregister(epoch)

        found = (await load(store, n)).header
        assert (found.owner, found.takeovers) == (None, 0)
        assert [claimed.n for claimed in await store.claim(other, [found.d], 10)] == [n]
        assert await one(store, epoch, Item(n=n, base=0, rows=("[]",))) == Fenced()
        assert [row.epoch for row in await store.workers()] == [other]

    async def test_a_worker_hears_what_it_owns_however_it_came_to_it(
        self, store: PersistenceProvider
    ) -> None:
        """The answer to its claim may have been lost."""
        dead, mine, idle = [await worker(store) for _ in range(3)]
        d = await definition(store)
        taken = await begin(store, dead)
        await store.fence([dead], lease=None)
        await store.orphans(10)
        assert [each.n for each in await store.claim(mine, [d], 10)] == [taken]
        born = await begin(store, mine)
        gone = await begin(store, mine)
        left = Item(n=gone, base=0, header=parked())
        assert isinstance(await one(store, mine, left), Done)

        assert list(await store.owned(mine)) == [Claimed(taken, d, 1), Claimed(born, d, 0)]
        assert [list(await store.owned(each)) for each in (dead, idle, UNKNOWN)] == [[], [], []]

    # -- claims -----------------------------------------------------------------------------------

    async def test_claim_takes_the_earliest_due(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        wakes = [now - 10, now - 30, now + HOUR, now - 20, None]
        runs = [await begin(store, wake=wake) for wake in wakes]
        d = await definition(store)

        claimed = await store.claim(epoch, [d], 2)

        assert [entry.n for entry in claimed] == [runs[1], runs[3]]
        assert {entry.d for entry in claimed} == {d}
        assert [entry.n for entry in await store.claim(epoch, [d], 10)] == [runs[0]]
        assert await store.claim(epoch, [d], 10) == []
        assert (await load(store, runs[0])).header.owner == epoch

    async def test_claim_is_for_the_wanted_definitions(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        first = await begin(store, id_="one", wake=now - 1)
        second = await begin(store, id_="two", wake=now - 3)
        third = await begin(store, id_="three", wake=now - 2)
        one_, two = await definition(store, "one"), await definition(store, "two")

        assert await store.claim(epoch, [], 10) == []
        claimed = await store.claim(epoch, [one_, two], 10)

        assert [entry.n for entry in claimed] == [second, first]
        assert (await load(store, third)).header.owner is None

    async def test_waiting_names_what_is_unowned_below_the_roots(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        late = await begin(store, wake=now + HOUR, root_id="root")
        early = await begin(store, id_="other", wake=now, root_id="root")
        await begin(store, epoch, root_id="root")
        await begin(store, wake=None, root_id="root")
        await begin(store, wake=now, root_id="another root")
        d, other = await definition(store), await definition(store, "other")

        assert list(await store.waiting(["root", "unknown"])) == [
            (now, early, other),
            (now + HOUR, late, d),
        ]
        assert list(await store.waiting([])) == []

    async def test_claim_by_hints_takes_only_those(self, store: PersistenceProvider) -> None:
        epoch, other = await worker(store), await worker(store)
        now = store.clock.now()
        runs = [await begin(store, wake=now) for _ in range(4)]
        later = await begin(store, wake=now + HOUR)
        foreign = await begin(store, id_="foreign", wake=now)
        taken = await begin(store, other)
        d = await definition(store)

        claimed = await store.claim(
            epoch, [d], 10, hints=[runs[2], later, runs[0], foreign, taken, runs[0], 987_654]
        )

        assert sorted(entry.n for entry in claimed) == [runs[0], runs[2]]
        assert await store.claim(epoch, [d], 10, hints=[]) == []
        assert (await load(store, runs[1])).header.owner is None
        assert (await load(store, taken)).header.owner == other

    async def test_a_fenced_worker_claims_nothing(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store)
        await store.fence([epoch], lease=None)

        assert await store.claim(epoch, [await definition(store)], 10) == []
        assert await store.claim(UNKNOWN, [await definition(store)], 10) == []
        assert (await load(store, n)).header.owner is None

    async def test_each_due_run_is_claimed_once(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store) for _ in range(20)]
        runs = [await begin(store) for _ in range(50)]
        d = await definition(store)

        claims = await asyncio.gather(*(store.claim(epoch, [d], 4) for epoch in epochs))

        claimed = [entry.n for entries in claims for entry in entries]
        assert sorted(claimed) == runs
        for epoch, entries in zip(epochs, claims, strict=True):
            for loaded in await store.load([entry.n for entry in entries]):
                assert loaded.header.owner == epoch

    async def test_due_is_the_earliest_of_the_unowned(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        await begin(store, wake=now + HOUR)
        n = await begin(store, wake=now + HOUR // 2)
        await begin(store, wake=None)
        await begin(store, epoch, wake=now)
        await begin(store, id_="other", wake=now + 5)
        d, other = await definition(store), await definition(store, "other")

        assert await store.due([d]) == now + HOUR // 2
        assert await store.due([d, other]) == now + 5
        assert await store.due([]) is None
        await tell(store, n)
        due = await store.due([d])
        assert due is not None
        assert due <= store.clock.now()

    # -- takeover ---------------------------------------------------------------------------------

    async def test_orphans_are_released_due_now_and_counted(
        self, store: PersistenceProvider
    ) -> None:
        dead, alive = await worker(store), await worker(store)
        lost = [await begin(store, dead, wake=None) for _ in range(5)]
        kept = await begin(store, alive)
        await store.fence([dead], lease=None)

        counts = [await store.orphans(3), await store.orphans(3), await store.orphans(3)]

        assert counts == [3, 2, 0]
        claimed = await store.claim(alive, [await definition(store)], 10)
        assert sorted(entry.n for entry in claimed) == lost
        assert {entry.takeovers for entry in claimed} == {1}
        found = (await load(store, kept)).header
        assert (found.owner, found.takeovers) == (alive, 0)

    async def test_the_first_item_after_a_claim_resets_the_counts(
        self, store: PersistenceProvider
    ) -> None:
        dead, alive = await worker(store), await worker(store)
        n = await begin(store, dead)
        await store.fence([dead], lease=None)
        await store.orphans(10)
        await store.claim(alive, [await definition(store)], 10)
        assert (await load(store, n)).header.takeovers == 1

        outcome = await one(store, alive, Item(n=n, base=0, rows=("[]",), alive=True))

        assert isinstance(outcome, Done)
        found = (await load(store, n)).header
        assert (found.takeovers, found.faults) == (0, 0)

    async def test_after_a_fence_no_commit_succeeds(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        runs = [await begin(store, epoch) for _ in range(20)]
        fenced = asyncio.Event()
        late: list[Outcome] = []
        early: list[Outcome] = []

        async def write(n: int) -> None:
            for base in range(5):
                began_late = fenced.is_set()
                outcome = await one(store, epoch, Item(n=n, base=base, rows=("[]",)))
                (late if began_late else early).append(outcome)
                await asyncio.sleep(0)

        async def fence() -> None:
            await asyncio.sleep(0)
            await store.fence([epoch], lease=None)
            fenced.set()

        await asyncio.gather(
            *(write(n) for n in runs[:10]), fence(), *(write(n) for n in runs[10:])
        )

        assert late
        assert set(late) == {Fenced()}
        written = sum([len(await store.history(n, 0, 100)) for n in runs])
        assert written == sum(isinstance(outcome, Done) for outcome in early)

    # -- faults -----------------------------------------------------------------------------------

    async def test_faults_back_off_and_then_suspend(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        d = await definition(store)
        past, future = store.clock.now() - 1, store.clock.now() + HOUR

        await store.fault(epoch, n, past, '"first"', 2)
        once = (await load(store, n)).header
        await store.claim(epoch, [d], 10)
        await store.fault(epoch, n, future, '"second"', 2)
        twice = (await load(store, n)).header

        assert (once.owner, once.wake, once.faults) == (None, past, 1)
        assert (once.status, once.error) == ("runnable", None)
        assert (twice.owner, twice.wake, twice.faults) == (None, None, 2)
        assert (twice.status, twice.error) == ("suspended", '"second"')

    async def test_only_the_owner_can_fault(self, store: PersistenceProvider) -> None:
        epoch, other, fenced = [await worker(store) for _ in range(3)]
        n, lost = await begin(store, epoch), await begin(store, fenced)
        await store.fence([fenced], lease=None)

        await store.fault(other, n, 0, '"x"', 1)
        await store.fault(fenced, lost, 0, '"x"', 1)

        for run, owner in ((n, epoch), (lost, fenced)):
            found = (await load(store, run)).header
            assert (found.owner, found.faults, found.status) == (owner, 0, "runnable")

    # -- all together -------------------------------------------------------------------------

    async def test_two_hosts_never_write_the_same_row(self, store: PersistenceProvider) -> None:
        n = await begin(store, wake=store.clock.now())
        d = await definition(store)
        done: list[int] = []

        async def host() -> None:
            epoch = await worker(store)
            while len(done) < 30:
                for entry in await store.claim(epoch, [d], 1):
                    base = len((await load(store, entry.n)).tail) - 1
                    rows = (f'"{epoch} {base}"',)
                    outcome = await one(
                        store, epoch, Item(n=n, base=base, rows=rows, header=parked(0))
                    )
                    assert isinstance(outcome, Done)
                    done.append(epoch)
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(*(host() for _ in range(4)))

        seqs = [row.seq for row in await store.history(n, -1, 1000)]
        assert seqs == list(range(len(done) + 1))

    async def test_finished_runs_are_out_of_everybodys_way(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), header=final()))
        new = await header(store, wake=store.clock.now())
        await one(store, epoch, Item(n=new.n, new=attrs.evolve(new, owner=epoch)))
        await store.fence([epoch], lease=None)

        assert await store.orphans(10) == 1
        assert (await load(store, n)).header.takeovers == 0


def _lock(store: PersistenceProvider) -> LockProvider:
    assert "lock" in store.features
    assert hasattr(store, "beat")
    lock: LockProvider = store  # type: ignore[assignment]  # its features say so
    return lock


def _move(store: PersistenceProvider, by: int) -> None:
    clock = store.clock
    assert isinstance(clock, VirtualClock), f"claims virtual_clock, has {from_micros(clock.now())}"
    clock.move_to(clock.now() + by)
