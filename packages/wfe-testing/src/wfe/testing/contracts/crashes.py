"""Laws of crashes: a host that goes without a word leaves nothing half, and nothing for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wfe.core.providers import (
    ActivityStart,
    Done,
    Event,
    Fenced,
    Hold,
    Item,
    LogRow,
    PersistenceProvider,
    Refused,
    ScheduleRow,
    Snapshot,
    StreamRow,
    Subscription,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin_many,
    definition,
    fields,
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

__all__ = ["CrashLaws"]

ROW = ("[]",)

Reopen = Callable[[], Awaitable[PersistenceProvider]]


async def _everything(store: PersistenceProvider, runs: list[int]) -> list[Any]:
    """Return all that can be read."""
    return [
        list(await store.load(runs)),
        [list(await store.history(n, -1, 100)) for n in runs],
        sorted(await store.inbox(runs)),
        list(await store.activities()),
        list(await store.schedules()),
        list(await store.definitions()),
        list(await store.paused()),
        [list(await store.logs(n, 0, 100)) for n in runs],
        [list(await store.stream(n, 0, 100)) for n in runs],
        await store.due([await definition(store)]),
        sorted((row.epoch, row.name, row.fenced) for row in await store.workers()),
    ]


class CrashLaws:
    """``reopen`` is a crash: nobody says goodbye, and the store is opened again."""

    @pytest.mark.needs("durable")
    async def test_all_that_was_acknowledged_is_there_after_a_crash(
        self, store: PersistenceProvider, reopen: Reopen
    ) -> None:
        epoch = await worker(store)
        runs = await begin_many(store, 3, epoch)
        owned, asleep, over = runs
        work = (ActivityStart(pointer=1, attempt=0, name="paint"),)
        fold = Snapshot(1, "state", '{"a":1}')
        await one(store, epoch, Item(n=owned, base=0, rows=ROW, fold=fold, activities=work))
        await one(store, epoch, Item(n=asleep, base=0, header=parked(store.clock.now() + HOUR)))
        await one(store, epoch, Item(n=over, base=0, rows=ROW, header=final("failed", '"why"')))
        await tell(store, owned, payload='{"a":1}', actor="anna", reason="because")
        await store.claim_activity(["paint"], "bob", "token-1", HOUR)
        schedule = ScheduleRow(
            id="nightly", definition="order", version=None, data="{}", spec="{}", next_at=HOUR
        )
        await store.put_schedule(schedule)
        await store.pause_definition("order", paused=True)
        line = LogRow(n=owned, at=1, step="a", pointer=1, stream="stdout", line="text")
        await store.append_logs([line])
        emitted = StreamRow(n=owned, at=1, step="a", pointer=1, name="tick", payload="1")
        await store.append_stream([emitted])
        before = await _everything(store, runs)

        again = await reopen()

        assert await _everything(again, runs) == before
        item = Item(n=owned, base=1, rows=ROW, seen=1, alive=True)
        assert isinstance(await one(again, epoch, item), Done)
        assert isinstance(await again.finish_activity("token-1", '{"result":1}'), Done)

    @pytest.mark.needs("durable")
    async def test_the_runs_of_who_crashed_are_released_and_taken_over(
        self, store: PersistenceProvider, reopen: Reopen
    ) -> None:
        dead = await worker(store)
        runs = await begin_many(store, 7, dead, wake=None)

        again = await reopen()

        heir = await worker(again)
        assert list(await again.fence([dead], lease=None)) == [dead]
        assert await one(again, dead, Item(n=runs[0], base=0, rows=ROW)) == Fenced()
        assert [await again.orphans(100), await again.orphans(100)] == [7, 0]
        claimed = await again.claim(heir, [await definition(again)], 100)
        assert sorted((entry.n, entry.takeovers) for entry in claimed) == [(n, 1) for n in runs]

    @pytest.mark.needs("durable")
    async def test_a_takeover_that_crashed_half_way_is_finished_by_the_next(
        self, store: PersistenceProvider, reopen: Reopen
    ) -> None:
        dead = await worker(store)
        runs = await begin_many(store, 7, dead)
        await store.fence([dead], lease=None)
        assert await store.orphans(3) == 3

        again = await reopen()

        assert await one(again, dead, Item(n=runs[-1], base=0, rows=ROW)) == Fenced()
        assert [await again.orphans(100), await again.orphans(100)] == [4, 0]
        assert {entry.header.takeovers for entry in await again.load(runs)} == {1}

    @pytest.mark.needs("durable")
    async def test_who_waited_before_a_crash_is_woken_after_it(
        self, store: PersistenceProvider, reopen: Reopen
    ) -> None:
        epoch = await worker(store)
        waiting, holder, second = await begin_many(store, 3, epoch)
        hold = Hold(pointer=1, attempt=0, key="k", limit=1)
        wait = Subscription(pointer=1, name="go", key="k", as_of=0)
        late = Subscription(pointer=2, name="was", key="k", as_of=0)
        await one(store, epoch, Item(n=holder, base=0, rows=ROW, hold=(hold,)))
        await one(store, epoch, Item(n=second, base=0, rows=ROW, hold=(hold,), header=parked()))
        await one(store, epoch, Item(n=waiting, base=0, rows=ROW, subscribe=(wait,)))
        await one(store, None, Item(publish=(Event(id="e-1", name="was", key="k"),)))

        again = await reopen()

        await one(again, None, Item(publish=(Event(id="e-2", name="go", key="k"),)))
        await one(again, None, Item(publish=(Event(id="e-1", name="go", key="k"),)))
        await one(again, epoch, Item(n=waiting, base=1, rows=ROW, subscribe=(late,)))
        await one(again, epoch, Item(n=holder, base=1, rows=ROW, seen=1, header=final()))
        _, rows = await inbox(again, waiting)
        assert [fields(row.payload)["id"] for row in rows] == ["e-2", "e-1"]
        _, granted = await inbox(again, second)
        assert [row.kind for row in granted] == ["granted"]
        found = (await load(again, second)).header
        assert (found.owner, found.wake) == (None, granted[0].at)

    @pytest.mark.needs("durable")
    async def test_nothing_that_is_unique_is_given_again_after_a_crash(
        self, store: PersistenceProvider, reopen: Reopen
    ) -> None:
        epoch = await worker(store)
        new = await header(store, idem="key:1", name="only", dedup="d", owner=epoch)
        await one(store, epoch, Item(n=new.n, new=new, rows=ROW))
        await tell(store, new.n, dedupe="child:7")
        poke, (row,) = await inbox(store, new.n)
        await one(
            store, epoch, Item(n=new.n, base=0, rows=ROW, seen=poke, consumed=(row.i,), alive=True)
        )
        last = await store.allocate(10) + 9

        again = await reopen()

        assert await again.allocate(1) > last
        assert await worker(again) != epoch
        await one(again, None, Item(messages=(message(new.n, dedupe="child:7"),)))
        _, (later,) = await inbox(again, new.n)
        assert later.i > row.i
        same = {"idem": "key:1", "name": "only", "dedup": "d"}
        for column in ("idem", "name", "dedup"):
            twice = await header(again, **{column: same[column]})
            assert await one(again, None, Item(n=twice.n, new=twice)) == Refused(column, new.id)
