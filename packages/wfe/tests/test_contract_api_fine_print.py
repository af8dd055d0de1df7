"""Rows of api.md, section 8, and what a hostile user does to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe.core import (
    DataTypeError,
    ExecutionResult,
    InvalidStateTransitionError,
    Retry,
    StepExecutionContext,
    WorkflowBuilder,
    WorkflowInstance,
)
from wfe.core.memory import MemoryStore
from wfe.core.providers import WorkerInfo
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


class Notes:
    """What ran; the application object."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.gate = asyncio.Event()


def noting(name: str, *, fails: bool = False) -> Callable[[Ctx], None]:
    """Return a body that says that it ran."""

    def body(ctx: Ctx) -> None:
        ctx.app.ran.append(name)
        if fails:
            raise ValueError(f"{name} broke")

    body.__name__ = name
    return body


async def held(ctx: Ctx) -> None:
    ctx.app.ran.append("held")
    await ctx.app.gate.wait()


# -- undo, interrupted


async def test_terminate_stops_an_undo_and_runs_the_hooks() -> None:
    notes = Notes()
    flow = (
        WorkflowBuilder()
        .saga(lambda b: b.then(noting("a")).compensate_with(held).then(noting("bad", fails=True)))
        .on_abort(noting("abort"))
        .ensure(noting("ensure"))
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        assert notes.ran == ["a", "bad", "held"]
        await test.host.terminate(run.id, "enough")
        found = await run.wait(5)
    assert (found.status, found.error and found.error.message) == ("terminated", "enough")
    assert notes.ran[3:] == ["abort", "ensure"]


async def test_suspend_lets_an_undo_step_end_and_begins_no_other() -> None:
    notes = Notes()
    flow = WorkflowBuilder().saga(
        lambda b: (
            b.then(noting("a"))
            .compensate_with(noting("undo-a"))
            .then(noting("b"))
            .compensate_with(held)
            .then(noting("bad", fails=True))
        )
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        await test.host.suspend(run.id)
        notes.gate.set()
        await test.clock.settle()
        assert notes.ran[3:] == ["held"]
        await test.host.resume(run.id)
        assert (await run.wait(5)).status == "failed"
    assert notes.ran[3:] == ["held", "undo-a"]


async def test_an_undo_that_cannot_succeed_is_skipped() -> None:
    notes = Notes()
    flow = WorkflowBuilder().saga(
        lambda b: (
            b.then(noting("a"))
            .compensate_with(noting("undo", fails=True))
            .then(noting("bad", fails=True))
        )
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        found = await run.wait(5, suspended=True)
        assert (found.status, found.error and found.error.message) == ("suspended", "undo broke")
        stuck = next(each for each in found.pointers if each.step == "undo")
        await test.host.skip(run.id, stuck.id)
        found = await run.wait(5)
    assert (found.status, found.error and found.error.message) == ("failed", "bad broke")


# -- control


async def test_skip_of_a_container_cancels_what_is_in_it_and_goes_on() -> None:
    notes = Notes()
    flow = (
        WorkflowBuilder()
        .for_each([1, 2], lambda b: b.wait_for("never").then(noting("inner")))
        .then(noting("after"))
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        container = (await test.host.get(run.id)).pointers[0]
        await test.host.skip(run.id, container.id, actor="Ada", reason="enough")
        assert (await run.wait(5)).status == "complete"
        history = await test.host.history(run.id)
    assert notes.ran == ["after"]
    skipped = next(each for each in history if each.kind == "step_skipped")
    assert (skipped.step, skipped.actor, skipped.reason) == ("for_each", "Ada", "enough")
    assert [each.kind for each in history].count("step_cancelled") == 2


async def test_a_patch_is_seen_by_later_steps_and_a_running_one_overwrites_it_aloud() -> None:
    async def slow(ctx: Ctx) -> dict[str, Any]:
        ctx.data["both"] = "step"
        await ctx.app.gate.wait()
        return {"seen": ctx.data["a"]}

    notes = Notes()
    flow = WorkflowBuilder().then(slow).then_fn(lambda ctx: {"later": ctx.data["a"]}).build("d")
    async with WorkflowTest(flow, app=notes) as test:
        run = await test.start("d", {"a": 0})
        await test.host.patch_data(run.id, {"a": 9, "both": "patch"}, actor="Ada")
        await test.clock.settle()
        notes.gate.set()
        found = await run.wait(5)
        kinds = [each.kind for each in await test.host.history(run.id)]
    assert found.data == {"a": 9, "both": "step", "seen": 0, "later": 9}
    assert "data_conflict" in kinds


async def test_forks_of_forks() -> None:
    notes = Notes()
    flow = WorkflowBuilder().then(noting("a")).then(noting("b")).then(noting("c")).build("d")
    async with WorkflowTest(flow, app=notes) as test:
        first = await test.run("d", {"x": 1})
        second = await test.host.fork(first.id, "b", {"x": 2})
        await second.wait(5)
        third = await test.host.fork(second.id, "c", {"y": 3})
        found = await third.wait(5)
        assert (await test.host.get(first.id)).data == {"x": 1}
    assert found.data == {"x": 2, "y": 3}
    assert (found.root_id, found.parent_id) == (found.id, None)
    assert notes.ran == ["a", "b", "c", "b", "c", "c"]


async def test_rewind_into_an_item_does_that_item_again_and_those_after_it() -> None:
    seen: list[str] = []

    def flaky(ctx: Ctx) -> None:
        seen.append(ctx.item)
        if seen == ["p", "q"]:
            raise ValueError("not yet")

    flow = WorkflowBuilder().for_each(["p", "q", "r"], lambda b: b.then(flaky), parallel=False)
    async with WorkflowTest(flow.build("d")) as test:
        run = await test.start("d")
        assert (await run.wait(5)).status == "failed"
        await test.host.rewind(run.id, "flaky")
        assert (await run.wait(5)).status == "complete"
    assert seen == ["p", "q", "q", "r"]


async def test_a_definition_may_be_paused_and_resumed_twice() -> None:
    flow = WorkflowBuilder().then_fn(lambda _: None).build("d")
    async with WorkflowTest(flow) as test:
        host = test.host
        told = [await host.pause_definition("d"), await host.pause_definition("d")]
        run = await test.start("d")
        assert (await host.get(run.id)).status == "runnable"
        told += [await host.resume_definition("d"), await host.resume_definition("d")]
        assert (await run.wait(5)).status == "complete"
    assert told == [True, False, True, False]


# -- approvals


async def test_options_are_texts_of_any_language() -> None:
    notes = Notes()
    flow = (
        WorkflowBuilder()
        .approval("Größe ✓?", options=["jä", "🙂"], output="answer")
        .when("🙂", lambda b: b.then(noting("smile")))
        .otherwise(lambda b: b.then(noting("other")))
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        (asked,) = await test.host.approvals()
        assert (asked.prompt, asked.options) == ("Größe ✓?", ("jä", "🙂"))
        wrong: Any = None
        for answer in ("yes", wrong):
            with pytest.raises(DataTypeError, match=f"answer: {answer!r} is none of the options"):
                await test.host.approve(run.id, answer)
        await test.host.approve(run.id, "🙂", comment="fine", actor="Ada")
        with pytest.raises(InvalidStateTransitionError):
            await test.host.approve(run.id, "🙂")
        assert (await run.wait(5)).data == {"answer": "🙂"}
    assert notes.ran == ["smile"]


# -- outcomes, joins, retries


async def test_several_branches_may_match_an_outcome_of_the_same_type_only() -> None:
    notes = Notes()
    flow = (
        WorkflowBuilder()
        .then_fn(lambda _: ExecutionResult.outcome(1))
        .when(1, lambda b: b.then(noting("one")))
        .when(1, lambda b: b.then(noting("too")))
        .when(True, lambda b: b.then(noting("true")))
        .when("1", lambda b: b.then(noting("text")))
        .otherwise(lambda b: b.then(noting("otherwise")))
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        await test.run("d")
    assert sorted(notes.ran) == ["one", "too"]


@pytest.mark.parametrize("join", ["all", "any", 1])
async def test_a_parallel_of_one(join: Any) -> None:
    notes = Notes()
    flow = WorkflowBuilder().parallel(
        lambda p: p.branch(lambda b: b.then(noting("only"))), join=join
    )
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        assert (await test.run("d")).status == "complete"
    assert notes.ran == ["only"]


@pytest.mark.parametrize("retries", [0, 2])
async def test_n_retries_are_n_plus_one_attempts(retries: int) -> None:
    notes = Notes()
    flow = WorkflowBuilder().then(noting("a", fails=True)).on_error(Retry(retries, SECOND))
    async with WorkflowTest(flow.build("d"), app=notes) as test:
        run = await test.start("d")
        await test.clock.advance(DAY)
        assert (await test.host.get(run.id)).status == "failed"
        kinds = [each.kind for each in await test.host.history(run.id)]
    assert len(notes.ran) == retries + 1
    assert kinds == [
        "workflow_started",
        *["step_retrying"] * retries,
        "step_failed",
        "workflow_failed",
    ]


# -- time


async def test_a_clock_that_skips_an_hour_fires_a_daily_schedule_once() -> None:
    flow = WorkflowBuilder().then_fn(lambda _: None).build("d")
    async with WorkflowTest(flow, start=datetime(2025, 3, 28, 12, tzinfo=UTC)) as test:
        await test.host.schedules.create("s", "d", cron="30 2 * * *", timezone="Europe/Berlin")
        await test.clock.advance(timedelta(days=4))
        page = await test.host.find(definition="d", order="oldest")
    days = [run.created_at.day for run in page.items]
    assert days == [29, 30, 31, 1]


# -- middleware


async def test_a_middleware_that_fails_fails_the_step_and_is_never_the_end_of_a_run() -> None:
    class Refuses:
        async def handle(self, ctx: Ctx, call_next: Any) -> Any:
            raise ValueError("not here")

    class Forgets:
        async def pre(self, instance: WorkflowInstance[Any]) -> None:
            assert instance.status == "runnable"

        async def post(self, instance: WorkflowInstance[Any]) -> None:
            raise ValueError("forgotten")

    flow = WorkflowBuilder().then(noting("a")).build("d")
    async with WorkflowTest(flow, app=Notes(), middleware=[Refuses()]) as test:
        found = await test.run("d")
        assert (found.status, found.error and found.error.message) == ("failed", "not here")
    async with WorkflowTest(flow, app=Notes(), middleware=[Forgets()]) as test:
        assert (await test.run("d")).status == "complete"


# -- interrupted bodies


async def test_how_often_a_run_may_kill_its_host_can_be_said() -> None:
    store = MemoryStore()
    flow = WorkflowBuilder().then(noting("a")).build("d")
    async with WorkflowHost(store, max_live=0) as starter:
        starter.register(flow)
        run = await starter.start_workflow("d")
        header = await store.get(run.id)
        assert header is not None
        for _ in range(2):  # two hosts that die with it
            epoch = await store.register(WorkerInfo(name="dies", host="h", pid=1))
            await store.claim(epoch, [header.d], 1)
            await store.fence([epoch], lease=None)
            await store.orphans(10)
    async with WorkflowHost(store, app=Notes(), max_interruptions=2) as host:
        host.register(flow)
        found = await (await host.run(run.id)).wait(5, suspended=True)
    assert (found.status, found.error and found.error.message) == (
        "suspended",
        "its host died 2 times while it ran",
    )
