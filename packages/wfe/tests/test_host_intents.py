"""What callers ask of runs: retry, skip, patch, fork, rewind, signal, update, query, approve."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import attrs
import pytest
from asking_parts import asking, counter, opened, release

from wfe.core import (
    DataTypeError,
    DefinitionError,
    DefinitionNotFoundError,
    HistoryEntry,
    InvalidStateTransitionError,
    StepExecutionContext,
    Suspend,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowDefinition,
    WorkflowNotFoundError,
    workflow,
)
from wfe.host import SyncWorkflowHost, WorkflowRun
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


class World:
    """The application object: what is broken, and what was done."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.done: list[str] = []
        self.open = asyncio.Event()

    def do(self, what: str) -> None:
        if what in self.broken:
            problem = f"{what} is broken"
            raise RuntimeError(problem)
        self.done.append(what)


def pack(ctx: Ctx) -> dict[str, str]:
    ctx.app.do("pack")
    return {"packed": f"packed {ctx.data.get('item', 'nothing')}"}


def ship(ctx: Ctx) -> dict[str, str]:
    ctx.app.do("ship")
    return {"shipped": f"{ctx.data['packed']}, shipped"}


def bill(ctx: Ctx) -> None:
    ctx.app.do("bill")


def pipeline() -> WorkflowDefinition:
    return WorkflowBuilder().start_with(pack).then(ship).then(bill).build("pipeline")


def held() -> WorkflowDefinition:
    return (
        WorkflowBuilder().start_with(pack).then(ship).on_error(Suspend()).then(bill).build("held")
    )


def entry(entries: list[HistoryEntry], kind: str) -> HistoryEntry:
    """Return the last entry of this kind."""
    return next(each for each in reversed(entries) if each.kind == kind)


async def failed(test: WorkflowTest, definition: WorkflowDefinition) -> str:
    run = await test.start(definition, {"item": "book"})
    assert (await run.wait(5)).status == "failed"
    return run.id


# -- retry


async def test_retry_goes_on_where_it_failed() -> None:
    world = World("ship")
    async with WorkflowTest(app=world) as test:
        run_id = await failed(test, pipeline())
        world.broken.clear()
        await test.host.retry(run_id, actor="Ada", reason="it is mended")
        instance = await (await test.host.run(run_id)).wait(5)
        entries = await test.host.history(run_id)

    assert instance.status == "complete"
    assert instance.error is None
    assert world.done == ["pack", "ship", "bill"]
    retried = entry(entries, "workflow_retried")
    assert (retried.actor, retried.reason) == ("Ada", "it is mended")


async def test_retry_from_a_step_does_it_again() -> None:
    world = World("bill")
    async with WorkflowTest(app=world) as test:
        run_id = await failed(test, pipeline())
        world.broken.clear()
        await test.host.retry(run_id, "ship")
        assert (await (await test.host.run(run_id)).wait(5)).status == "complete"

    assert world.done == ["pack", "ship", "ship", "bill"]


async def test_retry_of_a_terminated_run() -> None:
    async with WorkflowTest() as test:
        definition = WorkflowBuilder().wait_for("go", key="1").build("waiting")
        run = await test.start(definition)
        await test.host.terminate(run.id)
        assert (await run.wait(5)).status == "terminated"
        await test.host.retry(run.id)
        await test.clock.settle()
        assert (await test.host.get(run.id)).status == "runnable"
        await test.host.publish_event("go", "1")
        assert (await run.wait(5)).status == "complete"


async def test_retry_waits_for_what_it_asked() -> None:
    world = World("ship")
    async with WorkflowTest(app=world) as test:
        run_id = await failed(test, pipeline())
        await test.host.retry(run_id)
        instance = await (await test.host.run(run_id)).wait(5)
        entries = await test.host.history(run_id)

    assert instance.status == "failed"
    assert [each.kind for each in entries].count("workflow_failed") == 2


async def test_retry_of_a_complete_run_is_refused() -> None:
    definition = WorkflowBuilder().wait_for("go", key="1").build("waiting")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.host.publish_event("go", "1")
        await run.wait(5)
        with pytest.raises(InvalidStateTransitionError, match="it is complete"):
            await test.host.retry(run.id)


