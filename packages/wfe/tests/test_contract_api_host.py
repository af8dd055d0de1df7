"""What api.md (3, 4, 8) says of hosts and controls: clumsy callers get clear answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import (
    Compensate,
    CompensateThenRetry,
    DataTypeError,
    DefinitionConflictError,
    Fail,
    HostStoppingError,
    InvalidStateTransitionError,
    ProviderError,
    Retry,
    RetryForever,
    StepExecutionContext,
    Suspend,
    UpdateRejectedError,
    WorkflowBuilder,
    WorkflowContext,
    WorkflowNotFoundError,
    workflow,
)
from wfe.host import SyncWorkflowHost, WorkflowHost, run
from wfe.testing import WorkflowTest

Ctx = StepExecutionContext[Any]
DAY = timedelta(days=1)


def ok(ctx: Ctx) -> None:
    """Do nothing."""


DONE = WorkflowBuilder().then(ok).build("done")
OPEN = WorkflowBuilder().wait_for("go", scope="run", output="got").build("open")


@asynccontextmanager
async def started(providers: dict[str, Any]) -> AsyncGenerator[WorkflowHost]:
    """Run a host over a store that knows two definitions."""
    async with WorkflowHost(**providers) as host:
        host.register(DONE, OPEN)
        yield host


# -- starts


STARTS: dict[str, tuple[dict[str, Any], str]] = {
    "priority": ({"priority": "x"}, "priority: expected a whole number from "),
    "priority-huge": ({"priority": 2**70}, "priority: expected a whole number from "),
    "delay": ({"delay": 5}, "delay: expected a timedelta, got 5; for seconds: timedelta("),
    "delay-huge": ({"delay": timedelta.max}, "delay: is longer than 365,000 days"),
    "actor": ({"actor": 5}, "actor: expected a text or None, got 5 (int)"),
    "name-empty": ({"name": ""}, "name: must not be empty"),
    "name": ({"name": 5}, "name: expected a text, got 5 (int)"),
    "reference": ({"reference": 5}, "reference: expected a text, got 5"),
}


@pytest.mark.parametrize("what", STARTS)
async def test_a_start_is_refused_alike_in_every_store(
    what: str, providers: dict[str, Any]
) -> None:
    options, problem = STARTS[what]
    async with started(providers) as host:
        with pytest.raises(DataTypeError) as refused:
            await host.start_workflow("done", **options)
        assert str(refused.value).startswith(problem)
        assert (await host.find()).items == ()


async def test_what_to_start_and_what_a_known_key_means_must_be_clear() -> None:
    async with WorkflowTest(OPEN) as test:
        wrong: Any = None
        with pytest.raises(TypeError, match="expected the id of a definition or a definition"):
            await test.host.start_workflow(wrong)
        wrong = "maybe"
        with pytest.raises(ValueError, match='on_conflict must be "existing" or "error"'):
            await test.host.start_workflow("open", on_conflict=wrong)
        first = await test.host.start_workflow("open", dedup_key="k")
        with pytest.raises(DefinitionConflictError, match=f"dedup_key 'k' .* run {first.id}"):
            await test.host.start_workflow("open", dedup_key="k", on_conflict="error")


async def test_a_start_whose_caller_gave_up_is_one_run_all_the_same() -> None:
    async with WorkflowTest(OPEN) as test:
        starting = asyncio.create_task(test.host.start_workflow("open", idempotency_key="k"))
        await asyncio.sleep(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        again = await test.host.start_workflow("open", idempotency_key="k")
        await test.host.signal(again.id, "go", 1)
        assert (await again.wait(5)).data == {"got": 1}
        assert len((await test.host.find()).items) == 1


# -- reads


async def test_reads_answer_alike_in_every_store(providers: dict[str, Any]) -> None:
    async with started(providers) as host:
        done = await (await host.start_workflow("done", {"i": 1})).wait(5)
        assert len((await host.find(limit=10**20)).items) == 1
        assert await host.history(done.id, after=10**20) == []
        with pytest.raises(WorkflowNotFoundError):
            await host.get("\ud800")
        with pytest.raises(DataTypeError, match="i: an object of class object cannot be stored"):
            await host.find(data={"i": object()})
        wrong: Any = None
        with pytest.raises(DataTypeError, match="run: expected its id or name, a text, got None"):
            await host.get(wrong)
        wrong = "up"
        with pytest.raises(ValueError, match='order must be "newest" or "oldest", got \'up\''):
            await host.find(order=wrong)


@pytest.mark.parametrize("kinds", ["workflow_started", 5])
async def test_a_subscription_names_its_kinds_in_a_collection(kinds: Any) -> None:
    async with WorkflowTest() as test:
        with pytest.raises(TypeError, match="kinds must be a collection of texts"):
            test.host.subscribe(kinds)


async def test_a_callback_is_no_coroutine() -> None:
    async def callback(event: object) -> None:
        """Would never be awaited."""

    async with WorkflowTest() as test:
        with pytest.raises(TypeError, match="pass a plain function"):
            test.host.subscribe(callback)


@pytest.mark.parametrize("timeout", ["1", object()])
async def test_a_time_to_wait_is_a_duration(timeout: Any) -> None:
    async with WorkflowTest(OPEN) as test:
        run = await test.start("open")
        for ask in (run.wait, run.result, test.host.stop):
            with pytest.raises(TypeError, match="expected a timedelta or a number of seconds"):
                await ask(timeout)
        await test.host.signal(run.id, "go")
        assert (await run.wait(5)).status == "complete"


# -- orders


async def test_orders_that_could_not_be_stored_are_refused_and_wedge_nothing(
    providers: dict[str, Any],
) -> None:
    wrong: Any = object()
    nothing: Any = None
    async with started(providers) as host:
        run = await host.start_workflow("open")
        asked: list[tuple[Callable[[], Any], str]] = [
            (lambda: host.suspend(run.id, wrong), "reason: expected a text or None"),
            (lambda: host.terminate(run.id, actor=wrong), "actor: expected a text or None"),
            (lambda: host.resume(run.id, actor="\ud800"), "actor: contains a lone surrogate"),
            (lambda: host.patch_data(run.id, nothing), "fields: expected a mapping, got None"),
            (lambda: host.signal(run.id, nothing), "signal name: expected a text, got None"),
            (lambda: host.signal(run.id, ""), "signal name: must not be empty"),
            (lambda: host.update(run.id, nothing), "update name: expected a text, got None"),
            (lambda: host.publish_event(nothing), "event name: expected a text, got None"),
            (lambda: host.publish_event(""), "event name: must not be empty"),
            (lambda: host.publish_event("e", nothing), "event key: expected a text or a number"),
        ]
        for ask, problem in asked:
            with pytest.raises(DataTypeError) as refused:
                await ask()
            assert str(refused.value).startswith(problem)
        await host.signal(run.id, "go", 1)
        assert (await run.wait(5)).data == {"got": 1}


async def test_suspend_and_resume_twice_are_ignored_the_second_time() -> None:
    async with WorkflowTest(OPEN) as test:
        run = await test.start("open")
        for _ in range(2):
            await test.host.suspend(run.id, "why", actor="Ada")
        for _ in range(2):
            await test.host.resume(run.id)
        await test.clock.settle()
        kinds = [each.kind for each in await test.host.history(run.id)]
    assert kinds[2:] == [
        "workflow_suspended",
        "message_ignored",
        "workflow_resumed",
        "message_ignored",
    ]


@pytest.mark.parametrize("from_step", [None, "first"])
async def test_a_suspended_run_can_be_retried(from_step: str | None) -> None:
    ran: list[str] = []

    def first(ctx: Ctx) -> None:
        ran.append("first")

    def second(ctx: Ctx) -> None:
        ran.append("second")
        if ran.count("second") == 1:
            raise ValueError("not yet")

    flow = WorkflowBuilder().then(first).then(second).on_error(Suspend()).build("d")
    async with WorkflowTest(flow) as test:
        run = await test.start("d")
        await test.host.retry(run.id, from_step, actor="Ada")
        assert (await run.wait(5)).status == "complete"
        entries = await test.host.history(run.id)
    assert ran == ["first", "second", *(["first"] if from_step else []), "second"]
    assert "Ada" in {each.actor for each in entries}


async def test_an_answer_that_nobody_waits_for_says_so() -> None:
    async with WorkflowTest(OPEN) as test:
        run = await test.start("open")
        with pytest.raises(InvalidStateTransitionError, match=r"\(nothing is asked there now\)"):
            await test.host.approve(run.id, "yes")


async def test_an_unknown_query_names_those_that_there_are() -> None:
    flow = (
        WorkflowBuilder()
        .wait_for("go", scope="run")
        .on_update("add", lambda _, p: p)
        .on_query("count", lambda _: 1)
    )
    async with WorkflowTest() as test:
        run = await test.start(flow.build("d"))
        with pytest.raises(Exception, match=r"no query 'cuont'.*count") as refused:
            await test.host.query(run.id, "cuont")
        assert "update:" not in str(refused.value)


async def test_an_update_that_fails_changes_nothing() -> None:
    def change(data: dict[str, Any], payload: str) -> Any:
        data["n"] = object() if payload == "data" else 1
        if payload == "raise":
            raise KeyError("no")
        return object() if payload == "answer" else "fine"

    flow = WorkflowBuilder().wait_for("go", scope="run").on_update("set", change).build("d")
    async with WorkflowTest(flow) as test:
        run = await test.start("d", {"n": 0})
        for payload in ("raise", "answer", "data"):
            with pytest.raises(UpdateRejectedError):
                await test.host.update(run.id, "set", payload)
        assert (await test.host.get(run.id)).data == {"n": 0}
        await test.host.suspend(run.id)
        assert await test.host.update(run.id, "set", "now") == "fine"
        assert (await test.host.get(run.id)).data == {"n": 1}


# -- hosts


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"labels": "gpu"}, "labels must be a collection of texts"),
    ({"labels": [1]}, "labels must be a collection of texts"),
    ({"lease": 5}, "lease must be a timedelta, got 5"),
    ({"lease": timedelta(0)}, "lease must be at least"),
    ({"linger": -DAY}, "linger must be at least"),
    ({"retention": 5}, "retention must be a timedelta, got 5"),
    ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
    ({"threads": True}, "threads must be a whole number, got True"),
    ({"max_inline": -1}, "max_inline must be at least 1, got -1"),
    ({"middleware": [object()]}, "is no middleware; give it handle"),
    ({"archive": 5}, "archive must be callable, got 5"),
    ({"step_factory": 5}, "step_factory must be callable, got 5"),
]


@pytest.mark.parametrize(("options", "problem"), OPTIONS)
def test_a_host_refuses_options_that_cannot_work(options: dict[str, Any], problem: str) -> None:
    with pytest.raises((TypeError, ValueError), match=problem):
        WorkflowHost(**options)


def test_a_host_needs_a_store() -> None:
    wrong: Any = 5
    with pytest.raises(ProviderError, match="5 is no store; pass a URL"):
        WorkflowHost(wrong)


async def test_a_host_that_runs_can_be_started_again_in_vain() -> None:
    async with WorkflowHost() as host:
        await host.start()
        assert (await (await host.start_workflow(DONE)).wait(5)).status == "complete"
    assert await host.stop() == 0


async def test_calls_from_another_event_loop_say_what_to_do() -> None:
    refused: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(host.publish_event("e"))
        except HostStoppingError as error:
            refused.append(error)

    async with WorkflowHost() as host:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        await asyncio.to_thread(thread.join)
    assert "runs on another event loop" in str(refused[0])
    assert "SyncWorkflowHost" in str(refused[0])


async def test_run_does_not_block_a_loop() -> None:
    with pytest.raises(RuntimeError, match="use `await arun"):
        run(DONE)


# -- policies, by position as api.md writes them


def test_policies_take_their_arguments_by_position() -> None:
    five, most = timedelta(seconds=5), timedelta(minutes=1)
    named: dict[str, Any] = {"interval": five, "backoff": 2.0, "max_interval": most, "jitter": 0.1}
    assert Retry(3, five, 2.0, most, 0.1) == Retry(max_retries=3, **named)
    assert RetryForever(five, 2.0, most, 0.1) == Retry(max_retries=None, **named)
    assert CompensateThenRetry(3, five, 2.0, most, 0.1, then=Compensate()) == Retry(
        3, compensate=True, then=Compensate(), **named
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"interval": 5}, "interval must be a timedelta, got 5"),
        ({"interval": None}, "interval must be a timedelta, got None"),
        ({"max_retries": "3"}, "max_retries must be a whole number or None, got '3'"),
        ({"max_retries": True}, "max_retries must be a whole number or None, got True"),
        ({"then": Fail}, "then must be Fail(), Suspend(), Terminate(), Continue() or Compensate()"),
        ({"then": Retry()}, "then must be Fail(), Suspend(), Terminate()"),
    ],
)
def test_a_policy_of_the_wrong_type_says_what_it_takes(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TypeError) as refused:
        Retry(**options)
    assert str(refused.value).startswith(problem)


@pytest.mark.parametrize(
    "flow",
    [
        lambda: WorkflowBuilder().delay(timedelta.max),
        lambda: WorkflowBuilder().wait_for("e", timeout=timedelta.max),
        lambda: WorkflowBuilder().then(ok).timeout(timedelta.max),
        lambda: WorkflowBuilder().then(ok).definition_timeout(timedelta.max),
        lambda: WorkflowBuilder().then(ok).retention(timedelta.max),
    ],
)
def test_a_duration_ends_before_the_calendar(flow: Callable[[], Any]) -> None:
    with pytest.raises(Exception, match="must be at most 365,000 days, got 999,999,999 days"):
        flow()


# -- activities by position; durable functions


async def test_activities_take_their_arguments_by_position() -> None:
    flow = WorkflowBuilder().activity("a", output="r").build("d")
    async with WorkflowTest(flow) as test:
        run = await test.start("d")
        activity = await test.host.activities.claim("a", "Ada", timedelta(0), DAY)
        assert activity is not None
        await test.host.activities.complete(activity.token, 1)
        assert (await run.wait(5)).data == {"r": 1}


async def test_an_activity_fails_with_any_text() -> None:
    flow = WorkflowBuilder().activity("a").build("d")
    async with WorkflowTest(flow) as test:
        run = await test.start("d")
        activity = await test.host.activities.claim("a")
        assert activity is not None
        await test.host.activities.fail(activity.token, OSError("\udcff.txt"))
        found = await run.wait(5)
    assert (found.status, found.error and found.error.message) == ("failed", "\\udcff.txt")


def test_the_blocking_activities_take_the_same() -> None:
    with SyncWorkflowHost() as host:
        assert host.activities.claim("a", "Ada", timedelta(0), DAY) is None


@workflow("too-long")
async def too_long(ctx: WorkflowContext) -> None:
    await ctx.sleep(timedelta.max)


@workflow("no-duration")
async def no_duration(ctx: WorkflowContext) -> None:
    seconds: Any = 5
    await ctx.sleep(seconds)


@workflow("no-key")
async def no_key(ctx: WorkflowContext) -> None:
    key: Any = object
    await ctx.wait_for("e", key=key)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (too_long, "sleep() is 999,999,999 days long, which goes beyond the year 9999"),
        (no_duration, "sleep() takes a timedelta, got 5; for seconds: timedelta("),
        (no_key, "event key: expected a text or a number, got <class 'object'> (type)"),
    ],
)
async def test_a_function_that_cannot_wait_fails(function: Any, problem: str) -> None:
    async with WorkflowTest() as test:
        found = await test.run(function)
    assert found.status == "failed"
    assert found.error is not None
    assert found.error.message.startswith(problem)
