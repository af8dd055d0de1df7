"""Laws of events: published before or after, each wait is woken exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Done, Event, Item, PersistenceProvider, Subscription
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    both_orders,
    definition,
    fields,
    final,
    inbox,
    load,
    one,
    parked,
    worker,
)

__all__ = ["EventLaws"]


def _wait(pointer: int = 1, key: str = "k", as_of: int = 0, **after: Any) -> Subscription:
    return Subscription(pointer=pointer, name="go", key=key, as_of=as_of, **after)


def _event(id_: str, key: str = "k", at: int | None = None, **rest: Any) -> Event:
    return Event(id=id_, name="go", key=key, at=at, **rest)


async def _publish(store: PersistenceProvider, *events: Event) -> Done:
    outcome = await one(store, None, Item(publish=events))
    assert isinstance(outcome, Done)
    return outcome


async def _waiting(store: PersistenceProvider, *waits: Subscription) -> int:
    """Return a run that is parked on *waits*."""
    epoch = await worker(store)
    n = await begin(store, epoch)
    item = Item(n=n, base=0, rows=('"wait"',), subscribe=waits, header=parked())
    assert isinstance(await one(store, epoch, item), Done)
    return n


class EventLaws:
    """Subscriptions and events."""

    async def test_an_event_wakes_who_waits(self, store: PersistenceProvider) -> None:
        n = await _waiting(store, _wait(7))

        done = await _publish(store, _event("e-1", payload='{"ok":true}'))

        loaded = await load(store, n)
        assert done.woken == ((n, loaded.header.d, None),)
        assert loaded.header.wake == done.at
        (row,) = loaded.inbox
        assert row.kind == "event"
        found = fields(row.payload)
        assert (found["pointer"], found["id"], found["payload"]) == (7, "e-1", {"ok": True})
        assert found["at"] == done.at

    async def test_an_event_published_before_the_wait_is_found(
        self, store: PersistenceProvider
    ) -> None:
        start = store.clock.now()
        await _publish(store, _event("e-1"))

        n = await _waiting(store, _wait(as_of=start))

        poke, (row,) = await inbox(store, n)
        assert (poke, fields(row.payload)["id"]) == (1, "e-1")
        d = await definition(store)
        assert [entry.n for entry in await store.claim(await worker(store), [d], 9)] == [n]

    async def test_an_event_is_used_once_per_wait(self, store: PersistenceProvider) -> None:
        n = await _waiting(store, _wait())

        await _publish(store, _event("e-1"))
        second = await _publish(store, _event("e-2"))

        assert second.woken == ()
        poke, rows = await inbox(store, n)
        assert (poke, len(rows)) == (1, 1)

    async def test_found_at_once_means_not_waiting_any_more(
        self, store: PersistenceProvider
    ) -> None:
        await _publish(store, _event("e-1"))
        n = await _waiting(store, _wait())

        second = await _publish(store, _event("e-2"))

        assert second.woken == ()
        assert (await inbox(store, n))[0] == 1

    async def test_events_before_as_of_do_not_count(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        await _publish(store, _event("old", at=now - 1))
        n = await _waiting(store, _wait(as_of=now))
        assert (await inbox(store, n))[0] == 0

        await _publish(store, _event("older", at=now - 2))
        assert (await inbox(store, n))[0] == 0
        await _publish(store, _event("exact", at=now))

        _, (row,) = await inbox(store, n)
        assert fields(row.payload)["id"] == "exact"

    async def test_waits_in_a_row_use_each_event_once(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        for k, at in enumerate((now, now, now + 5, now - 5)):
            await _publish(store, _event(f"e-{k}", at=at))
        epoch = await worker(store)
        n = await begin(store, epoch)
        after_at = after_e = -1
        used: list[str] = []

        for base in range(5):
            wait = _wait(as_of=now - 5, after_at=after_at, after_e=after_e)
            await one(store, epoch, Item(n=n, base=base, rows=("[]",), subscribe=(wait,)))
            _, rows = await inbox(store, n)
            for row in rows[len(used) :]:
                found = fields(row.payload)
                used.append(found["id"])
                after_at, after_e = found["at"], found["e"]

        assert used == ["e-3", "e-0", "e-1", "e-2"]
        done = await _publish(store, _event("e-4", at=now + 5))
        assert len(done.woken) == 1

    async def test_a_repeated_event_id_is_one_event(self, store: PersistenceProvider) -> None:
        await _publish(store, _event("e-1"), _event("e-1"))
        first = await _waiting(store, _wait())
        second = await _waiting(store, _wait(as_of=store.clock.now() + HOUR))

        again = await _publish(store, _event("e-1", at=store.clock.now() + 2 * HOUR))

        assert again.woken == ()
        assert [(await inbox(store, n))[0] for n in (first, second)] == [1, 0]

    async def test_other_names_and_keys_do_not_match(self, store: PersistenceProvider) -> None:
        n = await _waiting(store, _wait(key="k"))

        done = await _publish(
            store, _event("e-1", key="other"), Event(id="e-2", name="gone", key="k")
        )

        assert done.woken == ()
        assert (await inbox(store, n))[0] == 0

    async def test_one_event_wakes_every_run_and_branch(self, store: PersistenceProvider) -> None:
        runs = [await _waiting(store, _wait(1), _wait(2), _wait(3, key="z")) for _ in range(3)]

        done = await _publish(store, _event("e-1"))

        assert sorted(n for n, _, _ in done.woken) == runs
        for n in runs:
            poke, rows = await inbox(store, n)
            assert poke == 2
            assert sorted(fields(row.payload)["pointer"] for row in rows) == [1, 2]

    async def test_a_wait_that_ended_does_not_wake(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n, over = await begin(store, epoch), await begin(store, epoch)
        waits = (_wait(1), _wait(2))
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), subscribe=waits))
        await one(store, epoch, Item(n=n, base=1, rows=("[]",), unsubscribe=(1,)))
        await one(store, epoch, Item(n=over, base=0, rows=("[]",), subscribe=waits))
        await one(store, epoch, Item(n=over, base=1, rows=("[]",), header=final()))

        await _publish(store, _event("e-1"))

        _, (row,) = await inbox(store, n)
        assert fields(row.payload)["pointer"] == 2
        assert await inbox(store, over) == (0, ())

    async def test_a_wait_can_be_replaced(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        for base, key in enumerate(("old", "new")):
            await one(
                store, epoch, Item(n=n, base=base, rows=("[]",), subscribe=(_wait(1, key=key),))
            )

        old = await _publish(store, _event("e-1", key="old"))
        new = await _publish(store, _event("e-2", key="new"))

        assert (len(old.woken), len(new.woken)) == (0, 1)

    @pytest.mark.needs("virtual_clock")
    async def test_an_expired_event_is_for_nobody_who_comes_later(
        self, store: PersistenceProvider
    ) -> None:
        clock = store.clock
        assert isinstance(clock, VirtualClock)
        start = clock.now()
        await _publish(
            store,
            _event("e-1", expires=start + 10),
            _event("e-2", expires=start + 11),
            _event("e-3", key="other", expires=start + 10),
        )
        clock.move_to(start + 9)
        early = await _waiting(store, _wait(as_of=start))
        clock.move_to(start + 10)

        late = await _waiting(store, _wait(as_of=start), _wait(2, key="other", as_of=start))

        rows = [row for n in (early, late) for row in (await inbox(store, n))[1]]
        assert [(row.n, fields(row.payload)["id"]) for row in rows] == [
            (early, "e-1"),
            (late, "e-2"),
        ]
        done = await _publish(store, _event("e-4", key="other", expires=start + 11))
        assert [n for n, _, _ in done.woken] == [late]

    async def test_an_event_that_has_expired_already_wakes_nobody(
        self, store: PersistenceProvider
    ) -> None:
        n = await _waiting(store, _wait())
        now = store.clock.now()

        over = await _publish(store, _event("e-1", expires=now))
        live = await _publish(store, _event("e-2", expires=now + HOUR))

        assert (over.woken, len(live.woken)) == ((), 1)
        _, (row,) = await inbox(store, n)
        assert fields(row.payload)["id"] == "e-2"

    async def test_publish_and_wait_in_one_item_meet(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        wake = store.clock.now() + HOUR
        item = Item(
            n=n,
            base=0,
            rows=("[]",),
            header=parked(wake),
            subscribe=(_wait(),),
            publish=(_event("e-1"),),
        )

        outcome = await one(store, epoch, item)

        assert isinstance(outcome, Done)
        loaded = await load(store, n)
        assert outcome.woken == ((n, loaded.header.d, None),)
        assert (loaded.header.wake, len(loaded.inbox)) == (outcome.at, 1)

    async def test_publish_and_wait_at_once_always_meet(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        runs = [await begin(store, epoch) for _ in range(20)]
        waits = [
            one(
                store,
                epoch,
                Item(
                    n=n,
                    base=0,
                    rows=("[]",),
                    header=parked(),
                    subscribe=(_wait(key=f"k-{n}"),),
                ),
            )
            for n in runs
        ]
        events = [_publish(store, _event(f"e-{n}", key=f"k-{n}")) for n in runs]

        await asyncio.gather(*both_orders(waits, events))

        assert [(await inbox(store, n))[0] for n in runs] == [1] * 20
        claimed = await store.claim(epoch, [await definition(store)], 100)
        assert sorted(entry.n for entry in claimed) == runs

    async def test_one_event_of_many_publishers_is_stored_once(
        self, store: PersistenceProvider
    ) -> None:
        n = await _waiting(store, _wait(1), _wait(2, as_of=store.clock.now() + HOUR))

        done = await asyncio.gather(*(_publish(store, _event("e-1")) for _ in range(20)))

        assert sum(len(outcome.woken) for outcome in done) == 1
        poke, rows = await inbox(store, n)
        assert (poke, len(rows)) == (1, 1)
