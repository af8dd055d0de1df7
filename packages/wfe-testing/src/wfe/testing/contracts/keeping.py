"""Laws of keeping: what is over can be deleted wholly, and nothing else; streams keep order."""

from __future__ import annotations

from collections.abc import Sequence

from wfe.core.providers import (
    Done,
    Event,
    Header,
    HeaderChange,
    Item,
    LogRow,
    PersistenceProvider,
    PurgeQuery,
    Refused,
    Snapshot,
    StreamRow,
    Subscription,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    definition,
    final,
    header,
    inbox,
    load,
    numbers,
    one,
    tell,
    worker,
)

__all__ = ["KeepingLaws"]


async def _ended(
    store: PersistenceProvider,
    epoch: int,
    id_: str = "order",
    *,
    status: str = "complete",
    until: int | None = None,
    parent: int | None = None,
    rows: int = 1,
) -> int:
    """Return a run that is final, with *rows* rows, a snapshot, a log line and an item."""
    n = await begin(store, epoch, id_, parent=parent)
    end = HeaderChange(status=status, final=True, retain_until=until)
    events = tuple(f'["row",{k}]' for k in range(rows - 1))
    fold = Snapshot(rows - 1, "{}", "{}")
    done = await one(store, epoch, Item(n=n, base=0, rows=events, fold=fold, header=end))
    assert isinstance(done, Done)
    await store.append_logs([_line(n)])
    await store.append_stream([_emitted(n)])
    return n


def _line(n: int) -> LogRow:
    return LogRow(n=n, at=1, step="a", pointer=1, stream="stdout", line="text")


def _emitted(n: int, payload: str = "1", **rest: str | None) -> StreamRow:
    row = StreamRow(n=n, at=7, step="a", pointer=1, name="tick", payload=payload)
    return row if not rest else StreamRow(n=n, at=7, pointer=None, payload=payload, **rest)  # type: ignore[arg-type]


async def _left(store: PersistenceProvider, n: int) -> list[object]:
    """Return all that is still stored of a run."""
    return [
        *(await store.load([n])),
        *(await store.inbox([n])),
        *(await store.history(n, -1, 10)),
        *(await store.logs(n, 0, 10)),
        *(await store.stream(n, 0, 10)),
        *(await store.activities(n)),
        *(await store.family(n)),
    ]


