"""Laws of messages: nothing sent is lost, nothing is kept twice."""

from __future__ import annotations

import asyncio

from wfe.core.providers import Done, Event, Item, PersistenceProvider, Refused, Subscription
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    both_orders,
    definition,
    final,
    inbox,
    load,
    message,
    one,
    parked,
    tell,
    worker,
)

__all__ = ["MessageLaws"]


class MessageLaws:
    """Inbox rows."""

    # -- messages -------------------------------------------------------------------------------

    async def test_a_message_wakes_an_unowned_run(self, store: PersistenceProvider) -> None:
        n = await begin(store, wake=None)

        done = await tell(store, n, "signal", payload='{"a":1}', actor="anna", reason="why")

        loaded = await load(store, n)
        assert done.woken == ((n, loaded.header.d, None),)
        assert (loaded.header.wake, loaded.header.poke) == (done.at, 1)
        (row,) = loaded.inbox
        assert (row.n, row.kind, row.at, row.payload) == (n, "signal", done.at, '{"a":1}')
        assert (row.actor, row.reason) == ("anna", "why")
        assert await inbox(store, n) == (1, (row,))

    async def test_a_message_names_the_owner(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch, wake=None)

        done = await tell(store, n)

        found = (await load(store, n)).header
        assert done.woken == ((n, found.d, epoch),)
        assert (found.owner, found.wake, found.poke) == (epoch, None, 1)

    async def test_a_message_does_not_put_off_what_was_due(
        self, store: PersistenceProvider
    ) -> None:
        wake = store.clock.now() - 1000
        n = await begin(store, wake=wake)

        await tell(store, n)

        assert (await load(store, n)).header.wake == wake

    async def test_messages_are_read_in_the_order_they_were_sent(
        self, store: PersistenceProvider
    ) -> None:
        n = await begin(store)
        await one(store, None, Item(messages=(message(n, "a"), message(n, "b"))))
        await tell(store, n, "c")

        poke, rows = await inbox(store, n)

        assert poke == 3
        assert [row.kind for row in rows] == ["a", "b", "c"]
        assert sorted(rows, key=lambda row: row.i) == list(rows)

    async def test_numbers_of_messages_are_not_used_again(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await tell(store, n)
        poke, (first,) = await inbox(store, n)
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), seen=poke, consumed=(first.i,)))

        await tell(store, n)

        _, (second,) = await inbox(store, n)
        assert second.i > first.i

    async def test_dedupe_keeps_one_row_until_it_is_consumed(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        first = await tell(store, n, dedupe="child:7", payload="1")
        second = await tell(store, n, dedupe="child:7", payload="2")
        await tell(store, n, dedupe="child:8")

        poke, rows = await inbox(store, n)

        assert (len(first.woken), second.woken, poke) == (1, (), 2)
        assert [row.payload for row in rows] == ["1", "null"]
        used = tuple(row.i for row in rows)
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), seen=poke, consumed=used))
        assert len((await tell(store, n, dedupe="child:7")).woken) == 1

    async def test_a_lax_message_to_nobody_is_dropped(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        over = await begin(store, epoch)
        await one(store, epoch, Item(n=over, base=0, header=final()))

        done = [await tell(store, 987_654_321), await tell(store, over)]

        assert [outcome.woken for outcome in done] == [(), ()]
        assert await inbox(store, over) == (0, ())
        assert (await load(store, over)).header.wake is None

    async def test_a_strict_message_needs_a_live_target(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        over = await begin(store, epoch)
        await one(store, epoch, Item(n=over, base=0, header=final("terminated")))

        missing = await one(store, None, Item(messages=(message(987_654_321, strict=True),)))
        late = await one(store, None, Item(messages=(message(over, strict=True),)))

        assert missing == Refused("missing")
        assert late == Refused("final", "terminated")
        assert await inbox(store, over) == (0, ())

    async def test_retry_makes_a_final_run_claimable(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, header=final("failed")))

        done = await tell(store, n, "retry", strict=True, allow_final=True)

        assert done.woken == ((n, await definition(store), None),)
        found = (await load(store, n)).header
        assert (found.status, found.wake) == ("failed", done.at)

    async def test_children_that_are_not_final_get_the_parents_message(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        parent = await begin(store, epoch)
        live, over = [await begin(store, epoch, parent=parent) for _ in range(2)]
        stranger = await begin(store, epoch)
        await one(store, epoch, Item(n=over, base=0, header=final()))

        outcome = await one(
            store, epoch, Item(n=parent, base=0, rows=("[]",), messages=(message(None),))
        )

        assert isinstance(outcome, Done)
        assert outcome.woken == ((live, await definition(store), epoch),)
        assert [(await inbox(store, n))[0] for n in (live, over, stranger, parent)] == [1, 0, 0, 0]

    async def test_all_that_a_batch_does_to_a_run_counts(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        wait = Subscription(pointer=1, name="go", key="k", as_of=0)
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), subscribe=(wait,)))
        release = parked(store.clock.now() + HOUR)

        outcomes = await store.commit(
            epoch,
            [
                Item(messages=(message(n, "a"), message(n, "b"))),
                Item(n=n, base=1, rows=("[]",), header=release),
                Item(publish=(Event(id="e-1", name="go", key="k"),)),
                Item(messages=(message(n, "c"),)),
            ],
        )

        assert [type(outcome) for outcome in outcomes] == [Done] * 4
        poke, rows = await inbox(store, n)
        assert (poke, sorted(row.kind for row in rows)) == (4, ["a", "b", "c", "event"])
        claimed = await store.claim(epoch, [await definition(store)], 10)
        assert [entry.n for entry in claimed] == [n]
        assert (await load(store, n)).tail[-1].seq == 2

    async def test_no_message_of_many_senders_is_lost(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        seen: list[str] = []

        async def own() -> None:
            base = 0
            while len(seen) < 20:
                poke, rows = await inbox(store, n)
                used = tuple(row.i for row in rows)
                item = Item(n=n, base=base, rows=("[]",), seen=poke, consumed=used)
                if rows and isinstance(await one(store, epoch, item), Done):
                    seen.extend(row.kind for row in rows)
                    base += 1
                await asyncio.sleep(0)

        async with asyncio.timeout(20):
            await asyncio.gather(own(), *(tell(store, n, f"kind {k}") for k in range(20)))

        assert sorted(seen) == sorted(f"kind {k}" for k in range(20))
        assert await inbox(store, n) == (20, ())

    async def test_release_and_message_at_once_never_sleep(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await begin(store, epoch) for _ in range(20)]
        wake = store.clock.now() + HOUR

        releases = [one(store, epoch, Item(n=n, base=0, header=parked(wake), seen=0)) for n in runs]
        await asyncio.gather(*both_orders(releases, [tell(store, n) for n in runs]))

        claimed = await store.claim(epoch, [await definition(store)], 100)
        assert sorted(entry.n for entry in claimed) == runs
