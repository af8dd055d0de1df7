"""Suspend, resume, terminate, events and sub-workflows: what comes from outside of a run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import (
    DataTypeError,
    ExecutionResult,
    InvalidStateTransitionError,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
)
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
DAY = timedelta(days=1)


class Gate:
    """Lets bodies through when it is opened; the application object of these tests."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.ended: list[str] = []


async def guarded(ctx: Ctx) -> None:
    try:
        await ctx.app.open.wait()
    finally:
        ctx.app.ended.append(ctx.pointer.step)


async def nothing() -> None:
    """Do nothing."""


def _two_steps() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(guarded).then(nothing).build("two")


def _waiting(**options: Any) -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .wait_for("go", key=lambda d: d["key"], output="answer", **options)
        .build("waiting")
    )


async def test_suspend_lets_the_running_body_end_and_no_other_begin() -> None:
    gate = Gate()
    async with WorkflowTest(app=gate) as test:
        run = await test.start(_two_steps())
        await test.host.suspend(run.id, "lunch", actor="Ada")
        await test.clock.settle()
        assert (await test.host.get(run.id)).status == "suspended"
        gate.open.set()
        await test.clock.settle()
        held = await test.host.get(run.id)
        await test.host.resume(run.id)
        instance = await run.wait(5)
        entries = await run.history()

    assert gate.ended == ["guarded"]
    assert [pointer.step for pointer in held.pointers] == ["nothing"]
    assert instance.status == "complete"
    suspended = next(entry for entry in entries if entry.kind == "workflow_suspended")
    assert (suspended.actor, suspended.reason) == ("Ada", "lunch")


async def test_a_run_whose_last_step_ends_while_suspended_waits_for_resume() -> None:
    gate = Gate()
    async with WorkflowTest(app=gate) as test:
        run = await test.start(WorkflowBuilder().start_with(guarded).build("one"))
        await test.host.suspend(run.id)
        await test.clock.settle()
        gate.open.set()
        await test.clock.settle()
        assert (await test.host.get(run.id)).status == "suspended"
        await test.host.resume(run.id)
        assert (await run.wait(5)).status == "complete"


async def test_a_suspended_timer_fires_after_resume() -> None:
    definition = WorkflowBuilder().delay(DAY).then(nothing).build("late")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.host.suspend(run.id)
        await test.clock.advance(2 * DAY)
        assert (await test.host.get(run.id)).status == "suspended"
        await test.host.resume(run.id)
        assert (await run.wait(5)).status == "complete"


async def test_terminate_cancels_the_running_body() -> None:
    gate = Gate()
    async with WorkflowTest(app=gate) as test:
        run = await test.start(_two_steps())
        await test.host.terminate(run.id, "too late", actor="Ada")
        instance = await run.wait(5)
        await test.clock.settle()

    assert instance.status == "terminated"
    assert instance.error is not None
    assert instance.error.message == "too late"
    assert gate.ended == ["guarded"]


@pytest.mark.parametrize("what", ["suspend", "resume", "terminate"])
async def test_a_final_run_takes_no_orders(what: str) -> None:
    async with WorkflowTest() as test:
        instance = await test.run(WorkflowBuilder().start_with(nothing).build("done"))
        with pytest.raises(InvalidStateTransitionError, match=f"cannot {what} .* it is complete"):
            await getattr(test.host, what)(instance.id)


@pytest.mark.parametrize("what", ["get", "suspend", "resume", "terminate", "history", "logs"])
async def test_an_unknown_run_is_named(what: str) -> None:
    async with WorkflowTest() as test:
        with pytest.raises(WorkflowNotFoundError, match="no workflow run has the id or name 'nix'"):
            await getattr(test.host, what)("nix")


async def test_intents_reach_a_run_that_was_parked() -> None:
    async with WorkflowTest() as test:
        run = await test.start(_waiting(), {"key": "k"}, name="parked")
        await test.clock.advance(timedelta(minutes=1))
        assert (await test.host.health())["live"] == 0
        await test.host.terminate("parked")
        assert (await run.wait(5)).status == "terminated"


