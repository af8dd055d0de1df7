"""Laws of activities: each is done once, by whoever has its present token."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import (
    ActivityRow,
    ActivityStart,
    Conflict,
    Done,
    Item,
    PersistenceProvider,
    Refused,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    definition,
    final,
    inbox,
    load,
    one,
    parked,
    worker,
)

__all__ = ["ActivityLaws"]

RESULT = '{"result":{"ok":true}}'


def _work(pointer: int = 1, name: str = "paint", attempt: int = 0) -> ActivityStart:
    return ActivityStart(pointer=pointer, attempt=attempt, name=name, parameters='{"x":1}')


async def _offering(store: PersistenceProvider, *work: ActivityStart, **changes: Any) -> int:
    """Return a run that has offered this work."""
    epoch = await worker(store)
    n = await begin(store, epoch)
    outcome = await one(
        store, epoch, Item(n=n, base=0, rows=("[]",), activities=work or (_work(),), **changes)
    )
    assert isinstance(outcome, Done)
    return n


async def _claim(
    store: PersistenceProvider, token: str, name: str = "paint", lease: int = HOUR
) -> ActivityRow:
    row = await store.claim_activity([name], "anna", token, lease)
    assert row is not None
    return row


async def _owned(store: PersistenceProvider, n: int, **changes: Any) -> Done:
    """Commit an item of the owner of *n*, who has read all messages."""
    found = await load(store, n)
    epoch, base = found.header.owner, found.tail[-1].seq
    item = Item(n=n, base=base, rows=("[]",), seen=found.header.poke, **changes)
    outcome = await one(store, epoch, item)
    assert isinstance(outcome, Done)
    return outcome


def _move(store: PersistenceProvider, by: int) -> None:
    clock = store.clock
    assert isinstance(clock, VirtualClock)
    clock.move_to(clock.now() + by)


class ActivityLaws:
    """Work that is done elsewhere."""

    async def test_offered_work_is_stored_as_it_is(self, store: PersistenceProvider) -> None:
        n = await _offering(store, _work(7, attempt=2), _work(8, "print"))

        first, second = await store.activities(n)

        assert (first.n, first.pointer, first.attempt, first.name) == (n, 7, 2, "paint")
        assert (first.parameters, first.token, first.worker) == ('{"x":1}', None, None)
        assert (first.lease_until, first.progress) == (None, None)
        assert (second.pointer, second.name) == (8, "print")
        assert first.a < second.a

    async def test_activities_are_listed_by_run_or_all(self, store: PersistenceProvider) -> None:
        one_, other = await _offering(store), await _offering(store, _work(1), _work(2))

        assert [row.n for row in await store.activities()] == [one_, other, other]
        assert [row.pointer for row in await store.activities(other)] == [1, 2]
        assert list(await store.activities(987_654)) == []

    async def test_a_claim_gets_the_oldest_of_its_names(self, store: PersistenceProvider) -> None:
        first = await _offering(store, _work(name="print"))
        second = await _offering(store, _work(1), _work(2))
        before = store.clock.now()

        rows = [await store.claim_activity(["paint"], "anna", f"t-{k}", HOUR) for k in range(3)]
        mixed = await store.claim_activity(["paint", "print", "sell"], "bob", "t-4", HOUR)

        assert [row and (row.n, row.pointer) for row in rows] == [(second, 1), (second, 2), None]
        assert mixed is not None
        assert (mixed.n, mixed.token, mixed.worker) == (first, "t-4", "bob")
        assert mixed.lease_until is not None
        assert before + HOUR <= mixed.lease_until <= store.clock.now() + HOUR
        assert (await store.activities(first))[0] == mixed
        assert await store.claim_activity([], "anna", "t-5", HOUR) is None

    async def test_the_older_of_two_names_comes_first(self, store: PersistenceProvider) -> None:
        first = await _offering(store, _work(name="print"))
        await _offering(store, _work(name="paint"))

        row = await store.claim_activity(["paint", "print"], "anna", "t-1", HOUR)

        assert row is not None
        assert row.n == first

    async def test_one_of_many_claimers_gets_it(self, store: PersistenceProvider) -> None:
        await _offering(store, _work(1), _work(2))

        rows = await asyncio.gather(
            *(store.claim_activity(["paint"], f"w-{k}", f"t-{k}", HOUR) for k in range(20))
        )

        won = [row for row in rows if row is not None]
        assert sorted(row.pointer for row in won) == [1, 2]
        assert list(await store.activities()) == sorted(won, key=lambda row: row.a)

    async def test_finishing_tells_the_run(self, store: PersistenceProvider) -> None:
        n = await _offering(store, _work(7, attempt=3), header=parked())
        await _claim(store, "t-1")

        outcome = await store.finish_activity("t-1", RESULT)

        assert isinstance(outcome, Done)
        assert outcome.woken == ((n, await definition(store), None),)
        loaded = await load(store, n)
        (row,) = loaded.inbox
        assert (row.kind, row.actor, row.at) == ("activity_done", "anna", outcome.at)
        assert orjson.loads(row.payload) == {"pointer": 7, "attempt": 3, "result": {"ok": True}}
        assert (loaded.header.poke, loaded.header.wake) == (1, outcome.at)
        assert list(await store.activities()) == []

    async def test_work_is_finished_once(self, store: PersistenceProvider) -> None:
        n = await _offering(store)
        await _claim(store, "t-1")

        outcomes = await asyncio.gather(*(store.finish_activity("t-1", RESULT) for _ in range(10)))

        assert [isinstance(outcome, Done) for outcome in outcomes].count(True) == 1
        assert outcomes.count(Refused("missing")) == 9
        assert (await inbox(store, n))[0] == 1

    async def test_an_unknown_token_is_refused(self, store: PersistenceProvider) -> None:
        n = await _offering(store)

        assert await store.finish_activity("nobody's", RESULT) == Refused("missing")
        assert not await store.beat_activity("nobody's", HOUR, None)
        assert (await inbox(store, n))[0] == 0
        assert len(await store.activities(n)) == 1

    @pytest.mark.needs("virtual_clock")
    async def test_a_claim_counts_until_its_lease_has_passed(
        self, store: PersistenceProvider
    ) -> None:
        n = await _offering(store)
        await _claim(store, "t-1", lease=100)
        _move(store, 100)
        assert await store.claim_activity(["paint"], "bob", "t-2", 100) is None
        _move(store, 1)

        late = await store.finish_activity("t-1", RESULT)
        late_beat = await store.beat_activity("t-1", 100, None)
        again = await store.claim_activity(["paint"], "bob", "t-2", 100)

        assert (late, late_beat) == (Refused("missing"), False)
        assert again is not None
        assert (again.token, again.worker) == ("t-2", "bob")
        assert await store.finish_activity("t-1", RESULT) == Refused("missing")
        assert (await inbox(store, n))[0] == 0
        assert isinstance(await store.finish_activity("t-2", RESULT), Done)

    @pytest.mark.needs("virtual_clock")
    async def test_a_beat_holds_the_claim(self, store: PersistenceProvider) -> None:
        n = await _offering(store)
        await _claim(store, "t-1", lease=100)

        for _ in range(3):
            _move(store, 80)
            assert await store.beat_activity("t-1", 100, None)

        (row,) = await store.activities(n)
        assert row.lease_until == store.clock.now() + 100
        assert await store.claim_activity(["paint"], "bob", "t-2", 100) is None
        assert isinstance(await store.finish_activity("t-1", RESULT), Done)

    async def test_progress_stays_until_there_is_more(self, store: PersistenceProvider) -> None:
        n = await _offering(store)
        await _claim(store, "t-1")
        said: list[str | None] = []

        for progress in (None, "1", None, "[2]"):
            assert await store.beat_activity("t-1", HOUR, progress)
            said.append((await store.activities(n))[0].progress)

        assert said == [None, "1", "1", "[2]"]

    async def test_work_of_the_same_pointer_is_replaced(self, store: PersistenceProvider) -> None:
        n = await _offering(store, _work(1), _work(2))
        old = await _claim(store, "t-1")

        await _owned(store, n, activities=(_work(1, attempt=1),))

        assert await store.finish_activity("t-1", RESULT) == Refused("missing")
        other, new = await store.activities(n)
        assert (other.pointer, new.pointer, new.attempt, new.token) == (2, 1, 1, None)
        assert new.a > old.a

    async def test_work_that_is_not_wanted_any_more_is_gone(
        self, store: PersistenceProvider
    ) -> None:
        n, over = await _offering(store, _work(1), _work(2)), await _offering(store)
        await _claim(store, "t-1")
        await _claim(store, "t-2")
        await _claim(store, "t-3")

        await _owned(store, n, end_activities=(1,))
        await _owned(store, over, header=final(), activities=(_work(5),))

        assert await store.finish_activity("t-1", RESULT) == Refused("missing")
        assert await store.finish_activity("t-3", RESULT) == Refused("missing")
        assert [(row.n, row.pointer) for row in await store.activities()] == [(n, 2)]
        assert await inbox(store, over) == (0, ())
        assert isinstance(await store.finish_activity("t-2", RESULT), Done)

    async def test_a_batch_of_ends_ends_all_their_work(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        runs = [await begin(store, epoch) for _ in range(5)]
        await store.commit(
            epoch, [Item(n=n, base=0, rows=("[]",), activities=(_work(),)) for n in runs[:3]]
        )

        outcomes = await store.commit(
            epoch,
            [
                Item(n=n, base=base, rows=("[]",), header=final())
                for n, base in zip(runs[1:], (1, 1, 0, 0), strict=True)
            ],
        )

        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert [row.n for row in await store.activities()] == runs[:1]

    async def test_a_refused_item_offers_and_ends_nothing(self, store: PersistenceProvider) -> None:
        n = await _offering(store)
        stranger = await worker(store)
        before = list(await store.activities())

        outcomes = [
            await one(store, stranger, Item(n=n, base=1, rows=("[]",), activities=(_work(2),))),
            await one(store, stranger, Item(n=n, base=1, rows=("[]",), end_activities=(1,))),
        ]

        assert outcomes == [Conflict()] * 2
        assert list(await store.activities()) == before
