"""Definitions are stored once, however many starts come together."""

from __future__ import annotations

import asyncio

import pytest

from wfe.core import WorkflowBuilder, WorkflowDefinition
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost


class SlowStore(MemoryStore):
    """Counts what is put, and lets others go on meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.put: list[str] = []
        self.putting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        self.put.append(id)
        self.putting.set()
        await self.go_on.wait()
        return await super().put_definition(id, version, hash, body)


def _step() -> None:
    """Do nothing."""


def _other() -> None:
    """Do nothing either."""


def _made(name: str, steps: int = 1) -> WorkflowDefinition:
    builder = WorkflowBuilder().start_with(_step)
    for _ in range(steps - 1):
        builder = builder.then(_other)
    return builder.build(name, version=1)


async def test_starts_that_come_together_store_each_definition_once() -> None:
    store = SlowStore()
    async with WorkflowHost(store) as host:
        host.register(*(_made(f"w{k}") for k in range(5)))

        runs = await asyncio.gather(*(host.start_workflow(f"w{k % 5}") for k in range(50)))
        await asyncio.gather(*(run.wait(timeout=20) for run in runs))

    assert sorted(store.put) == [f"w{k}" for k in range(5)]


@pytest.mark.parametrize("again", [False, True])
async def test_what_is_registered_while_others_are_stored_is_stored_too(again: bool) -> None:
    store = SlowStore()
    async with WorkflowHost(store) as host:
        store.go_on.clear()
        host.register(_made("first"))
        started = asyncio.create_task(host.start_workflow("first"))
        await store.putting.wait()
        host.register(_made("first", 2) if again else _made("second", 2))
        store.go_on.set()
        await started

        run = await host.start_workflow("first" if again else "second")
        await run.wait(timeout=20)

        kinds = [row.kind for row in await host.history(run.id)]

    assert kinds.count("step_completed") == 2