async def test_an_event_wakes_who_waits_for_it() -> None:
    async with WorkflowTest() as test:
        run = await test.start(_waiting(), {"key": "k"})
        other = await test.start(_waiting(), {"key": "other"})
        await test.host.publish_event("go", "k", {"by": "Ada"})
        instance = await run.wait(5)
        assert (await test.host.get(other.id)).status == "runnable"

    assert instance.data["answer"] == {"by": "Ada"}


async def test_an_event_published_after_the_start_but_before_the_wait_counts() -> None:
    gate = Gate()
    definition = (
        WorkflowBuilder().start_with(guarded).wait_for("go", key="k", output="answer").build("w")
    )
    async with WorkflowTest(app=gate) as test:
        run = await test.start(definition)
        await test.host.publish_event("go", "k", 7)
        gate.open.set()
        assert (await run.wait(5)).data["answer"] == 7


async def test_an_event_from_before_the_start_does_not_count() -> None:
    async with WorkflowTest() as test:
        await test.host.publish_event("go", "k", "old")
        await test.clock.advance(timedelta(seconds=1))
        run = await test.start(_waiting(), {"key": "k"})
        assert (await test.host.get(run.id)).status == "runnable"
        await test.host.publish_event("go", "k", "new")
        assert (await run.wait(5)).data["answer"] == "new"


async def test_the_next_wait_of_a_branch_takes_the_next_event() -> None:
    definition = (
        WorkflowBuilder()
        .wait_for("go", key="k", output="first")
        .if_do(lambda _: True, lambda b: b.wait_for("go", key="k", output="second"))
        .wait_for("go", key="k", output="third")
        .build("three")
    )
    async with WorkflowTest() as test:
        run = await test.start(definition)
        for number in (1, 2, 3):
            await test.host.publish_event("go", "k", number)
        instance = await run.wait(5)

    assert instance.data == {"first": 1, "second": 2, "third": 3}


async def test_every_waiting_branch_gets_the_event() -> None:
    definition = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.wait_for("go", key="k", output="a")).branch(
                lambda b: b.wait_for("go", key="k", output="b")
            )
        )
        .build("both")
    )
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.host.publish_event("go", "k", 1)
        instance = await run.wait(5)

    assert instance.data == {"a": 1, "b": 1}


async def test_a_repeated_event_id_is_one_event() -> None:
    definition = (
        WorkflowBuilder()
        .wait_for("go", key="k", output="first")
        .wait_for("go", key="k", output="second")
        .build("two")
    )
    async with WorkflowTest() as test:
        run = await test.start(definition)
        for _ in range(3):
            await test.host.publish_event("go", "k", 1, id="same")
        await test.clock.settle()
        assert (await test.host.get(run.id)).status == "runnable"
        await test.host.publish_event("go", "k", 2, id="other")
        assert (await run.wait(5)).data == {"first": 1, "second": 2}


async def test_a_wait_that_lasts_too_long_fails_and_is_not_retried() -> None:
    async with WorkflowTest() as test:
        run = await test.start(_waiting(timeout=DAY), {"key": "k"})
        await test.clock.advance(DAY)
        instance = await run.wait(5)

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"


async def test_a_body_may_wait_for_an_event_itself() -> None:
    async def ask(ctx: Ctx) -> ExecutionResult:
        if ctx.event is None:
            return ExecutionResult.wait_for_event("go", "k")
        return ExecutionResult.output(answer=ctx.event["data"])

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().start_with(ask).build("asks"))
        await test.host.publish_event("go", "k", 42)
        assert (await run.wait(5)).data["answer"] == 42


