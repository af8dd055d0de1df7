"""External workers: claims, answers, heartbeats, leases, and the helper that serves them all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from wfe.core import (
    ActivityTokenError,
    Continue,
    DataTypeError,
    HostStoppingError,
    Retry,
    WorkflowBuilder,
    WorkflowDefinition,
    WorkflowNotFoundError,
)
from wfe.core.errors import StoreUnavailableError
from wfe.core.models import Activity
from wfe.core.providers import ActivityRow
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.testing import WorkflowTest

MINUTE = timedelta(minutes=1)


def parameters(data: dict[str, Any]) -> Mapping[str, Any]:
    return {"url": data["url"]}


def render(*, retries: int = 0, name: str = "render") -> WorkflowDefinition:
    return (
        WorkflowBuilder()
        .activity("render", parameters=parameters, output="page")
        .on_error(Retry(max_retries=retries, interval=timedelta(seconds=10)))
        .build(name)
    )


@pytest.fixture
async def test() -> AsyncIterator[WorkflowTest]:
    async with WorkflowTest() as running:
        yield running


async def claimed(test: WorkflowTest, **options: Any) -> Activity:
    activity = await test.host.activities.claim("render", "w1", **options)
    assert activity is not None
    return activity


async def test_a_worker_does_what_a_run_waits_for(test: WorkflowTest) -> None:
    run = await test.start(render(), {"url": "a.html"})
    activity = await claimed(test)
    await test.host.activities.complete(activity.token, {"pages": 3})
    instance = await run.wait(5)

    assert (activity.name, activity.attempt) == ("render", 0)
    assert activity.parameters == {"url": "a.html"}
    assert (activity.run_id, activity.run_name) == (run.id, "render-1")
    assert activity.idempotency_key == f"{run.id}:{activity.pointer}"
    assert activity.lease_until == test.clock.now() + 5 * MINUTE
    assert instance.data == {"url": "a.html", "page": {"pages": 3}}


async def test_parameters_and_results_keep_their_types(test: WorkflowTest) -> None:
    run = await test.start(render(), {"url": MINUTE})
    activity = await claimed(test)
    await test.host.activities.complete(activity.token, {1, 2})

    assert activity.parameters == {"url": MINUTE}
    assert (await run.wait(5)).data["page"] == {1, 2}


async def test_there_may_be_nothing_to_do(test: WorkflowTest) -> None:
    await test.start(render(), {"url": "a.html"})

    assert await test.host.activities.claim("paint") is None
    assert await test.host.activities.claim(["paint", "render"]) is not None
    assert await test.host.activities.claim("render") is None


async def test_the_oldest_goes_first_and_two_workers_never_get_the_same(test: WorkflowTest) -> None:
    runs = [await test.start(render(), {"url": str(number)}) for number in range(10)]
    oldest = await test.host.activities.claim("render", "w0")
    rest = await asyncio.gather(
        *(test.host.activities.claim("render", f"w{number}") for number in range(1, 12))
    )

    activities = [each for each in (oldest, *rest) if each is not None]
    assert sorted(each.run_id for each in activities) == sorted(run.id for run in runs)
    assert oldest is not None
    assert oldest.run_id == runs[0].id


# -- failing


async def test_a_failure_is_retried_and_offered_anew(test: WorkflowTest) -> None:
    run = await test.start(render(retries=1), {"url": "a.html"})
    first = await claimed(test)
    await test.host.activities.fail(first.token, ValueError("no paper"))
    await test.clock.settle()
    assert await test.host.activities.claim("render") is None
    await test.clock.advance(timedelta(seconds=10))
    second = await claimed(test)
    await test.host.activities.fail(second.token, "no ink")
    instance = await run.wait(5)
    entries = await run.history()

    assert (first.attempt, second.attempt) == (0, 1)
    assert first.idempotency_key == second.idempotency_key
    assert instance.status == "failed"
    assert instance.error is not None
    assert (instance.error.type, instance.error.message) == ("ActivityError", "no ink")
    retrying = next(each for each in entries if each.kind == "step_retrying")
    assert retrying.error is not None
    assert (retrying.error.type, retrying.error.message) == ("ValueError", "no paper")


class FinalError(Exception):
    retryable = False


@pytest.mark.parametrize(
    ("error", "options"), [(FinalError("no"), {}), ("no", {"retryable": False})]
)
async def test_what_is_not_retryable_is_not_retried(
    test: WorkflowTest, error: str | BaseException, options: dict[str, Any]
) -> None:
    run = await test.start(render(retries=5), {"url": "a.html"})
    await test.host.activities.fail((await claimed(test)).token, error, **options)

    assert (await run.wait(5)).status == "failed"


async def test_the_policy_of_the_step_decides(test: WorkflowTest) -> None:
    definition = WorkflowBuilder().activity("render").on_error(Continue()).build("lenient")
    run = await test.start(definition)
    await test.host.activities.fail((await claimed(test)).token, "no")

    assert (await run.wait(5)).status == "complete"


# -- tokens and leases


async def test_an_expired_claim_is_offered_anew_and_its_token_counts_no_more(
    test: WorkflowTest,
) -> None:
    run = await test.start(render(), {"url": "a.html"})
    late = await claimed(test, lease=MINUTE)
    await test.clock.advance(MINUTE)
    assert await test.host.activities.claim("render", "w2") is None
    await test.clock.advance(timedelta(microseconds=1))
    second = await test.host.activities.claim("render", "w2")
    assert second is not None
    for answer in (
        test.host.activities.complete(late.token, 1),
        test.host.activities.fail(late.token, "no"),
        test.host.activities.heartbeat(late.token),
    ):
        with pytest.raises(ActivityTokenError):
            await answer
    await test.host.activities.complete(second.token, 2)

    assert second.attempt == late.attempt
    assert (await run.wait(5)).data["page"] == 2


async def test_heartbeats_hold_a_claim(test: WorkflowTest) -> None:
    run = await test.start(render(), {"url": "a.html"})
    activity = await claimed(test, lease=MINUTE)
    for done in range(3):
        await test.clock.advance(0.9 * MINUTE)
        await test.host.activities.heartbeat(activity.token, {"done": done}, lease=MINUTE)
        assert await test.host.activities.claim("render") is None
    (open_,) = await test.host.activities.find()
    await test.host.activities.complete(activity.token, "page")

    assert open_.progress == {"done": 2}
    assert (await run.wait(5)).data["page"] == "page"


async def test_a_token_is_used_once(test: WorkflowTest) -> None:
    run = await test.start(render(), {"url": "a.html"})
    activity = await claimed(test)
    await test.host.activities.complete(activity.token, 1)
    with pytest.raises(ActivityTokenError, match=activity.token):
        await test.host.activities.complete(activity.token, 2)

    assert (await run.wait(5)).data["page"] == 1


async def test_an_unknown_token_is_refused(test: WorkflowTest) -> None:
    with pytest.raises(ActivityTokenError, match="'mine' is unknown, expired or used"):
        await test.host.activities.heartbeat("mine")


@pytest.mark.parametrize("what", ["complete", "fail", "heartbeat"])
async def test_a_final_run_takes_no_answer(test: WorkflowTest, what: str) -> None:
    run = await test.start(render(), {"url": "a.html"})
    activity = await claimed(test)
    await test.host.terminate(run.id)
    await run.wait(5)
    more = ("no",) if what == "fail" else ()
    with pytest.raises(ActivityTokenError):
        await getattr(test.host.activities, what)(activity.token, *more)

    assert await test.host.activities.find() == []


async def test_a_timed_out_step_withdraws_its_activity(test: WorkflowTest) -> None:
    definition = WorkflowBuilder().activity("render", timeout=MINUTE).build("hasty")
    run = await test.start(definition)
    activity = await claimed(test)
    await test.clock.advance(MINUTE)
    instance = await run.wait(5)
    with pytest.raises(ActivityTokenError):
        await test.host.activities.complete(activity.token)

    assert instance.error is not None
    assert instance.error.type == "StepTimeoutError"


async def test_a_result_that_cannot_be_stored_leaves_the_claim(test: WorkflowTest) -> None:
    run = await test.start(render(), {"url": "a.html"})
    activity = await claimed(test)
    with pytest.raises(DataTypeError, match="activity result"):
        await test.host.activities.complete(activity.token, object())
    await test.host.activities.complete(activity.token, "page")

    assert (await run.wait(5)).status == "complete"


@pytest.mark.parametrize("lease", [timedelta(0), -MINUTE])
async def test_a_lease_has_a_length(test: WorkflowTest, lease: timedelta) -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        await test.host.activities.claim("render", lease=lease)


async def test_a_name_that_cannot_be_indexed_is_refused(test: WorkflowTest) -> None:
    with pytest.raises(DataTypeError, match="activity name"):
        await test.host.activities.claim("x" * 600)


# -- waiting


async def test_a_waiting_claim_reacts_at_once(test: WorkflowTest) -> None:
    waiting = asyncio.ensure_future(test.host.activities.claim("render", wait=MINUTE))
    await test.clock.settle()
    assert not waiting.done()
    run = await test.start(render(), {"url": "a.html"})  # the clock stands still
    activity = await waiting

    assert activity is not None
    assert activity.run_id == run.id


async def test_a_waiting_claim_ends(test: WorkflowTest) -> None:
    waiting = asyncio.ensure_future(test.host.activities.claim("render", wait=MINUTE))
    await test.clock.advance(0.9 * MINUTE)
    assert not waiting.done()
    await test.clock.advance(0.1 * MINUTE)

    assert await waiting is None


async def test_a_waiting_claim_gets_what_another_worker_lost(test: WorkflowTest) -> None:
    await test.start(render(), {"url": "a.html"})
    lost = await claimed(test, lease=MINUTE)
    waiting = asyncio.ensure_future(test.host.activities.claim("render", "w2", wait=5 * MINUTE))
    await test.clock.advance(2 * MINUTE)
    activity = await waiting

    assert activity is not None
    assert activity.token != lost.token


async def test_the_end_of_the_host_ends_a_waiting_claim() -> None:
    host = WorkflowHost("memory://")
    await host.start()
    waiting = asyncio.ensure_future(host.activities.claim("render", wait=MINUTE))
    await asyncio.sleep(0)
    await host.stop()

    with pytest.raises(HostStoppingError):
        await waiting


# -- looking on


async def test_open_activities_are_listed(test: WorkflowTest) -> None:
    first = await test.start(render(), {"url": "a.html"})
    second = await test.start(render(), {"url": "b.html"}, name="mine")
    activity = await claimed(test, lease=MINUTE)
    both = await test.host.activities.find()
    await test.clock.advance(2 * MINUTE)
    (lost, _) = await test.host.activities.find()
    (mine,) = await test.host.activities.find("mine")

    assert [each.run_id for each in both] == [first.id, second.id]
    assert (both[0].worker, both[0].claimed) == ("w1", True)
    assert both[0].lease_until == activity.lease_until
    assert (both[1].worker, both[1].claimed, both[1].lease_until) == (None, False, None)
    assert (lost.worker, lost.claimed) == ("w1", False)
    assert (mine.run_name, mine.parameters) == ("mine", {"url": "b.html"})
    with pytest.raises(WorkflowNotFoundError):
        await test.host.activities.find("nobody")


# -- serving


async def serving(test: WorkflowTest, handler: Any, **options: Any) -> asyncio.Task[None]:
    task = asyncio.ensure_future(test.host.activities.work("render", handler, **options))
    await test.clock.settle()
    return task


async def test_a_server_answers_with_what_its_handler_returns(test: WorkflowTest) -> None:
    async def handler(activity: Activity) -> str:
        return f"page of {activity.parameters['url']}"

    task = await serving(test, handler)
    runs = [await test.start(render(), {"url": str(number)}) for number in range(3)]
    pages = [(await run.wait(5)).data["page"] for run in runs]
    task.cancel()

    assert pages == ["page of 0", "page of 1", "page of 2"]


async def test_a_sync_handler_runs_in_a_thread(test: WorkflowTest) -> None:
    def handler(activity: Activity) -> str:
        asyncio.new_event_loop().close()  # no loop runs here
        return str(activity.attempt)

    task = await serving(test, handler)
    run = await test.start(render(), {"url": "a.html"})
    assert (await run.wait(5)).data["page"] == "0"
    task.cancel()


async def test_what_a_handler_raises_fails_the_activity(test: WorkflowTest) -> None:
    async def handler(activity: Activity) -> object:
        if activity.parameters["url"] == "bad":
            problem = "no paper"
            raise OSError(problem)
        return object()

    task = await serving(test, handler)
    bad = await (await test.start(render(), {"url": "bad"})).wait(5)
    odd = await (await test.start(render(retries=3), {"url": "odd"})).wait(5)
    task.cancel()

    assert bad.error is not None
    assert (bad.error.type, bad.error.message) == ("OSError", "no paper")
    assert odd.error is not None
    assert odd.error.type == "DataTypeError"


class Slow:
    """A handler that ends when it is told."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ended: list[str] = []
        self.open = asyncio.Event()

    async def __call__(self, activity: Activity) -> str:
        self.began.append(activity.parameters["url"])
        try:
            await self.open.wait()
        finally:
            self.ended.append(activity.parameters["url"])
        return "done"


