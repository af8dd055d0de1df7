"""Commits at once, without the pump: when, and that nothing else is different then."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from wfe.core import ProviderError, WorkflowBuilder, WorkflowDefinition, cel, conversion
from wfe.core.engine import committer
from wfe.core.memory import MemoryStore
from wfe.core.providers import Fenced, Item, Outcome
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore


class Told(MemoryStore):
    """Counts the commits of the pump, and those at once; may refuse the latter."""

    def __init__(self) -> None:
        super().__init__()
        self.pumped: list[int] = []
        self.direct = 0
        self.refuse: list[str] = []

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        self.pumped.append(len(items))
        return super().commit_now(epoch, items)

    def commit_now(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        match self.refuse.pop() if self.refuse else "":
            case "error":
                raise ProviderError("memory", "it fails", transient=True)
            case "fenced":
                return [Fenced()]
            case _:
                self.direct += 1
                return super().commit_now(epoch, items)


class Wrapped(Told):
    """Says for itself how it commits, and nothing of doing so at once."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        return await super().commit(epoch, items)


async def noop() -> None:
    """Do nothing."""


def sequence(steps: int) -> WorkflowDefinition:
    builder = WorkflowBuilder().start_with(noop)
    for _ in range(steps - 1):
        builder = builder.then(noop)
    return builder.build("line")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commits at once go on for as long as they like."""
    monkeypatch.setattr(committer, "_TURN", 60.0)


@pytest.fixture
def store() -> Told:
    return Told()


async def finished(host: WorkflowHost, count: int = 1) -> list[str]:
    runs = [await host.start_workflow("line") for _ in range(count)]
    return [(await run.wait()).status.value for run in runs]


@pytest.mark.usefixtures("patient")
async def test_a_run_that_is_alone_needs_no_pump_and_one_task(store: Told) -> None:
    async with WorkflowHost(store) as host:
        host.register(sequence(50))
        assert await finished(host) == ["complete"]
        store.direct, store.pumped = 0, []
        made: list[str] = []

        def factory(loop: Any, coro: Any, **more: Any) -> asyncio.Task[Any]:
            made.append(coro.__qualname__)
            return asyncio.Task(coro, loop=loop, **more)

        asyncio.get_running_loop().set_task_factory(factory)
        assert await finished(host) == ["complete"]
        asyncio.get_running_loop().set_task_factory(None)

        # The start, and each step, the last of them with the end.
        assert (store.direct, store.pumped) == (51, [])
        assert made.count("Carriers._carry") == 1


async def test_runs_that_go_on_together_are_committed_together(store: Told) -> None:
    async with WorkflowHost(store) as host:
        host.register(sequence(5))
        await finished(host)
        store.direct, store.pumped = 0, []
        runs = await asyncio.gather(*(host.start_workflow("line") for _ in range(200)))
        for run in runs:
            await run.wait()

        assert store.direct + len(store.pumped) <= 20
        assert store.direct + sum(store.pumped) == 200 * 6


@pytest.mark.usefixtures("patient")
async def test_a_body_that_lasts_keeps_others_with_the_pump(store: Told) -> None:
    gate, began = asyncio.Event(), asyncio.Event()

    async def lasts() -> None:
        began.set()
        await gate.wait()

    async with WorkflowHost(store) as host:
        host.register(sequence(5), WorkflowBuilder().start_with(lasts).build("lasts"))
        run = await host.start_workflow("lasts")
        await began.wait()
        store.direct = 0
        assert await finished(host) == ["complete"]
        assert store.direct == 0
        gate.set()
        await run.wait()
        assert await finished(host) == ["complete"]
        assert store.direct > 0


async def test_others_have_their_turn(store: Told) -> None:
    turns = 0

    async def counts() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with WorkflowHost(store) as host:
        host.register(sequence(1000))
        task = asyncio.create_task(counts())
        assert await finished(host) == ["complete"]
        task.cancel()
        assert turns > 5


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("why", ["error", "fenced"])
async def test_what_does_not_go_at_once_is_the_pumps(store: Told, why: str) -> None:
    async with WorkflowHost(store) as host:
        host.register(sequence(3))
        await finished(host)
        run = await host.start_workflow("line")
        store.direct, store.pumped, store.refuse = 0, [], [why]
        assert (await run.wait()).status == "complete"

        assert store.pumped == [1]
        assert store.direct == 2
        kinds = [entry.kind for entry in await run.history()]
        assert kinds == ["workflow_started", *["step_completed"] * 3, "workflow_completed"]


@pytest.mark.usefixtures("patient")
async def test_a_start_that_does_not_go_at_once(store: Told) -> None:
    async with WorkflowHost(store) as host:
        host.register(sequence(3))
        await finished(host)
        store.pumped, store.refuse = [], ["error"]
        with pytest.raises(ProviderError, match="it fails"):  # it may be stored: once is enough
            await host.start_workflow("line")
        assert store.pumped == []

        store.refuse = ["fenced"]
        run = await host.start_workflow("line")
        assert store.pumped == [1]
        assert (await run.wait()).status == "complete"


@pytest.mark.usefixtures("patient")
async def test_who_overrides_commit_sees_every_commit() -> None:
    store = Wrapped()
    async with WorkflowHost(store) as host:
        host.register(sequence(5))
        assert await finished(host) == ["complete"]

    assert store.direct == 0
    assert sum(store.pumped) == 6


@pytest.mark.usefixtures("patient")
async def test_a_file_commits_at_once_and_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "wfe.db"
    async with WorkflowHost(SqliteStore(path)) as host:
        host.register(sequence(10))
        run = await host.start_workflow("line")
        assert (await run.wait()).status == "complete"

    async with WorkflowHost(SqliteStore(path)) as host:
        host.register(sequence(10))
        again = await host.get(run.id)
        assert again.status == "complete"


async def test_an_emitted_item_is_stored_before_the_step_that_emitted_it(store: Told) -> None:
    async def emits(ctx: Any) -> None:
        ctx.emit("n", 1)

    async with WorkflowHost(store) as host:
        host.register(WorkflowBuilder().start_with(emits).then(emits).build("line"))
        run = await host.start_workflow("line")
        await run.wait()
        items = [item async for item in host.stream(run.id)]

    assert [item.payload for item in items] == [1, 1]


# -- what is made once ----------------------------------------------------------------------------


@attrs.define
class Order:
    """Data with a type of its own."""

    number: int = 0
    name: str = ""


async def test_expressions_and_types_are_compiled_once(
    store: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    for module, name in ((cel, "_environment"), (conversion, "_record"), (conversion, "checker")):
        real = getattr(module, name)

        @functools.wraps(real)
        def noted(*args: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
            made.append(_name)
            return _real(*args, **more)

        monkeypatch.setattr(module, name, noted)

    builder = WorkflowBuilder(Order).start_with(noop)
    definition = builder.while_do("data.number < 3", lambda b: b.then(bump)).build("line")
    async with WorkflowHost(store) as host:
        host.register(definition)
        run = await host.start_workflow("line", Order(0, "a"))
        assert (await run.wait()).data.number == 3
        assert "_environment" in made
        del made[:]
        for _ in range(5):
            run = await host.start_workflow("line", Order(0, "b"))
            assert (await run.wait()).data.number == 3

    assert made == []


async def bump(ctx: Any) -> None:
    """Count one on."""
    ctx.data.number += 1
