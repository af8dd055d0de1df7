"""A host finds runs and lines by words, in its store's own index or in another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import ProviderError, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.core.engine import feeding
from wfe.core.errors import DataTypeError, WorkflowNotFoundError
from wfe.core.found import FoundRun
from wfe.core.memory import MemoryStore
from wfe.core.models import Page
from wfe.core.providers import WorkerInfo
from wfe.core.search import Gone, LogDocument, SearchDocument
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


@attrs.define
class Order:
    number: int = 0
    customer: dict[str, Any] = attrs.field(factory=dict[str, Any])
    note: str = ""


async def charge(ctx: Ctx) -> None:
    ctx.log.info("charging order %s", ctx.data.number)
    if ctx.data.note == "refuse":
        problem = "the card was refused"
        raise ValueError(problem)


def order() -> WorkflowDefinition:
    return WorkflowBuilder(Order).start_with(charge).build("order")


def approval() -> WorkflowDefinition:
    return WorkflowBuilder(Order).start_with(charge).wait_for("approved", key="1").build("approval")


def _data(number: int, city: str, note: str = "") -> dict[str, Any]:
    return {"number": number, "customer": {"city": city}, "note": note}


@pytest.fixture(
    params=[
        "memory",
        "sqlite",
        "another index",
        pytest.param("postgres", marks=pytest.mark.services("postgres")),
    ]
)
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[WorkflowHost]:
    url = f"sqlite:///{tmp_path}/wfe.db" if request.param == "sqlite" else "memory://"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    more: dict[str, Any] = {"search": MemoryStore()} if request.param == "another index" else {}
    async with WorkflowHost(url, **more) as host:
        host.register(order(), approval())
        yield host


async def _three(host: WorkflowHost) -> None:
    for number, (city, note) in enumerate(
        [("Aarhus", "gift wrap"), ("Odense C", "refuse"), ("Aarhus", "for Ann's birthday")], 1
    ):
        data = _data(number, city, note)
        run = await host.start_workflow("order", data, reference=f"shop/{number}")
        await run.wait(timedelta(seconds=10))
    await _shown(host)


async def _shown(host: WorkflowHost) -> None:
    """Return when another index is as new as the store."""
    async with asyncio.timeout(20):
        while await _pending(host):  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.02)


async def _pending(host: WorkflowHost) -> int:
    feed: dict[str, Any] = (await host.health())["search"] or {}
    return int(feed.get("pending") or 0)


async def _found(host: WorkflowHost, terms: str = "", **criteria: Any) -> list[int]:
    broken: Any = host  # of criteria that are only known here, a checker cannot say which kind
    page: Page[FoundRun] = await broken.search(terms, **criteria)
    return [found.instance.data.number for found in page.items]


async def test_runs_are_found_by_words_and_fields(host: WorkflowHost) -> None:
    await _three(host)

    assert await _found(host, "aarhus") == [3, 1]
    assert await _found(host, "card refused") == [2]
    assert await _found(host, "ORDER -gift", order="oldest") == [2, 3]
    assert await _found(host, '"gift wrap"') == [1]
    assert await _found(host, '"gift aarhus"') == []  # a phrase stands within one field
    assert await _found(host, "birth*") == [3]
    assert await _found(host, "shop", reference="shop/2") == [2]
    assert await _found(host, status="failed") == [2]
    assert await _found(host, data={"customer": {"city": "Aarhus"}}) == [3, 1]
    assert await _found(host, data={"customer.city": "Aarhus", "number": 3}) == [3]
    assert await _found(host, definition="approval") == []
    (first,) = (await host.search("wrap", order="relevance")).items
    assert first.score is not None
    assert first.instance.status == "complete"


async def test_pages_and_cursors(host: WorkflowHost) -> None:
    await _three(host)

    page = await host.search("order", limit=2)
    rest = await host.search("order", limit=2, cursor=page.cursor)

    assert [each.instance.data.number for each in (*page.items, *rest.items)] == [3, 2, 1]
    assert page.cursor is not None
    assert rest.cursor is None
    with pytest.raises(DataTypeError, match="cursor"):
        await host.search("order", cursor="nonsense")


async def test_lines_are_found(host: WorkflowHost) -> None:
    await _three(host)

    page = await host.search("charging", logs=True, order="oldest")

    lines = [found.line for found in page.items]
    assert [line.line for line in lines] == [f"charging order {number}" for number in (1, 2, 3)]
    assert {found.definition for found in page.items} == {"order"}
    run = lines[1].instance_id
    (one,) = (await host.search("charging", logs=True, run=run)).items
    assert one.line == lines[1]
    with pytest.raises(WorkflowNotFoundError):
        await host.search("charging", logs=True, run="nobody")


async def test_a_waiting_run_is_found_with_its_data(tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite:///{tmp_path}/wfe.db"):
        async with WorkflowHost(url, linger=timedelta(0)) as host:
            host.register(approval())
            assert await _found(host, "ribe") == []
            await host.start_workflow("approval", _data(7, "Ribe"))

            async with asyncio.timeout(20):
                while await _found(host, "ribe", status="runnable") != [7]:  # noqa: ASYNC110 - polled
                    await asyncio.sleep(0.01)

            (waiting,) = (await host.search("ribe")).items
            await host.publish_event("approved", "1")
            run = await host.run(waiting.instance.id)
            await run.wait(timedelta(seconds=10))
            assert await _found(host, "ribe", status="runnable") == []
            assert await _found(host, "ribe", status="complete") == [7]


async def test_what_is_purged_is_not_found(host: WorkflowHost) -> None:
    await _three(host)
    assert len(await _found(host, "order")) == 3

    assert await host.purge(status="failed") == 1

    await _shown(host)
    assert await _found(host, "order") == [3, 1]
    assert await _found(host, "refused") == []
    found = (await host.search("charging", logs=True)).items
    assert [each.line.line for each in found] == ["charging order 3", "charging order 1"]


async def test_reindexing_finds_the_same(host: WorkflowHost) -> None:
    await _three(host)
    told: list[int] = []

    assert await host.reindex(told.append) == 6

    assert told[-1] == 6
    assert await _found(host, "aarhus") == [3, 1]
    assert len((await host.search("charging", logs=True)).items) == 3


async def test_criteria_of_the_other_kind_are_refused(host: WorkflowHost) -> None:
    broken: Any = host
    with pytest.raises(ValueError, match="status= is a criterion of runs; use it without logs"):
        await broken.search("x", logs=True, status="failed")
    with pytest.raises(ValueError, match="run= is a criterion of lines; use it with logs=True"):
        await broken.search("x", run="y")
    with pytest.raises(ValueError, match="order must be"):
        await broken.search("x", order="best")
    with pytest.raises(ValueError, match="'lost' is not a valid"):
        await broken.search("x", status="lost")


def test_the_blocking_host_searches_too(tmp_path: Path) -> None:
    with SyncWorkflowHost(f"sqlite:///{tmp_path}/wfe.db") as host:
        host.register(order())
        host.start_workflow("order", _data(1, "Aarhus")).wait(10)

        (found,) = host.search("aarhus").items
        assert found.instance.data.number == 1
        assert [line.line.line for line in host.search("charging", logs=True).items] == [
            "charging order 1"
        ]
        assert host.reindex() == 2


# -- what is not indexed --------------------------------------------------------------------------


class Reversed:
    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


async def test_what_is_encoded_is_not_indexed_in_clear() -> None:
    async with WorkflowTest(order(), codec=Reversed()) as test:
        await test.run("order", _data(1, "Aarhus", "refuse"), reference="shop/1")

        assert await _found(test.host, "aarhus") == []
        assert await _found(test.host, data={"number": 1}) == []
        assert await _found(test.host, "shop", reference="shop/1") == [1]
        with pytest.raises(ProviderError, match="encoded"):
            await test.host.search("charging", logs=True)


async def test_fields_that_may_be_searched_are_named() -> None:
    fields = {"order": ["customer"]}
    for codec in (None, Reversed()):
        async with WorkflowTest(order(), codec=codec, search_fields=fields) as test:
            await test.run("order", _data(1, "Aarhus", "secretly"))

            assert await _found(test.host, data={"customer.city": "Aarhus"}) == [1]
            assert await _found(test.host, "aarhus") == [1]
            assert await _found(test.host, "secretly") == []
            assert await _found(test.host, data={"number": 1}) == []


def test_fields_must_be_lists() -> None:
    wrong: Any = {"order": "customer"}
    with pytest.raises(TypeError, match="search_fields must give each definition"):
        WorkflowHost(search_fields=wrong)


class Bare:
    """A store without an index and without a feed."""

    features: frozenset[str] = frozenset({"queue", "lock"})

    def __init__(self) -> None:
        self._store = MemoryStore()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def test_a_store_without_index_says_so() -> None:
    bare: Any = Bare()
    with pytest.raises(ProviderError, match="does not say what changed"):
        WorkflowHost(bare, search=MemoryStore())
    async with WorkflowHost(bare) as host:
        with pytest.raises(ProviderError, match=r"no index; name one: .*search="):
            await host.search("x")


# -- another index ---------------------------------------------------------------------------------


class Index(MemoryStore):
    """An index that can be down, and counts what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.asked = 0
        self.applied: list[int] = []

    def _check(self) -> None:
        self.asked += 1
        if self.down:
            raise ProviderError("index", "it is down")

    async def search_cursors(self) -> tuple[str | None, str | None]:
        self._check()
        return await super().search_cursors()

    async def search_apply(
        self, documents: Sequence[SearchDocument], gone: Sequence[Gone], cursor: str
    ) -> None:
        self._check()
        self.applied += [each.n for each in documents]
        await super().search_apply(documents, gone, cursor)

    async def search_apply_logs(self, lines: Sequence[LogDocument], cursor: str) -> None:
        self._check()
        await super().search_apply_logs(lines, cursor)


