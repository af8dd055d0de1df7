"""Reading, lines and activities while others write: consistent, complete, and of any text."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import psycopg
import pytest

from wfe.core.providers import (
    ActivityStart,
    Done,
    InstanceQuery,
    Item,
    LogRow,
    Snapshot,
    StreamRow,
)
from wfe.postgres import PostgresStore
from wfe.testing.contracts.runs import (
    begin,
    definition,
    final,
    inbox,
    load,
    numbers,
    one,
    tell,
    worker,
)

HOUR = 3_600_000_000  # µs
SOON = 10.0  # seconds


# -- loading --------------------------------------------------------------------------------------


async def test_poke_and_messages_belong_together(
    store: PostgresStore, other: PostgresStore
) -> None:
    runs = [await begin(store) for _ in range(3)]
    telling = asyncio.gather(*(tell(other, n) for _ in range(20) for n in runs))
    seen = 0

    async with asyncio.timeout(SOON):
        while not telling.done() or seen == 0:
            for loaded in await store.load(runs):
                assert loaded.header.poke == len(loaded.inbox)
                assert [row.i for row in loaded.inbox] == sorted(row.i for row in loaded.inbox)
            for _, poke, rows in await store.inbox(runs):
                assert poke == len(rows)
                seen += 1
    await telling
    assert [loaded.header.poke for loaded in await store.load(runs)] == [20] * 3


async def test_snapshot_and_tail_belong_together(
    store: PostgresStore, other: PostgresStore
) -> None:
    epoch = await worker(store)
    n = await begin(store, epoch)

    async def write() -> None:
        for seq in range(1, 60):
            fold = Snapshot(seq, f"[{seq}]", "{}") if seq % 5 == 0 else None
            poke, _ = await inbox(store, n)
            item = Item(n=n, base=seq - 1, rows=(f"[{seq}]",), fold=fold, seen=poke)
            assert isinstance(await one(store, epoch, item), Done)

    writing = asyncio.ensure_future(write())
    async with asyncio.timeout(SOON):
        while not writing.done():
            loaded = await load(other, n)
            first = -1 if loaded.snapshot is None else loaded.snapshot.seq
            found = [row.seq for row in loaded.tail]
            assert found == list(range(first + 1, first + 1 + len(found)))
    await writing


async def test_many_are_loaded_some_at_a_time(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfe.postgres.reads._PAGE_BYTES", 500)
    epoch = await worker(store)
    runs = [await begin(store, epoch) for _ in range(100)]
    for n in runs[:40]:
        await one(store, epoch, Item(n=n, base=0, rows=(f'"{"x" * 200}"',)))
    pages: list[int] = []
    real = store._opened.all

    async def counted(sql: str, args: Any = None) -> Any:
        rows = await real(sql, args)
        pages.append(len(rows))
        return rows

    monkeypatch.setattr(store._opened, "all", counted)
    loaded = await store.load(runs)

    assert sorted(each.header.n for each in loaded) == runs
    assert pages[:3] == [32, 2, 2]
    assert max(pages[4:]) > 30  # short ones again


async def test_what_is_due_first_is_found_among_priorities(store: PostgresStore) -> None:
    d = await definition(store)
    assert await store.due([d]) is None
    for priority, wake in ((0, 500), (7, 400), (7, 900), (-3, 300), (2, 350), (-9, 800)):
        await begin(store, priority=priority, wake=wake)
    claimed: list[int | None] = []
    epoch = await worker(store)

    while (due := await store.due([d, 4711])) is not None:
        claimed.append(due)
        (run,) = [each for each in await store.find(InstanceQuery()) if each.wake == due]
        await store.claim(epoch, [d], 1, [run.n])
        await one(store, epoch, Item(n=run.n, base=0, header=final()))

    assert claimed == [300, 350, 400, 500, 800, 900]


# -- texts ----------------------------------------------------------------------------------------


async def test_texts_that_the_server_cannot_have_are_found_nowhere(store: PostgresStore) -> None:
    await begin(store, name="n")

    assert await store.get("n\0") is None
    assert await store.find(InstanceQuery(reference="\0")) == []
    assert await store.find(InstanceQuery(definition="order\0")) == []
    assert await store.definitions("order\0") == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"a": 1}, True),
        ({"a": 1.0}, True),
        ({"a": True}, False),
        ({"a": "1"}, False),
        ({"b": None}, True),
        ({"c": None}, False),
        ({"nul": "x\0y"}, True),
        ({"nul": "xy"}, False),
        ({"nul\0": 1}, True),
        ({"deep": {"y": [1, {"z": "ü"}], "x": 2}}, True),
        ({"deep": {"x": 2}}, False),
        ({"a": 1, "b": None, "quote": 'it\'s "%s" \\u0000'}, True),
        ({"big": 2**53 + 1}, True),
        ({"big": 2**53}, False),
        ({"small": 0.1}, True),
        ({}, True),
    ],
)
async def test_data_is_compared_as_json(
    store: PostgresStore, wanted: dict[str, Any], found: bool
) -> None:
    data = {
        "a": 1,
        "b": None,
        "nul": "x\0y",
        "nul\0": 1,
        "deep": {"x": 2, "y": [1, {"z": "ü"}]},
        "quote": 'it\'s "%s" \\u0000',
        "big": 2**53 + 1,
        "small": 0.1,
    }
    epoch = await worker(store)
    n = await begin(store, epoch)
    fold = Snapshot(0, "[]", orjson.dumps(data).decode())
    await one(store, epoch, Item(n=n, base=0, fold=fold, header=final()))

    assert numbers(await store.find(InstanceQuery(data=wanted))) == ([n] if found else [])


async def test_data_that_is_no_object_has_no_fields(store: PostgresStore) -> None:
    epoch = await worker(store)
    for data in ("[1]", "1", '"a"', "null"):
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, fold=Snapshot(0, "[]", data), header=final()))

    assert await store.find(InstanceQuery(data={"a": 1})) == []
    assert await store.find(InstanceQuery(data={})) == []


async def test_a_line_with_the_character_0_is_kept(store: PostgresStore) -> None:
    n = await begin(store)

    await store.append_logs([_line(n, "a\0b"), _line(n, "c")])

    assert [row.line for row in await store.logs(n, 0, 10)] == ["a\u2400b", "c"]


# -- order of lines and items ---------------------------------------------------------------------


def _line(n: int, line: str) -> LogRow:
    return LogRow(n=n, at=1, step=None, pointer=None, stream="stdout", line=line)


def _item(n: int, payload: str) -> StreamRow:
    return StreamRow(n=n, at=1, step="s", pointer=1, name="tick", payload=payload)


async def test_who_follows_misses_nothing_that_is_committed_late(
    store: PostgresStore, other: PostgresStore
) -> None:
    n, another = await begin(store), await begin(store)
    lines: list[str] = []
    items: list[str] = []

    async def append(each: PostgresStore, who: str) -> None:
        for k in range(15):
            await each.append_logs([_line(another, "x"), _line(n, f"{who}{k}")])
            await each.append_stream([_item(n, f'"{who}{k}"'), _item(another, "1")])

    async def follow() -> None:
        l = s = 0  # noqa: E741
        while len(lines) < 60 or len(items) < 60:
            for line in await store.logs(n, l, 5):
                lines.append(line.line)
                l = line.l  # noqa: E741
            for item in await store.stream(n, s, 5):
                items.append(item.payload)
                s = item.s

    async with asyncio.timeout(SOON):
        writers = [append(each, who) for each, who in ((store, "a"), (other, "b"))]
        writers += [append(each, who) for each, who in ((store, "c"), (other, "d"))]
        await asyncio.gather(follow(), *writers)

    everything = {f"{who}{k}" for who in "abcd" for k in range(15)}
    assert (set(lines), len(lines)) == (everything, 60)
    assert {item.strip('"') for item in items} == everything


async def test_a_late_commit_holds_up_only_its_own(store: PostgresStore, tables: str) -> None:
    """Whoever gets a later position in a run's lines is seen later."""
    first, second = await begin(store), await begin(store)
    bucket = (store._opened.names.lock("appends"), first % 64)
    with psycopg.connect(tables) as slow:
        slow.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", bucket)
        slow.execute(
            "INSERT INTO wfe_logs (instance, at, stream, line) VALUES (%s, 1, 'stdout', 'early')",
            (first,),
        )
        behind = asyncio.ensure_future(store.append_logs([_line(first, "behind")]))
        async with asyncio.timeout(SOON):
            for _ in range(5):
                await store.append_logs([_line(second, "beside")])
        assert not behind.done()
        assert await store.logs(first, 0, 10) == []
    await behind
    assert [row.line for row in await store.logs(first, 0, 10)] == ["early", "behind"]


