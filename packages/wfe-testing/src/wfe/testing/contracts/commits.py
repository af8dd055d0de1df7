"""Laws of commits: items are whole or not at all, and only the owner writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Fenced,
    HeaderChange,
    Item,
    PersistenceProvider,
    Refused,
    Snapshot,
    Stale,
    Subscription,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    final,
    header,
    inbox,
    load,
    message,
    one,
    parked,
    tell,
    worker,
)

__all__ = ["CommitLaws"]

NEVER_REGISTERED = 12345
ROWS = ('["a"]', '["b"]')


class CommitLaws:
    """Rows, header changes, snapshots."""

    # -- rows -----------------------------------------------------------------------------------

    async def test_rows_continue_the_journal_without_a_gap(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)

        for base in (0, 2, 4):
            assert isinstance(await one(store, epoch, Item(n=n, base=base, rows=ROWS)), Done)

        history = await store.history(n, -1, 100)
        assert [row.seq for row in history] == list(range(7))
        assert [row.event for row in history[1:]] == list(ROWS * 3)

    async def test_a_base_that_is_not_the_last_row_conflicts(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, rows=ROWS))
        before = await load(store, n)

        behind = await one(store, epoch, Item(n=n, base=0, rows=('["late"]',)))
        partly = await one(store, epoch, Item(n=n, base=1, rows=('["x"]', '["y"]')))
        ahead = await one(store, epoch, Item(n=n, base=7, rows=ROWS, header=parked()))

        assert (behind, partly, ahead) == (Conflict(), Conflict(), Conflict())
        assert await load(store, n) == before

    async def test_texts_come_back_as_they_were(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        texts = (
            '"\\u0000"',
            '"ünïcødé \N{ROCKET}"',
            "'; DROP TABLE x; --",
            '"' + "x" * 300_000 + '"',
        )

        await one(store, epoch, Item(n=n, base=0, rows=texts))

        assert tuple(row.event for row in await store.history(n, 0, 10)) == texts

    async def test_client_without_epoch_owns_nothing(self, store: PersistenceProvider) -> None:
        n = await begin(store)

        outcome = await one(store, None, Item(n=n, base=0, rows=ROWS))

        assert outcome == Conflict()
        assert len(await store.history(n, -1, 10)) == 1

    # -- who may write --------------------------------------------------------------------------

    async def test_only_the_owner_changes_the_header(self, store: PersistenceProvider) -> None:
        owner, other = await worker(store), await worker(store)
        owned = await begin(store, owner)
        unowned = await begin(store)
        before = await load(store, owned), await load(store, unowned)

        outcomes = await store.commit(
            other,
            [Item(n=n, base=0, rows=ROWS, header=final()) for n in (owned, unowned)],
        )

        assert list(outcomes) == [Conflict(), Conflict()]
        assert (await load(store, owned), await load(store, unowned)) == before

    async def test_only_the_owner_folds_consumes_and_counts_as_alive(
        self, store: PersistenceProvider
    ) -> None:
        owner, other = await worker(store), await worker(store)
        n = await begin(store, owner)
        await tell(store, n)
        poke, (row,) = await inbox(store, n)
        before = await load(store, n)

        outcomes = [
            await one(store, other, Item(n=n, base=0, rows=ROWS, seen=poke, consumed=(row.i,))),
            await one(store, other, Item(n=n, base=0, fold=Snapshot(0, "{}", "{}"))),
            await one(store, other, Item(n=n, base=0, rows=ROWS, alive=True)),
        ]

        assert outcomes == [Conflict()] * 3
        assert await load(store, n) == before

    async def test_a_fenced_worker_writes_nothing(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        listener = await begin(store)
        new = await header(store, owner=epoch)
        await store.fence([epoch], lease=None)
        before = await load(store, n), await load(store, listener)

        outcomes = await store.commit(
            epoch,
            [
                Item(n=n, base=0, rows=ROWS),
                Item(n=new.n, new=new, rows=ROWS),
                Item(messages=(message(listener),)),
            ],
        )

        assert list(outcomes) == [Fenced()] * 3
        assert (await load(store, n), await load(store, listener)) == before
        assert await store.get(new.id) is None

    async def test_an_epoch_that_nobody_issued_writes_nothing(
        self, store: PersistenceProvider
    ) -> None:
        new = await header(store)

        outcome = await one(store, NEVER_REGISTERED, Item(n=new.n, new=new, rows=ROWS))

        assert outcome == Fenced()
        assert await store.get(new.id) is None

    # -- one bad item ---------------------------------------------------------------------------

    async def test_bad_items_leave_the_others_alone(self, store: PersistenceProvider) -> None:
        epoch, other = await worker(store), await worker(store)
        good = [await begin(store, epoch) for _ in range(5)]
        bad_base = await begin(store, epoch)
        not_mine = await begin(store, other)
        stale = await begin(store, epoch)
        await tell(store, stale)
        await begin(store, name="taken")
        taken = await header(store, name="taken")

        outcomes = await store.commit(
            epoch,
            [
                Item(n=good[0], base=0, rows=ROWS),
                Item(n=bad_base, base=-1, rows=ROWS),
                Item(n=good[1], base=0, rows=ROWS, header=final()),
                Item(n=not_mine, base=0, rows=ROWS, header=final()),
                Item(n=good[2], base=0, rows=ROWS, header=parked()),
                Item(n=stale, base=0, rows=ROWS, header=final()),
                Item(n=good[3], base=0, rows=ROWS, alive=True),
                Item(n=taken.n, new=taken, rows=ROWS),
                Item(n=good[4], base=0, rows=ROWS, messages=(message(not_mine),)),
                Item(n=0, messages=(message(987_654_321, strict=True),)),
            ],
        )

        assert [type(outcome) for outcome in outcomes[::2]] == [Done] * 5
        assert list(outcomes[1::2]) == [
            Conflict(),
            Conflict(),
            Stale(),
            Refused("name", (await store.get("taken") or taken).id),
            Refused("missing"),
        ]
        assert [len((await load(store, n)).tail) for n in good] == [3] * 5
        assert [len((await load(store, n)).tail) for n in (bad_base, not_mine, stale)] == [1] * 3

    async def test_a_refused_item_leaves_no_trace(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n, friend, over = [await begin(store, epoch) for _ in range(3)]
        await one(store, epoch, Item(n=over, base=0, header=final("failed")))
        await tell(store, n, dedupe="kept")
        poke, (kept,) = await inbox(store, n)
        child = await header(store, parent=n, idem="child:1")
        item = Item(
            n=n,
            base=0,
            rows=ROWS,
            fold=Snapshot(2, "{}", "{}"),
            header=parked(store.clock.now() + HOUR, "suspended"),
            seen=poke,
            consumed=(kept.i,),
            starts=(Item(n=child.n, new=child, rows=ROWS),),
            subscribe=(Subscription(pointer=1, name="go", key="k", as_of=0),),
            publish=(Event(id="event-1", name="other", key="k"),),
            messages=(message(friend), message(over, strict=True)),
        )
        before = await load(store, n), await load(store, friend), await load(store, over)

        outcome = await one(store, epoch, item)

        assert outcome == Refused("final", "failed")
        after = await load(store, n), await load(store, friend), await load(store, over)
        assert after == before
        assert await store.get(child.id) is None
        published = await one(store, None, Item(publish=(Event(id="event-2", name="go", key="k"),)))
        assert isinstance(published, Done)
        assert published.woken == ()

    # -- header changes -------------------------------------------------------------------------

    async def test_final_ends_the_run(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)

        outcome = await one(
            store, epoch, Item(n=n, base=0, rows=ROWS, header=final("failed", '{"type":"E"}'))
        )

        assert isinstance(outcome, Done)
        found = (await load(store, n)).header
        assert (found.status, found.error) == ("failed", '{"type":"E"}')
        assert (found.owner, found.wake, found.completed_at) == (None, None, outcome.at)
        assert await store.claim(epoch, [found.d], 10) == []
        assert await store.due([found.d]) is None

    async def test_final_needs_that_every_message_was_seen(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await tell(store, n, "terminate")
        before = await load(store, n)

        hasty = await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=final(), seen=0))

        assert hasty == Stale()
        assert await load(store, n) == before
        poke, (row,) = await inbox(store, n)
        item = Item(
            n=n, base=0, rows=ROWS, header=final("terminated"), seen=poke, consumed=(row.i,)
        )
        assert isinstance(await one(store, epoch, item), Done)
        assert (await load(store, n)).inbox == ()

    async def test_consuming_needs_that_every_message_was_seen(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await tell(store, n, "first")
        poke, (first,) = await inbox(store, n)
        await tell(store, n, "terminate")

        stale = await one(
            store, epoch, Item(n=n, base=0, rows=ROWS, seen=poke, consumed=(first.i,))
        )
        fresh = await one(
            store, epoch, Item(n=n, base=0, rows=ROWS, seen=poke + 1, consumed=(first.i,))
        )

        assert stale == Stale()
        assert isinstance(fresh, Done)
        _, left = await inbox(store, n)
        assert [row.kind for row in left] == ["terminate"]

    async def test_header_change_that_keeps_the_run_needs_that_too(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        change = HeaderChange(status="suspended", error='"why"')

        kept = await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=change))
        await tell(store, n)
        stale = await one(store, epoch, Item(n=n, base=2, header=HeaderChange(status="runnable")))

        assert isinstance(kept, Done)
        assert stale == Stale()
        found = (await load(store, n)).header
        assert (found.status, found.error, found.owner) == ("suspended", '"why"', epoch)

    async def test_release_parks_until_the_wanted_time(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        wake = store.clock.now() + HOUR

        outcome = await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=parked(wake)))

        assert isinstance(outcome, Done)
        assert outcome.woken == ()
        found = (await load(store, n)).header
        assert (found.owner, found.wake) == (None, wake)
        assert await store.due([found.d]) == wake
        assert await store.claim(epoch, [found.d], 10) == []

    async def test_release_without_a_time_sleeps_until_woken(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, header=parked(None)))
        d = (await load(store, n)).header.d

        assert await store.due([d]) is None
        await tell(store, n)
        assert [claimed.n for claimed in await store.claim(epoch, [d], 10)] == [n]

    async def test_release_never_sleeps_over_a_message(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await tell(store, n)

        outcome = await one(
            store,
            epoch,
            Item(n=n, base=0, rows=ROWS, header=parked(store.clock.now() + HOUR), seen=0),
        )

        assert isinstance(outcome, Done)
        found = (await load(store, n)).header
        assert (found.owner, found.wake) == (None, outcome.at)
        assert outcome.woken == ((n, found.d, None),)
        assert [claimed.n for claimed in await store.claim(epoch, [found.d], 10)] == [n]

    async def test_release_after_the_message_was_seen_sleeps(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await tell(store, n)
        poke, (row,) = await inbox(store, n)
        wake = store.clock.now() + HOUR

        await one(
            store,
            epoch,
            Item(n=n, base=0, rows=ROWS, header=parked(wake), seen=poke, consumed=(row.i,)),
        )

        assert (await load(store, n)).header.wake == wake

    async def test_a_final_run_can_be_retried(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=final("failed", '"why"')))
        await tell(store, n, "retry", strict=True, allow_final=True)
        d = (await load(store, n)).header.d

        assert [claimed.n for claimed in await store.claim(epoch, [d], 10)] == [n]
        poke, (row,) = await inbox(store, n)
        change = HeaderChange(status="runnable")
        item = Item(n=n, base=2, rows=ROWS, header=change, seen=poke, consumed=(row.i,))
        assert isinstance(await one(store, epoch, item), Done)
        found = (await load(store, n)).header
        assert (found.status, found.error, found.completed_at) == ("runnable", None, None)

    # -- snapshots --------------------------------------------------------------------------------

    async def test_load_gives_the_last_snapshot_and_the_rows_above_it(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, rows=ROWS, fold=Snapshot(0, "old", "{}")))
        await one(store, epoch, Item(n=n, base=2, rows=ROWS, fold=Snapshot(3, "new", '{"a":1}')))

        loaded = await load(store, n)

        assert loaded.snapshot == Snapshot(3, "new", '{"a":1}')
        assert [row.seq for row in loaded.tail] == [4]
        history = await store.history(n, -1, 10)
        assert [row.seq for row in history] == [0, 1, 2, 3, 4]
        assert [row.event for row in history] == ['["begin"]', *ROWS, *ROWS]

    # -- durability -----------------------------------------------------------------------------

    @pytest.mark.needs("durable")
    async def test_what_was_acknowledged_is_there_after_reopening(
        self,
        store: PersistenceProvider,
        reopen: Callable[[], Awaitable[PersistenceProvider]],
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch, name="survivor", idem="key:1")
        wait = Subscription(pointer=1, name="go", key="k", as_of=0)
        item = Item(n=n, base=0, rows=ROWS, fold=Snapshot(0, "s", "{}"), subscribe=(wait,))
        await one(store, epoch, item)
        await one(store, None, Item(publish=(Event(id="event-1", name="other", key="k"),)))
        await tell(store, n, payload='{"a":1}')
        before = await load(store, n)
        definitions = await store.definitions()
        last = await store.allocate(1)

        again = await reopen()

        assert await load(again, n) == before
        assert await again.definitions() == definitions
        assert await again.allocate(1) > last
        assert await again.get("survivor") == before.header
        twice = await header(again, idem="key:1")
        assert await one(again, None, Item(n=twice.n, new=twice)) == Refused("idem", f"run-{n}")
        wakes = Item(publish=(Event(id="event-2", name="go", key="k"),))
        repeats = Item(publish=(Event(id="event-1", name="go", key="k"),))
        outcomes = await again.commit(None, [repeats, wakes])
        assert [len(o.woken) for o in outcomes if isinstance(o, Done)] == [0, 1]