async def test_retry_from_a_step_that_never_began_names_those_that_did() -> None:
    async with WorkflowTest(app=World("ship")) as test:
        run_id = await failed(test, pipeline())
        with pytest.raises(DefinitionError, match="it came to: pack, ship"):
            await test.host.retry(run_id, "bill")


# -- skip


async def test_skip_goes_on_after_the_step_and_resumes() -> None:
    world = World("ship")
    async with WorkflowTest(app=world) as test:
        run = await test.start(held(), {"item": "book"})
        suspended = await run.wait(5, suspended=True)
        (pointer,) = suspended.pointers
        await test.host.skip(run.id, pointer.id, actor="Ada", reason="sent by hand")
        instance = await run.wait(5)
        entries = await run.history()

    assert suspended.status == "suspended"
    assert instance.status == "complete"
    assert world.done == ["pack", "bill"]
    skipped = entry(entries, "step_skipped")
    assert (skipped.step, skipped.actor, skipped.reason) == ("ship", "Ada", "sent by hand")


async def test_skip_of_a_step_that_is_not_live_is_refused() -> None:
    async with WorkflowTest(app=World("ship")) as test:
        run = await test.start(held())
        await run.wait(5, suspended=True)
        with pytest.raises(InvalidStateTransitionError, match="skip pointer 99"):
            await test.host.skip(run.id, 99)


async def test_skip_ends_a_wait() -> None:
    definition = WorkflowBuilder().wait_for("go", key="1").build("waiting")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        (pointer,) = (await test.host.get(run.id)).pointers
        await test.host.skip(run.id, pointer.id)
        assert (await run.wait(5)).status == "complete"


# -- patch


async def test_patched_data_is_what_the_next_attempt_sees() -> None:
    world = World("ship")
    async with WorkflowTest(app=world) as test:
        run = await test.start(held(), {"item": "book"})
        await run.wait(5, suspended=True)
        world.broken.clear()
        await test.host.patch_data(run.id, {"packed": "packed anew"}, actor="Ada", reason="typo")
        await test.host.resume(run.id)
        instance = await run.wait(5)
        entries = await run.history()

    assert instance.data["shipped"] == "packed anew, shipped"
    patched = entry(entries, "data_patched")
    assert (patched.actor, patched.reason) == ("Ada", "typo")
    assert patched.data is not None
    assert patched.data["changed"] == {"packed": "packed anew"}


@attrs.define
class Order:
    item: str = ""
    count: int = 0


@pytest.mark.parametrize("fields", [{"count": "many"}, {"colour": "red"}, {"item": object()}])
async def test_a_patch_that_does_not_fit_is_refused(fields: dict[str, Any]) -> None:
    definition = WorkflowBuilder(Order).wait_for("go", key="1").build("typed")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        with pytest.raises(DataTypeError):
            await test.host.patch_data(run.id, fields)
        assert (await test.host.get(run.id)).data == Order()


# -- fork and rewind


async def test_a_fork_begins_with_the_data_of_then() -> None:
    world = World()
    async with WorkflowTest(app=world) as test:
        run = await test.start(pipeline(), {"item": "book"})
        await run.wait(5)
        fork = await test.host.fork(run.id, "ship", {"packed": "wrapped"}, actor="Ada")
        instance = await fork.wait(5)
        before = await test.host.get(run.id)
        entries = await fork.history()

    assert fork.id != run.id
    assert isinstance(fork, WorkflowRun)
    assert instance.data == {"item": "book", "packed": "wrapped", "shipped": "wrapped, shipped"}
    assert before.data["shipped"] == "packed book, shipped"
    assert world.done == ["pack", "ship", "bill", "ship", "bill"]
    assert entries[0].actor == "Ada"


async def test_a_running_run_is_forked_too() -> None:
    definition = WorkflowBuilder().start_with(pack).wait_for("go", key="1").build("waiting")
    async with WorkflowTest(app=World()) as test:
        run = await test.start(definition)
        fork = await test.host.fork(run.id, "pack")
        await test.clock.settle()
        await test.host.publish_event("go", "1")
        assert (await fork.wait(5)).status == "complete"
        assert (await run.wait(5)).status == "complete"


