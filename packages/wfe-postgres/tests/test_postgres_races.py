"""Races of hosts: each is a hole that a simpler form of a statement has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
import psycopg
import pytest

from wfe.core.cache_index import CacheEntry
from wfe.core.providers import (
    Done,
    Event,
    Fenced,
    Header,
    HeaderChange,
    Hold,
    Item,
    Message,
    Outcome,
    Refused,
    Stale,
    Subscription,
    WorkerInfo,
)
from wfe.postgres import PostgresStore

T = TypeVar("T")
HOUR = 3_600_000_000  # µs
WORKER = WorkerInfo(name="w", host="h", pid=1)
# Until it is rolled back, a commit of the run's second row waits, with all locks that it takes.
HINDER = "INSERT INTO wfe_journal (instance, seq, at, event) VALUES (%s, 1, 0, '0')"
FINAL = HeaderChange(status="complete", final=True)


async def begin(
    store: PostgresStore, count: int, epoch: int | None = None, **columns: Any
) -> list[int]:
    first = await store.allocate(count)
    d = await store.put_definition("order", 1, "hash", "{}")
    items: list[Item] = []
    for n in range(first, first + count):
        named: dict[str, Any] = {
            "id": f"run-{n}",
            "root_id": f"run-{n}",
            "definition": "order",
            "version": 1,
        }
        new = Header(n=n, d=d, wake=0, owner=epoch, **{**named, **columns})
        items.append(Item(n=n, new=new, rows=('"begin"',)))
    assert all(
        isinstance(outcome, Done)
        for outcome in await store.commit(None if epoch is None else epoch, items)
    )
    return [item.n for item in items]


async def one(store: PostgresStore, epoch: int | None, item: Item) -> Outcome:
    (outcome,) = await store.commit(epoch, [item])
    return outcome


@asynccontextmanager
async def transaction(url: str) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    """Another program's transaction: what it locks stays locked until the block is left."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


async def waiting(url: str, count: int) -> None:
    """Return when so many transactions wait for a lock."""
    asked = """
    SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE NOT granted AND datname = current_database()"""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        async with asyncio.timeout(20):
            while True:
                row = await (await connection.execute(asked)).fetchone()
                if row is not None and row[0] >= count:
                    return


async def begun(work: Coroutine[Any, Any, T], url: str, count: int) -> asyncio.Task[T]:
    """Begin *work* and return when so many wait for a lock."""
    task = asyncio.create_task(work)
    await waiting(url, count)
    return task


# -- events ---------------------------------------------------------------------------------------


async def test_400_pairs_of_publish_and_subscribe_meet_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 400, epoch)
    work: list[Awaitable[Outcome]] = []
    for k, n in enumerate(runs):
        wait = Subscription(pointer=1, name="go", key=str(n), as_of=0)
        pair = [
            one(store, epoch, Item(n=n, base=0, rows=('"wait"',), subscribe=(wait,))),
            one(other, None, Item(publish=(Event(id=f"e{n}", name="go", key=str(n)),))),
        ]
        work += pair if k % 2 else pair[::-1]

    outcomes = await asyncio.gather(*work)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    woken = [each[0] for o in outcomes if isinstance(o, Done) for each in o.woken]
    assert sorted(woken) == runs
    inboxes = await store.inbox(runs)
    assert sorted(n for n, _, rows in inboxes if [row.kind for row in rows] == ["event"]) == runs


