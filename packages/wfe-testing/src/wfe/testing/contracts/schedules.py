"""Laws of schedules: what is stored, who is due, and that each change has one winner."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from wfe.core.providers import Done, Fire, Item, Message, PersistenceProvider, Refused, ScheduleRow
from wfe.testing.contracts.runs import HOUR, begin, header, inbox, one, worker

__all__ = ["ScheduleLaws"]


def _row(id_: str = "nightly", **columns: Any) -> ScheduleRow:
    usual = ScheduleRow(
        id=id_,
        definition="order",
        version=None,
        data='{"shop":1}',
        spec='{"cron":"0 3 * * *"}',
        next_at=HOUR,
        state='{"fired":0}',
    )
    return attrs.evolve(usual, **columns)


async def _put(store: PersistenceProvider, id_: str = "nightly", **columns: Any) -> ScheduleRow:
    """Store a schedule and return it as stored."""
    assert await store.put_schedule(_row(id_, **columns))
    return await _get(store, id_)


async def _get(store: PersistenceProvider, id_: str = "nightly") -> ScheduleRow:
    (row,) = await store.schedules(id_)
    return row


async def _due_ids(store: PersistenceProvider, limit: int = 10) -> list[str]:
    return [row.id for row in (await store.due_schedules(limit))[0]]


class ScheduleLaws:
    """Schedules are kept, found when they are due, and changed by one at a time."""

    async def test_a_schedule_is_stored_as_it_is(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        row = _row(version=3, paused=True, next_at=None)

        assert await store.put_schedule(row)

        (found,) = await store.schedules()
        assert found.created_at >= now
        assert found == attrs.evolve(row, created_at=found.created_at, rev=1)

    async def test_schedules_are_found_by_id_and_definition(
        self, store: PersistenceProvider
    ) -> None:
        for id_, definition in (("b", "order"), ("a", "order"), ("c", "bill")):
            await _put(store, id_, definition=definition)

        ids = [
            [row.id for row in await store.schedules(*which)]
            for which in ((), ("a",), (None, "order"), ("c", "order"), ("x",))
        ]

        assert ids == [["a", "b", "c"], ["a"], ["a", "b"], [], []]

    async def test_a_schedule_is_new_once(self, store: PersistenceProvider) -> None:
        first = await _put(store)

        again = await store.put_schedule(_row(data="2"))

        assert not again
        assert await _get(store) == first

    async def test_replacing_needs_the_present_rev(self, store: PersistenceProvider) -> None:
        first = await _put(store)
        changed = attrs.evolve(first, data="2", paused=True, next_at=2 * HOUR, definition="bill")

        done = [await store.put_schedule(changed) for _ in range(2)]

        assert done == [True, False]
        assert await _get(store) == attrs.evolve(changed, rev=2)

    async def test_replacing_what_is_not_there_is_refused(self, store: PersistenceProvider) -> None:
        assert not await store.put_schedule(_row(rev=4))

        assert list(await store.schedules()) == []

    async def test_replacing_keeps_the_last_run_and_the_creation(
        self, store: PersistenceProvider
    ) -> None:
        row = await _put(store)
        new = await header(store)
        await one(
            store, None, Item(n=new.n, new=new, fire=Fire(id=row.id, rev=row.rev, next_at=None))
        )
        fired = await _get(store)

        assert await store.put_schedule(attrs.evolve(fired, last_n=None, created_at=0))

        kept = await _get(store)
        assert (kept.last_n, kept.created_at) == (new.n, row.created_at)

    async def test_a_deleted_schedule_is_gone(self, store: PersistenceProvider) -> None:
        row = await _put(store)

        deleted = [await store.delete_schedule(row.id) for _ in range(2)]

        assert deleted == [True, False]
        assert list(await store.schedules()) == []
        fire = Fire(id=row.id, rev=row.rev, next_at=None)
        assert await one(store, None, Item(fire=fire)) == Refused("schedule")

    async def test_due_schedules_are_those_whose_time_has_come(
        self, store: PersistenceProvider
    ) -> None:
        now = store.clock.now()
        times: dict[str, int | None] = {
            "later": now + 2 * HOUR,
            "second": now - 5,
            "never": None,
            "first": now - 10,
            "soon": now + HOUR,
        }
        for id_, at in times.items():
            await _put(store, id_, next_at=at)
        await _put(store, "paused", next_at=now - 20, paused=True)
        await _put(store, "paused later", next_at=now + 10, paused=True)

        rows, following = await store.due_schedules(10)

        assert [row.id for row in rows] == ["first", "second"]
        assert rows[0] == await _get(store, "first")
        assert following == now + HOUR

    async def test_due_schedules_are_limited_and_say_when_the_next_is(
        self, store: PersistenceProvider
    ) -> None:
        now = store.clock.now()
        for k in range(3):
            await _put(store, f"s{k}", next_at=now - 10 + k)

        rows, following = await store.due_schedules(2)

        assert [row.id for row in rows] == ["s0", "s1"]
        assert following == now - 8

    async def test_nothing_follows_when_nothing_is_to_come(
        self, store: PersistenceProvider
    ) -> None:
        await _put(store, next_at=store.clock.now() - 1)

        assert (await store.due_schedules(10))[1] is None

    async def test_a_fire_changes_the_schedule_with_its_run(
        self, store: PersistenceProvider
    ) -> None:
        row = await _put(store, next_at=store.clock.now())
        new = await header(store, idem="schedule:nightly:1")
        fire = Fire(id=row.id, rev=row.rev, next_at=store.clock.now() + HOUR, state='{"fired":1}')

        outcome = await one(store, None, Item(n=new.n, new=new, rows=('["a"]',), fire=fire))

        assert isinstance(outcome, Done)
        assert outcome.woken == ((new.n, new.d, None),)
        assert await store.get(new.id) is not None
        assert await _get(store) == attrs.evolve(
            row, next_at=fire.next_at, state=fire.state, rev=row.rev + 1, last_n=new.n
        )
        assert await _due_ids(store) == []

    async def test_a_fire_without_a_run_keeps_the_last_one(
        self, store: PersistenceProvider
    ) -> None:
        row = await _put(store)
        new = await header(store)
        await one(store, None, Item(n=new.n, new=new, fire=Fire(id=row.id, rev=row.rev, next_at=1)))
        skipped = Fire(id=row.id, rev=row.rev + 1, next_at=7, state="5", started=False)

        outcome = await one(store, None, Item(fire=skipped))

        assert isinstance(outcome, Done)
        after = await _get(store)
        assert (after.next_at, after.state, after.rev) == (7, "5", row.rev + 2)
        assert after.last_n == new.n

    async def test_a_fire_at_another_rev_starts_nothing(self, store: PersistenceProvider) -> None:
        row = await _put(store)
        new = await header(store)

        for rev in (row.rev - 1, row.rev + 1):
            fire = Fire(id=row.id, rev=rev, next_at=None, state="5")
            outcome = await one(store, None, Item(n=new.n, new=new, fire=fire))
            assert outcome == Refused("schedule")

        assert await store.get(new.id) is None
        assert await _get(store) == row

    async def test_a_paused_schedule_does_not_fire(self, store: PersistenceProvider) -> None:
        row = await _put(store, paused=True)
        new = await header(store)
        fire = Fire(id=row.id, rev=row.rev, next_at=None, state="5")

        outcome = await one(store, None, Item(n=new.n, new=new, fire=fire))

        assert outcome == Refused("schedule")
        assert await store.get(new.id) is None
        assert await _get(store) == row

    async def test_a_refused_start_leaves_the_schedule_as_it_is(
        self, store: PersistenceProvider
    ) -> None:
        row = await _put(store)
        first = await begin(store, idem="schedule:nightly:1")
        new = await header(store, idem="schedule:nightly:1")
        fire = Fire(id=row.id, rev=row.rev, next_at=None, state="5")

        outcome = await one(store, None, Item(n=new.n, new=new, fire=fire))

        assert outcome == Refused("idem", f"run-{first}")
        assert await _get(store) == row

    async def test_a_refused_fire_sends_no_message(self, store: PersistenceProvider) -> None:
        row = await _put(store)
        last = await begin(store)
        message = Message(target=last, kind="terminate")
        fires = [Fire(id=row.id, rev=rev, next_at=None) for rev in (row.rev + 1, row.rev)]
        items: list[Item] = []
        for fire in fires:
            new = await header(store)
            items.append(Item(n=new.n, new=new, fire=fire, messages=(message,)))

        outcomes = [await one(store, None, item) for item in items]

        assert outcomes[0] == Refused("schedule")
        assert isinstance(outcomes[1], Done)
        assert [kept.kind for kept in (await inbox(store, last))[1]] == ["terminate"]

    async def test_one_of_many_fires_wins(self, store: PersistenceProvider) -> None:
        epochs = [await worker(store) for _ in range(2)]
        row = await _put(store, next_at=store.clock.now())
        news = [await header(store, idem=f"schedule:nightly:{k}") for k in range(10)]
        fire = Fire(id=row.id, rev=row.rev, next_at=None)

        outcomes = await asyncio.gather(
            *(
                one(store, epochs[k % 2], Item(n=new.n, new=new, rows=("[]",), fire=fire))
                for k, new in enumerate(news)
            )
        )

        won = [new for new, out in zip(news, outcomes, strict=True) if isinstance(out, Done)]
        assert len(won) == 1
        assert [out for out in outcomes if not isinstance(out, Done)] == [Refused("schedule")] * 9
        assert (await _get(store)).last_n == won[0].n
        assert [new.id for new in news if await store.get(new.id)] == [won[0].id]

    async def test_fires_of_one_batch_follow_each_other(self, store: PersistenceProvider) -> None:
        row = await _put(store)
        news = [await header(store) for _ in range(3)]
        revs = (row.rev, row.rev, row.rev + 1)
        items = [
            Item(n=new.n, new=new, rows=("[]",), fire=Fire(id=row.id, rev=rev, next_at=rev))
            for new, rev in zip(news, revs, strict=True)
        ]

        outcomes = await store.commit(None, items)

        assert [isinstance(outcome, Done) for outcome in outcomes] == [True, False, True]
        after = await _get(store)
        assert (after.rev, after.last_n) == (row.rev + 2, news[2].n)
