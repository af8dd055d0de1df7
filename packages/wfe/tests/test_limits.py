"""Places under limits: keys, rates, several hosts, priorities, starts that are the same."""

# The helpers add steps to builders of any kind of data, so what follows them is typed Any.
# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wfe.core import Retry, StepExecutionContext, WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.host import WorkflowHost, WorkflowRun
from wfe.testing import WorkflowTest

pytestmark = pytest.mark.every_store

Ctx = StepExecutionContext[Any]
MINUTE = timedelta(minutes=1)


class Gauge:
    """How many run at a time, by key; each waits until it is let go."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.order: list[Any] = []
        self.gates: list[asyncio.Future[None]] = []

    async def hold(self, key: str, what: Any) -> None:
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        self.order.append(what)
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        try:
            await gate
        finally:
            self.now[key] -= 1

    def let_go(self, count: int = 1) -> None:
        for gate in self.gates[:count]:
            if not gate.done():
                gate.set_result(None)
        del self.gates[:count]


async def work(ctx: Ctx) -> None:
    await ctx.app.hold(ctx.data.get("key", ""), ctx.data.get("number"))


async def begun(test: WorkflowTest, id: str, data: Any = None, **options: Any) -> WorkflowRun:
    run = await test.host.start_workflow(id, data, **options)
    await turns(test)
    return run


def by_key(limit: int) -> Any:
    return (
        WorkflowBuilder()
        .concurrency(key=lambda d: d["key"], limit=limit)
        .then(work)
        .then(work)
        .build("limited")
    )


async def turns(test: WorkflowTest) -> None:
    """Let everything happen that happens without time passing; these bodies wait for the test."""
    await test.clock.settle(patience=0)


async def drain(test: WorkflowTest, gauge: Gauge, rounds: int = 200) -> None:
    for _ in range(rounds):
        await turns(test)
        if not gauge.gates:
            return
        gauge.let_go()
    pytest.fail("it does not end")


async def test_runs_of_one_key_wait_for_their_turn_in_the_order_of_their_starts() -> None:
    gauge = Gauge()
    async with WorkflowTest(by_key(2), app=gauge) as test:
        runs = [await begun(test, "limited", {"key": "a", "number": n}) for n in range(5)]
        runs += [await begun(test, "limited", {"key": "b", "number": n}) for n in range(5, 7)]
        assert gauge.now == {"a": 2, "b": 2}
        await drain(test, gauge)
        instances = [await run.wait(5) for run in runs]
    assert {instance.status for instance in instances} == {"complete"}
    assert gauge.most == {"a": 2, "b": 2}
    firsts = list(dict.fromkeys(n for n in gauge.order if n < 5))
    assert firsts == [0, 1, 2, 3, 4]


async def test_a_waiting_run_says_what_it_waits_for_and_can_be_terminated() -> None:
    gauge = Gauge()
    async with WorkflowTest(by_key(1), app=gauge) as test:
        first = await begun(test, "limited", {"key": "a"})
        second = await begun(test, "limited", {"key": "a"})
        third = await begun(test, "limited", {"key": "a"})
        (pointer,) = (await test.host.get(second.id)).pointers
        assert pointer.status == "pending_predecessor"
        assert pointer.waits_for == {"limits": ["w:limited:a"]}
        await test.host.terminate(second.id)
        assert (await second.wait(5)).status == "terminated"
        await drain(test, gauge)
        assert (await first.wait(5)).status == "complete"
        assert (await third.wait(5)).status == "complete"
    assert gauge.most == {"a": 1}


async def test_the_place_of_a_failed_run_is_free_for_the_next() -> None:
    async def fail() -> None:
        raise ValueError("no")

    flow = WorkflowBuilder().concurrency(limit=1).then(fail).build("limited")
    async with WorkflowTest(flow) as test:
        runs = [await begun(test, "limited") for _ in range(3)]
        assert {(await run.wait(5)).status for run in runs} == {"failed"}


async def test_a_retried_run_waits_for_its_place_again() -> None:
    gauge = Gauge()
    failures = [True]

    async def first() -> None:
        if failures.pop() if failures else False:
            raise ValueError("no")

    flow = WorkflowBuilder().concurrency(limit=1).then(first).then(work).build("limited")
    async with WorkflowTest(flow, app=gauge) as test:
        failed = await begun(test, "limited", {"number": 1})
        assert (await failed.wait(5)).status == "failed"
        other = await begun(test, "limited", {"number": 2})
        await test.host.retry(failed.id)
        await turns(test)
        assert gauge.order == [2]
        await drain(test, gauge)
        assert (await failed.wait(5)).status == "complete"
        assert (await other.wait(5)).status == "complete"
    assert gauge.order == [2, 1]
    assert gauge.most == {"": 1}


async def test_a_step_holds_its_place_only_while_it_runs_and_not_between_attempts() -> None:
    gauge = Gauge()
    failures = [True]

    async def sometimes(ctx: Ctx) -> None:
        if ctx.data["number"] == 1 and failures:
            failures.pop()
            raise ValueError("no")
        await ctx.app.hold("step", ctx.data["number"])

    flow = (
        WorkflowBuilder()
        .then(sometimes)
        .concurrency(key="printer", limit=1)
        .on_error(Retry(max_retries=1, interval=MINUTE))
        .build("printing")
    )
    async with WorkflowTest(flow, app=gauge) as test:
        one = await begun(test, "printing", {"number": 1})
        two = await begun(test, "printing", {"number": 2})
        assert gauge.order == [2], "the first gave its place up while it waits for its retry"
        await test.clock.advance(MINUTE)
        assert gauge.order == [2]
        await drain(test, gauge)
        assert {(await run.wait(5)).status for run in (one, two)} == {"complete"}
    assert gauge.most == {"step": 1}


async def test_a_key_is_shared_by_all_steps_that_name_it() -> None:
    gauge = Gauge()

    def flow(name: str) -> Any:
        return WorkflowBuilder().then(work).concurrency(key="printer", limit=1).build(name)

    async with WorkflowTest(flow("a"), flow("b"), app=gauge) as test:
        runs = [await begun(test, name, {"number": name}) for name in ("a", "b")]
        assert gauge.order == ["a"]
        await drain(test, gauge)
        assert [(await run.wait(5)).status for run in runs] == ["complete", "complete"]
    assert gauge.order == ["a", "b"]


async def test_the_items_of_a_for_each_share_a_limit() -> None:
    gauge = Gauge()

    async def item(ctx: Ctx) -> None:
        await ctx.app.hold("item", ctx.item)

    flow = (
        WorkflowBuilder()
        .for_each(list(range(6)), lambda b: b.then(item).concurrency(key="k", limit=2))
        .build("w")
    )
    async with WorkflowTest(flow, app=gauge) as test:
        run = await begun(test, "w")
        await drain(test, gauge)
        assert (await run.wait(5)).status == "complete"
    assert gauge.most == {"item": 2}
    assert sorted(gauge.order) == list(range(6))


async def test_a_rate_lets_so_many_begin_within_any_window() -> None:
    times: list[float] = []
    start = datetime(2025, 1, 1, tzinfo=UTC)

    async def call(ctx: Ctx) -> None:
        times.append((ctx.now() - start).total_seconds())

    flow = (
        WorkflowBuilder()
        .then(call)
        .rate_limit(key="api", limit=2, per=timedelta(seconds=10))
        .build("w")
    )
    async with WorkflowTest(flow) as test:
        runs = [await begun(test, "w") for _ in range(5)]
        assert times == [0, 0]
        await test.clock.advance(MINUTE)
        assert [(await run.wait(5)).status for run in runs] == ["complete"] * 5
    assert times == [0, 0, 10, 10, 20]


async def test_a_suspended_run_keeps_its_place() -> None:
    gauge = Gauge()
    async with WorkflowTest(by_key(1), app=gauge) as test:
        first = await begun(test, "limited", {"key": "a", "number": 1})
        await test.host.suspend(first.id)
        second = await begun(test, "limited", {"key": "a", "number": 2})
        gauge.let_go()
        await turns(test)
        assert gauge.order == [1]
        await test.host.resume(first.id)
        await drain(test, gauge)
        assert [(await run.wait(5)).status for run in (first, second)] == ["complete"] * 2


async def test_two_hosts_on_a_store_share_a_limit(shared: dict[str, Any]) -> None:
    gauge = Gauge()
    one, two = (WorkflowHost(**shared, app=gauge) for _ in range(2))
    async with one, two:
        for host in (one, two):
            host.register(by_key(2))
        runs = [
            await host.start_workflow("limited", {"key": "a", "number": n})
            for n in range(5)
            for host in (one, two)
        ]

        async def release() -> None:
            while True:
                gauge.let_go()
                await asyncio.sleep(0.001)

        releasing = asyncio.create_task(release())
        instances = [await run.wait(30) for run in runs]
        releasing.cancel()
    assert {instance.status for instance in instances} == {"complete"}
    assert gauge.most == {"a": 2}


async def test_bodies_of_one_host_at_a_time() -> None:
    gauge = Gauge()
    flow = WorkflowBuilder().then(work).build("w")
    async with WorkflowTest(flow, app=gauge, max_steps=2) as test:
        runs = [await begun(test, "w") for _ in range(5)]
        assert gauge.now == {"": 2}
        await drain(test, gauge)
        assert {(await run.wait(5)).status for run in runs} == {"complete"}
    assert gauge.most == {"": 2}


async def test_higher_priorities_are_driven_first() -> None:
    gauge = Gauge()
    flow = WorkflowBuilder().then(work).build("w")
    async with WorkflowTest(flow, app=gauge, max_live=1) as test:
        await begun(test, "w", {"number": "first"})
        for number, priority in (("low", -1), ("usual", 0), ("high", 5), ("highest", 9)):
            await begun(test, "w", {"number": number}, priority=priority)
        await drain(test, gauge)
    assert gauge.order == ["first", "highest", "high", "usual", "low"]


async def test_a_start_with_a_dedup_key_finds_the_run_that_is_not_over() -> None:
    gauge = Gauge()
    flow = WorkflowBuilder().then(work).build("w")
    async with WorkflowTest(flow, app=gauge) as test:
        first = await begun(test, "w", dedup_key="nightly")
        again = await begun(test, "w", dedup_key="nightly")
        other = await begun(test, "w", dedup_key="weekly")
        assert (again.id, again.new) == (first.id, False)
        assert other.id != first.id
        await drain(test, gauge)
        await first.wait(5)
        third = await begun(test, "w", dedup_key="nightly")
        assert third.new
        await drain(test, gauge)


async def test_only_hosts_with_the_labels_drive_a_definition() -> None:
    flow = WorkflowBuilder().then(work).requires("gpu").build("train")
    store = MemoryStore(VirtualClock())
    gauge = Gauge()
    gauge.hold = _noted(gauge)  # type: ignore[method-assign]
    async with WorkflowHost(store, app=gauge) as plain:
        plain.register(flow)
        run = await plain.start_workflow("train", {"number": 1})
        for _ in range(20):
            await asyncio.sleep(0)
        assert gauge.order == []
        assert (await plain.get(run.id)).status == "runnable"
        async with WorkflowHost(store, app=gauge, labels={"gpu", "big"}) as able:
            able.register(flow)
            instance = await (await able.run(run.id)).wait(5)
    assert instance.status == "complete"
    assert gauge.order == [1]


def _noted(gauge: Gauge) -> Any:
    async def hold(_key: str, what: Any) -> None:
        gauge.order.append(what)

    return hold


async def test_a_paused_definition_begins_nothing_until_it_goes_on() -> None:
    gauge = Gauge()
    flow = WorkflowBuilder().then(work).then(work).build("w")
    async with WorkflowTest(flow, app=gauge) as test:
        running = await begun(test, "w", {"number": 1})
        await test.host.pause_definition("w")
        waiting = await begun(test, "w", {"number": 2})
        gauge.let_go()
        await turns(test)
        assert gauge.order == [1]
        assert (await test.host.get(waiting.id)).status == "runnable"
        await test.host.resume_definition("w")
        await drain(test, gauge)
        assert [(await run.wait(5)).status for run in (running, waiting)] == ["complete"] * 2
    assert sorted(gauge.order) == [1, 1, 2, 2]
