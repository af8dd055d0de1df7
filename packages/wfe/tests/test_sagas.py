"""Sagas: what is undone, in which order, and what follows."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import (
    Compensate,
    CompensateThenRetry,
    CompensateThenSuspend,
    Continue,
    Fail,
    Retry,
    StepExecutionContext,
    Suspend,
    Terminate,
    WorkflowBuilder,
)
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
MINUTE = timedelta(minutes=1)


class Book:
    """What ran, in order; the application object of these tests.

    ``fails`` is how often a step still fails, by name; ``gate`` opens the steps that wait.
    """

    def __init__(self, **fails: int) -> None:
        self.ran: list[str] = []
        self.fails = fails
        self.gate = asyncio.Event()

    def do(self, name: str) -> None:
        self.ran.append(name)
        if self.fails.get(name, 0) > 0:
            self.fails[name] -= 1
            message = f"{name} broke"
            raise ValueError(message)


def named(name: str) -> Callable[[Ctx], None]:
    """Return a step that notes its name, or fails."""

    async def body(ctx: Ctx) -> None:
        item = "" if ctx.item is None else f":{ctx.item}"
        ctx.app.do(f"{name}{item}")

    body.__name__ = name
    return body  # type: ignore[return-value]


def gated(name: str) -> Callable[[Ctx], Any]:
    """Return a step that waits for the gate, and notes when it is cancelled."""

    async def body(ctx: Ctx) -> None:
        ctx.app.ran.append(f"{name} begins")
        try:
            await ctx.app.gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ctx.app.ran.append(f"{name} cancelled")
            raise
        ctx.app.ran.append(name)

    body.__name__ = name
    return body


def pair(b: Any, name: str, **options: Any) -> Any:
    """Add a step with its undo to a chain."""
    return b.then(named(name)).compensate_with(named(f"undo-{name}"), **options)


async def run(definition: Any, app: Book, *, advance: timedelta | None = None) -> tuple[Any, Any]:
    async with WorkflowTest(app=app) as test:
        started = await test.start(definition)
        if advance is not None:
            await test.clock.advance(advance)
        instance = await started.wait(5, suspended=True)
        return instance, await started.history()


def abc(policy: Any = None, *, after: bool = True) -> Any:
    """Return a saga of a, b, c with undos, and a step after it."""
    flow = WorkflowBuilder().saga(lambda b: pair(pair(pair(b, "a"), "b"), "c"))
    if policy is not None:
        flow = flow.on_error(policy)
    return (flow.then(named("tail")) if after else flow).build("w")


async def test_a_saga_that_completes_undoes_nothing() -> None:
    app = Book()
    instance, _ = await run(abc(), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "c", "tail"]


async def test_without_a_policy_it_undoes_in_reverse_and_fails() -> None:
    app = Book(c=1)
    instance, history = await run(abc(), app)
    assert instance.status == "failed"
    assert instance.error.message == "c broke"
    assert instance.error.step == "c"
    assert app.ran == ["a", "b", "c", "undo-c", "undo-b", "undo-a"]
    undone = [entry.step for entry in history if entry.kind == "step_compensated"]
    assert undone == ["c", "b", "a"]


async def test_compensate_goes_on_after_the_saga_only_when_it_is_settled() -> None:
    app = Book(c=1)
    instance, _ = await run(abc(Compensate()), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "c", "undo-c", "undo-b", "undo-a", "tail"]


@pytest.mark.parametrize(
    "policy", [CompensateThenRetry(1, MINUTE), Retry(max_retries=1, interval=MINUTE)]
)
async def test_a_retry_waits_for_the_end_of_the_undo(policy: Any) -> None:
    app = Book(b=1)
    instance, _ = await run(abc(policy), app, advance=timedelta(hours=1))
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "undo-b", "undo-a", "a", "b", "c", "tail"]


async def test_used_up_retries_undo_once_more_and_fail() -> None:
    app = Book(b=9)
    instance, _ = await run(abc(CompensateThenRetry(1, MINUTE)), app, advance=timedelta(hours=1))
    assert instance.status == "failed"
    assert app.ran == ["a", "b", "undo-b", "undo-a"] * 2


@pytest.mark.parametrize("policy", [CompensateThenSuspend(), Suspend()])
async def test_undo_then_suspend_then_resume_begins_anew(policy: Any) -> None:
    app = Book(b=1)
    async with WorkflowTest(app=app) as test:
        started = await test.start(abc(policy))
        instance = await started.wait(5, suspended=True)
        assert instance.status == "suspended"
        assert instance.error is not None
        assert instance.error.message == "b broke"
        assert app.ran == ["a", "b", "undo-b", "undo-a"]
        await test.host.resume(started.id)
        instance = await started.wait(5)
    assert instance.status == "complete"
    assert app.ran[4:] == ["a", "b", "c", "tail"]


async def test_terminate_undoes_first() -> None:
    app = Book(b=1)
    instance, _ = await run(abc(Terminate()), app)
    assert instance.status == "terminated"
    assert app.ran == ["a", "b", "undo-b", "undo-a"]


async def test_continue_on_a_saga_undoes_and_goes_on() -> None:
    app = Book(b=1)
    instance, history = await run(abc(Continue()), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "undo-b", "undo-a", "tail"]
    assert "step_failed" in [e.kind for e in history if e.step == "saga"]


async def test_the_policy_of_a_step_in_a_saga_comes_first() -> None:
    app = Book(b=2)
    flow = WorkflowBuilder().saga(
        lambda s: pair(pair(s, "a"), "b").on_error(Retry(max_retries=2, interval=MINUTE))
    )
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "b", "b"]


async def test_compensate_on_a_step_in_a_saga_starts_the_undo_of_the_saga() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a"), "b").on_error(Compensate()))
    instance, _ = await run(flow.on_error(Compensate()).then(named("tail")).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "undo-b", "undo-a", "tail"]


async def test_compensate_on_a_step_recovers_a_saga_that_says_nothing_itself() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a"), "b").on_error(Compensate()))
    instance, _ = await run(flow.then(named("tail")).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "b", "undo-b", "undo-a", "tail"]


async def test_the_policy_of_the_saga_wins_over_compensate_on_a_step() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a"), "b").on_error(Compensate()))
    instance, _ = await run(flow.on_error(Fail()).then(named("tail")).build("w"), app)
    assert instance.status == "failed"
    assert app.ran == ["a", "b", "undo-b", "undo-a"]


async def test_terminate_on_a_step_in_a_saga_undoes_the_saga_first() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a"), "b").on_error(Terminate()))
    instance, _ = await run(flow.on_error(Compensate()).build("w"), app)
    assert instance.status == "terminated"
    assert app.ran == ["a", "b", "undo-b", "undo-a"]


@pytest.mark.parametrize(
    ("policy", "ran", "status"),
    [
        (Compensate(), ["a", "undo-a", "tail"], "complete"),
        (CompensateThenRetry(1, MINUTE), ["a", "undo-a", "a", "tail"], "complete"),
        (CompensateThenSuspend(), ["a", "undo-a"], "suspended"),
        (Retry(max_retries=0, then=Compensate()), ["a", "undo-a", "tail"], "complete"),
        (Fail(), ["a"], "failed"),
    ],
)
async def test_a_step_alone_is_undone_only_when_its_policy_says_so(
    policy: Any, ran: list[str], status: str
) -> None:
    app = Book(a=1)
    flow = pair(WorkflowBuilder(), "a").on_error(policy).then(named("tail")).build("w")
    instance, _ = await run(flow, app, advance=timedelta(hours=1))
    assert app.ran == ran
    assert instance.status == status


async def test_exhausted_compensate_then_retry_alone_undoes_each_attempt() -> None:
    app = Book(a=9)
    flow = pair(WorkflowBuilder(), "a").on_error(CompensateThenRetry(1, MINUTE)).build("w")
    instance, _ = await run(flow, app, advance=timedelta(hours=1))
    assert app.ran == ["a", "undo-a", "a", "undo-a"]
    assert instance.status == "failed"


async def test_compensation_sequences_run_in_order() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(
        lambda s: s.then(named("a")).compensate_with(named("x"), named("y")).then(named("b"))
    )
    await run(flow.build("w"), app)
    assert app.ran == ["a", "b", "x", "y"]


async def test_an_undo_that_fails_suspends_with_the_reason_and_resume_tries_it_again() -> None:
    app = Book(**{"c": 1, "undo-b": 1})
    async with WorkflowTest(app=app) as test:
        started = await test.start(abc(Compensate()))
        instance = await started.wait(5, suspended=True)
        assert instance.status == "suspended"
        assert instance.error is not None
        assert instance.error.message == "undo-b broke"
        assert app.ran == ["a", "b", "c", "undo-c", "undo-b"]
        await test.host.resume(started.id)
        instance = await started.wait(5)
    assert instance.status == "complete"
    assert app.ran[5:] == ["undo-b", "undo-a", "tail"]


async def test_an_undo_has_its_own_retry() -> None:
    app = Book(**{"b": 1, "undo-a": 2})
    retry = Retry(max_retries=2, interval=MINUTE)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a", on_error=retry), "b"))
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert app.ran == ["a", "b", "undo-b", "undo-a", "undo-a", "undo-a"]
    assert instance.status == "failed"


async def test_siblings_are_cancelled_and_awaited_and_their_completed_steps_undone() -> None:
    app = Book(boom=1)

    def branches(p: Any) -> Any:
        p.branch(lambda b: pair(b, "left").then(gated("slow")))
        return p.branch(lambda b: b.delay(MINUTE).then(named("boom")))

    flow = WorkflowBuilder().saga(lambda s: pair(s, "a").parallel(branches))
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "failed"
    assert app.ran == [
        "a",
        "left",
        "slow begins",
        "boom",
        "slow cancelled",
        "undo-left",
        "undo-a",
    ]


async def test_a_for_each_in_a_saga_undoes_the_items_that_were_done_with_their_items() -> None:
    app = Book(**{"ship:3": 1})
    flow = WorkflowBuilder().saga(
        lambda s: s.for_each([1, 2, 3, 4], lambda b: pair(b, "ship"), parallel=False)
    )
    instance, _ = await run(flow.build("w"), app)
    assert instance.status == "failed"
    assert app.ran == ["ship:1", "ship:2", "ship:3", "undo-ship:3", "undo-ship:2", "undo-ship:1"]


async def test_steps_in_a_nested_container_that_completed_are_undone() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(
        lambda s: s.if_do(
            lambda _: True, lambda i: i.while_do(_twice(), lambda w: pair(w, "deep"))
        ).then(named("b"))
    )
    await run(flow.build("w"), app)
    assert app.ran == ["deep", "deep", "b", "undo-deep", "undo-deep"]


def _twice() -> Callable[[Any], bool]:
    left = [True, True, False]
    return lambda _: left.pop(0)


async def test_an_inner_saga_contains_its_failure() -> None:
    app = Book(inner=1)
    flow = WorkflowBuilder().saga(
        lambda s: (
            pair(s, "a")
            .saga(lambda i: pair(pair(i, "x"), "inner"))
            .on_error(Compensate())
            .then(named("b"))
        )
    )
    instance, _ = await run(flow.then(named("tail")).build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a", "x", "inner", "undo-inner", "undo-x", "b", "tail"]


async def test_a_completed_inner_saga_is_undone_with_the_outer_one() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(
        lambda s: pair(s, "a").saga(lambda i: pair(pair(i, "x"), "y")).then(named("b"))
    )
    await run(flow.build("w"), app)
    assert app.ran == ["a", "x", "y", "b", "undo-y", "undo-x", "undo-a"]


@pytest.mark.parametrize("kind", ["if", "while", "for_each", "parallel"])
async def test_the_undo_of_a_container_that_failed_runs_before_those_in_it(kind: str) -> None:
    item = ":-" if kind == "for_each" else ""
    app = Book(**{f"b{item}": 1})

    def inner(b: Any) -> Any:
        return pair(b, "a").then(named("b"))

    def around(s: Any) -> Any:
        match kind:
            case "if":
                made = s.if_do(lambda _: True, inner)
            case "while":
                made = s.while_do(_twice(), inner)
            case "for_each":
                made = s.for_each(["-"], inner)
            case _:
                made = s.parallel(lambda p: p.branch(inner))
        return made.compensate_with(named("undo-whole"))

    flow = WorkflowBuilder().saga(lambda s: around(pair(s, "first")))
    instance, _ = await run(flow.build("w"), app)
    assert instance.status == "failed"
    undone = ["undo-whole", f"undo-a{item}", "undo-first"]
    assert app.ran == ["first", f"a{item}", f"b{item}", *undone]


async def test_a_container_that_was_cut_off_is_not_undone_by_its_own() -> None:
    app = Book(boom=1)

    def branches(p: Any) -> Any:
        p.branch(
            lambda b: b.if_do(
                lambda _: True, lambda i: pair(i, "left").then(gated("slow"))
            ).compensate_with(named("undo-whole"))
        )
        return p.branch(lambda b: b.delay(MINUTE).then(named("boom")))

    flow = WorkflowBuilder().saga(lambda s: s.parallel(branches))
    await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert app.ran == ["left", "slow begins", "boom", "slow cancelled", "undo-left"]


async def test_the_undo_of_a_saga_itself_runs_after_those_of_its_steps() -> None:
    app = Book(b=1)
    flow = WorkflowBuilder().saga(lambda s: pair(pair(s, "a"), "b"))
    await run(flow.compensate_with(named("undo-saga")).build("w"), app)
    assert app.ran == ["a", "b", "undo-b", "undo-a", "undo-saga"]


@pytest.mark.parametrize("kind", ["if", "while", "for_each", "parallel"])
async def test_a_saga_inside_a_container_goes_on_after_the_container(kind: str) -> None:
    app = Book(b=1)

    def saga(b: Any) -> Any:
        inner = b.saga(lambda s: pair(pair(s, "a"), "b")).on_error(Compensate())
        return inner.then(named("inside"))

    flow: Any = WorkflowBuilder()
    match kind:
        case "if":
            flow = flow.if_do(lambda _: True, saga)
        case "while":
            once = [True, False]
            flow = flow.while_do(lambda _: once.pop(0), saga)
        case "for_each":
            flow = flow.for_each(["-"], saga)
            app.fails = {"b:-": 1}
        case _:
            flow = flow.parallel(lambda p: p.branch(saga))
    instance, _ = await run(flow.then(named("tail")).build("w"), app)
    assert instance.status == "complete"
    ran = [name.removesuffix(":-") for name in app.ran]
    assert ran == ["a", "b", "undo-b", "undo-a", "inside", "tail"]


async def test_retried_saga_in_a_for_each_goes_on_after_it() -> None:
    app = Book(**{"b:1": 1})

    def saga(b: Any) -> Any:
        return b.saga(lambda s: pair(pair(s, "a"), "b")).on_error(CompensateThenRetry(1, MINUTE))

    flow = WorkflowBuilder().for_each([1], saga).then(named("tail"))
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "complete"
    assert app.ran == ["a:1", "b:1", "undo-b:1", "undo-a:1", "a:1", "b:1", "tail"]


async def test_a_saga_that_loses_a_race_is_undone() -> None:
    app = Book()

    def branches(p: Any) -> Any:
        p.branch(lambda b: b.saga(lambda s: pair(s, "reserve").then(gated("slow"))))
        return p.branch(lambda b: b.delay(MINUTE).then(named("fast")))

    flow = WorkflowBuilder().parallel(branches, join="any").then(named("tail"))
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "complete"
    assert app.ran == [
        "reserve",
        "slow begins",
        "fast",
        "slow cancelled",
        "undo-reserve",
        "tail",
    ]


async def test_a_saga_that_times_out_is_undone() -> None:
    app = Book()
    flow = WorkflowBuilder().saga(lambda s: pair(s, "a").then(gated("slow"))).timeout(60)
    instance, _ = await run(flow.build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "failed"
    assert instance.error.type == "StepTimeoutError"
    assert app.ran == ["a", "slow begins", "slow cancelled", "undo-a"]


async def test_a_run_that_times_out_undoes_its_sagas() -> None:
    app = Book()
    flow = WorkflowBuilder().saga(lambda s: pair(s, "a").then(gated("slow")))
    instance, _ = await run(flow.definition_timeout(60).build("w"), app, advance=timedelta(hours=1))
    assert instance.status == "failed"
    assert app.ran == ["a", "slow begins", "slow cancelled", "undo-a"]


async def test_terminating_a_run_undoes_nothing() -> None:
    app = Book()
    flow = WorkflowBuilder().saga(lambda s: pair(s, "a").then(gated("slow"))).build("w")
    async with WorkflowTest(app=app) as test:
        started = await test.start(flow)
        await test.host.terminate(started.id, "enough")
        instance = await started.wait(5)
    assert instance.status == "terminated"
    assert "undo-a" not in app.ran


async def test_a_goto_out_of_a_saga_is_no_failure() -> None:
    app = Book()
    once = [True, False]
    flow = (
        WorkflowBuilder()
        .then(named("begin"))
        .saga(lambda s: pair(s, "a").if_do(lambda _: once.pop(0), lambda b: b.goto("begin")))
        .build("w")
    )
    instance, _ = await run(flow, app)
    assert instance.status == "complete"
    assert app.ran == ["begin", "a", "begin", "a"]


async def test_the_end_of_the_workflow_inside_a_saga_is_no_failure() -> None:
    app = Book()
    flow = WorkflowBuilder().saga(lambda s: pair(s, "a").end_workflow()).then(named("tail"))
    instance, _ = await run(flow.build("w"), app)
    assert instance.status == "complete"
    assert app.ran == ["a"]


async def test_a_retry_of_a_failed_run_begins_the_undone_saga_anew() -> None:
    app = Book(b=1)
    async with WorkflowTest(app=app) as test:
        flow = WorkflowBuilder().then(named("first")).saga(lambda s: pair(pair(s, "a"), "b"))
        started = await test.start(flow.then(named("tail")).build("w"))
        assert (await started.wait(5)).status == "failed"
        await test.host.retry(started.id)
        instance = await started.wait(5)
    assert instance.status == "complete"
    assert instance.error is None
    assert app.ran == ["first", "a", "b", "undo-b", "undo-a", "a", "b", "tail"]