class KeepingLaws:
    """Purging and streams."""

    # -- what may be deleted ----------------------------------------------------------------------

    async def test_finished_roots_are_purgeable_oldest_first(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await _ended(store, epoch) for _ in range(3)]
        await begin(store, epoch)
        await begin(store)

        found = await store.purgeable(PurgeQuery())

        assert numbers(found) == runs
        assert numbers(await store.purgeable(PurgeQuery(limit=2))) == runs[:2]
        assert (found[0].status, found[0].definition) == ("complete", "order")

    async def test_purge_criteria_hold_together(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        failed = await _ended(store, epoch, status="failed")
        fine = await _ended(store, epoch)
        other = await _ended(store, epoch, "invoice")

        async def found(**criteria: object) -> list[int]:
            return numbers(await store.purgeable(PurgeQuery(**criteria)))  # type: ignore[arg-type]

        ended = (await load(store, other)).header.completed_at or 0
        assert await found(definition="order") == [failed, fine]
        assert await found(definition="order", status="failed") == [failed]
        assert await found(status="complete") == [fine, other]
        assert await found(completed_before=ended + 1) == [failed, fine, other]
        assert await found(completed_before=0) == []

    async def test_retention_counts_from_its_time_on_and_none_is_for_ever(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        now = store.clock.now()
        later = await _ended(store, epoch, until=now + HOUR)
        sooner = await _ended(store, epoch, until=now)
        await _ended(store, epoch, until=None)

        async def over(at: int) -> list[int]:
            return numbers(await store.purgeable(PurgeQuery(retained_until=at)))

        assert await over(now - 1) == []
        assert await over(now) == [sooner]
        assert await over(now + HOUR) == [sooner, later]
        assert (await load(store, later)).header.retain_until == now + HOUR

    async def test_a_family_is_purgeable_when_all_of_it_is_over(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        root = await _ended(store, epoch)
        child = await _ended(store, epoch, parent=root)
        grandchild = await begin(store, epoch, parent=child)

        assert numbers(await store.purgeable(PurgeQuery())) == []
        assert await store.purge([root]) == 0
        assert await _left(store, root)

        assert isinstance(await one(store, epoch, Item(n=grandchild, base=0, header=final())), Done)
        assert numbers(await store.purgeable(PurgeQuery())) == [root]
        assert numbers(await store.family(root)) == [root, child, grandchild]
        assert await store.family(987_654_321) == []

    async def test_a_finished_run_that_is_to_be_retried_is_kept(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _ended(store, epoch, status="failed")
        await tell(store, n, "retry", strict=True, allow_final=True)

        assert await store.purgeable(PurgeQuery()) == []
        assert await store.purge([n]) == 0
        assert (await inbox(store, n))[0] == 1

    # -- deleting -------------------------------------------------------------------------------

    async def test_purge_deletes_whole_families_and_nothing_else(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        root = await _ended(store, epoch, rows=3)
        child = await _ended(store, epoch, parent=root)
        grandchild = await _ended(store, epoch, parent=child)
        kept = await _ended(store, epoch)
        live = await begin(store, epoch)
        before = [await _left(store, kept), await _left(store, live)]

        assert await store.purge([root]) == 3

        for n in (root, child, grandchild):
            assert await _left(store, n) == []
            assert await store.get(f"run-{n}") is None
        assert [await _left(store, kept), await _left(store, live)] == before
        assert numbers(await store.purgeable(PurgeQuery())) == [kept]
        assert await store.purge([root]) == 0

    async def test_purge_counts_the_runs_of_all_families(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        roots = [await _ended(store, epoch) for _ in range(3)]
        await _ended(store, epoch, parent=roots[1])

        assert await store.purge([*roots, 987_654_321]) == 4
        assert await store.purgeable(PurgeQuery()) == []

    async def test_a_long_run_is_deleted_wholly(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        long = await _ended(store, epoch, rows=25_000)
        short = await _ended(store, epoch)

        assert await store.purge([long, short]) == 2

        assert await _left(store, long) == []
        assert await _left(store, short) == []

    async def test_keys_and_names_of_the_deleted_are_free(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)

        async def start() -> tuple[Header, object]:
            new = await header(store, name="nightly", idem="key:1", owner=epoch)
            return new, await one(store, epoch, Item(n=new.n, new=new, rows=("[]",)))

        first, _ = await start()
        await one(store, epoch, Item(n=first.n, base=0, header=final()))
        _, refused = await start()
        assert isinstance(refused, Refused)

        await store.purge([first.n])
        second, done = await start()

        assert isinstance(done, Done)
        found = await store.get("nightly")
        assert found is not None
        assert found.n == second.n

    async def test_nothing_of_the_deleted_is_claimed(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, wake=store.clock.now())
        d = await definition(store)
        await store.claim(epoch, [d], 10)
        await one(store, epoch, Item(n=n, base=0, header=final()))
        await store.purge([n])

        assert list(await store.claim(epoch, [d], 10)) == []
        assert await store.due([d]) is None

    # -- events -----------------------------------------------------------------------------------

    async def test_expired_events_are_deleted_and_their_ids_are_free(
        self, store: PersistenceProvider
    ) -> None:
        now = store.clock.now()
        await _publish(store, "old", expires=now)
        await _publish(store, "young", expires=now + HOUR)
        await _publish(store, "eternal", expires=None)

        assert await store.purge_events(10) == 1
        assert await store.purge_events(10) == 0

        epoch = await worker(store)
        await _publish(store, "old", expires=None)
        woken = [await _matches(store, epoch, key) for key in ("old", "young", "eternal")]
        assert woken == [True, True, True]

    async def test_events_are_deleted_some_at_a_time(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        for k in range(5):
            await _publish(store, f"event {k}", expires=now)

        assert [await store.purge_events(2) for _ in range(4)] == [2, 2, 1, 0]

    # -- streams ----------------------------------------------------------------------------------

    async def test_a_stream_is_read_in_order_from_an_offset(
        self, store: PersistenceProvider
    ) -> None:
        n, other = await begin(store), await begin(store)
        await store.append_stream([_emitted(n, "1"), _emitted(other, '"x"'), _emitted(n, "2")])
        await store.append_stream([_emitted(n, '{"a":3}', name="last", step=None)])
        await store.append_stream([])

        rows = await store.stream(n, 0, 10)

        assert [row.payload for row in rows] == ["1", "2", '{"a":3}']
        assert [(row.n, row.at, row.step, row.pointer, row.name) for row in rows] == [
            (n, 7, "a", 1, "tick"),
            (n, 7, "a", 1, "tick"),
            (n, 7, None, None, "last"),
        ]
        assert 0 < rows[0].s < rows[1].s < rows[2].s
        assert _payloads(await store.stream(n, rows[0].s, 1)) == ["2"]
        assert _payloads(await store.stream(n, rows[2].s, 10)) == []
        assert _payloads(await store.stream(other, 0, 10)) == ['"x"']

    async def test_offsets_of_a_stream_are_not_used_again(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _ended(store, epoch)
        ((before,),) = [await store.stream(n, 0, 10)]
        await store.purge([n])

        again = await begin(store, epoch)
        await store.append_stream([_emitted(again)])

        (after,) = await store.stream(again, 0, 10)
        assert after.s > before.s


def _payloads(rows: Sequence[StreamRow]) -> list[str]:
    return [row.payload for row in rows]


async def _publish(store: PersistenceProvider, id_: str, expires: int | None) -> None:
    event = Event(id=id_, name="paid", key=id_, expires=expires)
    assert isinstance(await one(store, None, Item(publish=(event,))), Done)


async def _matches(store: PersistenceProvider, epoch: int, key: str) -> bool:
    """Whether a wait that begins now finds an event of the past."""
    n = await begin(store, epoch)
    wait = Subscription(pointer=1, name="paid", key=key, as_of=0)
    await one(store, epoch, Item(n=n, base=0, rows=("[]",), subscribe=(wait,)))
    return (await inbox(store, n))[0] == 1
