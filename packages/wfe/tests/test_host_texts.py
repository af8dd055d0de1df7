"""Codecs and blob providers: every stored text goes through them, and comes back."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import base64
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

from wfe.core import (
    DataTypeError,
    ProviderError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
)
from wfe.core.blobs import FileBlobs
from wfe.core.clocks import VirtualClock
from wfe.core.errors import StoreUnavailableError, UnreadableTextError
from wfe.core.memory import MemoryStore
from wfe.core.payloads import StoredTexts, with_texts
from wfe.core.providers import (
    ActivityStart,
    Clock,
    Done,
    Event,
    InstanceQuery,
    Item,
    PersistenceProvider,
    ScheduleRow,
    StreamRow,
)
from wfe.core.texts import Texts
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.runs import begin, one, worker

Ctx = StepExecutionContext[Any]


class Zip:
    """Compresses; what it makes is no JSON."""

    def encode(self, text: str) -> str:
        return base64.b85encode(zlib.compress(text.encode())).decode()

    def decode(self, text: str) -> str:
        return zlib.decompress(base64.b85decode(text)).decode()


class TestEncodedStore(PersistenceContract):
    """A store with a codec and blobs is a store like any other."""

    capabilities = frozenset({"virtual_clock", "lock"})
    examples = 5

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> Callable[[Clock], PersistenceProvider]:
        blobs = FileBlobs(tmp_path)
        return lambda clock: with_texts(MemoryStore(clock), Zip(), blobs, 60)

    async def test_find_by_data_looks_at_the_last_snapshot(
        self, store: PersistenceProvider
    ) -> None:
        """A codec hides data from the store, so that a search by it is refused."""
        with pytest.raises(ProviderError, match="codec"):
            await store.find(InstanceQuery(data={"a": 1}))


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "wfe.db")


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


def _files(blobs: FileBlobs) -> int:
    return sum(1 for path in blobs.directory.rglob("*") if path.is_file())


async def _until(look: Callable[[], Awaitable[Any]], right: Callable[[Any], bool]) -> None:
    """Return when what is seen is right."""
    async with asyncio.timeout(30):
        while not right(await look()):  # noqa: ASYNC110 - another task's work is waited for
            await asyncio.sleep(0.005)


async def makes(ctx: Ctx) -> dict[str, str]:
    ctx.emit("tick", "e" * 3000)
    return {"made": "m" * 3000}


def whole() -> WorkflowDefinition:
    builder = WorkflowBuilder().start_with(makes)
    return builder.wait_for("paid", key="1", output="paid").build("whole")


# -- blobs ----------------------------------------------------------------------------------------


async def test_big_values_go_to_the_blobs_and_come_back(store: Any, blobs: FileBlobs) -> None:
    async with WorkflowHost(store, blobs=blobs, max_inline=1000) as host:
        run = await host.start_workflow(whole(), {"given": "g" * 3000})
        await host.publish_event("paid", "1", "p" * 3000)
        instance = await run.wait(10)

        assert instance.data == {"given": "g" * 3000, "made": "m" * 3000, "paid": "p" * 3000}
        assert [item.payload async for item in host.stream(run.id)] == ["e" * 3000]
        changed = [entry.data["changed"] for entry in await host.history(run.id)
                   if entry.data and "changed" in entry.data]  # fmt: skip
        assert {"made": "m" * 3000} in changed
        assert _files(blobs) > 4

        assert await host.purge() == 1
        left = [owner for owner in await blobs.owners(0) if owner.isdigit()]
        assert left == []


async def test_small_values_stay_in_the_store(store: Any, blobs: FileBlobs) -> None:
    async with WorkflowHost(store, blobs=blobs) as host:
        run = await host.start_workflow(whole(), {"given": "g" * 3000})
        await host.publish_event("paid", "1", "p" * 3000)
        await run.wait(10)
        assert not blobs.directory.exists()


async def test_another_host_goes_on_with_the_blobs(tmp_path: Path, blobs: FileBlobs) -> None:
    path = tmp_path / "wfe.db"
    async with WorkflowHost(SqliteStore(path), blobs=blobs, max_inline=1000) as host:
        run = await host.start_workflow(whole(), {"given": "g" * 3000})
        await _until(lambda: host.get(run.id), lambda found: "made" in found.data)
    async with WorkflowHost(SqliteStore(path), blobs=f"file://{blobs.directory}") as host:
        host.register(whole())
        await host.publish_event("paid", "1", 1)
        instance = await (await host.run(run.id)).wait(10)
        assert instance.data == {"given": "g" * 3000, "made": "m" * 3000, "paid": 1}


async def test_the_limit_of_all_data_stays(blobs: FileBlobs) -> None:
    async with WorkflowHost(blobs=blobs, max_inline=1000, max_data=5000) as host:
        with pytest.raises(DataTypeError, match=r"data: would be 6,002 bytes long"):
            await host.start_workflow(whole(), {"given": "g" * 6000})
        with pytest.raises(DataTypeError, match=r"event data: is 6,002 bytes.*max_data"):
            await host.publish_event("paid", "1", "p" * 6000)


async def test_a_lost_blob_suspends_its_run_and_no_other(
    tmp_path: Path, blobs: FileBlobs, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "wfe.db"
    options: dict[str, Any] = {"blobs": blobs, "max_inline": 1000}
    async with WorkflowHost(SqliteStore(path), **options) as host:
        lost = await host.start_workflow(whole(), {"given": "g" * 3000})
        fine = await host.start_workflow(whole())
        n = (await host._engine.reads.header(lost.id)).n
    await blobs.delete([str(n)])

    async with WorkflowHost(SqliteStore(path), **options) as host:
        host.register(whole())
        await host.publish_event("paid", "1")
        assert (await (await host.run(fine.id)).wait(10)).status == "complete"
        await _until(lambda: host._engine.reads.header(lost.id), lambda h: h.status == "suspended")
        header = await host._engine.reads.header(lost.id)
        assert header.error is not None
        assert "is missing; is" in header.error


async def test_a_lost_message_suspends_its_run_and_no_other(store: Any, blobs: FileBlobs) -> None:
    waiting = WorkflowBuilder().wait_for("paid", key="1").wait_for("go", key="k").build("waiting")

    class Forgetful(FileBlobs):
        async def get(self, ref: str) -> bytes:
            if ref.startswith("event-"):
                raise ProviderError("blobs", "gone", transient=False)
            return await super().get(ref)

    async with WorkflowHost(store, blobs=Forgetful(blobs.directory), max_inline=1000) as host:
        host.register(waiting, whole())
        lost = await host.start_workflow("waiting")
        fine = await host.start_workflow(whole())
        await host.publish_event("paid", "1", "p" * 2000, id="by way of its inbox")
        other = await host.start_workflow(WorkflowBuilder().then(makes).build("other"))
        assert (await other.wait(10)).status == "complete"
        await _until(lambda: host._engine.reads.header(lost.id), lambda h: h.status == "suspended")
        assert fine.id


async def test_orphaned_blobs_are_swept(store: Any, blobs: FileBlobs) -> None:
    """A crash between the blob and its commit leaves blobs of a run that never was."""
    async with WorkflowHost(store, blobs=blobs, max_inline=1000) as host:
        run = await host.start_workflow(whole(), {"given": "g" * 3000})
        n = (await host._engine.reads.header(run.id)).n
        now = host._engine.clock.now()
        month = 30 * 86_400_000_000
        await blobs.put("987654321", b"orphan")
        await blobs.put(f"event-{now - month - 1}", b"over")
        await blobs.put(f"event-{now - 1}", b"somebody may still have it in the inbox")
        await blobs.put("event-ever", b"kept")
        texts: Any = host._engine.store

        assert await texts.sweep(3_600_000_000) == 0
        assert await texts.sweep(0) == 2

        assert list(await blobs.owners(0)) == sorted([str(n), f"event-{now - 1}", "event-ever"])
        assert (await host.get(run.id)).data["given"] == "g" * 3000


async def test_results_that_were_never_kept_are_swept(store: Any, blobs: FileBlobs) -> None:
    """A crash between a result's blob and its entry leaves a blob that nothing names."""

    def big(x: int) -> dict[str, str]:
        return {"y": str(x) * 3000}

    flow = WorkflowBuilder().start_with(big).name("big").cache().build("big")
    async with WorkflowHost(store, blobs=blobs, max_inline=1000) as host:
        for x in (1, 2):
            await (await host.start_workflow(flow, {"x": x})).wait(10)
        kept = [entry.key for entry in await host.cache.find()]
        await blobs.put("cache-" + "0" * 56, b"orphan")
        await blobs.put("cache-" + "1" * 56, b"younger than a day")
        _age(blobs.directory, "cache-0", *(f"cache-{key[:56]}" for key in kept))

        assert await host.cache.purge(expired_only=True) == 0

        assert not list(blobs.directory.glob("cache-0*"))
        assert list(blobs.directory.glob("cache-1*"))
        assert len(await host.cache.find()) == len(kept) == 2
        assert (await host.cache.get(kept[0])) is not None


