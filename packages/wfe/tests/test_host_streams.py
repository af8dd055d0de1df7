"""What runs leave to read: histories and streams."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from keeping_parts import Ctx, finished, nothing, short

from wfe.core import (
    DataTypeError,
    Retry,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
)
from wfe.core.errors import HostStoppingError, StoreUnavailableError
from wfe.core.memory import MemoryStore
from wfe.core.providers import Item, StreamRow
from wfe.host import SyncWorkflowHost, WorkflowHost


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'wfe.db'}"


# -- history --------------------------------------------------------------------------------------


async def test_history_is_gapless_and_read_in_parts(url: str) -> None:
    async with WorkflowHost(url) as host:
        many = WorkflowBuilder().start_with(nothing)
        for _ in range(30):
            many = many.then(nothing)
        id_ = await finished(host, many.build("many"))

        whole = await host.history(id_)
        parts = await host.history(id_, limit=7)
        while more := await host.history(id_, after=parts[-1].seq, limit=7):
            parts += more

        assert parts == whole
        assert [entry.seq for entry in whole] == list(range(len(whole)))
        assert len(whole) > 30
        assert await host.history(id_, limit=0) == []


async def test_a_long_history_comes_whole(url: str) -> None:
    rows = 100_000
    store: Any = None
    async with WorkflowHost(url) as host:
        id_ = await finished(host, short())
        store = host._engine.store
        n = (await host._engine.reads.header(id_)).n
        text = '[1,"step_completed",1,"s",0,null,[]]'
        before = len(await host.history(id_))
        await _lengthen(store, n, text, before, rows)

        entries = await host.history(id_)

        assert [entry.seq for entry in entries] == list(range(rows))
        assert [e.seq for e in await host.history(id_, after=rows - 3)] == [rows - 2, rows - 1]


async def _lengthen(store: Any, n: int, text: str, before: int, rows: int) -> None:
    """Add rows to a run that is final: as if it had taken so many steps."""
    if isinstance(store, MemoryStore):
        store._runs.by_n[n].rows.extend([(1, text)] * (rows - before))
        return
    sql = "INSERT INTO wfe_journal (instance, seq, at, event) VALUES (?, ?, 1, ?)"
    more = [(n, seq, text) for seq in range(before, rows)]

    def write(db: sqlite3.Connection, _: int) -> None:
        db.executemany(sql, more)

    await store._write(write, len(more))


# -- streams --------------------------------------------------------------------------------------


def emitting(count: int = 3) -> WorkflowDefinition:
    async def emits(ctx: Ctx) -> None:
        for k in range(count):
            ctx.emit("tick", {"k": k})
            await asyncio.sleep(0)

    return WorkflowBuilder().start_with(emits).then(nothing).build("emitting")


async def test_a_stream_ends_with_the_run_and_can_be_resumed(url: str) -> None:
    async with WorkflowHost(url) as host:
        run = await host.start_workflow(emitting())

        items = [item async for item in host.stream(run.id)]

        assert [(item.name, item.payload, item.step) for item in items] == [
            ("tick", {"k": k}, "emits") for k in range(3)
        ]
        assert [item.offset for item in items] == sorted({item.offset for item in items})
        again = [item async for item in host.stream(run.id, after=items[0].offset)]
        assert again == items[1:]
        assert await host.purge() == 1
        with pytest.raises(WorkflowNotFoundError):
            await anext(aiter(host.stream(run.id)))


async def test_a_stream_is_read_while_the_run_goes_on(url: str) -> None:
    go = asyncio.Event()

    async def emits(ctx: Ctx) -> None:
        ctx.emit("first")
        await go.wait()
        ctx.emit("second", 2)

    async with WorkflowHost(url) as host:
        run = await host.start_workflow(WorkflowBuilder().start_with(emits).build("emits"))
        seen: list[tuple[str, Any]] = []
        async with asyncio.timeout(10):
            async for item in host.stream(run.id):
                seen.append((item.name, item.payload))
                now = [each.name async for each in host.stream(run.id, follow=False)]
                assert now == [name for name, _ in seen]
                go.set()
        assert seen == [("first", None), ("second", 2)]


async def test_another_host_reads_the_stream_to_its_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'wfe.db'}"
    async with WorkflowHost(url) as reader, WorkflowHost(url) as driver:
        driver.register(emitting(200))
        run = await driver.start_workflow("emitting")
        async with asyncio.timeout(20):
            items = [item.payload["k"] async for item in reader.stream(run.id)]

    assert items == list(range(200))


async def test_what_was_emitted_is_stored_before_the_step_is_completed() -> None:
    class Watched(MemoryStore):
        order: list[str] = []  # noqa: RUF012 - one test

        async def append_stream(self, rows: Sequence[StreamRow]) -> None:
            await asyncio.sleep(0)
            self.order.append("stream")
            await super().append_stream(rows)

        async def commit(self, epoch: int | None, items: Sequence[Item]) -> Any:
            if any("step_completed" in row for item in items for row in item.rows):
                self.order.append("completed")
            return await super().commit(epoch, items)

    def emits(ctx: Ctx) -> None:  # in a thread
        ctx.emit("tick", threading.get_ident())

    store = Watched()
    async with WorkflowHost(store) as host:
        await finished(host, WorkflowBuilder().start_with(emits).build("emits"))

    assert store.order == ["stream", "completed"]


async def test_items_of_a_failed_attempt_stay(url: str) -> None:
    async def emits(ctx: Ctx) -> None:
        ctx.emit("attempt", ctx.attempt)
        if ctx.attempt == 0:
            raise ValueError("again")

    builder = WorkflowBuilder().start_with(emits).on_error(Retry(max_retries=1))
    async with WorkflowHost(url) as host:
        id_ = await finished(host, builder.build("emits"))
        assert [item.payload async for item in host.stream(id_)] == [0, 1]


async def test_what_cannot_be_stored_fails_at_the_call(url: str) -> None:
    seen: list[str] = []

    async def emits(ctx: Ctx) -> None:
        for name, payload in (("x", object()), ("n" * 513, 1), ("big", "x" * 1_048_575)):
            try:
                ctx.emit(name, payload)
            except DataTypeError as error:
                seen.append(str(error)[:60])

    async with WorkflowHost(url) as host:
        id_ = await finished(host, WorkflowBuilder().start_with(emits).build("emits"))
        assert [item async for item in host.stream(id_)] == []

    assert [text.partition(":")[0] for text in seen] == [
        "payload of 'x'",
        "stream item's name",
        "payload of 'big'",
    ]


async def test_emitted_items_wait_while_the_store_refuses() -> None:
    class Moody(MemoryStore):
        refusals = 1

        async def append_stream(self, rows: Sequence[StreamRow]) -> None:
            if self.refusals:
                self.refusals -= 1
                raise StoreUnavailableError("memory", "not now")
            await super().append_stream(rows)

    async with WorkflowHost(Moody()) as host:
        id_ = await finished(host, emitting(2))
        async with asyncio.timeout(10):
            while not [item async for item in host.stream(id_)]:  # noqa: ASYNC110 - the store says when
                await asyncio.sleep(0)
        assert [item.payload["k"] async for item in host.stream(id_)] == [0, 1]


async def test_a_reader_is_told_that_the_host_stops() -> None:
    host = WorkflowHost()
    await host.start()
    run = await host.start_workflow(WorkflowBuilder().wait_for("go", key="k").build("waiting"))

    async def read() -> None:
        async for _ in host.stream(run.id):
            raise AssertionError("nothing was emitted")

    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    await host.stop()
    with pytest.raises(HostStoppingError):
        await reading


def test_the_blocking_host_has_all_of_it(tmp_path: Path) -> None:
    with SyncWorkflowHost(f"sqlite:///{tmp_path / 'wfe.db'}") as host:
        run = host.start_workflow(emitting())
        assert [item.payload["k"] for item in host.stream(run.id)] == [0, 1, 2]
        (second,) = host.history(run.id, after=0, limit=1)
        assert second.seq == 1
        assert host.purge(older_than=timedelta(0)) == 1
        with pytest.raises(WorkflowNotFoundError):
            list(host.stream(run.id))