async def test_heartbeats_go_on_while_the_handler_works(test: WorkflowTest) -> None:
    slow = Slow()
    task = await serving(test, slow, lease=MINUTE)
    run = await test.start(render(), {"url": "a.html"})
    await test.clock.advance(10 * MINUTE)
    assert await test.host.activities.claim("render", "other") is None
    slow.open.set()

    assert (await run.wait(5)).data["page"] == "done"
    assert slow.began == ["a.html"]
    task.cancel()


async def test_only_so_many_are_served_at_a_time(test: WorkflowTest) -> None:
    slow = Slow()
    task = await serving(test, slow, concurrency=2)
    runs = [await test.start(render(), {"url": str(number)}) for number in range(3)]
    await test.clock.settle()
    assert slow.began == ["0", "1"]
    slow.open.set()
    for run in runs:
        await run.wait(5)

    assert slow.began == ["0", "1", "2"]
    task.cancel()


async def test_a_handler_whose_run_ended_is_cancelled(test: WorkflowTest) -> None:
    slow = Slow()
    task = await serving(test, slow, lease=MINUTE)
    run = await test.start(render(), {"url": "a.html"})
    await test.host.terminate(run.id)
    await run.wait(5)
    await test.clock.advance(MINUTE)
    await test.clock.settle()
    assert slow.ended == ["a.html"]
    other = await test.start(render(), {"url": "b.html"})
    slow.open.set()

    assert (await other.wait(5)).status == "complete"
    task.cancel()


