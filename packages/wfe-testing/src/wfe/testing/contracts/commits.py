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
    Row,
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
    """Starts, rows, header changes, snapshots and children."""

    # -- starts ---------------------------------------------------------------------------------

    async def test_start_stores_the_header_and_its_rows(self, store: PersistenceProvider) -> None:
        new = await header(
            store, name="Anna's order", reference="ref-1", idem="key:1", wake=store.clock.now()
        )

        outcome = await one(store, None, Item(n=new.n, new=new, rows=ROWS))

        assert isinstance(outcome, Done)
        loaded = await load(store, new.n)
        found = loaded.header
        assert (found.id, found.name, found.reference) == (new.id, new.name, "ref-1")
        assert (found.d, found.definition, found.version) == (new.d, "order", 1)
        assert (found.status, found.wake, found.owner) == ("runnable", new.wake, None)
        assert (found.poke, found.takeovers, found.faults) == (0, 0, 0)
        assert (found.idem, found.root_id) == ("key:1", new.root_id)
        assert (found.created_at, found.completed_at, found.error) == (outcome.at, None, None)
        assert loaded.tail == (Row(0, outcome.at, ROWS[0]), Row(1, outcome.at, ROWS[1]))
        assert (loaded.snapshot, loaded.inbox) == (None, ())

    async def test_start_owned_from_the_start_is_not_claimable(
        self, store: PersistenceProvider
    ) -> None:
        mine, other = await worker(store), await worker(store)
        n = await begin(store, mine)

        claimed = await store.claim(other, [(await load(store, n)).header.d], 10)

        assert claimed == []
        assert (await load(store, n)).header.owner == mine

    async def test_start_for_somebody_else_is_a_conflict(self, store: PersistenceProvider) -> None:
        mine, other = await worker(store), await worker(store)
        new = await header(store, owner=other)

        outcome = await one(store, mine, Item(n=new.n, new=new))

        assert outcome == Conflict()
        assert await store.get(new.id) is None

    async def test_start_tells_who_became_due(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        due = await header(store, wake=now)
        later = await header(store, wake=now + HOUR)
        asleep = await header(store, wake=None)
        owned = await header(store, wake=now, owner=epoch)

        outcomes = await store.commit(
            epoch, [Item(n=new.n, new=new) for new in (due, later, asleep, owned)]
        )

        woken = [outcome.woken for outcome in outcomes if isinstance(outcome, Done)]
        assert woken == [((due.n, due.d, None),), (), (), ()]

    async def test_name_is_unique_in_the_store(self, store: PersistenceProvider) -> None:
        first = await begin(store, name="only")
        new = await header(store, "other", name="only")

        outcome = await one(store, None, Item(n=new.n, new=new, rows=ROWS))

        assert outcome == Refused("name", f"run-{first}")
        assert await store.load([new.n]) == []
        assert list(await store.history(new.n, -1, 10)) == []

    async def test_idempotency_key_is_unique_per_definition(
        self, store: PersistenceProvider
    ) -> None:
        first = await begin(store, idem="key:1")
        again = await header(store, idem="key:1")
        other = await header(store, "other", idem="key:1")

        outcomes = await store.commit(
            None, [Item(n=new.n, new=new, rows=ROWS) for new in (again, other)]
        )

        assert outcomes[0] == Refused("idem", f"run-{first}")
        assert isinstance(outcomes[1], Done)
        assert await store.get(again.id) is None

    async def test_same_name_twice_in_a_batch_is_one_start(
        self, store: PersistenceProvider
    ) -> None:
        news = [await header(store, name="twin") for _ in range(2)]

        outcomes = await store.commit(None, [Item(n=new.n, new=new, rows=ROWS) for new in news])

        assert isinstance(outcomes[0], Done)
        assert outcomes[1] == Refused("name", news[0].id)

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

    # -- snapshots and children -----------------------------------------------------------------

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

    async def test_children_begin_with_their_parents_item(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        new = await header(
            store, "child", parent=n, parent_pointer=7, parent_id=f"run-{n}", root_id=f"run-{n}"
        )

        outcome = await one(
            store,
            epoch,
            Item(n=n, base=0, rows=ROWS, starts=(Item(n=new.n, new=new, rows=('["c"]',)),)),
        )

        assert isinstance(outcome, Done)
        assert outcome.woken == ((new.n, new.d, None),)
        child = await load(store, new.n)
        assert (child.header.parent, child.header.parent_pointer) == (n, 7)
        assert (child.header.parent_id, child.header.root_id) == (f"run-{n}", f"run-{n}")
        assert [row.event for row in child.tail] == ['["c"]']

    async def test_children_fall_with_their_parents_item(self, store: PersistenceProvider) -> None:
        epoch, other = await worker(store), await worker(store)
        conflicting = await begin(store, other)
        behind = await begin(store, epoch)
        children = [await header(store, parent=n) for n in (conflicting, behind)]
        items = [
            Item(n=n, base=base, rows=ROWS, header=change, starts=(Item(n=new.n, new=new),))
            for n, base, change, new in (
                (conflicting, 0, parked(), children[0]),
                (behind, -1, None, children[1]),
            )
        ]

        outcomes = await store.commit(epoch, items)

        assert list(outcomes) == [Conflict(), Conflict()]
        assert [await store.get(new.id) for new in children] == [None, None]

    async def test_a_child_that_exists_is_left_as_it_is(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        first = await header(store, parent=n, idem="child:1")
        await one(store, epoch, Item(n=n, base=0, starts=(Item(n=first.n, new=first, rows=ROWS),)))
        again = await header(store, parent=n, idem="child:1")
        before = await load(store, first.n)

        outcome = await one(
            store,
            epoch,
            Item(n=n, base=0, rows=ROWS, starts=(Item(n=again.n, new=again, rows=ROWS),)),
        )

        assert isinstance(outcome, Done)
        assert await store.get(again.id) is None
        assert await load(store, first.n) == before
        assert len(await store.history(n, -1, 10)) == 3

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
