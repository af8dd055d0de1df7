"""Laws of priorities: what matters more is claimed first; and of definitions that are paused."""

from __future__ import annotations

from wfe.core.providers import HeaderChange, Item, PersistenceProvider
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    definition,
    load,
    one,
    parked,
    tell,
    worker,
)

__all__ = ["PriorityLaws"]


class PriorityLaws:
    """Which of the due runs comes first."""

    async def test_claim_takes_the_highest_priority_then_the_earliest(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        wanted = [(5, -1), (5, 0), (1, -9), (0, -30), (0, -20), (-1, -99), (-2, -100)]
        places = [wanted[k] for k in (4, 6, 1, 3, 0, 5, 2)]
        runs = {
            place: await begin(store, priority=place[0], wake=now + place[1]) for place in places
        }
        await begin(store, priority=9, wake=now + HOUR)
        d = await definition(store)

        claimed = [await store.claim(epoch, [d], limit) for limit in (1, 2, 2, 10, 10)]

        order = [entry.n for entries in claimed for entry in entries]
        assert order == [runs[place] for place in wanted]
        assert [len(entries) for entries in claimed] == [1, 2, 2, 2, 0]

    async def test_priorities_count_over_all_definitions(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        usual = await begin(store, wake=now - 100)
        urgent = await begin(store, id_="other", priority=3, wake=now)
        most = await begin(store, id_="third", priority=4, wake=now)
        await begin(store, id_="nobody's", priority=9, wake=now)
        known = [await definition(store, id_) for id_ in ("order", "other", "third")]

        claimed = [await store.claim(epoch, known, 1) for _ in range(4)]

        assert [[entry.n for entry in entries] for entries in claimed] == [
            [most],
            [urgent],
            [usual],
            [],
        ]

    async def test_hinted_claims_go_by_priority_too(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        runs = [await begin(store, priority=p, wake=now - 5 + p) for p in (0, 2, -1, 1)]

        claimed = await store.claim(epoch, [await definition(store)], 3, hints=runs)

        assert [entry.n for entry in claimed] == [runs[1], runs[3], runs[0]]

    async def test_due_is_the_earliest_of_any_priority(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        d = await definition(store)
        found: list[int | None] = []

        for priority, wake in ((7, 50), (0, 40), (-7, 30), (8, 20), (0, 60)):
            await begin(store, priority=priority, wake=now + HOUR + wake)
            due = await store.due([d])
            found.append(None if due is None else due - now - HOUR)

        assert found == [50, 40, 30, 20, 20]

    async def test_a_run_keeps_its_priority(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        d = await definition(store)
        usual = await begin(store, wake=now - 10)
        urgent = await begin(store, priority=2, wake=now)
        asleep = await begin(store, priority=3, wake=None)
        assert [entry.n for entry in await store.claim(epoch, [d], 1)] == [urgent]
        await one(store, epoch, Item(n=urgent, base=0, rows=("[]",), header=parked(now)))
        await tell(store, asleep)

        claimed = await store.claim(epoch, [d], 10)

        assert [entry.n for entry in claimed] == [asleep, urgent, usual]
        assert (await load(store, urgent)).header.priority == 2
        assert (await load(store, usual)).header.priority == 0

    async def test_how_long_to_retain_is_read_back(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        end = HeaderChange(status="complete", final=True, retain_until=4711)
        before = (await load(store, n)).header.retain_until

        await one(store, epoch, Item(n=n, base=0, rows=("[]",), header=end))

        found = await store.get(f"run-{n}")
        assert found is not None
        assert (before, found.retain_until) == (None, 4711)
        assert found == (await load(store, n)).header

    # -- paused definitions ---------------------------------------------------------------------

    async def test_paused_definitions_are_remembered(self, store: PersistenceProvider) -> None:
        assert list(await store.paused()) == []

        changed = [
            await store.pause_definition("b", paused=True),
            await store.pause_definition("a", paused=True),
            await store.pause_definition("a", paused=True),
            await store.pause_definition("c", paused=False),
            await store.pause_definition("d", paused=True),
            await store.pause_definition("d", paused=False),
        ]

        assert changed == [True, True, False, False, True, True]
        assert sorted(await store.paused()) == ["a", "b"]