async def _advance(test: WorkflowTest, seconds: float) -> None:
    # Lines are stored in real time, and would come after what is fed here.
    await test.host._engine.report.flush()  # pyright: ignore[reportPrivateUsage]
    await test.clock.advance(timedelta(seconds=seconds))
    await test.clock.settle()


async def test_another_index_is_fed_in_the_background() -> None:
    index = Index()
    async with WorkflowTest(order(), search=index) as test:
        await test.run("order", _data(1, "Aarhus"))
        await _advance(test, 2)

        assert await _found(test.host, "aarhus", status="complete") == [1]
        health = (await test.host.health())["search"]
        assert (health["pending"], health["feeds"], health["trouble"]) == (0, True, None)
        applied = len(index.applied)
        await _advance(test, 600)
        assert len(index.applied) == applied  # nothing changed, nothing is written


async def test_work_goes_on_while_the_index_is_down(caplog: pytest.LogCaptureFixture) -> None:
    index = Index()
    async with WorkflowTest(order(), search=index) as test:
        await _advance(test, 1)
        index.down = True
        for number in range(1, 4):
            await test.run("order", _data(number, "Aarhus"))
        index.asked = 0
        await _advance(test, 600)

        assert index.asked < 20  # it is asked more and more rarely
        assert "the search index waits" in caplog.text
        assert caplog.text.count("the search index waits") == 1
        health = (await test.host.health())["search"]
        assert health["trouble"] == "index: it is down"
        with pytest.raises(ProviderError, match="it is down"):
            await test.host.reindex()
        index.down = False
        await _advance(test, 61)

        assert await _found(test.host, "aarhus") == [3, 2, 1]
        assert (await test.host.health())["search"]["trouble"] is None