# -- activities -----------------------------------------------------------------------------------


async def _offer(store: PostgresStore, count: int, name: str = "paint") -> int:
    epoch = await worker(store)
    n = await begin(store, epoch)
    work = tuple(ActivityStart(pointer=k, attempt=0, name=name) for k in range(count))
    assert isinstance(await one(store, epoch, Item(n=n, base=0, activities=work)), Done)
    return n


async def test_hosts_that_claim_at_once_get_different_work(
    store: PostgresStore, other: PostgresStore
) -> None:
    await _offer(store, 20)

    rows = await asyncio.gather(
        *(
            each.claim_activity(["paint", "print"], "w", f"t-{who}-{k}", HOUR)
            for k in range(10)
            for who, each in enumerate((store, other))
        )
    )

    assert sorted(row.pointer for row in rows if row is not None) == list(range(20))


async def test_a_worker_that_is_busy_does_not_stop_the_others(
    store: PostgresStore, tables: str
) -> None:
    await _offer(store, 2)
    with psycopg.connect(tables) as busy:
        busy.execute("SELECT 1 FROM wfe_activities ORDER BY a LIMIT 1 FOR UPDATE")
        async with asyncio.timeout(SOON):
            row = await store.claim_activity(["paint"], "w", "t", HOUR)

    assert row is not None
    assert row.pointer == 1


