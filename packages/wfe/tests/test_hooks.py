"""Steps that run after others, whatever became of these; and what is cancelled by a condition."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import (
    Compensate,
    Continue,
    ExecutionResult,
    Retry,
    StepExecutionContext,
    Suspend,
    WorkflowBuilder,
)
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class Book:
    """What ran; ``fails`` is how often a step still fails, by name."""

    def __init__(self, **fails: int) -> None:
        self.ran: list[str] = []
        self.fails = fails


def named(name: str) -> Any:
    async def body(ctx: Ctx) -> None:
        ctx.app.ran.append(name if ctx.item is None else f"{name}:{ctx.item}")
        if ctx.app.fails.get(name, 0) > 0:
            ctx.app.fails[name] -= 1
            message = f"{name} broke"
            raise ValueError(message)

    body.__name__ = name
    return body


def endless(name: str) -> Any:
    async def body(ctx: Ctx) -> None:
        ctx.app.ran.append(name)
        try:
            await asyncio.Event().wait()
        finally:
            ctx.app.ran.append(f"{name} stopped")

    body.__name__ = name
    return body


def hooked(b: Any, name: str, body: Any = None) -> Any:
    """Add a step with all hooks."""
    return (
        b.then(body or named(name))
        .on_success(named(f"{name}-success"))
        .on_failure(named(f"{name}-failure"))
        .on_abort(named(f"{name}-abort"))
        .ensure(named(f"{name}-ensure"))
    )


async def run(definition: Any, app: Book, advance: timedelta = HOUR) -> Any:
    async with WorkflowTest(app=app) as test:
        started = await test.start(definition)
        await test.clock.advance(advance)
        return await started.wait(5, suspended=True)


async def test_success_then_ensure_then_the_next_step() -> None:
    app = Book()
    instance = await run(hooked(WorkflowBuilder(), "a").then(named("b")).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "a-success", "a-ensure", "b"]


async def test_failure_then_ensure_once_after_the_last_attempt() -> None:
    app = Book(a=9)
    flow = hooked(WorkflowBuilder(), "a").on_error(Retry(max_retries=2, interval=MINUTE))
    instance = await run(flow.then(named("b")).build("w"), app)
    assert instance.status == "failed"
    assert instance.error.message == "a broke"
    assert app.ran == ["a", "a", "a", "a-failure", "a-ensure"]


async def test_ensure_runs_when_the_step_times_out() -> None:
    app = Book()
    flow = hooked(WorkflowBuilder(), "a", endless("a")).timeout(60)
    instance = await run(flow.build("w"), app)
    assert instance.error.type == "StepTimeoutError"
    assert app.ran == ["a", "a stopped", "a-failure", "a-ensure"]


async def test_a_passed_over_failure_runs_its_hooks_and_goes_on() -> None:
    app = Book(a=1)
    flow = hooked(WorkflowBuilder(), "a").on_error(Continue()).then(named("b"))
    instance = await run(flow.build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "a-failure", "a-ensure", "b"]


async def test_suspending_runs_no_hook_before_the_step_has_ended() -> None:
    app = Book(a=1)
    async with WorkflowTest(app=app) as test:
        flow = hooked(WorkflowBuilder(), "a").on_error(Suspend()).build("w")
        started = await test.start(flow)
        assert (await started.wait(5, suspended=True)).status == "suspended"
        assert app.ran == ["a"]
        await test.host.resume(started.id)
        assert (await started.wait(5)).status == "complete"
    assert app.ran == ["a", "a", "a-success", "a-ensure"]


@pytest.mark.parametrize(("hook", "ran"), [("success", ["a-success"]), ("ensure", ["a-success"])])
async def test_a_hook_that_fails_fails_the_step(hook: str, ran: list[str]) -> None:
    app = Book(**{f"a-{hook}": 1})
    instance = await run(hooked(WorkflowBuilder(), "a").then(named("b")).build("w"), app)
    assert instance.status == "failed"
    assert instance.error.message == f"a-{hook} broke"
    assert app.ran == ["a", *ran, "a-ensure"]


async def test_the_error_of_the_step_outlives_that_of_its_hooks() -> None:
    app = Book(**{"a": 1, "a-failure": 1, "a-ensure": 1})
    instance = await run(hooked(WorkflowBuilder(), "a").build("w"), app)
    assert instance.error.message == "a broke"
    assert app.ran == ["a", "a-failure", "a-ensure"]


async def test_ensure_runs_once_when_a_sibling_cancels_the_step() -> None:
    app = Book(boom=1)

    def branches(p: Any) -> Any:
        p.branch(lambda b: hooked(b, "a", endless("a")).then(named("never")))
        return p.branch(lambda b: b.delay(MINUTE).then(named("boom")))

    instance = await run(WorkflowBuilder().parallel(branches).build("w"), app)
    assert instance.status == "failed"
    assert instance.error.message == "boom broke"
    assert app.ran == ["a", "boom", "a stopped", "a-abort", "a-ensure"]


async def test_ensure_of_a_container_runs_after_what_is_in_it_has_ended() -> None:
    app = Book(boom=1)

    def branches(p: Any) -> Any:
        p.branch(
            lambda b: b.if_do(lambda _: True, lambda i: hooked(i, "a", endless("a"))).ensure(
                named("if-ensure")
            )
        )
        return p.branch(lambda b: b.delay(MINUTE).then(named("boom")))

    await run(WorkflowBuilder().parallel(branches).build("w"), app)
    assert app.ran == ["a", "boom", "a stopped", "a-abort", "a-ensure", "if-ensure"]


async def test_ensure_runs_for_a_wait_that_is_cancelled() -> None:
    app = Book(boom=1)

    def branches(p: Any) -> Any:
        p.branch(lambda b: b.wait_for("never").ensure(named("w-ensure")))
        return p.branch(lambda b: b.delay(MINUTE).then(named("boom")))

    instance = await run(WorkflowBuilder().parallel(branches).build("w"), app)
    assert instance.status == "failed"
    assert app.ran == ["boom", "w-ensure"]


async def test_terminate_runs_abort_and_ensure_of_what_is_open_and_ends_terminated() -> None:
    app = Book()
    flow = (
        WorkflowBuilder()
        .saga(lambda s: hooked(s, "a", endless("a")))
        .ensure(named("saga-ensure"))
        .then(named("b"))
        .build("w")
    )
    async with WorkflowTest(app=app) as test:
        started = await test.start(flow)
        await test.host.terminate(started.id, "enough", actor="ann")
        instance = await started.wait(5)
        history = await started.history()
    assert instance.status == "terminated"
    assert app.ran == ["a", "a stopped", "a-abort", "a-ensure", "saga-ensure"]
    assert [e.actor for e in history if e.kind == "workflow_terminated"] == ["ann"]


async def test_terminate_of_a_suspended_run_runs_its_hooks_and_again_ends_it_without() -> None:
    app = Book(**{"a": 1, "a-ensure": 1})
    flow = (
        WorkflowBuilder()
        .if_do(lambda _: True, lambda b: b.then(named("a")).on_error(Suspend()))
        .ensure(named("a-ensure"))
        .default_error(Suspend())
        .build("w")
    )
    async with WorkflowTest(app=app) as test:
        started = await test.start(flow)
        await test.host.terminate(started.id, "enough")
        assert (await started.wait(5, suspended=True)).status == "suspended"
        assert app.ran == ["a", "a-ensure"]
        await test.host.terminate(started.id, "at once")
        assert (await started.wait(5)).status == "terminated"
    assert app.ran == ["a", "a-ensure"]


async def test_terminate_tries_the_hook_again_that_suspended_the_run() -> None:
    app = Book(**{"a-ensure": 1})
    flow = WorkflowBuilder().then(named("a")).ensure(named("a-ensure")).default_error(Suspend())
    async with WorkflowTest(app=app) as test:
        started = await test.start(flow.build("w"))
        assert (await started.wait(5, suspended=True)).status == "suspended"
        await test.host.terminate(started.id)
        assert (await started.wait(5)).status == "terminated"
    assert app.ran == ["a", "a-ensure", "a-ensure"]


async def test_the_end_of_the_workflow_runs_the_ensure_hooks_around_it() -> None:
    app = Book()
    flow = (
        WorkflowBuilder()
        .if_do(lambda _: True, lambda b: b.then(named("a")).end_workflow())
        .ensure(named("if-ensure"))
        .then(named("b"))
    )
    instance = await run(flow.build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "if-ensure"]


async def test_a_goto_out_of_a_container_runs_its_ensure() -> None:
    app = Book()
    once = [True, False]
    flow = (
        WorkflowBuilder()
        .then(named("begin"))
        .if_do(lambda _: once.pop(0), lambda b: b.goto("begin"))
        .ensure(named("if-ensure"))
    )
    instance = await run(flow.build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["begin", "if-ensure", "begin", "if-ensure"]


async def test_hooks_in_a_for_each_see_their_item() -> None:
    app = Book()
    flow = WorkflowBuilder().for_each([1, 2], lambda b: hooked(b, "a"), parallel=False)
    await run(flow.build("w"), app)
    assert app.ran == ["a:1", "a-success:1", "a-ensure:1", "a:2", "a-success:2", "a-ensure:2"]


async def test_a_step_with_hooks_in_a_saga_is_undone_after_its_hooks() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(
        lambda s: hooked(s, "a").compensate_with(named("undo-a")).then(named("b"))
    )
    instance = await run(flow.on_error(Compensate()).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "a-success", "a-ensure", "b", "undo-a"]


async def test_a_skipped_step_runs_no_hook() -> None:
    app = Book()
    flow = hooked(WorkflowBuilder(), "a").run_if(lambda _: False).then(named("b"))
    await run(flow.build("w"), app)
    assert app.ran == ["b"]


# -- cancel_when ----------------------------------------------------------------------------------


def stop() -> ExecutionResult:
    return ExecutionResult.output(stop=True)


@pytest.mark.parametrize("proceed", [True, False])
async def test_a_condition_cancels_a_step_and_its_branch_goes_on_or_ends(proceed: bool) -> None:
    app = Book()

    def branches(p: Any) -> Any:
        p.branch(
            lambda b: (
                b.then(endless("a"))
                .cancel_when(lambda d: d.get("stop", False), proceed=proceed)
                .then(named("after"))
            )
        )
        return p.branch(lambda b: b.delay(MINUTE).then(stop))

    instance = await run(WorkflowBuilder().parallel(branches).then(named("tail")).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "a stopped", *(["after"] if proceed else []), "tail"]


async def test_a_condition_cancels_a_wait_and_an_open_container() -> None:
    app = Book()

    def branches(p: Any) -> Any:
        p.branch(
            lambda b: (
                b.if_do(lambda _: True, lambda i: i.wait_for("never").then(named("no")))
                .cancel_when("has(data.stop)", proceed=True)
                .then(named("after"))
            )
        )
        return p.branch(lambda b: b.delay(MINUTE).then(stop))

    instance = await run(WorkflowBuilder().parallel(branches).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["after"]
