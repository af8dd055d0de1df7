"""Laws of meetings: one wins what only one can have, and who waits is not forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import attrs

from wfe.core.providers import (
    ActivityStart,
    Done,
    Event,
    Fire,
    Hold,
    Item,
    PersistenceProvider,
    Refused,
    ScheduleRow,
    Subscription,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin_many,
    both_orders,
    definition,
    fields,
    final,
    header,
    inbox,
    one,
    parked,
    twenty,
    worker,
)

__all__ = ["MeetingLaws"]

ENOUGH = 20  # seconds, for what takes a fraction of one
PAIRS = 200
ROW = ("[]",)
RESULT = '{"result":1}'


def _hold(key: str = "k", limit: int = 1, **rest: Any) -> Hold:
    return Hold(pointer=1, attempt=0, key=key, limit=limit, **rest)


async def _grants(store: PersistenceProvider, runs: Sequence[int]) -> list[list[dict[str, Any]]]:
    """Return the grants in the inbox of each run."""
    boxes = {n: rows for n, _, rows in await store.inbox(runs)}
    return [[fields(row.payload) for row in boxes[n] if row.kind == "granted"] for n in runs]


class MeetingLaws:
    """Two sides that must meet, and many who want the same; ``hosts`` as in the races."""

    # -- events -----------------------------------------------------------------------------------

    async def test_two_hundred_waits_and_events_meet_once_each(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        epoch = await worker(here)
        runs = await begin_many(here, PAIRS, epoch)
        waits = [
            one(here, epoch, Item(n=n, base=0, rows=ROW, subscribe=(wait,), header=parked()))
            for n in runs
            for wait in [Subscription(pointer=1, name="go", key=f"k-{n}", as_of=0)]
        ]
        events = [
            one(elsewhere, None, Item(publish=(Event(id=f"e-{n}", name="go", key=f"k-{n}"),)))
            for n in runs
        ]

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*both_orders(waits, events))

        boxes = await here.inbox(runs)
        assert {(poke, len(rows)) for _, poke, rows in boxes} == {(1, 1)}
        claimed = await elsewhere.claim(await worker(elsewhere), [await definition(here)], 1000)
        assert sorted(entry.n for entry in claimed) == runs

    async def test_an_event_sent_by_twenty_is_one_event(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        epoch = await worker(hosts[0])
        n, next_ = await begin_many(hosts[0], 2, epoch)
        wait = Subscription(pointer=1, name="go", key="k", as_of=0)
        await one(hosts[0], epoch, Item(n=n, base=0, rows=ROW, subscribe=(wait,), header=parked()))
        event = Item(publish=(Event(id="e-1", name="go", key="k"),))

        outcomes = await asyncio.gather(*(one(host, None, event) for host in twenty(hosts)))

        woken = [outcome.woken for outcome in outcomes if isinstance(outcome, Done)]
        assert (len(woken), sum(map(len, woken))) == (20, 1)
        poke, (row,) = await inbox(hosts[0], n)
        found = fields(row.payload)
        after = attrs.evolve(wait, after_at=found["at"], after_e=found["e"])
        await one(hosts[0], epoch, Item(n=next_, base=0, rows=ROW, subscribe=(after,)))
        assert (poke, await inbox(hosts[0], next_)) == (1, (0, ()))

    async def test_a_wait_that_ends_while_its_event_comes_is_over(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        epoch = await worker(here)
        runs = await begin_many(here, 20, epoch)
        for n in runs:
            wait = Subscription(pointer=1, name="go", key=f"k-{n}", as_of=0)
            await one(here, epoch, Item(n=n, base=0, rows=ROW, subscribe=(wait,)))
        ends = [one(here, epoch, Item(n=n, base=1, rows=ROW, unsubscribe=(1,))) for n in runs]
        events = [
            one(elsewhere, None, Item(publish=(Event(id=f"e-{n}", name="go", key=f"k-{n}"),)))
            for n in runs
        ]

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*both_orders(ends, events))
            later = [
                await one(here, None, Item(publish=(Event(id=f"f-{n}", name="go", key=f"k-{n}"),)))
                for n in runs
            ]

        assert [outcome.woken for outcome in later if isinstance(outcome, Done)] == [()] * 20
        assert all(poke == len(rows) <= 1 for _, poke, rows in await here.inbox(runs))

    # -- starts -----------------------------------------------------------------------------------

    async def test_one_start_of_twenty_hosts_wins(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        for column in ("idem", "name", "dedup"):
            news = [await header(hosts[0], **{column: "the same"}) for _ in range(20)]

            outcomes = await asyncio.gather(
                *(
                    one(host, None, Item(n=new.n, new=new, rows=ROW))
                    for host, new in zip(twenty(hosts), news, strict=True)
                )
            )

            won = [new for new, o in zip(news, outcomes, strict=True) if isinstance(o, Done)]
            assert len(won) == 1
            assert outcomes.count(Refused(column, won[0].id)) == 19
            assert [new.id for new in news if await hosts[0].get(new.id)] == [won[0].id]

    async def test_one_fire_of_twenty_hosts_wins(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        row = ScheduleRow(
            id="nightly", definition="order", version=None, data="{}", spec="{}", next_at=0
        )
        assert await hosts[0].put_schedule(row)
        news = [await header(hosts[0], idem=f"schedule:nightly:{k}") for k in range(20)]
        fire = Fire(id="nightly", rev=1, next_at=HOUR)

        outcomes = await asyncio.gather(
            *(
                one(host, None, Item(n=new.n, new=new, rows=ROW, fire=fire))
                for host, new in zip(twenty(hosts), news, strict=True)
            )
        )

        won = [new for new, o in zip(news, outcomes, strict=True) if isinstance(o, Done)]
        assert len(won) == 1
        assert outcomes.count(Refused("schedule")) == 19
        (stored,) = await hosts[0].schedules("nightly")
        assert (stored.last_n, stored.rev) == (won[0].n, 2)
        assert [new.id for new in news if await hosts[0].get(new.id)] == [won[0].id]

    async def test_a_schedule_put_by_twenty_is_new_once(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        row = ScheduleRow(
            id="nightly", definition="order", version=None, data="{}", spec="{}", next_at=0
        )

        assert sum(await asyncio.gather(*(host.put_schedule(row) for host in twenty(hosts)))) == 1

    # -- activities -------------------------------------------------------------------------------

    async def test_work_is_claimed_and_finished_once_by_twenty(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        epoch = await worker(hosts[0])
        (n,) = await begin_many(hosts[0], 1, epoch)
        work = tuple(ActivityStart(pointer=k, attempt=0, name="paint") for k in range(8))
        await one(hosts[0], epoch, Item(n=n, base=0, rows=ROW, activities=work))
        tokens: list[str] = []

        async def claim(k: int, host: PersistenceProvider) -> None:
            for turn in range(100):
                if len(tokens) == len(work):
                    return
                token = f"t-{k}-{turn}"
                if await host.claim_activity(["paint"], f"w-{k}", token, HOUR) is not None:
                    tokens.append(token)
                await asyncio.sleep(0)

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*(claim(k, host) for k, host in enumerate(twenty(hosts))))
            done = await asyncio.gather(
                *(host.finish_activity(t, RESULT) for t in tokens for host in twenty(hosts)[:4])
            )

        assert sum(isinstance(outcome, Done) for outcome in done) == len(tokens) == len(work)
        assert list(await hosts[0].activities(n)) == []
        poke, rows = await inbox(hosts[0], n)
        assert (poke, Counter(fields(row.payload)["pointer"] for row in rows)) == (
            len(work),
            Counter(range(len(work))),
        )

    # -- limits -----------------------------------------------------------------------------------

    async def test_places_are_never_exceeded_by_twenty(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        users = [(host, await worker(host)) for host in twenty(hosts)]
        runs = [(await begin_many(host, 1, epoch))[0] for host, epoch in users]
        wanting = [
            one(host, epoch, Item(n=n, base=0, rows=ROW, hold=(_hold(limit=3),)))
            for (host, epoch), n in zip(users, runs, strict=True)
        ]
        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*wanting)

        free: set[int] = set()
        while len(free) < len(runs):
            grants = await _grants(hosts[0], runs)
            assert all(len(given) <= 1 for given in grants)
            held = [k for k, given in enumerate(grants) if given and k not in free]
            assert len(held) == min(3, len(runs) - len(free))
            frees = [
                one(*users[k], Item(n=runs[k], base=1, rows=ROW, seen=1, header=final()))
                for k in held
            ]
            async with asyncio.timeout(ENOUGH):
                await asyncio.gather(*frees)
            free.update(held)

    async def test_a_place_freed_while_another_asks_is_granted(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        here, elsewhere = hosts[0], hosts[-1]
        holder, other = await worker(here), await worker(elsewhere)
        holding = await begin_many(here, 40, holder)
        asking = await begin_many(elsewhere, 40, other)
        for k, n in enumerate(holding):
            await one(here, holder, Item(n=n, base=0, rows=ROW, hold=(_hold(f"k-{k}"),)))
        frees = [
            one(here, holder, Item(n=n, base=1, rows=ROW, seen=1, header=final())) for n in holding
        ]
        asks = [
            one(elsewhere, other, Item(n=n, base=0, rows=ROW, hold=(_hold(f"k-{k}"),)))
            for k, n in enumerate(asking)
        ]

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(*both_orders(frees, asks))

        assert [len(given) for given in await _grants(here, asking)] == [1] * 40

    async def test_a_rate_is_exact_for_twenty_hosts(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        users = [(host, await worker(host)) for host in twenty(hosts)]
        runs = [(await begin_many(host, 1, epoch))[0] for host, epoch in users]
        rate = _hold("r:k", 4, per=HOUR)

        async with asyncio.timeout(ENOUGH):
            await asyncio.gather(
                *(
                    one(host, epoch, Item(n=n, base=0, rows=ROW, hold=(rate,)))
                    for (host, epoch), n in zip(users, runs, strict=True)
                )
            )

        grants = await _grants(hosts[0], runs)
        times = sorted(grant["at"] for given in grants for grant in given)
        assert len(times) == 20
        assert all(late - early >= HOUR for early, late in zip(times, times[4:], strict=False))
        assert all(late - early <= HOUR for early, late in pairwise(times))

    # -- deleting ---------------------------------------------------------------------------------

    async def test_families_are_purged_once_by_many(
        self, hosts: Sequence[PersistenceProvider]
    ) -> None:
        epoch = await worker(hosts[0])
        runs = await begin_many(hosts[0], 20, epoch)
        ends = [Item(n=n, base=0, rows=ROW, header=final()) for n in runs]
        await hosts[0].commit(epoch, ends)

        async with asyncio.timeout(ENOUGH):
            counts = await asyncio.gather(
                *(host.purge(runs[:: (-1) ** k]) for k, host in enumerate(twenty(hosts)[:4]))
            )

        assert sum(counts) == len(runs)
        assert list(await hosts[0].load(runs)) == []
