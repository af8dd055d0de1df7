"""What the builder writes down, run by a host: each kind of value that a construct takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
import pytest

from wfe.core import (
    Continue,
    PointerStatus,
    Retry,
    StepExecutionContext,
    WfeError,
    WorkflowBuilder,
    WorkflowStatus,
    expr,
)
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]


@attrs.define
class Order:
    id: int = 7
    n: int = 0
    pause: timedelta = timedelta(hours=3)
    when: datetime | None = None
    answer: str = ""
    received: dict[str, Any] = attrs.field(factory=dict[str, Any])


def count(n: int) -> dict[str, int]:
    return {"n": n + 1}


async def note(ctx: Ctx) -> None:
    ctx.app.append(ctx.pointer.step)


def builder() -> WorkflowBuilder[Order]:
    return WorkflowBuilder(Order)


SCHEDULES: dict[str, Callable[[datetime], Any]] = {
    "constant": lambda when: builder().schedule(when),
    "callable": lambda _: builder().schedule(lambda d: d.when),
    "with-context": lambda _: builder().schedule(lambda d, ctx: ctx.data.when and d.when),
    "cel-of-data": lambda _: builder().schedule(expr("data.when")),
    "cel": lambda when: builder().schedule(expr(f"timestamp('{when.isoformat()}')")),
    "cel-converted": lambda _: builder().schedule(expr("timestamp(data.when)")),
}


@pytest.mark.parametrize("name", SCHEDULES)
async def test_a_schedule_waits_until_its_time(name: str) -> None:
    async with WorkflowTest() as test:
        when = test.clock.now() + timedelta(hours=3)
        run = await test.start(SCHEDULES[name](when).build("w"), {"when": when})
        await test.clock.advance(timedelta(hours=2))
        waiting = await test.host.get(run.id)
        await test.clock.advance(timedelta(hours=1))

        assert [p.status for p in waiting.pointers] == [PointerStatus.SLEEPING]
        assert (await run.wait(5)).status is WorkflowStatus.COMPLETE


@pytest.mark.parametrize(
    "chain",
    [
        builder().recur(timedelta(hours=3), lambda b: b.then(count), until=lambda d: d.n == 2),
        builder().recur(lambda d: d.pause, lambda b: b.then(count), until="data.n == 2"),
        builder().recur(expr("data.pause"), lambda b: b.then(count), until=expr("data.n == 2")),
        builder().recur(
            lambda d, ctx: d.pause * (ctx.attempt + 1),
            lambda b: b.then(count),
            until=lambda d, ctx: d.n == 2 + ctx.attempt,
        ),
    ],
    ids=["constant", "callable", "cel", "with-context"],
)
async def test_a_block_recurs_after_each_interval(chain: Any) -> None:
    async with WorkflowTest() as test:
        run = await test.start(chain.build("w"))
        seen: list[int] = []
        for _ in range(3):
            seen.append((await test.host.get(run.id)).data.n)
            await test.clock.advance(timedelta(hours=3))

        assert seen == [0, 1, 2]
        assert (await run.wait(5)).status is WorkflowStatus.COMPLETE


async def test_a_callable_that_gives_no_duration_fails_the_step() -> None:
    async with WorkflowTest() as test:
        instance = await test.run(builder().delay(lambda d: d.n).build("w"), None)

    assert instance.error is not None
    assert instance.error.message == "delay() must give a timedelta, got 0 (int)"


@pytest.mark.parametrize("proceed", [True, False])
async def test_data_cancels_a_wait_and_the_run_goes_on_or_not(proceed: bool) -> None:
    definition = (
        builder()
        .parallel(
            lambda p: p.branch(
                lambda b: (
                    b.wait_for("never")
                    .cancel_when("data.n == 1", proceed=proceed)
                    .then(note)
                    .name("after")
                )
            ).branch(lambda b: b.delay(timedelta(hours=1)).then(count))
        )
        .then(note)
        .name("end")
        .build("w")
    )
    ran: list[str] = []

    async with WorkflowTest(app=ran) as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(hours=1))
        instance = await run.wait(5)

    assert instance.status is WorkflowStatus.COMPLETE
    assert ran == (["after", "end"] if proceed else ["end"])


async def test_every_form_of_a_limit_lets_a_step_run_in_its_turn() -> None:
    definition = (
        builder()
        .concurrency(lambda d: d.id, limit=1)
        .rate_limit(expr("string(data.id)"), limit=10)
        .then(note)
        .concurrency(limit=1)
        .concurrency("shared", limit=1)
        .concurrency(lambda d, ctx: f"{d.id}-{ctx.attempt}", limit=1)
        .rate_limit(expr("data.answer"), limit=1, per=timedelta(hours=1))
        .build("w")
    )
    ran: list[str] = []

    async with WorkflowTest(app=ran) as test:
        runs = [await test.start(definition), await test.start(definition)]
        await test.clock.settle()
        at_once = list(ran)
        await test.clock.advance(timedelta(hours=1))
        ended = [await run.wait(5) for run in runs]

    assert at_once == ["note"]
    assert [instance.status for instance in ended] == [WorkflowStatus.COMPLETE] * 2
    assert ran == ["note", "note"]


@pytest.mark.parametrize(
    ("answer", "ran"), [("yes", ["release"]), ("no", ["keep"]), ("later", ["keep"])]
)
async def test_an_approval_asks_with_its_prompt_and_goes_by_the_answer(
    answer: str, ran: list[str]
) -> None:
    definition = (
        builder()
        .approval(
            expr("'Release ' + string(data.id)"), options=["yes", "no", "later"], output="answer"
        )
        .when("yes", lambda b: b.then(note).name("release"))
        .otherwise(lambda b: b.then(note).name("keep"))
        .build("w")
    )
    seen: list[str] = []

    async with WorkflowTest(app=seen) as test:
        run = await test.start(definition)
        await test.clock.settle()
        await test.host.approve(run.id, answer)
        instance = await run.wait(5)

    assert (instance.data.answer, seen) == (answer, ran)


async def test_an_activity_gets_parameters_of_each_kind() -> None:
    definition = (
        builder()
        .activity("review", parameters={"id": expr("data.id"), "fixed": [1]}, output="received")
        .activity("review", parameters=lambda d, ctx: {"id": d.id, "attempt": ctx.attempt})
        .build("w")
    )
    claimed: list[Any] = []

    async with WorkflowTest() as test:
        run = await test.start(definition)
        for _ in range(2):
            await test.clock.settle()
            work = await test.host.activities.claim("review", worker="me")
            assert work is not None
            claimed.append(work.parameters)
            await test.host.activities.complete(work.token, {"ok": True})
        instance = await run.wait(5)

    assert claimed == [{"id": 7, "fixed": [1]}, {"id": 7, "attempt": 0}]
    assert instance.data.received == {"ok": True}


async def test_a_child_gets_its_name_and_reference_from_the_data() -> None:
    child = builder().wait_for("go", scope="run").build("child")
    definition = (
        builder()
        .sub_workflow(
            "child",
            detached=True,
            output="answer",
            name=lambda d: f"child-of-{d.id}",
            reference=expr("'order ' + string(data.id)"),
        )
        .build("w")
    )

    async with WorkflowTest() as test:
        test.host.register(child)
        parent = await test.run(definition, None)
        started = await test.host.get("child-of-7")
        await test.host.signal("child-of-7", "go")
        await test.clock.settle()
        ended = await test.host.get("child-of-7")

    assert parent.status is WorkflowStatus.COMPLETE
    assert parent.data.answer == started.id
    assert (started.reference, started.status) == ("order 7", WorkflowStatus.RUNNABLE)
    assert ended.status is WorkflowStatus.COMPLETE


async def test_handlers_take_the_payload_when_they_want_it() -> None:
    def add(data: Order, payload: int) -> int:
        data.n += payload
        return data.n

    def check(data: Order, payload: int) -> None:
        if payload < 0:
            problem = f"{payload} is negative"
            raise ValueError(problem)

    definition = (
        builder()
        .on_update("add", add, validator=check)
        .on_update("reset", lambda d: setattr(d, "n", 0))
        .on_query("n", lambda d: d.n)
        .on_query("times", lambda d, factor: d.n * factor)
        .wait_for("end", scope="run")
        .build("w")
    )

    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.clock.settle()
        added = await test.host.update(run.id, "add", 5)
        with pytest.raises(WfeError, match="-1 is negative"):
            await test.host.update(run.id, "add", -1)
        asked = await test.host.query(run.id, "n"), await test.host.query(run.id, "times", 3)
        await test.host.update(run.id, "reset")
        await test.host.signal(run.id, "end")
        instance = await run.wait(5)

    assert (added, asked, instance.data.n) == (5, (5, 15), 0)


async def test_a_wait_that_times_out_may_have_steps_of_its_own() -> None:
    definition = (
        builder()
        .wait_for("approved", timeout=timedelta(hours=2), output="received")
        .on_error(Continue())
        .on_failure(note)
        .ensure(note)
        .then(note)
        .name("next")
        .build("w")
    )
    ran: list[str] = []

    async with WorkflowTest(app=ran) as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(hours=2))
        instance = await run.wait(5)

    assert instance.status is WorkflowStatus.COMPLETE
    assert ran == ["note", "note-2", "next"]


async def test_an_undo_step_follows_the_policy_that_its_step_was_given() -> None:
    ran: list[str] = []

    async def pay(ctx: Ctx) -> None:
        raise ValueError("refused")

    async def refund(ctx: Ctx) -> None:
        ran.append(f"refund {ctx.attempt}")
        if ctx.attempt == 0:
            raise ConnectionError("no answer")

    definition = (
        builder()
        .saga(
            lambda b: b.then(pay).compensate_with(
                refund, note, on_error=Retry(max_retries=1, interval=timedelta(minutes=1))
            )
        )
        .on_error(Continue())
        .build("w")
    )

    async with WorkflowTest(app=ran) as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(minutes=1))
        instance = await run.wait(5)

    assert instance.status is WorkflowStatus.COMPLETE
    assert ran == ["refund 0", "refund 1", "note"]