async def test_lapsed_claims_are_found_behind_many_others(store: PostgresStore) -> None:
    await _offer(store, 100)
    for k in range(100):
        assert await store.claim_activity(["paint"], "w", f"t{k}", HOUR) is not None
    assert await store.beat_activity("t70", 1, None)

    row = await store.claim_activity(["paint"], "w", "again", HOUR)

    assert row is not None
    assert row.pointer == 70


async def test_work_ends_with_its_run_or_is_told_but_never_lost(
    store: PostgresStore, other: PostgresStore
) -> None:
    """The run ends while its activity is being finished: one comes first, without a deadlock."""
    for k in range(10):
        n = await _offer(store, 1, f"work {k}")
        epoch = (await load(store, n)).header.owner
        assert await store.claim_activity([f"work {k}"], "w", f"t{k}", HOUR) is not None

        async with asyncio.timeout(SOON):
            finished, ended = await asyncio.gather(
                other.finish_activity(f"t{k}", '{"result":1}'),
                one(store, epoch, Item(n=n, base=0, header=final())),
            )

        poke, _ = await inbox(store, n)
        assert (poke == 1) == isinstance(finished, Done)
        assert isinstance(ended, Done) != isinstance(finished, Done)


# -- lists ----------------------------------------------------------------------------------------


async def test_pages_of_one_definition_or_status_are_in_order(store: PostgresStore) -> None:
    epoch = await worker(store)
    made: list[tuple[int, str, str]] = []
    for k in range(24):
        id_ = ("a", "b", "c")[k % 3]
        status = ("failed", "complete", "runnable")[k % 5 % 3]
        n = await begin(store, epoch, id_)
        if status != "runnable":
            await one(store, epoch, Item(n=n, base=0, header=final(status)))
        made.append((n, id_, status))

    async def pages(newest_first: bool, **wanted: str) -> list[int]:
        found: list[int] = []
        after: tuple[int, int] | None = None
        while True:
            query = InstanceQuery(newest_first=newest_first, limit=3, after=after, **wanted)  # type: ignore[arg-type]
            page = await store.find(query)
            found += numbers(page)
            if len(page) < 3:
                return found
            after = (page[-1].created_at, page[-1].n)

    for wanted in ({"definition": "b"}, {"status": "failed"}, {"definition": "z"}, {"status": "z"}):
        expected = [
            n
            for n, d, s in made
            if wanted.get("definition", d) == d and wanted.get("status", s) == s
        ]
        assert await pages(newest_first=False, **wanted) == expected
        assert await pages(newest_first=True, **wanted) == expected[::-1]
