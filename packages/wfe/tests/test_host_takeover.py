"""A host that goes on with what a dead one left: what it waits for, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import LifecycleEvent, StepExecutionContext, WorkflowBuilder, WorkflowDefinition
from wfe.core.memory import MemoryStore
from wfe.core.providers import Claimed, Item, Outcome, WorkerInfo
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore

Ctx = StepExecutionContext[Any]


async def begins(ctx: Ctx) -> None:
    """Tell the application that it has begun, and go on when that lets it."""
    ctx.app.begun.set()
    await ctx.app.end.wait()


@attrs.define
class App:
    """What bodies and tests tell each other."""

    begun: asyncio.Event = attrs.field(factory=asyncio.Event)
    end: asyncio.Event = attrs.field(factory=asyncio.Event)


def _one() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(begins).name("one").build("one")


class Watched:
    """A store that notes claims, and may hold up its commits."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.gate: asyncio.Event | None = None
        self.claims: list[int] = []

    def __getattr__(self, name: str) -> Any:
        if name == "commit_now":  # all commits go by the method below
            raise AttributeError(name)
        return getattr(self._store, name)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        if self.gate is not None:
            await self.gate.wait()
        outcomes: Sequence[Outcome] = await self._store.commit(epoch, items)
        return outcomes

    async def claim(self, *args: Any) -> Sequence[Claimed]:
        claimed: Sequence[Claimed] = await self._store.claim(*args)
        self.claims.append(len(claimed))
        return claimed


def _host(store: Any, app: App) -> WorkflowHost:
    return WorkflowHost(store, app=app)


async def _left(store: Any, definition: WorkflowDefinition, count: int = 1) -> list[str]:
    """Leave runs in the store that a host owned and that nobody owns now; return their ids."""
    async with WorkflowHost(store, max_live=0) as starter:
        starter.register(definition)
        runs = [await starter.start_workflow(definition.id) for _ in range(count)]
        header = await store.get(runs[0].id)
        epoch = await store.register(WorkerInfo(name="dies", host="h", pid=1))
        assert len(await store.claim(epoch, [header.d], count)) == count
        await store.fence([epoch], lease=None)
        await store.orphans(count)
    return [run.id for run in runs]


async def test_bodies_begin_before_it_is_written_that_they_were_interrupted() -> None:
    store, app = Watched(MemoryStore()), App()
    (id_,) = await _left(store, _one())
    store.gate = app.begun  # no commit before a body has begun

    async with asyncio.timeout(10), _host(store, app) as host:
        host.register(_one())
        await app.begun.wait()
        app.end.set()
        run = await host.run(id_)
        ended = await run.wait()
        kinds = [entry.kind for entry in await run.history()]

    assert ended.status == "complete"
    assert [kind for kind in kinds if kind.startswith("step_")] == [
        "step_interrupted",
        "step_completed",
    ]


async def test_who_watches_hears_of_the_interruption_before_the_body_begins_anew() -> None:
    store, app = Watched(MemoryStore()), App()
    (id_,) = await _left(store, _one())
    app.end.set()
    heard: list[str] = []

    def hear(event: LifecycleEvent) -> None:
        heard.append(event.kind)

    async with asyncio.timeout(10), _host(store, app) as host:
        host.subscribe(hear)
        host.register(_one())
        await (await host.run(id_)).wait()

    assert [kind for kind in heard if kind.startswith("step_")] == [
        "step_interrupted",
        "step_started",
        "step_completed",
    ]


@pytest.mark.parametrize("alone", [True, False])
async def test_who_is_alone_claims_everything_at_once(tmp_path: Path, alone: bool) -> None:
    store, app = Watched(SqliteStore(tmp_path / "runs.db")), App()
    other = SqliteStore(tmp_path / "runs.db")
    ids = await _left(store, _one(), 150)
    app.end.set()
    await other.open()
    try:
        if not alone:
            await other.register(WorkerInfo(name="other", host="h", pid=1))
        async with asyncio.timeout(20), _host(store, app) as host:
            store.claims.clear()
            host.register(_one())
            ended = [await (await host.run(id_)).wait() for id_ in ids]
    finally:
        await other.close()

    assert {each.status for each in ended} == {"complete"}
    assert [n for n in store.claims if n] == ([150] if alone else [100, 50])