async def test_a_subscription_waits_for_the_event_that_is_being_published(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    first, n = await begin(store, 2, epoch)
    wait = Subscription(pointer=1, name="go", key="k", as_of=0)
    await one(store, epoch, Item(n=first, base=0, rows=('"wait"',), subscribe=(wait,)))

    async with transaction(tables) as held:
        await held.execute("SELECT 1 FROM wfe_instances WHERE n = %s FOR UPDATE", (first,))
        published = await begun(
            one(other, None, Item(publish=(Event(id="e", name="go", key="k"),))), tables, 1
        )
        subscribed = await begun(
            one(store, epoch, Item(n=n, base=0, rows=('"wait"',), subscribe=(wait,))), tables, 2
        )
    outcomes = await asyncio.gather(published, subscribed)

    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert [len(rows) for _, _, rows in await store.inbox([first, n])] == [1, 1]


async def test_an_event_id_counts_once_over_two_hosts(
    store: PostgresStore, other: PostgresStore
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 4, epoch)
    for n in runs:
        wait = Subscription(pointer=1, name="go", key=str(n), as_of=0)
        await one(store, epoch, Item(n=n, base=0, rows=('"wait"',), subscribe=(wait,)))

    await asyncio.gather(
        *(
            one(host, None, Item(publish=(Event(id="same", name="go", key=str(n)),)))
            for host in (store, other)
            for n in runs
        )
    )

    assert sum(len(rows) for _, _, rows in await store.inbox(runs)) == 1


# -- fences ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [False, True], ids=["one statement", "a pipeline"])
async def test_a_fence_waits_for_the_commit_under_way(
    store: PostgresStore, other: PostgresStore, tables: str, guarded: bool
) -> None:
    epoch = await store.register(WORKER)
    n, target = await begin(store, 2, epoch)
    told = (Message(target=target, kind="k"),) if guarded else ()

    async with transaction(tables) as held:
        await held.execute(HINDER, (n,))
        item = Item(n=n, base=0, rows=('"a"',), messages=told, alive=True)
        committed = await begun(one(store, epoch, item), tables, 1)
        fenced = await begun(other.fence([epoch], lease=None), tables, 2)
        assert not fenced.done()
        await held.rollback()

    assert isinstance(await committed, Done)
    assert list(await fenced) == [epoch]
    assert await one(store, epoch, Item(n=n, base=1, rows=('"b"',))) == Fenced()
    assert len(await store.history(n, -1, 9)) == 2


@pytest.mark.parametrize("guarded", [False, True], ids=["one statement", "a pipeline"])
async def test_a_commit_that_waited_for_a_fence_is_fenced(
    store: PostgresStore, tables: str, guarded: bool
) -> None:
    epoch = await store.register(WORKER)
    n, target = await begin(store, 2, epoch)
    told = (Message(target=target, kind="k"),) if guarded else ()

    async with transaction(tables) as fence:
        await fence.execute("SELECT 1 FROM wfe_workers WHERE epoch = %s FOR UPDATE", (epoch,))
        await fence.execute("UPDATE wfe_workers SET fenced = 1 WHERE epoch = %s", (epoch,))
        item = Item(n=n, base=0, rows=('"late"',), messages=told)
        committed = await begun(one(store, epoch, item), tables, 1)

    assert await committed == Fenced()
    assert len(await store.history(n, -1, 9)) == 1
    assert await store.inbox([target]) == [(target, 0, ())]


async def test_a_claim_that_waited_for_a_fence_gets_nothing(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1)
    d = await store.put_definition("order", 1, "hash", "{}")

    async with transaction(tables) as fence:
        await fence.execute("SELECT 1 FROM wfe_workers WHERE epoch = %s FOR UPDATE", (epoch,))
        await fence.execute("UPDATE wfe_workers SET fenced = 1 WHERE epoch = %s", (epoch,))
        claimed = await begun(store.claim(epoch, [d], 1), tables, 1)

    assert list(await claimed) == []
    (loaded,) = await store.load([n])
    assert loaded.header.owner is None


async def test_a_beat_collides_with_no_commit(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)

    async with transaction(tables) as held:
        await held.execute(HINDER, (n,))
        committed = await begun(one(store, epoch, Item(n=n, base=0, rows=('"a"',))), tables, 1)
        async with asyncio.timeout(10):
            assert await store.beat(epoch, HOUR)
        assert not committed.done()
        await held.rollback()

    assert isinstance(await committed, Done)


async def test_a_takeover_releases_what_the_commit_under_way_makes(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    d = await store.put_definition("order", 1, "hash", "{}")

    async with transaction(tables) as held:
        await held.execute(
            "INSERT INTO wfe_instances (n, id, d, definition, version, status, root_id, idem,"
            " created_at) VALUES (999999, 'x', 1, 'order', 1, 'runnable', 'x', 'key:1', 0)"
        )
        started = await begun(begin(store, 1, epoch, idem="key:1"), tables, 1)
        fenced = await begun(other.fence([epoch], lease=None), tables, 2)
        await held.rollback()

    (new,) = await started
    assert list(await fenced) == [epoch]
    assert await other.orphans(10) == 2
    alive = await other.register(WORKER)
    claimed = await other.claim(alive, [d], 10)
    assert sorted(each.n for each in claimed) == [n, new]


# -- messages -------------------------------------------------------------------------------------

TELL = "SELECT wfe_deliver_1(%s, 'terminate', NULL, 1, NULL, NULL, 'null', false)"


async def test_a_release_does_not_sleep_over_a_message_in_flight(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)
    park = HeaderChange(status="runnable", wake=2**62, release=True)

    async with transaction(tables) as sender:
        await sender.execute(TELL, (n,))
        released = await begun(
            one(store, epoch, Item(n=n, base=0, rows=('"a"',), header=park)), tables, 1
        )

    done = await released
    assert isinstance(done, Done)
    assert [each[0] for each in done.woken] == [n]
    (loaded,) = await store.load([n])
    assert (loaded.header.wake, loaded.header.owner, loaded.header.poke) == (done.at, None, 1)


async def test_an_end_does_not_pass_over_a_message_in_flight(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    n, neighbour = await begin(store, 2, epoch)
    items = [Item(n=each, base=0, rows=('"a"',), header=FINAL) for each in (n, neighbour)]

    async with transaction(tables) as sender:
        await sender.execute(TELL, (n,))
        ended = await begun(store.commit(epoch, items), tables, 1)

    stale, done = await ended
    assert stale == Stale()
    assert isinstance(done, Done)
    assert len(await store.history(n, -1, 9)) == 1


async def test_a_message_to_who_just_ended_is_refused(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    (n,) = await begin(store, 1, epoch)

    async with transaction(tables) as held:
        await held.execute(HINDER, (n,))
        ended = await begun(
            one(store, epoch, Item(n=n, base=0, rows=('"a"',), header=FINAL)), tables, 1
        )
        told = await begun(
            one(other, None, Item(messages=(Message(target=n, kind="k", strict=True),))), tables, 2
        )
        await held.rollback()

    assert isinstance(await ended, Done)
    assert await told == Refused("final", "complete")


async def test_batches_in_any_order_do_not_deadlock(
    store: PostgresStore, other: PostgresStore
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 40, epoch)

    async def tell(host: PostgresStore, turn: int) -> None:
        targets = runs[turn:] + runs[:turn]
        if turn % 2:
            targets.reverse()
        sent = [Item(messages=(Message(target=n, kind="k"),)) for n in targets]
        await host.commit(None, sent)

    async def keep(turn: int) -> None:
        order = runs if turn % 2 else runs[::-1]
        poked = {n: poke for n, poke, _ in await store.inbox(runs)}
        change = HeaderChange(status="runnable")
        items = [Item(n=n, base=0, header=change, seen=poked[n]) for n in order]
        await store.commit(epoch, items)

    async with asyncio.timeout(60):
        await asyncio.gather(
            *(tell(store if k % 2 else other, k) for k in range(30)), *(keep(k) for k in range(10))
        )

    assert (store.stats.repeated, other.stats.repeated) == (0, 0)
    assert {poke for _, poke, _ in await store.inbox(runs)} == {30}


@pytest.mark.parametrize("guarded", [False, True], ids=["one statement", "a pipeline"])
async def test_runs_are_locked_in_the_order_of_their_numbers(
    store: PostgresStore, tables: str, guarded: bool
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 9, epoch)
    change = HeaderChange(status="runnable")
    own = [Item(n=n, base=0, header=change) for n in reversed(runs)]
    told = [Item(messages=(Message(target=n, kind="k"),)) for n in reversed(runs)]
    lock = "SELECT n FROM wfe_instances WHERE n = ANY (%s) FOR UPDATE SKIP LOCKED"

    async with transaction(tables) as held, transaction(tables) as looking:
        await held.execute("SELECT 1 FROM wfe_instances WHERE n = %s FOR UPDATE", (runs[4],))
        committed = await begun(store.commit(epoch, told if guarded else own), tables, 1)
        free = await (await looking.execute(lock, (runs,))).fetchall()

    assert sorted(n for (n,) in free) == runs[5:]
    assert all(isinstance(outcome, Done) for outcome in await committed)


# -- limits ---------------------------------------------------------------------------------------


async def test_places_are_exact_over_two_stores(
    store: PostgresStore, other: PostgresStore, tables: str
) -> None:
    hosts = [(host, await host.register(WORKER)) for host in (store, other)]
    runs = {n: pair for pair in hosts for n in await begin(pair[0], 12, pair[1])}
    most = 0
    asked = "SELECT count(*) FROM wfe_holders"

    async def use(n: int, host: PostgresStore, epoch: int) -> None:
        hold = Hold(pointer=1, attempt=0, key="k", limit=3)
        await one(host, epoch, Item(n=n, base=0, rows=('"want"',), hold=(hold,)))
        while not (await host.inbox([n]))[0][2]:
            pass
        await one(host, epoch, Item(n=n, base=1, rows=('"done"',), header=FINAL, seen=1))

    async def watch() -> None:
        nonlocal most
        async with await psycopg.AsyncConnection.connect(tables, autocommit=True) as connection:
            while True:
                row = await (await connection.execute(asked)).fetchone()
                most = max(most, 0 if row is None else row[0])

    watcher = asyncio.create_task(watch())
    async with asyncio.timeout(60):
        await asyncio.gather(*(use(n, *pair) for n, pair in runs.items()))
    watcher.cancel()

    assert most == 3
    loaded = await store.load(list(runs))
    assert {each.header.status for each in loaded} == {"complete"}


async def test_a_rate_is_exact_over_two_stores(store: PostgresStore, other: PostgresStore) -> None:
    hosts = [(host, await host.register(WORKER)) for host in (store, other)]
    runs = {n: pair for pair in hosts for n in await begin(pair[0], 10, pair[1])}
    hold = Hold(pointer=1, attempt=0, key="k", limit=4, per=HOUR)

    await asyncio.gather(
        *(
            one(host, epoch, Item(n=n, base=0, rows=('"want"',), hold=(hold,)))
            for n, (host, epoch) in runs.items()
        )
    )

    inboxes = await store.inbox(list(runs))
    ats = sorted(orjson.loads(row.payload)["at"] for _, _, rows in inboxes for row in rows)
    assert len(ats) == 20
    assert all(ats[k + 4] - ats[k] >= HOUR for k in range(16))


# -- claims and starts ----------------------------------------------------------------------------


async def test_20_claimers_of_one_backlog_get_each_run_once(
    store: PostgresStore, other: PostgresStore
) -> None:
    claimers = [(host, await host.register(WORKER)) for host in (store, other) for _ in range(10)]
    runs = await begin(store, 100)
    d = await store.put_definition("order", 1, "hash", "{}")

    claims = await asyncio.gather(*(host.claim(epoch, [d], 5) for host, epoch in claimers))

    assert sorted(each.n for claimed in claims for each in claimed) == runs


async def test_a_claim_passes_over_what_another_host_is_just_claiming(
    store: PostgresStore, tables: str
) -> None:
    epoch = await store.register(WORKER)
    runs = await begin(store, 5)
    d = await store.put_definition("order", 1, "hash", "{}")

    async with transaction(tables) as rival:
        await rival.execute("UPDATE wfe_instances SET owner = 1 WHERE n = ANY (%s)", (runs[:2],))
        async with asyncio.timeout(10):
            hinted = await store.claim(epoch, [d], 5, runs[1:3])
            claimed = await store.claim(epoch, [d], 1)

    assert [each.n for each in (*hinted, *claimed)] == runs[2:4]


async def test_20_claimers_of_one_run_are_19_too_many(
    store: PostgresStore, other: PostgresStore
) -> None:
    claimers = [(host, await host.register(WORKER)) for host in (store, other) for _ in range(10)]
    d = await store.put_definition("order", 1, "hash", "{}")
    for hinted in (False, True):
        (n,) = await begin(store, 1)
        hints = [n] if hinted else None

        claims = await asyncio.gather(
            *(host.claim(epoch, [d], 5, hints) for host, epoch in claimers)
        )

        assert [each.n for claimed in claims for each in claimed] == [n]


@pytest.mark.parametrize("column", ["idem", "dedup", "name"])
async def test_20_starts_with_one_key_make_one_run(
    store: PostgresStore, other: PostgresStore, column: str
) -> None:
    d = await store.put_definition("order", 1, "hash", "{}")
    first = await store.allocate(40)
    usual: dict[str, Any] = {"d": d, "definition": "order", "version": 1, "wake": 0}

    same: dict[str, Any] = {column: "same"}

    def item(n: int) -> Item:
        header = Header(n=n, id=f"run-{n}", root_id=f"run-{n}", **usual, **same)
        return Item(n=n, new=header, rows=('"begin"',))

    # Each beside another start, in batches: these must not suffer.
    def beside(n: int) -> Item:
        header = Header(n=n, id=f"run-{n}", root_id=f"run-{n}", **usual)
        return Item(n=n, new=header, rows=('"begin"',))

    work: list[Awaitable[Sequence[Outcome]]] = [
        (store if k % 2 else other).commit(None, [item(first + k), beside(first + 20 + k)])
        for k in range(20)
    ]
    outcomes = await asyncio.gather(*work)

    won = [o for o, _ in outcomes if isinstance(o, Done)]
    assert len(won) == 1
    (lost,) = {o for o, _ in outcomes if not isinstance(o, Done)}
    assert isinstance(lost, Refused)
    assert lost.why == column
    assert await store.get(str(lost.existing)) is not None
    assert all(isinstance(o, Done) for _, o in outcomes)


async def test_numbers_are_given_once(store: PostgresStore, other: PostgresStore) -> None:
    counts = [1, 7, 1000, 1, 30] * 4
    firsts = await asyncio.gather(
        *((store if k % 2 else other).allocate(count) for k, count in enumerate(counts))
    )

    taken = [n for first, c in zip(firsts, counts, strict=True) for n in range(first, first + c)]
    assert len(set(taken)) == len(taken)


async def test_limits_hold_whatever_the_planner_makes_of_a_statement(tables: str) -> None:
    """A set that is looked up anew for each row, and locks, goes beyond its limit."""
    off = "%20".join(
        f"-c%20enable_{how}%3Doff"
        for how in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize", "bitmapscan")
    )
    store = PostgresStore(f"{tables}?options={off}")
    await store.open()
    try:
        dead = await store.register(WORKER)
        await begin(store, 30, dead)
        await store.fence([dead], lease=None)
        assert [await store.orphans(12) for _ in range(4)] == [12, 12, 6, 0]

        for k in range(5):
            await store.cache_put(
                CacheEntry(
                    key=str(k),
                    definition="order",
                    step="build",
                    run="run-1",
                    document="{}",
                    result="{}",
                    created=k,
                    duration=1,
                    expires=1,
                )
            )
        purged = [await store.cache_purge(2, expired=2) for _ in range(3)]
        assert [list(keys) for keys in purged] == [["0", "1"], ["2", "3"], ["4"]]
    finally:
        await store.close()
