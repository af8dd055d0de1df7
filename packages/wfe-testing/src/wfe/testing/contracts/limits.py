"""Laws of limits: never a place too many, none lost, and first come, first served."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Conflict, Done, Hold, Item, PersistenceProvider
from wfe.testing.contracts.runs import (
    begin,
    definition,
    fields,
    final,
    inbox,
    load,
    one,
    parked,
    worker,
)

__all__ = ["LimitLaws"]

PER = 1_000_000  # µs


def _hold(pointer: int = 1, key: str = "k", limit: int = 1, **rest: Any) -> Hold:
    attempt = rest.pop("attempt", 0)
    return Hold(pointer=pointer, attempt=attempt, key=key, limit=limit, **rest)


async def _wanting(store: PersistenceProvider, epoch: int, *holds: Hold) -> int:
    """Return a run of *epoch* that has asked for these places."""
    n = await begin(store, epoch)
    outcome = await one(store, epoch, Item(n=n, base=0, rows=("[]",), hold=holds))
    assert isinstance(outcome, Done)
    return n


async def _change(store: PersistenceProvider, epoch: int, n: int, **changes: Any) -> Done:
    """Commit an item of the owner, who has read all messages."""
    base = len(await store.history(n, -1, 1000)) - 1
    poke, _ = await inbox(store, n)
    outcome = await one(store, epoch, Item(n=n, base=base, rows=("[]",), seen=poke, **changes))
    assert isinstance(outcome, Done)
    return outcome


async def _granted(store: PersistenceProvider, n: int) -> list[dict[str, Any]]:
    """Return the grants in a run's inbox."""
    _, rows = await inbox(store, n)
    return [fields(row.payload) for row in rows if row.kind == "granted"]


async def _holding(store: PersistenceProvider, runs: list[int]) -> list[int]:
    """Return which of *runs* have a grant."""
    return [n for n in runs if await _granted(store, n)]


async def _ended(store: PersistenceProvider, n: int) -> bool:
    """Whether a run was told to terminate."""
    _, rows = await inbox(store, n)
    return any(row.kind == "terminate" for row in rows)


