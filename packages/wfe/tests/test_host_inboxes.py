"""What was sent to a run counts: for its host, at once, and for who asks before a host took it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import InvalidStateTransitionError, WorkflowBuilder
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
    claims = [host.activities.claim("work", wait=timedelta(minutes=1)) for _ in range(count)]
    return [each for each in await asyncio.gather(*claims) if each is not None]


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


# -- sent, and nobody drives the run --------------------------------------------------------------


async def _stopped(store: MemoryStore, flow: Any) -> str:
    """Leave a run of *flow* that waits, and that no host drives; return its id."""
    waits = asyncio.Event()
    async with WorkflowHost(store) as host, asyncio.timeout(10):
        host.subscribe(lambda each: waits.set() if each.kind == "step_waiting" else None)
        host.register(flow)
        run = await host.start_workflow(flow.id)
        await waits.wait()
        return run.id


async def test_an_answer_that_is_on_its_way_is_an_answer() -> None:
    store = MemoryStore(VirtualClock())
    flow = WorkflowBuilder().approval("Go?", options=["yes", "no"], output="answer").build("asks")
    id_ = await _stopped(store, flow)
    async with WorkflowHost(store, max_live=0) as client:
        assert [each.run_id for each in await client.approvals()] == [id_]
        await client.approve(id_, "yes")
        with pytest.raises(InvalidStateTransitionError, match="nothing is asked there now"):
            await client.approve(id_, "no")
        assert await client.approvals() == []

        async with WorkflowHost(store) as host:
            host.register(flow)
            assert (await (await host.run(id_)).wait(5)).data == {"answer": "yes"}


@pytest.mark.parametrize("ask", ["retry", "rewind"])
async def test_who_suspends_a_run_may_take_it_back_before_a_host_took_note(ask: str) -> None:
    store = MemoryStore(VirtualClock())
    flow = WorkflowBuilder().wait_for("go", key="1").build("waits")
    id_ = await _stopped(store, flow)
    async with WorkflowHost(store, max_live=0) as client:
        await client.suspend(id_)
        if ask == "retry":
            await client.retry(id_)
        else:
            await client.rewind(id_, "wait_for")
        await client.publish_event("go", "1")

        async with WorkflowHost(store) as host:
            host.register(flow)
            assert (await (await host.run(id_)).wait(5)).status == "complete"
            kinds = [each.kind for each in await host.history(id_)]

    assert "workflow_suspended" in kinds
    assert {"retry": "workflow_resumed", "rewind": "workflow_rewound"}[ask] in kinds