async def test_rewind_does_a_step_again_with_the_data_of_then() -> None:
    world = World("bill")
    async with WorkflowTest(app=world) as test:
        run_id = await failed(test, pipeline())
        world.broken.clear()
        await test.host.rewind(run_id, "ship", {"packed": "wrapped"}, actor="Ada", reason="why")
        instance = await (await test.host.run(run_id)).wait(5)
        entries = await test.host.history(run_id)

    assert instance.status == "complete"
    assert instance.data["shipped"] == "wrapped, shipped"
    assert world.done == ["pack", "ship", "ship", "bill"]
    rewound = entry(entries, "workflow_rewound")
    assert (rewound.actor, rewound.reason) == ("Ada", "why")


async def test_retry_of_a_run_that_goes_on_is_noted_and_changes_nothing() -> None:
    gate = asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().then(slow).build("w"))
        await test.host.retry(run.id, actor="Ada")
        gate.set()
        assert (await run.wait(5)).status == "complete"
        ignored = entry(await run.history(), "message_ignored")
    assert (ignored.actor, ignored.data) == ("Ada", {"message": "retry"})


async def test_retry_of_a_running_run_from_a_step_waits_for_the_old_body_to_end() -> None:
    order: list[str] = []

    async def slow(ctx: StepExecutionContext[Any]) -> None:
        order.append(f"begin {ctx.attempt}")
        try:
            if ctx.attempt == 0:
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            order.append(f"end {ctx.attempt}")

    async with WorkflowTest() as test:
        run = await test.start(WorkflowBuilder().then(slow).build("w"))
        await test.host.retry(run.id, from_step="slow")
        assert (await run.wait(5)).status == "complete"
    assert order == ["begin 0", "end 0", "begin 1", "end 1"]


async def test_a_function_that_waits_is_retried_and_rewound() -> None:
    @workflow("waiter")
    async def waiter(ctx: WorkflowContext) -> list[int]:
        ctx.app.append("run")
        first = await ctx.wait_for("go", key="1")
        second = await ctx.wait_for("go", key="2")
        return [first, second]

    async with WorkflowTest(waiter, app=[]) as test:
        run = await test.start("waiter")
        await test.host.publish_event("go", "1", 1)
        await test.host.terminate(run.id)
        await test.host.retry(run.id)
        await test.host.publish_event("go", "2", 2)
        assert await run.result(5) == [1, 2]

        await test.clock.advance(timedelta(seconds=1))  # those events are older than the next run
        other = await test.start("waiter")
        await test.host.suspend(other.id)
        await test.host.rewind(other.id, "waiter")
        await test.host.publish_event("go", "1", 3)
        await test.host.publish_event("go", "2", 4)
        assert await other.result(5) == [3, 4]


async def test_a_fork_from_a_rewound_step_begins_with_what_the_rewind_changed() -> None:
    world = World("bill")
    async with WorkflowTest(app=world) as test:
        run_id = await failed(test, pipeline())
        world.broken.clear()
        await test.host.rewind(run_id, "ship", {"packed": "wrapped"})
        await (await test.host.run(run_id)).wait(5)
        fork = await test.host.fork(run_id, "ship")
        assert (await fork.wait(5)).data["shipped"] == "wrapped, shipped"


async def test_rewind_of_a_suspended_run() -> None:
    world = World("ship")
    async with WorkflowTest(app=world) as test:
        run = await test.start(held(), {"item": "book"})
        await run.wait(5, suspended=True)
        world.broken.clear()
        await test.host.rewind(run.id, "pack")
        assert (await run.wait(5)).status == "complete"

    assert world.done == ["pack", "pack", "ship", "bill"]


async def test_rewind_of_a_run_that_runs_is_refused() -> None:
    definition = WorkflowBuilder().wait_for("go", key="1").build("waiting")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        with pytest.raises(InvalidStateTransitionError, match=r"cannot rewind .* it is runnable"):
            await test.host.rewind(run.id, "go")


# -- definitions


async def test_a_paused_definition_begins_nothing() -> None:
    world = World()
    async with WorkflowTest(app=world) as test:
        test.host.register(pipeline())
        await test.clock.settle()
        assert await test.host.pause_definition("pipeline")
        assert not await test.host.pause_definition("pipeline")
        run = await test.start("pipeline", {"item": "book"})
        await test.clock.advance(timedelta(minutes=5))
        paused = list(world.done)
        assert await test.host.resume_definition("pipeline")
        instance = await run.wait(5)
        assert not await test.host.resume_definition("pipeline")

    assert paused == []
    assert instance.status == "complete"