async def test_a_body_may_sleep_and_remember() -> None:
    async def poll(ctx: Ctx) -> ExecutionResult:
        tries = (ctx.persistence_data or 0) + 1
        if tries < 3:
            return ExecutionResult.sleep(DAY, tries)
        return ExecutionResult.output(tries=tries)

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().start_with(poll).build("polls"))
        await test.clock.advance(DAY)
        assert (await test.host.get(run.id)).status == "runnable"
        await test.clock.advance(DAY)
        assert (await run.wait(5)).data["tries"] == 3


@pytest.mark.parametrize(
    ("name", "key", "problem"),
    [
        ("x" * 513, "k", "event name: is 513 bytes long; at most 512 can be indexed"),
        ("go", "a\0b", "event key: contains a NUL character; it cannot be indexed"),
        ("go", "\ud800", "event key: contains a lone surrogate; it cannot be stored"),
        ("go", True, "event key: expected a text or a number, got True (bool)"),
    ],
)
async def test_events_that_no_store_could_index_are_refused(
    name: str, key: Any, problem: str
) -> None:
    async with WorkflowTest() as test:
        with pytest.raises(DataTypeError) as refused:
            await test.host.publish_event(name, key)

    assert str(refused.value) == problem


def _child(body: Any) -> WorkflowDefinition:
    return WorkflowBuilder().start_with(body).build("child")


def _parent() -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .sub_workflow("child", data=lambda d: {"x": d["x"]}, output="result")
        .then(nothing)
        .build("parent")
    )


async def test_a_sub_workflow_gets_data_and_gives_its_final_data() -> None:
    def double(x: int) -> dict[str, int]:
        return {"y": 2 * x}

    async with WorkflowTest(_child(double), _parent()) as test:
        run = await test.start("parent", {"x": 21})
        instance = await run.wait(5)
        child = next(i for i in (await test.host.find()).items if i.definition == "child")

    assert instance.data["result"] == {"x": 21, "y": 42}
    assert (child.parent_id, child.root_id) == (run.id, run.id)


async def test_a_failed_child_fails_its_step_by_name() -> None:
    async def bad() -> None:
        message = "boom"
        raise ValueError(message)

    async with WorkflowTest(_child(bad), _parent()) as test:
        instance = await (await test.start("parent", {"x": 1})).wait(5)

    assert instance.status == "failed"
    assert instance.error is not None
    assert "sub-workflow 'child'" in instance.error.message
    assert instance.error.message.endswith("failed: boom")


async def test_terminating_the_parent_terminates_the_child() -> None:
    gate = Gate()
    async with WorkflowTest(_child(guarded), _parent(), app=gate) as test:
        run = await test.start("parent", {"x": 1})
        await test.host.terminate(run.id)
        await run.wait(5)
        await test.clock.settle()
        states = {i.definition: i.status for i in (await test.host.find()).items}

    assert states == {"parent": "terminated", "child": "terminated"}
    assert gate.ended == ["guarded"]


async def test_an_unknown_child_fails_the_step_with_what_to_do() -> None:
    async with WorkflowTest(_parent()) as test:
        instance = await (await test.start("parent", {"x": 1})).wait(5)

    assert instance.error is not None
    assert instance.error.type == "DefinitionNotFoundError"
    assert "register it" in instance.error.message


async def test_what_was_asked_before_a_claim_is_decided_before_a_body_begins() -> None:
    store = MemoryStore()
    gate = Gate()
    async with WorkflowHost(store, max_live=0) as client:
        client.register(_two_steps())
        suspended = await client.start_workflow("two")
        terminated = await client.start_workflow("two")
        await client.suspend(suspended.id)
        await client.terminate(terminated.id)
        async with WorkflowHost(store, app=gate) as worker:
            worker.register(_two_steps())
            await worker.get(suspended.id)
            for id_ in (suspended.id, terminated.id):
                run = await worker.drive(id_)
                await run.wait(timeout=timedelta(seconds=10), suspended=True)
            kinds = [each.kind for each in await worker.history(suspended.id)]

    assert kinds == ["workflow_started", "workflow_suspended"]
    assert gate.ended == []