async def test_an_emptied_index_fills_itself_again() -> None:
    index = Index()
    async with WorkflowTest(order(), search=index) as test:
        await test.run("order", _data(1, "Aarhus"))
        await _advance(test, 2)
        await index.search_clear()
        assert await _found(test.host, "aarhus") == []

        await _advance(test, 60)

        assert await _found(test.host, "aarhus") == [1]


async def test_the_last_changes_are_fed_when_the_host_stops() -> None:
    index, store = Index(), MemoryStore()
    async with WorkflowHost(store, search=index) as host:
        host.register(order())
        await (await host.start_workflow("order", _data(1, "Aarhus"))).wait(10)
        await _shown(host)
        await (await host.start_workflow("order", _data(2, "Ribe"))).wait(10)

    async with WorkflowHost(store) as later:
        later.register(order())
        assert len(await _found(later, "order")) == 2
    assert {each.status for each in index._index.documents.values()} == {"complete"}  # pyright: ignore[reportPrivateUsage]


async def test_an_index_that_hangs_is_closed_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    index, closed = Index(), asyncio.Event()

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    async def close() -> None:
        closed.set()

    async with WorkflowHost(MemoryStore(), search=index) as host:
        host.register(order())
        await (await host.start_workflow("order", _data(1, "Aarhus"))).wait(10)
        await _shown(host)
        monkeypatch.setattr(feeding, "_LAST", 0.05)
        monkeypatch.setattr(index, "search_cursors", hang)
        monkeypatch.setattr(index, "close", close)

    assert closed.is_set()
    assert "the last changes are not in the search index yet: it takes too long" in caplog.text


