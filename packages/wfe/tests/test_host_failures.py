"""Retries, what follows when they are used up, time-outs."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from wfe.core import (
    Continue,
    Fail,
    Retry,
    StepExecutionContext,
    StepFailedError,
    Suspend,
    Terminate,
    WorkflowBuilder,
    WorkflowTerminatedError,
    exponential,
    step,
)
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]
MINUTE = timedelta(minutes=1)


class Flaky:
    """Fails a number of times; the application object of these tests."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or ValueError("not yet")
        self.keys: list[str] = []
        self.attempts: list[int] = []


async def flaky(ctx: Ctx) -> None:
    ctx.app.keys.append(ctx.idempotency_key)
    ctx.app.attempts.append(ctx.attempt)
    if len(ctx.app.keys) <= ctx.app.failures:
        raise ctx.app.error


async def nothing() -> None:
    """Do nothing."""


def _retrying(**options: Any) -> Any:
    return WorkflowBuilder().start_with(flaky).on_error(Retry(**options)).then(nothing).build("w")


async def test_a_retry_waits_and_keeps_the_idempotency_key() -> None:
    app = Flaky(2)
    async with WorkflowTest(app=app) as test:
        run = await test.start(_retrying(max_retries=3, interval=MINUTE))
        assert app.attempts == [0]
        await test.clock.advance(MINUTE)
        assert app.attempts == [0, 1]
        await test.clock.advance(MINUTE)
        instance = await run.wait(5)
        kinds = [entry.kind for entry in await run.history()]

    assert instance.status == "complete"
    assert app.attempts == [0, 1, 2]
    assert len(set(app.keys)) == 1
    assert kinds.count("step_retrying") == 2


async def test_pauses_grow_up_to_their_bound() -> None:
    app = Flaky(99)
    policy = {"max_retries": 4, "interval": MINUTE, "backoff": exponential}
    async with WorkflowTest(app=app) as test:
        run = await test.start(_retrying(**policy, max_interval=timedelta(minutes=3)))
        await test.clock.advance(timedelta(hours=1))
        times = [e.at for e in await run.history() if e.kind in ("step_retrying", "step_failed")]

    pauses = [(after - before) // MINUTE for before, after in pairwise(times)]
    assert pauses == [1, 2, 3, 3]


async def test_used_up_retries_fail_the_run_with_the_last_error() -> None:
    async with WorkflowTest(app=Flaky(99)) as test:
        run = await test.start(_retrying(max_retries=1, interval=timedelta(0)))
        instance = await run.wait(5)
        with pytest.raises(StepFailedError, match=r"step 'flaky' .* ValueError: not yet"):
            await run.result()

    assert instance.status == "failed"
    assert instance.pointers == ()


async def test_an_error_may_say_that_a_retry_is_useless() -> None:
    class UselessError(Exception):
        retryable = False

    app = Flaky(99, UselessError("no"))
    async with WorkflowTest(app=app) as test:
        instance = await test.run(_retrying(max_retries=5, interval=MINUTE))

    assert instance.status == "failed"
    assert app.attempts == [0]


async def test_continue_records_the_failure_and_goes_on() -> None:
    definition = WorkflowBuilder().start_with(flaky).on_error(Continue()).then(nothing).build("w")
    async with WorkflowTest(app=Flaky(99)) as test:
        run = await test.start(definition)
        instance = await run.wait(5)
        kinds = [(entry.kind, entry.step) for entry in await run.history()]

    assert instance.status == "complete"
    assert ("step_failed", "flaky") in kinds
    assert ("step_completed", "nothing") in kinds


async def test_terminate_ends_the_run_terminated() -> None:
    definition = WorkflowBuilder().start_with(flaky).on_error(Terminate()).build("w")
    async with WorkflowTest(app=Flaky(99)) as test:
        run = await test.start(definition)
        instance = await run.wait(5)
        with pytest.raises(WorkflowTerminatedError):
            await run.result()

    assert instance.status == "terminated"


async def test_suspend_keeps_the_error_and_resume_tries_again_with_all_retries() -> None:
    app = Flaky(3)
    retry = Retry(max_retries=1, interval=timedelta(0), then=Suspend())
    definition = WorkflowBuilder().start_with(flaky).on_error(retry).build("w")
    async with WorkflowTest(app=app) as test:
        run = await test.start(definition)
        suspended = await run.wait(5, suspended=True)
        await test.host.resume(run.id, actor="Ada")
        instance = await run.wait(5)
        resumed = [e for e in await run.history() if e.kind == "workflow_resumed"]

    assert suspended.status == "suspended"
    assert suspended.error is not None
    assert suspended.error.message == "not yet"
    assert instance.status == "complete"
    assert instance.error is None
    assert [entry.actor for entry in resumed] == ["Ada"]
    assert app.attempts == [0, 1, 2, 3]


async def test_a_container_that_retries_begins_anew() -> None:
    app = Flaky(1)
    definition = (
        WorkflowBuilder()
        .for_each(lambda _: [1, 2], lambda b: b.then(flaky))
        .on_error(Retry(max_retries=1, interval=MINUTE))
        .build("w")
    )
    async with WorkflowTest(app=app) as test:
        run = await test.start(definition)
        await test.clock.advance(MINUTE)
        instance = await run.wait(5)

    assert instance.status == "complete"
    assert len(app.keys) == 4


async def test_the_default_of_the_definition_holds_for_its_steps() -> None:
    app = Flaky(1)
    definition = (
        WorkflowBuilder()
        .default_error(Retry(max_retries=1, interval=timedelta(0)))
        .start_with(flaky)
        .build("w")
    )
    async with WorkflowTest(app=app) as test:
        assert (await test.run(definition)).status == "complete"


async def test_a_step_of_its_own_policy_does_not_take_the_default() -> None:
    definition = (
        WorkflowBuilder()
        .default_error(Retry(max_retries=5, interval=timedelta(0)))
        .start_with(flaky)
        .on_error(Fail())
        .build("w")
    )
    async with WorkflowTest(app=Flaky(1)) as test:
        assert (await test.run(definition)).status == "failed"


async def test_a_body_that_takes_too_long_is_cancelled_and_fails() -> None:
    cancelled: list[bool] = []

    async def slow(ctx: Ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(ctx.cancelled.is_set())

    definition = WorkflowBuilder().start_with(slow).timeout(timedelta(seconds=5)).build("w")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(seconds=5))
        instance = await run.wait(5)

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"
    assert instance.error.message == "took longer than 5 s"
    assert cancelled == [True]


async def test_a_sync_body_that_takes_too_long_is_left_alone_and_its_result_dropped() -> None:
    release = threading.Event()

    def slow() -> dict[str, int]:
        release.wait(5)
        return {"late": 1}

    definition = WorkflowBuilder().start_with(slow).timeout(timedelta(seconds=5)).build("w")
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(seconds=5))
        instance = await run.wait(5)
        release.set()

    assert instance.status == "failed"
    assert "late" not in instance.data


