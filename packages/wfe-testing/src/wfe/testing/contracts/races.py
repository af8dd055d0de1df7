"""Laws of races: several hosts on one store, and nothing is lost, doubled or left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from wfe.core.providers import (
    Claimed,
    Done,
    Fenced,
    Item,
    Outcome,
    PersistenceProvider,
    Refused,
    Stale,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin_many,
    both_orders,
    definition,
    final,
    header,
    inbox,
    load,
    message,
    one,
    parked,
    twenty,
    worker,
)

__all__ = ["RaceLaws"]

ENOUGH = 20  # seconds, for what takes a fraction of one
ROW = ("[]",)


class RaceLaws:
    """What hosts do at the same time; ``hosts`` are several stores on one backend, or one."""

    # -- claims -----------------------------------------------------------------------------------

    async def test_twenty_claimers_get_each_due_run_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        runs = await begin_many(hosts[0], 100, wake=hosts[0].clock.now())
        d = await definition(hosts[0])
        got: list[int] = []

        async def claim(host: PersistenceProvider, epoch: int) -> None:
            while len(got) < len(runs):
                claimed = await host.claim(epoch, [d], 3)
                got.extend(entry.n for entry in claimed)
                await _owns(host, epoch, claimed)
                await asyncio.sleep(0)

        async with asyncio.timeout(ENOUGH):
            claimers = [(host, await worker(host)) for host in twenty(hosts)]
            await asyncio.gather(*(claim(host, epoch) for host, epoch in claimers))

        assert sorted(got) == runs

    async def test_twenty_claimers_of_the_same_hints_get_each_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        runs = await begin_many(hosts[0], 10, wake=hosts[0].clock.now())
        d = await definition(hosts[0])
        claimers = [(host, await worker(host)) for host in twenty(hosts)]
        got: list[int] = []

        async def claim(host: PersistenceProvider, epoch: int) -> None:
            while len(got) < len(runs):
                got.extend(entry.n for entry in await host.claim(epoch, [d], 10, hints=runs))
                await asyncio.sleep(0)

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*(claim(host, epoch) for host, epoch in claimers))

        assert sorted(got) == runs

    async def test_who_claims_loads_what_the_last_owner_wrote(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        (n,) = await begin_many(hosts[0], 1, wake=hosts[0].clock.now())
        d = await definition(hosts[0])
        done: list[Outcome] = []

        async def own(host: PersistenceProvider, epoch: int) -> None:
            while len(done) < 40:
                for entry in await host.claim(epoch, [d], 1):
                    base = (await load(host, entry.n)).tail[-1].seq
                    item = Item(n=n, base=base, rows=(f'"{epoch}"',), header=parked(0))
                    done.append(await one(host, epoch, item))
                await asyncio.sleep(0)

        async with asyncio.timeout(ENOUGH):
            owners = [(host, await worker(host)) for host in twenty(hosts)[:6]]
            await asyncio.gather(*(own(host, epoch) for host, epoch in owners))

        assert {type(outcome) for outcome in done} == {Done}
        history = await hosts[0].history(n, -1, 1000)
        assert [row.seq for row in history] == list(range(len(done) + 1))

    # -- fences and takeovers ---------------------------------------------------------------------

    async def test_twenty_hosts_fence_a_worker_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        epochs = [await worker(hosts[0]) for _ in range(5)]

        fenced = await asyncio.gather(
            *(host.fence(epochs[:: (-1) ** k], lease=None) for k, host in enumerate(twenty(hosts)))
        )

        assert sorted(epoch for some in fenced for epoch in some) == sorted(epochs)

    async def test_twenty_hosts_release_each_orphan_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        dead = await worker(hosts[0])
        runs = await begin_many(hosts[0], 30, dead)
        await hosts[0].fence([dead], lease=None)

        async def release(host: PersistenceProvider) -> int:
            count = 0
            while got := await host.orphans(4):
                count += got
            return count

        async with asyncio.timeout(ENOUGH):
            counts = await asyncio.gather(*(release(host) for host in twenty(hosts)))

        # Whoever found the rest in other hands may go: it is released when all are back.
        assert sum(counts) + await hosts[0].orphans(1000) == len(runs)
        for loaded in await hosts[0].load(runs):
            assert (loaded.header.owner, loaded.header.takeovers) == (None, 1)

    async def test_no_commit_succeeds_after_a_fence_elsewhere(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        epoch = await worker(here)
        runs = await begin_many(here, 20, epoch)
        fenced = asyncio.Event()
        early: list[Outcome] = []
        late: list[Outcome] = []

        async def write(n: int) -> None:
            for base in range(4):
                outcomes = late if fenced.is_set() else early
                outcomes.append(await one(here, epoch, Item(n=n, base=base, rows=ROW)))
                await asyncio.sleep(0)

        async def written() -> int:
            return sum([len(await elsewhere.history(n, 0, 100)) for n in runs])

        async def fence() -> int:
            await asyncio.sleep(0)
            await elsewhere.fence([epoch], lease=None)
            fenced.set()
            return await written()

        writers = [write(n) for n in runs]
        async with asyncio.timeout(ENOUGH):
            count, *_ = await asyncio.gather(fence(), *writers)

        late.append(await one(here, epoch, Item(n=runs[0], base=0, rows=ROW)))
        assert set(late) == {Fenced()}
        done = sum(isinstance(outcome, Done) for outcome in early)
        assert (count, await written()) == (done, done)

    async def test_what_a_dying_host_got_hold_of_is_taken_over(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        d = await definition(here)
        heir = await worker(elsewhere)
        for _ in range(5):
            dying = await worker(here)
            due = await begin_many(here, 6, wake=here.clock.now())
            news = [await header(here, owner=dying) for _ in range(6)]
            starts = [one(here, dying, Item(n=new.n, new=new, rows=ROW)) for new in news]

            async def bury(epoch: int) -> None:
                await elsewhere.fence([epoch], lease=None)
                while await elsewhere.orphans(100):
                    pass

            claims = [here.claim(dying, [d], 1) for _ in due]
            async with asyncio.timeout(ENOUGH):
                answers = await asyncio.gather(
                    *starts[:3], *claims[:3], bury(dying), *starts[3:], *claims[3:]
                )
                assert await elsewhere.orphans(100) == 0
                started = [new.n for new in news if await here.get(new.id) is not None]
                taken: list[int] = []
                while len(taken) < len(due) + len(started):
                    taken += [entry.n for entry in await elsewhere.claim(heir, [d], 100)]

            assert sorted(taken) == sorted([*due, *started])
            assert sum(isinstance(answer, Done) for answer in answers) == len(started)
            assert dying not in {row.epoch for row in await elsewhere.workers()}

    # -- messages ---------------------------------------------------------------------------------

    async def test_release_and_message_of_two_hosts_never_sleep(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        epoch = await worker(here)
        runs = await begin_many(here, 40, epoch)
        wake = here.clock.now() + HOUR
        releases = [one(here, epoch, Item(n=n, base=0, header=parked(wake))) for n in runs]
        messages = [one(elsewhere, None, Item(messages=(message(n),))) for n in runs]

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*both_orders(releases, messages))

        claimed = await elsewhere.claim(await worker(elsewhere), [await definition(here)], 100)
        assert sorted(entry.n for entry in claimed) == runs

    async def test_an_end_and_an_accepted_message_exclude_each_other(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        epoch = await worker(here)
        runs = await begin_many(here, 40, epoch)
        ends = [one(here, epoch, Item(n=n, base=0, rows=ROW, header=final())) for n in runs]
        told = [one(elsewhere, None, Item(messages=(message(n, strict=True),))) for n in runs]

        async with asyncio.timeout(ENOUGH):
            answers = await asyncio.gather(*both_orders(ends, told))

        for k, n in enumerate(runs):
            pair = [answers[2 * k], answers[2 * k + 1]]
            end, accepted = pair if k % 2 else pair[::-1]
            if isinstance(accepted, Done):
                assert (end, (await inbox(here, n))[0]) == (Stale(), 1)
            else:
                assert accepted == Refused("final", "complete")
                assert isinstance(end, Done)

    async def test_a_message_sent_by_twenty_is_kept_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        (n,) = await begin_many(hosts[0], 1, wake=None)
        told = Item(messages=(message(n, dedupe="child:7"),))

        outcomes = await asyncio.gather(*(one(host, None, told) for host in twenty(hosts)))

        woken = [outcome.woken for outcome in outcomes if isinstance(outcome, Done)]
        assert (len(woken), sum(map(len, woken))) == (20, 1)
        poke, rows = await inbox(hosts[0], n)
        assert (poke, len(rows)) == (1, 1)

    # -- batches ----------------------------------------------------------------------------------

    async def test_batches_in_any_order_never_deadlock(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        runs = await begin_many(hosts[0], 8, wake=None)
        owners = [(host, await worker(host)) for host in (hosts[0], hosts[-1])]
        own = [await begin_many(host, 4, epoch) for host, epoch in owners]

        async def write(side: int) -> list[Outcome]:
            host, epoch = owners[side]
            outcomes: list[Outcome] = []
            for base in range(15):
                told = [Item(messages=(message(n),)) for n in runs[:: (-1) ** side]]
                items = [Item(n=n, base=base, rows=ROW, alive=True) for n in own[side]]
                crossed = Item(messages=tuple(message(n) for n in own[1 - side][::-1]))
                ordered = [crossed, *items, *told] if side else [*told, *items, crossed]
                outcomes += await host.commit(epoch, ordered)
            return outcomes

        async with asyncio.timeout(ENOUGH):
            answers = await asyncio.gather(write(0), write(1))

        assert {type(outcome) for some in answers for outcome in some} == {Done}
        assert [(await inbox(hosts[0], n))[0] for n in runs] == [30] * 8
        assert [(await inbox(hosts[0], n))[0] for some in own for n in some] == [15] * 8

    async def test_a_name_in_many_batches_spoils_none(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        batches: list[list[Item]] = []
        for k in range(10):
            news = [await header(hosts[0]) for _ in range(10)]
            news[k] = attrs.evolve(news[k], name="the only one")
            batches.append([Item(n=new.n, new=new, rows=ROW) for new in news])

        async with asyncio.timeout(ENOUGH):
            answers = await asyncio.gather(
                *(twenty(hosts)[k].commit(None, batch) for k, batch in enumerate(batches))
            )

        ends = [
            [type(outcome) for j, outcome in enumerate(outcomes) if j != k]
            for k, outcomes in enumerate(answers)
        ]
        assert ends == [[Done] * 9] * 10
        named = [outcomes[k] for k, outcomes in enumerate(answers)]
        assert sum(isinstance(outcome, Done) for outcome in named) == 1
        first = await hosts[0].get("the only one")
        assert first is not None
        assert named.count(Refused("name", first.id)) == 9

    async def test_numbers_given_to_twenty_are_different(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        firsts = await asyncio.gather(*(host.allocate(7) for host in twenty(hosts)))
        same = await asyncio.gather(
            *(host.put_definition("order", 1, "hash", "{}") for host in twenty(hosts))
        )

        given = [first + k for first in firsts for k in range(7)]
        assert len(set(given)) == 140
        assert min(given) >= 1
        assert len(set(same)) == 1


async def _owns(host: PersistenceProvider, epoch: int, claimed: Sequence[Claimed]) -> None:
    loaded = await host.load([entry.n for entry in claimed])
    assert [entry.header.owner for entry in loaded] == [epoch] * len(claimed)