async def test_one_of_several_hosts_feeds() -> None:
    index, store = Index(), MemoryStore()
    hosts = [WorkflowHost(store, search=index, name=f"h{k}") for k in range(3)]
    for host in hosts:
        host.register(order())
        await host.start()
    try:
        await (await hosts[0].start_workflow("order", _data(1, "Aarhus"))).wait(10)
        await asyncio.gather(*map(_shown, hosts))

        feeding = [(await host.health())["search"]["feeds"] for host in hosts]

        assert feeding.count(True) == 1
        assert await _found(hosts[2], "aarhus") == [1]
        await hosts[feeding.index(True)].stop()
        rest = [host for host, feeds in zip(hosts, feeding, strict=True) if not feeds]
        assert await _found(rest[0], "aarhus") == [1]
    finally:
        for host in hosts:
            await host.stop()


class Cleared(Index):
    """An index that sees, when it is emptied, whether another host could feed it then."""

    def __init__(self, store: MemoryStore, other: int) -> None:
        super().__init__()
        self._asked = store, other
        self.free: bool | None = None

    async def search_clear(self) -> None:
        store, other = self._asked
        self.free = await store.try_acquire("search-feeder", other, 1)
        await super().search_clear()


@pytest.mark.parametrize("guest", [False, True])
async def test_nobody_feeds_while_the_index_is_filled_anew(guest: bool) -> None:
    store = MemoryStore()
    other = await store.register(WorkerInfo(name="other", host="h", pid=1))
    index = Cleared(store, other)
    options: dict[str, Any] = {"own_runs_only": True, "max_live": 0} if guest else {}
    async with WorkflowHost(store) as host:
        host.register(order())
        await (await host.start_workflow("order", _data(1, "Aarhus"))).wait(10)
    async with WorkflowHost(store, search=index, **options) as host:
        assert await host.reindex() == 2

    assert index.free is False
    assert await store.try_acquire("search-feeder", other, 1)  # nobody else has to wait for it


async def test_an_index_that_another_host_keeps_is_not_emptied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, index = MemoryStore(), Index()
    other = await store.register(WorkerInfo(name="other", host="h", pid=1))
    assert await store.try_acquire("search-feeder", other, 3_600_000_000)
    monkeypatch.setattr(feeding, "_PATIENCE", 0)
    async with WorkflowHost(store, search=index) as host:
        host.register(order())
        await (await host.start_workflow("order", _data(1, "Aarhus"))).wait(10)
        await index.search_apply([], [], "where the other one is")

        with pytest.raises(ProviderError, match="another host feeds the search index"):
            await host.reindex()

        assert (await index.search_cursors())[0] == "where the other one is"


@pytest.mark.memory_only("the test is the other host")
async def test_who_feeds_lets_go_when_another_wants_to_fill_the_index_anew() -> None:
    index = Index()
    async with WorkflowTest(order(), search=index) as test:
        store = test.store
        other = await store.register(WorkerInfo(name="other", host="h", pid=1))
        await test.run("order", _data(1, "Aarhus"))
        await _advance(test, 2)
        assert set(index.applied) == {1}
        assert not await store.try_acquire("search-feeder", other, 1)

        assert await store.try_acquire("search-rebuild", other, 60_000_000)
        await _advance(test, 20)  # half of its lease is over
        await test.run("order", _data(2, "Aarhus"))
        await _advance(test, 15)
        assert set(index.applied) == {1}
        assert await store.try_acquire("search-feeder", other, 1)

        await _advance(test, 120)
        assert set(index.applied) == {1, 2}


@pytest.mark.memory_only("it damages what is stored")
async def test_a_damaged_run_keeps_nobody_out() -> None:
    async with WorkflowTest(order()) as test:
        bad = await test.start("order", _data(1, "Aarhus"), reference="bad")
        await test.run("order", _data(2, "Aarhus"))
        run = test.store._runs.by_id[bad.id]  # pyright: ignore[reportPrivateUsage]
        run.snapshot = None
        run.rows[0] = (0, '["nonsense"]')

        with pytest.raises((TypeError, ValueError, LookupError)):
            await test.host.get(bad.id)
        assert await _found(test.host, data={"number": 2}) == [2]
