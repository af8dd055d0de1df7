"""Laws of starts: what a new run has, what is unique, and children."""

from __future__ import annotations

import asyncio

from wfe.core.providers import (
    Conflict,
    Done,
    Item,
    Message,
    PersistenceProvider,
    Refused,
    Row,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    final,
    header,
    load,
    message,
    one,
    parked,
    worker,
)

__all__ = ["StartLaws"]

ROWS = ('["a"]', '["b"]')


def _retry(n: int) -> Message:
    return message(n, "retry", strict=True, allow_final=True)


class StartLaws:
    """Runs and their children begin."""

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

    # -- deduplication --------------------------------------------------------------------------

    async def test_dedup_is_unique_among_the_live_of_a_definition(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        first = await begin(store, epoch, dedup="d")
        again = await header(store, dedup="d")
        others = [await header(store, "other", dedup="d"), await header(store, dedup="e")]

        outcomes = await store.commit(
            None, [Item(n=new.n, new=new, rows=ROWS) for new in (again, *others)]
        )

        assert outcomes[0] == Refused("dedup", f"run-{first}")
        assert [type(outcome) for outcome in outcomes[1:]] == [Done, Done]
        assert await store.load([again.n]) == []
        await one(store, epoch, Item(n=first, base=0, rows=ROWS, header=final()))
        assert isinstance(await one(store, None, Item(n=again.n, new=again, rows=ROWS)), Done)

    async def test_same_dedup_twice_in_a_batch_is_one_start(
        self, store: PersistenceProvider
    ) -> None:
        news = [await header(store, dedup="d") for _ in range(2)]

        outcomes = await store.commit(None, [Item(n=new.n, new=new, rows=ROWS) for new in news])

        assert isinstance(outcomes[0], Done)
        assert outcomes[1] == Refused("dedup", news[0].id)

    async def test_one_start_of_many_with_a_dedup_wins(self, store: PersistenceProvider) -> None:
        news = [await header(store, dedup="d") for _ in range(20)]

        outcomes = await asyncio.gather(
            *(one(store, None, Item(n=new.n, new=new, rows=("[]",))) for new in news)
        )

        won = [new for new, o in zip(news, outcomes, strict=True) if isinstance(o, Done)]
        assert len(won) == 1
        assert outcomes.count(Refused("dedup", won[0].id)) == 19

    async def test_a_child_that_is_deduplicated_is_not_started(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        live = await begin(store, dedup="d")
        children = [
            await header(store, parent=n, dedup="d"),
            await header(store, parent=n, dedup="e"),
            await header(store, parent=n, dedup="e"),
        ]
        before = await load(store, live)

        outcome = await one(
            store,
            epoch,
            Item(n=n, base=0, rows=ROWS, starts=tuple(Item(n=c.n, new=c) for c in children)),
        )

        assert isinstance(outcome, Done)
        assert [entry.header.n for entry in await store.load([c.n for c in children])] == [
            children[1].n
        ]
        assert await load(store, live) == before

    async def test_a_final_run_is_not_retried_beside_its_rival(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        over = [await begin(store, epoch, dedup=f"d-{k}") for k in range(3)]
        for n in over:
            await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=final("failed")))
        retries = [Item(messages=(_retry(n),)) for n in over]
        for item in retries[1:]:
            assert isinstance(await one(store, None, item), Done)
        rivals = [await begin(store, dedup=f"d-{k}") for k in range(3)]
        d = (await load(store, over[0])).header.d
        await store.claim(epoch, [d], 10, hints=over)

        late = await one(store, None, retries[0])
        revived = await one(
            store, epoch, Item(n=over[1], base=2, rows=ROWS, seen=1, header=parked())
        )
        await store.fault(epoch, over[2], 0, '"x"', 1)

        assert late == Refused("dedup", f"run-{rivals[0]}")
        assert revived == Refused("dedup", f"run-{rivals[1]}")
        found = [(await load(store, n)).header for n in over]
        assert [header_.status for header_ in found] == ["failed", "failed", "suspended"]
        again = await header(store, dedup="d-2")
        outcome = await one(store, None, Item(n=again.n, new=again))
        assert outcome == Refused("dedup", f"run-{rivals[2]}")

    async def test_a_retried_run_has_its_dedup_again(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch, dedup="d")
        await one(store, epoch, Item(n=n, base=0, rows=ROWS, header=final("failed")))
        await one(store, None, Item(messages=(_retry(n),)))
        await store.claim(epoch, [(await load(store, n)).header.d], 10)
        await one(store, epoch, Item(n=n, base=2, rows=ROWS, seen=1, header=parked()))
        new = await header(store, dedup="d")

        outcome = await one(store, None, Item(n=new.n, new=new))

        assert outcome == Refused("dedup", f"run-{n}")

    # -- children --------------------------------------------------------------------------------

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

    async def test_one_start_of_many_with_a_key_wins(self, store: PersistenceProvider) -> None:
        news = [await header(store, idem="key:1") for _ in range(20)]

        outcomes = await asyncio.gather(
            *(one(store, None, Item(n=new.n, new=new, rows=("[]",))) for new in news)
        )

        won = [new for new, o in zip(news, outcomes, strict=True) if isinstance(o, Done)]
        assert len(won) == 1
        lost = [outcome for outcome in outcomes if not isinstance(outcome, Done)]
        assert set(lost) == {Refused("idem", won[0].id)}
