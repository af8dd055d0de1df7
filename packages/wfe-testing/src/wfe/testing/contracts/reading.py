"""Laws of what is read: headers, pages, definitions, numbers, logs."""

from __future__ import annotations

import asyncio

from wfe.core.providers import (
    Done,
    Event,
    Hold,
    InstanceQuery,
    Item,
    LogRow,
    PersistenceProvider,
    Snapshot,
    StoredInstance,
    Subscription,
)
from wfe.testing.contracts.runs import (
    begin,
    definition,
    fields,
    final,
    header,
    inbox,
    load,
    numbers,
    one,
    tell,
    worker,
)

__all__ = ["ReadLaws"]


class ReadLaws:
    """Reading changes nothing and finds everything."""

    async def test_opening_again_changes_nothing(self, store: PersistenceProvider) -> None:
        n = await begin(store)
        before = await load(store, n)

        first, second = await store.open(), await store.open()

        assert first == second
        assert await load(store, n) == before

    async def test_load_gives_what_exists(self, store: PersistenceProvider) -> None:
        runs = [await begin(store) for _ in range(3)]
        await tell(store, runs[1], "x")

        loaded = await store.load([*runs, 987_654_321])

        assert sorted(entry.header.n for entry in loaded) == runs
        assert {entry.header.n: len(entry.inbox) for entry in loaded}[runs[1]] == 1
        assert await store.load([]) == []
        assert sorted(entry[0] for entry in await store.inbox([*runs, 987_654_321])) == runs

    async def test_history_is_paged(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        await one(store, epoch, Item(n=n, base=0, rows=tuple(f'"{k}"' for k in range(1, 10))))

        pages = [await store.history(n, after, 4) for after in (-1, 3, 7, 9)]

        assert [[row.seq for row in page] for page in pages] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9],
            [],
        ]
        assert list(await store.history(987_654_321, -1, 4)) == []

    async def test_get_finds_by_id_and_then_by_name(self, store: PersistenceProvider) -> None:
        first = await begin(store, name="nightly")
        second = await begin(store, name=f"run-{first}")

        assert (await _get(store, "nightly")).n == first
        assert (await _get(store, f"run-{first}")).n == first
        assert (await _get(store, f"run-{second}")).n == second
        assert await store.get("nobody") is None

    async def test_find_filters(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        plain = await begin(store, reference="r-1")
        other = await begin(store, id_="other", reference="r-2")
        failed = await begin(store, epoch, reference="r-1")
        await one(store, epoch, Item(n=failed, base=0, header=final("failed")))

        queries = {
            "all": InstanceQuery(),
            "definition": InstanceQuery(definition="other"),
            "status": InstanceQuery(status="failed"),
            "reference": InstanceQuery(reference="r-1"),
            "both": InstanceQuery(reference="r-1", status="runnable"),
            "none": InstanceQuery(definition="nobody"),
            "late": InstanceQuery(since=store.clock.now() + 1),
        }
        found = {name: sorted(numbers(await store.find(q))) for name, q in queries.items()}

        assert found == {
            "all": [plain, other, failed],
            "definition": [other],
            "status": [failed],
            "reference": [plain, failed],
            "both": [plain],
            "none": [],
            "late": [],
        }

    async def test_find_by_data_looks_at_the_last_snapshot(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        runs = [await begin(store, epoch) for _ in range(4)]
        texts = ['{"a":1,"b":"x"}', '{"a":true,"b":"x"}', '{"b":"y\'\\u0000"}']
        for n, data in zip(runs[:3], texts, strict=True):
            fold = Snapshot(1, "{}", data)
            await one(store, epoch, Item(n=n, base=0, rows=("[]",), fold=fold))

        async def find(**data: object) -> list[int]:
            return sorted(numbers(await store.find(InstanceQuery(data=data))))

        assert await find(a=1) == [runs[0]]
        assert await find(a=True) == [runs[1]]
        assert await find(b="x") == runs[:2]
        assert await find(a=1, b="x") == [runs[0]]
        assert await find(b="y'\0") == [runs[2]]
        assert await find(c=None) == []

    async def test_pages_of_find_meet_each_run_once(self, store: PersistenceProvider) -> None:
        new = [await header(store) for _ in range(7)]
        # One batch: all have the same creation time, so their numbers decide.
        await store.commit(None, [Item(n=h.n, new=h) for h in new[:5]])
        await store.commit(None, [Item(n=h.n, new=h) for h in new[5:]])

        for newest_first in (True, False):
            met: list[int] = []
            after: tuple[int, int] | None = None
            for _ in range(5):
                query = InstanceQuery(limit=2, after=after, newest_first=newest_first)
                page = await store.find(query)
                met += numbers(page)
                after = (page[-1].created_at, page[-1].n) if page else after
            assert met == sorted(met, reverse=newest_first)
            assert sorted(met) == sorted(h.n for h in new)

    async def test_a_definition_is_stored_once_and_the_last_put_is_current(
        self, store: PersistenceProvider
    ) -> None:
        first = await store.put_definition("order", 1, "aaa", "{1}")
        again = await store.put_definition("order", 1, "aaa", "{1}")
        changed = await store.put_definition("order", 1, "bbb", "{2}")
        other = await store.put_definition("order", 2, "ccc", "{3}")
        await store.put_definition("mail", 1, "ddd", "{4}")
        rows = {row.d: row for row in await store.definitions("order")}

        assert first == again
        assert set(rows) == {first, changed, other}
        assert [rows[d].current for d in (first, changed, other)] == [False, True, True]
        assert (rows[first].hash, rows[first].body, rows[other].version) == ("aaa", "{1}", 2)
        assert len(await store.definitions()) == 4
        assert await store.put_definition("order", 1, "aaa", "{1}") == first
        rows = {row.d: row for row in await store.definitions("order")}
        assert [rows[d].current for d in (first, changed, other)] == [True, False, True]

    async def test_one_definition_put_by_many_has_one_number(
        self, store: PersistenceProvider
    ) -> None:
        found = await asyncio.gather(*(definition(store, "same") for _ in range(20)))

        assert len(set(found)) == 1

    async def test_numbers_are_given_out_once(self, store: PersistenceProvider) -> None:
        sizes = [1, 3, 1000, 2] * 5

        firsts = await asyncio.gather(*(store.allocate(size) for size in sizes))

        given = [
            n for first, size in zip(firsts, sizes, strict=True) for n in range(first, first + size)
        ]
        assert len(set(given)) == len(given)
        assert min(given) >= 1

    async def test_texts_of_any_kind_are_kept(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        longest = "€'\"\\%_;" * 51  # 510 bytes
        payload = '{"\\u0000":"\\u0000 \\ud83d\\ude80","ünï":"' + "x" * 5000 + '"}'
        texts = {"name": longest, "reference": longest, "idem": longest, "dedup": longest}
        n = await begin(store, epoch, **texts)
        hold = Hold(pointer=1, attempt=0, key=longest, limit=1)
        wait = Subscription(pointer=1, name=longest, key=longest, as_of=0)
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), hold=(hold,), subscribe=(wait,)))
        event = Event(id=longest, name=longest, key=longest, payload=payload)
        line = LogRow(n=n, at=1, step=longest, pointer=1, stream="stdout", line="tab\t\u2028 €")

        done = await one(store, None, Item(publish=(event,)))
        await tell(store, n, payload=payload, dedupe=longest, actor=longest, reason=longest)
        await store.append_logs([line])

        assert isinstance(done, Done)
        found = await store.get(longest)
        assert found is not None
        assert (found.n, found.reference, found.idem) == (n, longest, longest)
        _, (granted, matched, told) = await inbox(store, n)
        assert fields(granted.payload)["key"] == longest
        assert fields(matched.payload)["payload"] == fields(payload)
        assert (told.payload, told.actor, told.reason) == (payload, longest, longest)
        (kept,) = await store.logs(n, 0, 10)
        assert (kept.step, kept.line) == (line.step, line.line)

    async def test_log_lines_are_read_in_order_and_by_page(
        self, store: PersistenceProvider
    ) -> None:
        first, second = await begin(store), await begin(store)
        at = store.clock.now()

        def line(n: int, text: str) -> LogRow:
            return LogRow(n=n, at=at, step="build", pointer=3, stream="stdout", line=text)

        await store.append_logs([line(first, "a"), line(second, "x"), line(first, "b")])
        await store.append_logs([])
        await store.append_logs([line(first, "c")])
        page = await store.logs(first, 0, 2)
        rest = await store.logs(first, page[-1].l, 10)

        assert [row.line for row in page] == ["a", "b"]
        assert [row.line for row in rest] == ["c"]
        got = page[0]
        assert (got.n, got.at, got.step, got.pointer, got.stream) == (
            first,
            at,
            "build",
            3,
            "stdout",
        )
        assert [row.line for row in await store.logs(second, 0, 10)] == ["x"]

    async def test_time_does_not_run_back(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await begin(store, epoch)
        for base in range(5):
            assert isinstance(await one(store, epoch, Item(n=n, base=base, rows=("[]",))), Done)

        times = [row.at for row in await store.history(n, -1, 10)]

        assert times == sorted(times)
        assert times[-1] <= store.clock.now()


async def _get(store: PersistenceProvider, id_or_name: str) -> StoredInstance:
    found = await store.get(id_or_name)
    assert found is not None
    return found
