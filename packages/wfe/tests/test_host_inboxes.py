"""What is sent to a run while its host reads inboxes is read too, and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from wfe.core import WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.models import Activity
from wfe.core.providers import InboxRow
from wfe.host import WorkflowHost


class Slow(MemoryStore):
    """A store of which the answer about inboxes takes a while, when told so."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self.answer.set()

    async def inbox(
        self, numbers: Sequence[int]
    ) -> Sequence[tuple[int, int, tuple[InboxRow, ...]]]:
        found = await super().inbox(numbers)
        self.asked.set()
        await self.answer.wait()
        return found


def _flow() -> Any:
    return (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.activity("work", output="a")).branch(
                lambda b: b.activity("work", output="b")
            )
        )
        .build("both")
    )


async def _claimed(host: WorkflowHost, count: int) -> list[Activity]:
    """Claim *count* activities, however long it takes until they are offered."""
    found: list[Activity] = []
    while len(found) < count:
        activity = await host.activities.claim("work")
        if activity is not None:
            found.append(activity)
        await asyncio.sleep(0)
    return found


@pytest.mark.parametrize("runs", [1, 2])
async def test_answers_that_come_while_an_inbox_is_read_are_taken(runs: int) -> None:
    store = Slow()
    async with WorkflowHost(store) as host, asyncio.timeout(10):
        host.register(_flow())
        started = [await host.start_workflow("both") for _ in range(runs)]
        activities = await _claimed(host, 2 * runs)
        first, *rest = activities[::2] + activities[1::2]  # in turn of both runs, if there are two

        store.asked.clear()
        store.answer.clear()
        await host.activities.complete(first.token, 1)
        await store.asked.wait()  # and while it is being read:
        for each in rest:
            await host.activities.complete(each.token, 1)
        store.answer.set()

        for run in started:
            assert (await run.wait(5)).data == {"a": 1, "b": 1}