def _age(directory: Path, *owners: str) -> None:
    """Make it that what is there of *owners* was put two days ago."""
    before = time.time() - 2 * 86_400
    for owner in owners:
        for folder in directory.glob(f"{owner}*"):
            for path in (*folder.iterdir(), folder):
                os.utime(path, (before, before))


async def test_a_store_that_fails_after_the_blob_is_asked_again(blobs: FileBlobs) -> None:
    class Moody(MemoryStore):
        refusals = 2

        async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
            if self.refusals and any(item.rows for item in items):
                self.refusals -= 1
                raise StoreUnavailableError("memory", "not now")
            return await super().commit(epoch, items)

    async with WorkflowHost(Moody(), blobs=blobs, max_inline=1000) as host:
        host.register(whole())
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                await host.start_workflow("whole", {"given": "g" * 3000})
        run = await host.start_workflow("whole", {"given": "g" * 3000})
        await host.publish_event("paid", "1")
        assert (await run.wait(10)).status == "complete"


# -- codecs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [200, 1 << 20])
async def test_a_codec_sees_every_text(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "wfe.db"
    blobs = None if limit > 1000 else FileBlobs(tmp_path / "blobs")
    secret = "".join(f"secret {k} " for k in range(100))

    async def says(ctx: Ctx) -> dict[str, str]:
        ctx.log.info(secret)
        ctx.emit("tick", secret)
        return {"made": secret}

    builder = WorkflowBuilder().start_with(says).wait_for("paid", key="1", output="paid")
    async with WorkflowHost(
        SqliteStore(path), codec=Zip(), blobs=blobs, max_inline=limit, max_data=1 << 20
    ) as host:
        run = await host.start_workflow(builder.build("says"), {"given": secret})
        await host.publish_event("paid", "1", secret)
        instance = await run.wait(10)

        assert instance.data == {"given": secret, "made": secret, "paid": secret}
        assert [line.line for line in await host.logs(run.id)] == [secret]
        assert [item.payload async for item in host.stream(run.id)] == [secret]
        assert len(await host.history(run.id)) == 5
        with pytest.raises(ProviderError, match=r"find\(data=...\) cannot look into data"):
            await host.find(data={"a": 1})
    everything = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"secret 50" not in everything


async def test_a_codec_may_come_later_but_cannot_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "wfe.db"
    async with WorkflowHost(SqliteStore(path)) as host:
        run = await host.start_workflow(whole(), {"a": {"$": "text", "v": "plain"}})
    async with WorkflowHost(SqliteStore(path), codec=Zip()) as host:
        host.register(whole())
        await host.publish_event("paid", "1")
        instance = await (await host.run(run.id)).wait(10)
        assert instance.data == {"a": {"$": "text", "v": "plain"}, "made": "m" * 3000, "paid": None}
    async with WorkflowHost(SqliteStore(path), blobs=f"file://{tmp_path / 'blobs'}") as host:
        with pytest.raises(UnreadableTextError, match=r"give the host the same one: .*codec="):
            await host.get(run.id)
    async with WorkflowHost(SqliteStore(path)) as host:
        with pytest.raises(UnreadableTextError, match=r"give the host the same one: .*codec="):
            await host.get(run.id)
        with pytest.raises(UnreadableTextError, match=r"codec="):
            await host.history(run.id)


async def test_a_codec_that_fails_is_a_store_that_fails() -> None:
    class Broken(Zip):
        def encode(self, text: str) -> str:
            raise KeyError("no key")

    async with WorkflowHost(codec=Broken()) as host:
        with pytest.raises(ProviderError, match="codec: encode failed: KeyError"):
            await host.start_workflow(whole())
    with pytest.raises(UnreadableTextError, match="is it the codec that encoded this"):
        await Texts(Zip(), None, 10).get('{"$":"text","v":"nonsense"}')


def test_without_codec_and_blobs_the_store_is_itself(store: Any) -> None:
    assert with_texts(store, None, None, 100) is store
    assert isinstance(with_texts(store, Zip(), None, 100), StoredTexts)


# -- the seam -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ['"text"', "[1]", '{"$":"decimal","v":"1"}', '{"$":"text","v":"x"}', '{"$":"blob","v":"7/a"}',
     '{"$":"plain","v":"x"}', '{"$":"coded","v":"x"}', '{"$":"text","v":"x","a":1}', "é" * 50],
)  # fmt: skip
@pytest.mark.parametrize("codec", [None, Zip()])
async def test_every_text_comes_back_whatever_it_looks_like(
    blobs: FileBlobs, text: str, codec: Any
) -> None:
    for texts in (Texts(codec, None, 10), Texts(codec, blobs, 10), Texts(codec, blobs, 1000)):
        assert await texts.get(await texts.put("7", text)) == text
        assert await texts.get(texts.line(text)) == text