async def test_what_runs_when_its_definition_is_paused_ends_and_nothing_follows() -> None:
    world = World()
    definition = WorkflowBuilder().start_with(opened).then(bill).build("two")
    async with WorkflowTest(app=world) as test:
        run = await test.start(definition)
        await test.host.pause_definition("two")
        world.open.set()
        await test.clock.settle()
        assert world.done == []
        await test.host.resume_definition("two")
        assert (await run.wait(5)).status == "complete"

    assert world.done == ["bill"]


async def test_pausing_what_is_not_stored_is_refused() -> None:
    async with WorkflowTest() as test:
        with pytest.raises(DefinitionNotFoundError):
            await test.host.pause_definition("nothing")


# -- all of them


ASKS: dict[str, tuple[Any, ...]] = {
    "retry": (),
    "skip": (1,),
    "patch_data": ({"a": 1},),
    "fork": ("pack",),
    "rewind": ("pack",),
    "signal": ("go",),
    "update": ("add",),
    "query": ("count",),
    "approve": ("yes",),
}


@pytest.mark.parametrize("what", ASKS)
async def test_an_unknown_run_is_named(what: str) -> None:
    async with WorkflowTest() as test:
        with pytest.raises(WorkflowNotFoundError, match="'nobody'"):
            await getattr(test.host, what)("nobody", *ASKS[what])


@pytest.mark.parametrize("what", ["retry", "skip", "patch_data", "rewind", "signal", "approve"])
async def test_a_complete_run_takes_no_orders(what: str) -> None:
    async with WorkflowTest(app=World()) as test:
        instance = await test.run(pipeline(), {"item": "book"})
        with pytest.raises(InvalidStateTransitionError, match="it is complete"):
            await getattr(test.host, what)(instance.id, *ASKS[what])


@pytest.mark.parametrize("named", ["mine", None])
async def test_runs_are_found_by_their_name_or_number(named: str | None) -> None:
    async with WorkflowTest() as test:
        run = await test.start(asking(), name=named)
        name = (await test.host.get(run.id)).name
        assert name == (named or "asking-1")
        assert (await test.host.get(name)).id == run.id
        await test.host.signal(name, "go", 1)
        assert (await run.wait(5)).status == "complete"
        assert (await test.host.run(name)).id == run.id


@pytest.mark.parametrize("name", ["asking-2", "asked-1", "asking-01", "asking-", "-1"])
async def test_only_its_own_number_finds_a_run(name: str) -> None:
    async with WorkflowTest() as test:
        await test.start(asking())
        with pytest.raises(WorkflowNotFoundError):
            await test.host.get(name)


async def test_a_run_with_a_name_is_not_found_by_its_number() -> None:
    async with WorkflowTest() as test:
        await test.start(asking(), name="mine")
        with pytest.raises(WorkflowNotFoundError):
            await test.host.get("asking-1")


async def test_a_body_knows_what_its_run_is_called() -> None:
    def called(ctx: Ctx) -> dict[str, str]:
        return {"name": ctx.instance.name}

    definition = WorkflowBuilder().start_with(called).build("who")
    async with WorkflowTest() as test:
        assert (await test.run(definition)).data == {"name": "who-1"}
        assert (await test.run(definition, name="me")).data == {"name": "me"}


def test_the_blocking_host_takes_the_same_orders() -> None:
    world = World("ship")
    with SyncWorkflowHost("memory://", app=world) as host:
        host.register(held(), counter(), release())
        run = host.start_workflow("held", {"item": "book"})
        (pointer,) = run.wait(5, suspended=True).pointers
        host.patch_data(run.id, {"packed": "wrapped"})
        host.skip(run.id, pointer.id)
        assert run.wait(5).status == "complete"
        fork = host.fork(run.id, "bill")
        assert fork.wait(5).data == {"item": "book", "packed": "wrapped"}
        counting = host.start_workflow("counter").id
        assert host.update(counting, "add", 2, timeout=5) == host.query(counting, "count")
        asked = host.start_workflow("release")
        while not host.approvals():  # it is asked in a moment
            continue
        host.approve(asked.id, "no")
        assert asked.wait(5).data == {"answer": "no"}
        assert host.pause_definition("held")
        assert host.resume_definition("held")
        assert [each.id for each in host.definitions()] == ["counter", "held", "release"]