async def test_step_settings_come_from_the_decorator() -> None:
    app = Flaky(2)
    marked = step(retry=2)(flaky)
    try:
        async with WorkflowTest(app=app) as test:
            run = await test.start(WorkflowBuilder().start_with(marked).build("w"))
            await test.clock.advance(timedelta(minutes=1))
            instance = await run.wait(5)
    finally:
        del flaky.__wfe_step__  # type: ignore[attr-defined]

    assert instance.status == "complete"
    assert app.attempts == [0, 1, 2]


async def test_the_definition_has_a_time_of_its_own() -> None:
    definition = (
        WorkflowBuilder()
        .start_with(nothing)
        .delay(timedelta(days=2))
        .definition_timeout(timedelta(days=1))
        .build("w")
    )
    async with WorkflowTest() as test:
        run = await test.start(definition)
        await test.clock.advance(timedelta(days=1))
        instance = await run.wait(5)

    assert instance.status == "failed"
    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"


async def test_only_the_wanted_errors_are_tried_again_and_those_derived_from_them() -> None:
    for policy, attempts in (
        (Retry(max_retries=2, retry_on=ConnectionError), 1),
        (Retry(max_retries=2, retry_on=("OSError", ArithmeticError)), 1),
        (Retry(max_retries=2, retry_on=LookupError), 3),
        (Retry(max_retries=2, never_retry_on=LookupError), 1),
        (Retry(max_retries=2, retry_on=Exception, never_retry_on=(KeyError,)), 1),
    ):
        app = Flaky(99, KeyError("gone"))
        async with WorkflowTest(app=app) as test:
            run = await test.start(WorkflowBuilder().then(flaky).on_error(policy).build("w"))
            await test.clock.advance(MINUTE)
            assert (await run.wait(5)).status == "failed"
        assert len(app.attempts) == attempts, policy


async def test_a_total_time_ends_the_retries() -> None:
    app = Flaky(99)
    policy = Retry(max_retries=99, interval=MINUTE, max_time=timedelta(minutes=3))
    async with WorkflowTest(app=app) as test:
        run = await test.start(WorkflowBuilder().then(flaky).on_error(policy).build("w"))
        await test.clock.advance(timedelta(hours=1))
        assert (await run.wait(5)).status == "failed"
    assert app.attempts == [0, 1, 2, 3]


class Watched:
    """A step that says which errors are worth another attempt, and hears what became of it."""

    async def run(self, ctx: Ctx) -> None:
        await flaky(ctx)

    def is_retryable(self, error: Exception) -> bool:
        return isinstance(error, OSError)

    async def on_success(self, ctx: Ctx) -> None:
        ctx.app.keys.append("success")

    def on_failure(self, ctx: Ctx, error: Exception) -> None:
        ctx.app.attempts.append(-1)
        if str(error) == "twice":
            message = "on_failure fails, too"
            raise RuntimeError(message)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (OSError("later"), [0, -1, 1]),
        (ValueError("never"), [0, -1]),
        (OSError("twice"), [0, -1, 1]),
    ],
)
async def test_a_step_class_judges_its_errors_and_hears_of_them(
    error: Exception, attempts: list[int]
) -> None:
    app = Flaky(1, error)
    flow = WorkflowBuilder().then(Watched).on_error(Retry(max_retries=3, interval=MINUTE))
    async with WorkflowTest(app=app) as test:
        run = await test.start(flow.build("w"))
        await test.clock.advance(timedelta(hours=1))
        instance = await run.wait(5)
    assert app.attempts == attempts
    assert instance.status == ("failed" if str(error) == "never" else "complete")
    assert ("success" in app.keys) is (instance.status == "complete")