async def test_activities_and_schedules_go_through_it(blobs: FileBlobs) -> None:
    inner: Any = MemoryStore(VirtualClock())
    store = with_texts(inner, Zip(), blobs, 100)
    epoch = await worker(store)
    n = await begin(store, epoch)
    parameters = '{"a":"' + "x" * 500 + '"}'
    offer = ActivityStart(pointer=1, attempt=0, name="pay", parameters=parameters)
    assert isinstance(
        await one(store, epoch, Item(n=n, base=0, rows=("[]",), activities=(offer,))), Done
    )

    row = await store.claim_activity(["pay"], "w", "token", 10**9)
    assert row is not None
    assert row.parameters == parameters
    assert [each.parameters for each in await store.activities(n)] == [parameters]
    result = '{"result":"' + "".join(map(str, range(500))) + '"}'
    await store.finish_activity("token", result)

    ((_, _, (message,)),) = await store.inbox([n])
    assert message.payload == '{"pointer":1,"attempt":0,' + result[1:]
    assert str(n) in await blobs.owners(0)

    schedule = ScheduleRow(
        id="s", definition="order", version=None, data='{"a":1}', spec="{}", next_at=1
    )
    await store.put_schedule(schedule)
    assert [each.data for each in await store.schedules()] == ['{"a":1}']
    assert (await inner.schedules())[0].data != '{"a":1}'
    big = '"' + "".join(map(str, range(500))) + '"'
    with pytest.raises(DataTypeError, match="schedule's data: is"):
        await store.put_schedule(attrs.evolve(schedule, id="t", data=big))