async def test_a_cancelled_server_hands_its_work_back_at_once(test: WorkflowTest) -> None:
    slow = Slow()
    task = await serving(test, slow)
    await test.start(render(), {"url": "a.html"})
    await test.clock.settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert slow.ended == ["a.html"]
    assert await test.host.activities.claim("render", "other") is not None


@pytest.mark.parametrize("fails", [False, True])
async def test_a_server_ends_although_its_store_forgot_that_it_was_cancelled(
    test: WorkflowTest, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    real, slow = test.store.claim_activity, Slow()
    await test.start(render(), {"url": "a.html"})
    await test.clock.settle()
    asked = asyncio.Event()

    async def forgets(*args: Any) -> ActivityRow | None:
        try:
            asked.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if fails:
                raise StoreUnavailableError("memory", "the link is cut") from None
        return await real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(test.store, "claim_activity", forgets)
        task = asyncio.ensure_future(test.host.activities.work("render", slow))
        await asked.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=5)

    assert task.cancelled()
    assert slow.began == []
    assert await test.host.activities.claim("render", "other") is not None


async def test_a_server_ends_with_its_host() -> None:
    async with WorkflowHost("memory://") as host:
        task = asyncio.ensure_future(host.activities.work("render", Slow(), concurrency=3))
        await asyncio.sleep(0)
    await asyncio.wait_for(task, 5)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"concurrency": 0}, ValueError),
        ({"lease": timedelta(0)}, ValueError),
        ({"worker": "x" * 600}, DataTypeError),
    ],
)
async def test_a_server_refuses_what_cannot_be(
    test: WorkflowTest, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await test.host.activities.work("render", Slow(), **options)


async def test_a_server_needs_a_host_that_runs() -> None:
    with pytest.raises(HostStoppingError):
        await WorkflowHost("memory://").activities.work("render", Slow())


async def test_a_handler_that_gives_up_fails_its_activity(test: WorkflowTest) -> None:
    async def handler(_: Activity) -> None:
        raise asyncio.CancelledError

    task = await serving(test, handler)
    instance = await (await test.start(render(), {"url": "a.html"})).wait(5)
    again = await (await test.start(render(), {"url": "b.html"})).wait(5)
    task.cancel()

    assert instance.error is not None
    assert instance.error.message == "the handler was cancelled"
    assert again.status == "failed"


# -- several processes


async def test_a_worker_of_another_host_on_the_same_store(shared: dict[str, Any]) -> None:
    async with WorkflowHost(**shared) as driver, WorkflowHost(**shared, name="worker") as worker:
        driver.register(render())
        waiting = asyncio.ensure_future(
            worker.activities.claim("render", wait=timedelta(seconds=20))
        )
        run = await driver.start_workflow("render", {"url": "a.html"})
        activity = await waiting
        assert activity is not None
        await worker.activities.heartbeat(activity.token, {"done": 1})
        assert [each.progress for each in await driver.activities.find()] == [{"done": 1}]
        await worker.activities.complete(activity.token, "page")
        instance = await run.wait(20)

    assert instance.data["page"] == "page"


def test_the_blocking_host_serves_until_it_stops() -> None:
    host = SyncWorkflowHost("memory://")
    host.start()
    server = threading.Thread(
        target=lambda: host.activities.work("render", lambda _: "page"), daemon=True
    )
    server.start()
    run = host.start_workflow(render(), {"url": "a.html"})
    instance = run.wait(5)
    host.stop()
    server.join(5)

    assert instance.data["page"] == "page"
    assert not server.is_alive()


def test_the_blocking_host_has_activities_too() -> None:
    with SyncWorkflowHost("memory://") as host:
        run = host.start_workflow(render(retries=1), {"url": "a.html"})
        activity = host.activities.claim("render", wait=timedelta(seconds=5))
        assert activity is not None
        assert [each.claimed for each in host.activities.find(run.id)] == [True]
        host.activities.heartbeat(activity.token, {"done": 1}, lease=MINUTE)
        host.activities.heartbeat(activity.token)
        host.activities.fail(activity.token, "no", retryable=False)
        assert run.wait(5).status == "failed"
