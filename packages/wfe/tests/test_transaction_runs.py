"""Steps with a transaction of their own: effect and completion are there together, or neither."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from transaction_parts import (
    AGAIN,
    MOMENT,
    SOON,
    Ctx,
    World,
    broke,
    ended,
    function,
    host_of,
    note,
    noted,
    pay,
    run_of,
    world_of,
)

from wfe.core import (
    ExecutionResult,
    StepMiddleware,
    TransactionError,
    WorkflowBuilder,
    WorkflowContext,
    workflow,
)
from wfe.host import WorkflowHost


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    kind: str = request.param
    where = tmp_path / "app.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    return world_of(kind, where)


async def test_effect_and_completion_belong_together(world: World) -> None:
    built = WorkflowBuilder().start_with(note("a", x=1)).then(noted("b", y=2)).build("w")

    instance, kinds = await run_of(world, built)

    assert (instance.status, instance.data) == ("complete", {"x": 1, "y": 2})
    assert world.notes == ["a", "b"]
    assert kinds == [
        ("workflow_started", None),
        ("step_committed", "a"),
        ("step_completed", "a"),
        ("step_committed", "b"),
        ("step_completed", "b"),
        ("workflow_completed", None),
    ]


@pytest.mark.parametrize("where", ["in", "after"])
@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_body_that_raises_is_rolled_back_and_tried_again(
    world: World, where: str, kind: str
) -> None:
    def fail(ctx: Ctx, here: str) -> None:
        if here == where and ctx.attempt < 2:
            message = "not yet"
            raise LookupError(message)

    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            fail(ctx, "in")
        fail(ctx, "after")

    def pays_blocking(ctx: Ctx) -> None:
        with ctx.transaction() as tx:
            ctx.app.write_blocking(tx.connection, "paid")
            fail(ctx, "in")
        fail(ctx, "after")

    body = pays if kind == "async" else pays_blocking
    built = WorkflowBuilder().start_with(body).on_error(AGAIN).build("w")

    instance, _ = await run_of(world, built)

    assert instance.status == "complete"
    assert world.runs == ["paid"] * 3
    assert world.notes == ["paid"]


async def test_a_body_that_goes_on_after_its_failed_block_completes_without(world: World) -> None:
    async def pays(ctx: Ctx) -> dict[str, bool]:
        try:
            async with ctx.transaction() as tx:
                await ctx.app.write(tx.connection, "paid")
                broke()
        except LookupError:
            return {"paid": False}
        return {"paid": True}

    instance, kinds = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.data == {"paid": False}
    assert ("step_committed", "pays") not in kinds
    assert world.notes == []


async def test_a_body_that_takes_too_long_is_rolled_back(world: World) -> None:
    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            if ctx.attempt == 0:
                await asyncio.Event().wait()

    step = WorkflowBuilder().start_with(pays).timeout(timedelta(seconds=0.3)).on_error(AGAIN)
    instance, _ = await run_of(world, step.build("w"))

    assert instance.status == "complete"
    assert world.notes == ["paid"]


async def test_a_thread_that_cannot_be_stopped_writes_nothing_more(world: World) -> None:
    go_on, ended = threading.Event(), threading.Event()
    raised: list[Exception] = []

    def pays(ctx: Ctx) -> None:
        with ctx.transaction() as tx:
            ctx.app.write_blocking(tx.connection, "paid")
            if ctx.attempt == 0:
                go_on.wait(20)
                try:
                    ctx.app.write_blocking(tx.connection, "late")
                except Exception as error:
                    raised.append(error)
                    raise
                finally:
                    ended.set()

    step = WorkflowBuilder().start_with(pays).timeout(timedelta(seconds=0.3)).on_error(AGAIN)
    instance, _ = await run_of(world, step.build("w"))
    go_on.set()
    await asyncio.to_thread(ended.wait, 20)

    assert instance.status == "complete"
    assert world.notes == ["paid"]
    assert len(raised) == 1


async def test_a_body_that_asks_to_run_again_is_rolled_back(world: World) -> None:
    async def pays(ctx: Ctx) -> Any:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
        if ctx.persistence_data is None:
            return ExecutionResult.sleep(MOMENT, data="slept")
        return ExecutionResult.output(slept=ctx.persistence_data)

    instance, _ = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.data == {"slept": "slept"}
    assert world.runs == ["paid", "paid"]
    assert world.notes == ["paid"]


async def test_a_body_that_is_skipped_is_rolled_back(world: World) -> None:
    async def pays(ctx: Ctx) -> ExecutionResult:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
        return ExecutionResult.skip()

    instance, kinds = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.status == "complete"
    assert ("step_skipped", "pays") in kinds
    assert world.notes == []


async def test_a_body_cannot_branch(world: World) -> None:
    async def pays(ctx: Ctx) -> ExecutionResult:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
        return ExecutionResult.branch([1, 2])

    instance, _ = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.error.type == "TransactionError"
    assert "branch" in instance.error.message
    assert world.notes == []


async def test_an_outcome_chooses_branches(world: World) -> None:
    async def pays(ctx: Ctx) -> ExecutionResult:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
        return ExecutionResult.outcome("much")

    built = (
        WorkflowBuilder()
        .start_with(pays)
        .when("much", lambda b: b.then(note("thanks")))
        .when("little", lambda b: b.then(note("hm")))
        .build("w")
    )

    instance, _ = await run_of(world, built)

    assert instance.status == "complete"
    assert world.notes == ["paid", "thanks"]


async def test_branches_at_the_same_time(world: World) -> None:
    built = (
        WorkflowBuilder()
        .parallel(
            lambda p: (
                p.branch(lambda b: b.then(note("a1")).then(noted("a2")))
                .branch(lambda b: b.then(noted("b1")).then(note("b2")))
                .branch(lambda b: b.then(note("c1", c=1)).then(note("c2", d=2)))
            )
        )
        .for_each(lambda _: list(range(12)), lambda b: b.then(note("item")))
        .build("w")
    )

    instance, _ = await run_of(world, built)

    assert (instance.status, instance.data) == ("complete", {"c": 1, "d": 2})
    items = [f"item:{k}" for k in range(12)]
    assert world.notes == sorted(["a1", "a2", "b1", "b2", "c1", "c2", *items])
    assert Counter(world.runs) == Counter(world.notes)


async def test_many_runs_beside_ordinary_ones(world: World) -> None:
    async def nothing() -> None:
        await asyncio.sleep(0)

    paid = WorkflowBuilder().start_with(note("a")).then(noted("b")).then(note("c")).build("paid")
    plain = WorkflowBuilder().start_with(nothing).then(nothing).name("n2").build("plain")

    async with host_of(world) as host:
        host.register(paid, plain)
        runs = [
            await host.start_workflow(which, {}) for _ in range(15) for which in ("paid", "plain")
        ]
        ended = [await run.wait(timedelta(seconds=60)) for run in runs]

    assert [instance.status for instance in ended] == ["complete"] * 30
    assert Counter(world.notes) == Counter({"a": 15, "b": 15, "c": 15})


# -- what can have one ----------------------------------------------------------------------------


def refund(ctx: Ctx, amount: int) -> None:
    """Write down that a payment was given back."""
    with ctx.transaction() as tx:
        ctx.app.write_blocking(tx.connection, f"refunded {amount}")


@workflow(id="saga")
async def saga(ctx: WorkflowContext, amount: int) -> int:
    """Pay, and give it back."""
    try:
        async with ctx.saga() as undoing:
            await undoing.step(pay, amount, undo=(refund, amount))
            broke()
    except LookupError:
        return 0
    return 1


async def test_steps_of_durable_functions(world: World) -> None:
    async with host_of(world) as host:
        host.register(function)
        run = await host.start_workflow("function", 1)
        result = await run.result(SOON)
        kinds = [(entry.kind, entry.step) for entry in await host.history(run.id)]

    assert result == 21 + 201
    assert world.notes == ["paid 1", "paid 20", "paid 200"]
    assert kinds.count(("step_completed", "pay")) == 3
    assert ("step_committed", "pay") not in kinds


async def test_a_failed_step_of_a_durable_function(world: World) -> None:
    @workflow(id="retries")
    async def retries(ctx: WorkflowContext, amount: int) -> int:
        return await ctx.options(retry=AGAIN).step(pay, amount)

    world.flags["fail"] = True
    async with host_of(world) as host:
        host.register(retries)
        run = await host.start_workflow("retries", 1)
        assert await run.result(SOON) == 2

    assert world.runs == ["paid 1", "paid 1"]
    assert world.notes == ["paid 1"]


async def test_undo_steps_of_a_durable_function(world: World) -> None:
    async with host_of(world) as host:
        host.register(saga)
        run = await host.start_workflow("saga", 5)
        assert await run.result(SOON) == 0

    assert world.notes == ["paid 5", "refunded 5"]


async def test_undo_steps_and_hooks_of_the_builder(world: World) -> None:
    async def fails() -> None:
        message = "broke"
        raise LookupError(message)

    built = (
        WorkflowBuilder()
        .saga(
            lambda s: (
                s.then(note("reserved"))
                .compensate_with(noted("released"))
                .then(note("paid"))
                .compensate_with(note("refunded"))
                .then(fails)
                .ensure(note("tidied"))
            )
        )
        .build("w")
    )

    instance, _ = await run_of(world, built)

    assert instance.status == "failed"
    assert world.notes == ["paid", "refunded", "released", "reserved", "tidied"]


async def test_middleware_belongs_to_the_body(world: World) -> None:
    class Grumpy(StepMiddleware):
        async def handle(self, ctx: Ctx, call_next: Any) -> Any:
            result = await call_next()
            if ctx.attempt == 0:
                message = "not yet"
                raise LookupError(message)
            return result

    built = WorkflowBuilder().start_with(note("paid", x=1)).on_error(AGAIN).build("w")

    instance, _ = await run_of(world, built, middleware=[Grumpy()])

    assert instance.data == {"x": 1}
    assert world.notes == ["paid"]


# -- what cannot ----------------------------------------------------------------------------------


async def test_a_store_in_memory_has_none(world: World) -> None:
    async with WorkflowHost("memory://", app=world) as host:
        built = WorkflowBuilder().start_with(note("paid")).build("w")
        host.register(built)
        instance = await (await host.start_workflow("w", {})).wait(SOON)

    assert instance.error is not None
    assert instance.error.type == "ProviderError"
    assert "a SQLite file and PostgreSQL have" in instance.error.message


async def test_a_body_has_one(world: World) -> None:
    async def pays(ctx: Ctx) -> None:
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")

    instance, _ = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.error.type == "TransactionError"
    assert "put all that it changes into one" in instance.error.message
    assert world.notes == []


async def test_an_async_body_writes_async_with(world: World) -> None:
    async def pays(ctx: Ctx) -> None:
        with ctx.transaction():
            pass

    instance, _ = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert "async with" in instance.error.message


async def test_a_connection_is_there_in_the_block_only(world: World) -> None:
    async def pays(ctx: Ctx) -> None:
        tx = ctx.transaction()
        with pytest.raises(TransactionError, match="not open"):
            _ = tx.connection
        async with tx:
            connection = tx.connection
            ctx.app.flags["connection"] = connection
        with pytest.raises(TransactionError):
            async with tx:
                pass

    instance, _ = await run_of(world, WorkflowBuilder().start_with(pays).build("w"))

    assert instance.status == "complete", instance.error
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the driver says
        await world.write(world.flags["connection"], "late")
    assert world.notes == []


async def test_a_cached_step_has_none(world: World) -> None:
    built = WorkflowBuilder().start_with(note("paid")).cache(ttl=timedelta(hours=1)).build("w")

    instance, _ = await run_of(world, built)

    assert instance.error.type == "TransactionError"
    assert "cache" in instance.error.message


async def test_a_result_that_is_too_big_takes_the_effect_along(world: World) -> None:
    built = WorkflowBuilder().start_with(note("paid", text="x" * 5000)).build("w")

    instance, _ = await run_of(world, built, max_inline=2000)

    assert instance.error.type == "DataTypeError"
    assert world.notes == []


async def test_starting_runs_in_it(world: World) -> None:
    async def pays(ctx: Ctx) -> None:
        host: WorkflowHost = ctx.app.flags["host"]
        async with ctx.transaction() as tx:
            await ctx.app.write(tx.connection, "paid")
            await host.start_workflow("within", {}, within=tx.connection)
            if ctx.app.kind == "sqlite":  # it would wait for the end of what it stands in
                with pytest.raises(TransactionError, match="call it before the block"):
                    await ctx.start_workflow("beside")
            else:
                await ctx.start_workflow("beside")
            if ctx.attempt < 2:
                message = "not yet"
                raise LookupError(message)

    within = WorkflowBuilder().start_with(note("within")).build("within")
    beside = WorkflowBuilder().start_with(note("beside")).build("beside")
    built = WorkflowBuilder().start_with(pays).on_error(AGAIN).build("w")
    async with host_of(world) as host:
        world.flags["host"] = host
        host.register(within, beside, built)
        run = await host.start_workflow("w", {})
        instance = await run.wait(SOON)
        assert instance.status == "complete", instance.error
        for definition in ("within", "beside"):
            for each in (await host.find(definition=definition)).items:
                await ended(host, each.id)

    besides = [] if world.kind == "sqlite" else ["beside"]
    assert world.notes == [*besides, "paid", "within"]