class LimitLaws:
    """Places that are held, and rates."""

    # -- places ---------------------------------------------------------------------------------

    async def test_a_free_place_is_granted_in_the_same_commit(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)

        done = await _change(store, epoch, n, hold=(_hold(7, "k", 1, attempt=2),))

        assert done.woken == ((n, await definition(store), epoch),)
        poke, (row,) = await inbox(store, n)
        assert (poke, row.kind, row.at) == (1, "granted", done.at)
        assert fields(row.payload) == {"pointer": 7, "attempt": 2, "key": "k", "at": done.at}

    async def test_no_place_too_many_is_granted(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)

        runs = [await _wanting(store, epoch, _hold(limit=2)) for _ in range(4)]

        assert await _holding(store, runs) == runs[:2]
        assert (await inbox(store, runs[2]))[0] == 0

    async def test_a_freed_place_goes_to_who_waits_longest(
        self, store: PersistenceProvider
    ) -> None:
        epoch, other = await worker(store), await worker(store)
        runs = [await _wanting(store, epoch, _hold()) for _ in range(2)]
        runs += [await _wanting(store, other, _hold())]
        runs += [await _wanting(store, epoch, _hold())]
        d = await definition(store)

        first = await _change(store, epoch, runs[0], unhold=(1,))
        held_first = await _holding(store, runs[1:])
        second = await _change(store, epoch, runs[1], unhold=(1,))

        assert first.woken == ((runs[1], d, epoch),)
        assert second.woken == ((runs[2], d, other),)
        assert (held_first, await _holding(store, runs[1:])) == (runs[1:2], runs[1:3])
        ((grant,), (later,)) = [await _granted(store, n) for n in runs[1:3]]
        assert (grant["at"], later["at"]) == (first.at, second.at)

    async def test_a_parked_run_is_woken_by_its_place(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        holder = await _wanting(store, epoch, _hold())
        waiting = await begin(store, epoch)
        await _change(store, epoch, waiting, hold=(_hold(),), header=parked())
        d = await definition(store)
        assert await store.claim(epoch, [d], 10) == []

        done = await _change(store, epoch, holder, unhold=(1,))

        assert done.woken == ((waiting, d, None),)
        assert (await load(store, waiting)).header.wake == done.at
        assert [entry.n for entry in await store.claim(epoch, [d], 10)] == [waiting]

    async def test_a_place_granted_while_parking_is_no_sleep(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)

        done = await _change(store, epoch, n, hold=(_hold(),), header=parked())

        assert (await load(store, n)).header.wake == done.at

    async def test_a_final_run_frees_its_places(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        holder = await _wanting(store, epoch, _hold(1), _hold(2, "other"))
        runs = [await _wanting(store, epoch, _hold(key=key)) for key in ("k", "other")]

        done = await _change(store, epoch, holder, header=final())

        assert sorted(n for n, _, _ in done.woken) == runs
        assert await _holding(store, runs) == runs

    async def test_a_final_run_waits_for_no_place(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        holder = await _wanting(store, epoch, _hold())
        waiting = [await _wanting(store, epoch, _hold()) for _ in range(2)]
        ending = await begin(store, epoch)

        await _change(store, epoch, waiting[0], header=final())
        await _change(store, epoch, ending, header=final(), hold=(_hold(key="end"),))
        await _change(store, epoch, holder, header=final())

        assert await _holding(store, [*waiting, ending]) == waiting[1:]
        assert await _granted(store, await _wanting(store, epoch, _hold(key="end")))

    async def test_who_gives_up_waiting_is_passed_over(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        runs = [await _wanting(store, epoch, _hold()) for _ in range(3)]

        await _change(store, epoch, runs[1], unhold=(1,))
        await _change(store, epoch, runs[0], unhold=(1,))

        assert await _holding(store, runs[1:]) == runs[2:]

    async def test_a_pointer_has_one_place_of_a_key(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _wanting(store, epoch, _hold(limit=2))

        await _change(store, epoch, n, hold=(_hold(limit=2, attempt=1),))

        assert [grant["attempt"] for grant in await _granted(store, n)] == [0, 1]
        others = [await _wanting(store, epoch, _hold(limit=2)) for _ in range(2)]
        assert await _holding(store, others) == others[:1]
        await _change(store, epoch, n, unhold=(1,))
        assert await _holding(store, others) == others

    async def test_asking_again_keeps_the_turn(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        runs = [await _wanting(store, epoch, _hold()) for _ in range(3)]
        await _change(store, epoch, runs[1], hold=(_hold(attempt=1),))

        await _change(store, epoch, runs[0], unhold=(1,))

        (grant,) = await _granted(store, runs[1])
        assert grant["attempt"] == 1
        assert await _holding(store, runs[1:]) == runs[1:2]
        await _change(store, epoch, runs[1], unhold=(1,))
        assert len(await _granted(store, runs[1])) == 1
        assert await _holding(store, runs[1:]) == runs[1:]

    async def test_keys_and_pointers_are_independent(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _wanting(store, epoch, _hold(1), _hold(1, "b"), _hold(2, "c"), _hold(2))
        assert [(g["pointer"], g["key"]) for g in await _granted(store, n)] == [
            (1, "k"),
            (1, "b"),
            (2, "c"),
        ]
        runs = {key: await _wanting(store, epoch, _hold(key=key)) for key in ("b", "c")}

        await _change(store, epoch, n, unhold=(1,))

        assert [(g["pointer"], g["key"]) for g in await _granted(store, n)][3:] == [(2, "k")]
        assert await _holding(store, list(runs.values())) == [runs["b"]]

    async def test_who_frees_and_asks_goes_behind_the_others(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        first, second = [await _wanting(store, epoch, _hold()) for _ in range(2)]

        await _change(store, epoch, first, unhold=(1,), hold=(_hold(attempt=1),))

        assert len(await _granted(store, second)) == 1
        assert len(await _granted(store, first)) == 1
        await _change(store, epoch, second, header=final())
        assert [grant["attempt"] for grant in await _granted(store, first)] == [0, 1]

    # -- when there is no place ----------------------------------------------------------------

    async def test_who_skips_is_answered_at_once_and_does_not_wait(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        holder = await _wanting(store, epoch, _hold())
        late = await _wanting(store, epoch, _hold(on_conflict="skip"))

        (answer,) = await _granted(store, late)
        await _change(store, epoch, holder, unhold=(1,))

        assert (answer["pointer"], answer["key"], answer["taken"]) == (1, "k", True)
        assert len(await _granted(store, late)) == 1
        (grant,) = await _granted(store, await _wanting(store, epoch, _hold(on_conflict="skip")))
        assert "taken" not in grant

    async def test_who_skips_does_not_pass_those_that_wait(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await _wanting(store, epoch, _hold(limit=2)) for _ in range(3)]

        late = await _wanting(store, epoch, _hold(limit=9, on_conflict="skip"))

        assert [grant.get("taken") for grant in await _granted(store, late)] == [True]
        assert await _holding(store, runs) == runs[:2]

    async def test_who_cancels_ends_the_oldest_holders_and_those_that_wait(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        first, second = [await _wanting(store, epoch, _hold(limit=2)) for _ in range(2)]
        waiting = await _wanting(store, epoch, _hold(limit=2))
        other = await _wanting(store, epoch, _hold(key="other"))

        late = await _wanting(store, epoch, _hold(limit=2, on_conflict="cancel_running"))

        ended = [n for n in (first, second, waiting, other, late) if await _ended(store, n)]
        assert ended == [first, waiting]
        assert await _granted(store, late) == []
        await _change(store, epoch, waiting, header=final())
        await _change(store, epoch, first, header=final())
        assert len(await _granted(store, late)) == 1

    async def test_who_cancels_ends_nobody_where_there_is_a_place(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        first = await _wanting(store, epoch, _hold(limit=2))

        late = await _wanting(store, epoch, _hold(limit=2, on_conflict="cancel_running"))

        assert not await _ended(store, first)
        assert len(await _granted(store, late)) == 1

    async def test_a_run_does_not_cancel_itself(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _wanting(store, epoch, _hold(1))

        await _change(store, epoch, n, hold=(_hold(2, on_conflict="cancel_running"),))
        assert not await _ended(store, n)
        await _change(store, epoch, n, unhold=(1,))

        assert [grant["pointer"] for grant in await _granted(store, n)] == [1, 2]

    async def test_a_lowered_limit_grants_nothing_until_below(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await _wanting(store, epoch, _hold(limit=3)) for _ in range(3)]
        late = await _wanting(store, epoch, _hold(limit=1))

        seen: list[int] = []
        for n in runs:
            await _change(store, epoch, n, unhold=(1,))
            seen.append(len(await _granted(store, late)))

        assert seen == [0, 0, 1]

    async def test_a_raised_limit_is_for_those_who_wait_too(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await _wanting(store, epoch, _hold(limit=1)) for _ in range(3)]

        late = await _wanting(store, epoch, _hold(limit=3))

        assert await _holding(store, [*runs, late]) == runs

    async def test_a_refused_item_holds_and_frees_nothing(self, store: PersistenceProvider) -> None:
        epoch, stranger = await worker(store), await worker(store)
        n = await _wanting(store, epoch, _hold())
        waiting = await _wanting(store, epoch, _hold())

        outcomes = [
            await one(store, stranger, Item(n=n, base=1, rows=("[]",), unhold=(1,))),
            await one(store, stranger, Item(n=n, base=1, rows=("[]",), hold=(_hold(2, "b"),))),
        ]

        assert outcomes == [Conflict()] * 2
        assert await _holding(store, [waiting]) == []
        free = await _wanting(store, epoch, _hold(key="b"))
        assert await _holding(store, [free]) == [free]

    async def test_places_are_exact_with_many_hosts(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store) for _ in range(4)]
        runs = {await begin(store, epochs[k % 4]): epochs[k % 4] for k in range(21)}
        now_holding = most = 0
        all_taken = asyncio.Barrier(3)

        async def use(n: int, epoch: int) -> None:
            nonlocal now_holding, most
            await _change(store, epoch, n, hold=(_hold(limit=3),))
            while True:
                if await _granted(store, n):
                    break
                await asyncio.sleep(0)
            now_holding += 1
            most = max(most, now_holding)
            await all_taken.wait()
            now_holding -= 1
            await _change(store, epoch, n, unhold=(1,))

        async with asyncio.timeout(20):
            await asyncio.gather(*(use(n, epoch) for n, epoch in runs.items()))

        assert most == 3
        assert [len(await _granted(store, n)) for n in runs] == [1] * 21

    async def test_places_in_one_batch_are_granted_in_its_order(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        holder = await _wanting(store, epoch, _hold())
        runs = [await begin(store, epoch) for _ in range(3)]
        items = [Item(n=n, base=0, rows=("[]",), hold=(_hold(),)) for n in runs]
        end = Item(n=holder, base=1, rows=("[]",), seen=1, header=final())

        outcomes = await store.commit(epoch, [items[0], end, *items[1:]])

        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert await _holding(store, runs) == runs[:1]

    # -- rates ----------------------------------------------------------------------------------

    async def test_a_rate_grants_its_number_in_any_time(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        start = store.clock.now()

        runs = [await _wanting(store, epoch, _hold(limit=2, per=3600 * PER)) for _ in range(5)]

        grants = [grant["at"] for n in runs for grant in await _granted(store, n)]
        assert len(grants) == 5
        assert start <= grants[0] <= grants[1] <= store.clock.now()
        assert [grants[k + 2] - grants[k] for k in range(3)] == [3600 * PER] * 3

    async def test_the_end_of_a_run_frees_no_rate(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _wanting(store, epoch, _hold(per=3600 * PER))
        (first,) = await _granted(store, n)
        await _change(store, epoch, n, unhold=(1,))
        await _change(store, epoch, n, header=final())

        (second,) = await _granted(store, await _wanting(store, epoch, _hold(per=3600 * PER)))

        assert second["at"] == first["at"] + 3600 * PER

    @pytest.mark.needs("virtual_clock")
    async def test_a_rate_looks_back_over_its_time(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        clock = store.clock
        assert isinstance(clock, VirtualClock)
        start, found = clock.now(), list[int]()

        for after in (0, 6, 9, 10, 50):
            clock.move_to(start + after)
            for key in ("r:a", "r:b"):
                n = await _wanting(store, epoch, _hold(key=key, limit=2, per=10))
                (grant,) = await _granted(store, n)
                found.append(grant["at"] - start)

        assert found == [0, 0, 6, 6, 10, 10, 16, 16, 50, 50]

    async def test_a_rate_is_exact_with_many_hosts(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store) for _ in range(4)]
        per = 3600 * PER

        runs = await asyncio.gather(
            *(_wanting(store, epochs[k % 4], _hold(limit=3, per=per)) for k in range(20))
        )

        grants = sorted([grant["at"] for n in runs for grant in await _granted(store, n)])
        assert len(grants) == 20
        assert all(grants[k + 3] - grants[k] >= per for k in range(17))
        assert grants[-1] - grants[0] < 7 * per