async def test_an_event_and_a_stream_of_a_codec_are_json_in_the_store() -> None:
    inner = MemoryStore()
    store = with_texts(inner, Zip(), None, 100)
    await one(store, None, Item(publish=(Event(id="e", name="n", key="k", payload='"x"'),)))
    n = await begin(store)
    await store.append_stream(
        [StreamRow(n=n, at=1, step=None, pointer=None, name="tick", payload="[1]")]
    )

    (row,) = await inner.stream(n, 0, 10)
    assert orjson.loads(row.payload)["$"] == "text"
    (same,) = await store.stream(n, 0, 10)
    assert same.payload == "[1]"


async def test_a_claimed_run_waits_for_a_store_that_cannot_be_read_now(tmp_path: Path) -> None:
    class Moody(SqliteStore):
        refusals = 1

        async def load(self, numbers: Sequence[int]) -> Any:
            if self.refusals and numbers:
                self.refusals -= 1
                raise StoreUnavailableError("sqlite", "not now")
            return await super().load(numbers)

    path = tmp_path / "wfe.db"
    async with WorkflowHost(SqliteStore(path)) as host:
        run = await host.start_workflow(whole(), delay=timedelta(seconds=0.001))
    async with WorkflowHost(Moody(path)) as host:
        host.register(whole())
        await host.publish_event("paid", "1")
        await _until(lambda: host._engine.reads.header(run.id), lambda h: h.status == "complete")
