"""Events and messages that a run which waits here takes at once: in the commit that sends them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from wfe.core import WorkflowBuilder, WorkflowContext, WorkflowDefinition, workflow
from wfe.core.errors import StoreUnavailableError, WorkflowNotFoundError
from wfe.core.memory import MemoryStore
from wfe.core.providers import Event, Item, Message, Outcome
from wfe.host import WorkflowHost
from wfe.testing import WorkflowTest

Batch = Sequence[Item]


class Spied(MemoryStore):
    """A store that commits at once and remembers what; *failing*: how the next one goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.reads = 0
        self.failing: str | None = None

    def commit_now(self, epoch: int | None, items: Batch) -> Sequence[Outcome]:
        fault, self.failing = self.failing, None
        if fault == "refused":
            raise StoreUnavailableError("test", "not now")
        self.batches.append(items)
        outcomes = super().commit_now(epoch, items)
        if fault == "unknown":
            raise StoreUnavailableError("test", "the connection was lost", unknown=True)
        return outcomes

    async def commit(self, epoch: int | None, items: Batch) -> Sequence[Outcome]:
        return self.commit_now(epoch, items)

    async def get(self, id_or_name: str) -> Any:
        self.reads += 1
        return await super().get(id_or_name)


class Slow(Spied):
    """The same, but every commit takes a turn of the loop, as on a server."""

    async def commit(self, epoch: int | None, items: Batch) -> Sequence[Outcome]:
        await asyncio.sleep(0)
        outcomes = self.commit_now(epoch, items)
        await asyncio.sleep(0)
        return outcomes


@pytest.fixture(params=[Spied, Slow])
def store(request: pytest.FixtureRequest) -> Spied:
    made: Spied = request.param()
    return made


def waiting(*keys: str, name: str = "waiting") -> WorkflowDefinition:
    """Return a workflow that waits for ``go`` with each key in its turn."""
    built: Any = WorkflowBuilder()
    for k, key in enumerate(keys):
        built = built.wait_for("go", key=key, output=f"got{k}")
    made: WorkflowDefinition = built.build(name)
    return made


async def rested(host: WorkflowHost) -> None:
    """Return when nothing is being written, and nothing here does anything."""
    live = host._engine.live
    await until(lambda: not host._engine.committing and all(run.idle for run in live.values()))


async def until(what: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not what():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)


async def began(host: WorkflowHost, definition: Any) -> Any:
    """Return a run of *definition* that waits."""
    run = await host.start_workflow(definition)
    await rested(host)
    return run


async def rows(host: WorkflowHost, id: str) -> list[Any]:
    header = await host._engine.reads.header(id)
    return [orjson.loads(row.event) for row in await host._engine.store.history(header.n, -1, 999)]


# -- one commit -----------------------------------------------------------------------------------


async def test_an_event_and_what_it_leads_to_are_one_commit(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        store.batches.clear()

        id = await host.publish_event("go", "k", 7)

        ((item,),) = store.batches
        assert ([event.id for event in item.publish], item.consumed) == ([id], (0,))
        assert (await run.wait(5)).data == {"got0": 7}


@pytest.mark.parametrize("ask", ["signal", "suspend", "terminate", "patch"])
async def test_a_message_and_what_it_leads_to_are_one_commit(store: Spied, ask: str) -> None:
    definition = WorkflowBuilder().wait_for("go", scope="run", output="got").build("waiting")
    asked: dict[str, Callable[[Any], Any]] = {
        "signal": lambda run: host.signal(run.id, "go", 7),
        "suspend": lambda run: host.suspend(run.id, actor="Ada"),
        "terminate": lambda run: host.terminate(run.id, reason="enough"),
        "patch": lambda run: host.patch_data(run.id, {"more": 1}),
    }
    async with WorkflowHost(store) as host:
        run = await began(host, definition)
        store.batches.clear()

        await asked[ask](run)

        ((item,),) = store.batches
        assert (item.consumed, item.messages) == ((0,), ())
        found = await host.get(run.id)
        said = (str(found.status), found.data)
        assert (
            said
            == {
                "signal": ("complete", {"got": 7}),
                "suspend": ("suspended", {}),
                "terminate": ("terminated", {}),
                "patch": ("runnable", {"more": 1}),
            }[ask]
        )


async def test_the_history_is_that_of_the_long_way(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        direct, long = [await began(host, waiting(key, name=f"w{key}")) for key in "ab"]
        await host.publish_event("go", "a", 7)
        await host.publish_event("go", "b", 7, id="by way of its inbox")
        await long.wait(5)

        ours, theirs = await rows(host, direct.id), await rows(host, long.id)

    def shown(found: list[Any]) -> list[Any]:
        return [
            [row[1], row[2], row[4], sorted(row[5] or {}), [op[0] for op in row[6]]]
            for row in found
        ]

    assert shown(ours) == shown(theirs)


async def test_how_a_run_ended_is_known_without_asking_the_store(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        await host.publish_event("go", "k", 7)
        store.reads = 0

        instance = await run.wait(5)

        assert (str(instance.status), instance.data, store.reads) == ("complete", {"got0": 7}, 0)
        host._engine.delivering._complete.clear()
        assert (await run.wait(5)).data == {"got0": 7}


# -- the long way ---------------------------------------------------------------------------------


async def test_an_event_with_an_id_of_the_callers_goes_the_long_way(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k", "k"))
        for _ in range(3):
            await host.publish_event("go", "k", 1, id="same")
        await rested(host)
        assert (await host.get(run.id)).data == {"got0": 1}
        await host.publish_event("go", "k", 2)

        assert (await run.wait(5)).data == {"got0": 1, "got1": 2}


@pytest.mark.parametrize("when", [timedelta(days=-1), timedelta(days=1)])
async def test_an_event_with_a_time_goes_the_long_way(store: Spied, when: timedelta) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        await host.publish_event("go", "k", 1, at=datetime.now(UTC) + when)
        await rested(host)

        counts = when > timedelta(0)
        assert (await host.get(run.id)).data == ({"got0": 1} if counts else {})


async def test_an_event_that_is_over_already_wakes_nobody(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        await host.publish_event("go", "k", 1, expires=timedelta(0))
        await rested(host)

        assert str((await host.get(run.id)).status) == "runnable"


async def test_what_came_before_is_not_overtaken(store: Spied) -> None:
    """Another process published, and its hint was lost: the run does not know of it yet."""
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k", "k"))
        first = Event(id="first", name="go", key="k", payload="1")
        await MemoryStore.commit(store, None, [Item(publish=(first,))])

        await host.publish_event("go", "k", 2)

        assert (await run.wait(5)).data == {"got0": 1, "got1": 2}


async def test_a_run_that_does_not_know_all_its_messages_reads_them_first(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        built = WorkflowBuilder().wait_for("go", scope="run", output="got")
        run = await began(host, built.wait_for("go", scope="run", output="then").build("two"))
        n = (await host._engine.reads.header(run.id)).n
        payload = orjson.dumps({"name": "go", "data": 1}).decode()
        told = Message(target=n, kind="signal", payload=payload, strict=True)
        await MemoryStore.commit(store, None, [Item(messages=(told,))])

        await host.signal(run.id, "go", 2)

        assert (await run.wait(5)).data == {"got": 1, "then": 2}


async def test_signals_sent_together_arrive_in_their_order() -> None:
    store = Slow()
    built: Any = WorkflowBuilder()
    for k in range(4):
        built = built.wait_for("go", scope="run", output=f"got{k}")
    async with WorkflowHost(store) as host:
        run = await began(host, built.build("four"))
        store.batches.clear()

        await asyncio.gather(*(host.signal(run.id, "go", k) for k in range(4)))

        assert (await run.wait(5)).data == {f"got{k}": k for k in range(4)}
        assert sum(len(item.messages) for batch in store.batches for item in batch) in (3, 4)


async def test_events_sent_together_reach_their_runs_at_once() -> None:
    store = Slow()
    async with WorkflowHost(store) as host:
        runs = [await began(host, waiting(str(k), name=f"w{k}")) for k in range(10)]
        store.batches.clear()

        await asyncio.gather(*(host.publish_event("go", str(k), k) for k in range(10)))

        assert [(await run.wait(5)).data for run in runs] == [{"got0": k} for k in range(10)]
        assert len(store.batches) <= 2
        assert {item.consumed for batch in store.batches for item in batch} == {(0,)}


# -- several that wait ----------------------------------------------------------------------------


async def test_all_runs_that_wait_get_the_event(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        runs = [await began(host, waiting("k", name=f"w{k}")) for k in range(3)]

        await host.publish_event("go", "k", 7)

        assert [(await run.wait(5)).data for run in runs] == [{"got0": 7}] * 3


async def test_all_branches_that_wait_get_the_event_in_one_transition(store: Spied) -> None:
    built = WorkflowBuilder().parallel(
        lambda p: (
            p.branch(lambda b: b.wait_for("go", key="k", output="a"))
            .branch(lambda b: b.wait_for("go", key="k", output="b"))
            .branch(lambda b: b.wait_for("go", key="other", output="c"))
        )
    )
    async with WorkflowHost(store) as host:
        run = await began(host, built.build("both"))
        store.batches.clear()

        await host.publish_event("go", "k", 7)

        assert (await host.get(run.id)).data == {"a": 7, "b": 7}
        ((item,),) = store.batches
        assert (item.consumed, len(item.unsubscribe)) == ((0, 0), 2)
        await host.publish_event("go", "other", 8)
        assert (await run.wait(5)).data == {"a": 7, "b": 7, "c": 8}


async def test_a_suspended_run_takes_its_event_and_goes_on_when_it_is_resumed(
    store: Spied,
) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        await host.suspend(run.id)
        await host.publish_event("go", "k", 7)
        await rested(host)
        assert str((await host.get(run.id)).status) == "suspended"

        await host.resume(run.id)

        assert (await run.wait(5)).data == {"got0": 7}


# -- each event once ------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [True, False], ids=["loaded again", "in memory"])
async def test_the_next_wait_is_after_the_event_that_was_taken(store: Spied, again: bool) -> None:
    definition = waiting("k", "k", "k", name="three")
    async with WorkflowHost(store) as host:
        run = await began(host, definition)
        await host.publish_event("go", "k", 1)
        await rested(host)
        if not again:
            await host.publish_event("go", "k", 2)
    async with WorkflowHost(store) as host:
        host.register(definition)
        await until(lambda: host._engine.runs.driven(run.id) is not None or not again)
        await rested(host)
        assert (await host.get(run.id)).data == {"got0": 1} | ({} if again else {"got1": 2})
        for number in range(2 if again else 3, 4):
            await host.publish_event("go", "k", number)
        ended = await host._engine.waits.ended(run.id, suspended=False)

    assert ended.data == {"got0": 1, "got1": 2, "got2": 3}


async def test_branches_that_join_know_what_each_of_them_took(store: Spied) -> None:
    built = (
        WorkflowBuilder()
        .parallel(
            lambda p: p.branch(lambda b: b.wait_for("go", key="k", output="a")).branch(
                lambda b: b.wait_for("go", key="k", output="b").wait_for("go", key="k", output="c")
            )
        )
        .wait_for("go", key="k", output="d")
    )
    async with WorkflowHost(store) as host:
        run = await began(host, built.build("joined"))
        for number in (1, 2, 3):
            await host.publish_event("go", "k", number)
            await rested(host)

        assert (await run.wait(5)).data == {"a": 1, "b": 1, "c": 2, "d": 3}


async def test_many_waits_for_one_topic_get_each_event_once(store: Spied) -> None:
    built = WorkflowBuilder().for_each(
        lambda _: range(12), lambda b: b.wait_for("go", key="k", output="last"), parallel=False
    )
    async with WorkflowHost(store) as host:
        run = await began(host, built.build("many"))
        for number in range(12):
            assert str((await host.get(run.id)).status) == "runnable"
            await host.publish_event("go", "k", number)
            await rested(host)
        assert (await run.wait(5)).data == {"last": 11}
        found: list[Any] = [
            row[5] for row in await rows(host, run.id) if row[1] == "step_completed"
        ]
        received = [info["id"] for info in found if info and "event" in info]
        assert len(set(received)) == 12


async def test_a_function_that_waits_takes_each_event_once(store: Spied) -> None:
    @workflow("taking")
    async def taking(ctx: WorkflowContext) -> list[Any]:
        first = await ctx.wait_for("go", "k")
        both = await ctx.gather(ctx.wait_for("go", "k"), ctx.wait_for("go", "k"))
        return [first, *both, await ctx.wait_for("go", "k")]

    async with WorkflowHost(store) as host:
        run = await began(host, taking)
        store.batches.clear()
        await host.publish_event("go", "k", 1)
        assert store.batches[0][0].consumed == (0,)
        for number in (2, 3):
            await rested(host)
            await host.publish_event("go", "k", number)

        assert await run.result() == [1, 2, 2, 3]


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refused", "unknown"])
async def test_a_commit_that_failed_is_either_all_or_nothing(store: Spied, fault: str) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k", "k"))
        store.failing = fault

        with pytest.raises(StoreUnavailableError):
            await host.publish_event("go", "k", 1)
        await rested(host)
        n = (await host._engine.reads.header(run.id)).n
        await until(lambda: n in host._engine.live)
        await rested(host)

        assert (await host.get(run.id)).data == ({"got0": 1} if fault == "unknown" else {})
        for number in (2, 3) if fault == "refused" else (2,):
            await host.publish_event("go", "k", number)
        ended = (await run.wait(5)).data
        assert ended == ({"got0": 1, "got1": 2} if fault == "unknown" else {"got0": 2, "got1": 3})


async def test_a_signal_whose_commit_failed_was_never_heard(store: Spied) -> None:
    definition = WorkflowBuilder().wait_for("go", scope="run", output="got").build("waiting")
    async with WorkflowHost(store) as host:
        run = await began(host, definition)
        store.failing = "refused"
        with pytest.raises(StoreUnavailableError):
            await host.signal(run.id, "go", 1)

        await host.signal(run.id, "go", 2)

        assert (await run.wait(5)).data == {"got": 2}


async def test_a_host_that_was_fenced_publishes_all_the_same(store: Spied) -> None:
    """Another host has the run by then, and gets the event by way of its inbox."""
    definition = waiting("k")
    async with WorkflowHost(store) as one, WorkflowHost(store) as other:
        run = await began(one, definition)
        await store.fence([one._engine.epoch], lease=None)
        await store.orphans(10)
        other.register(definition)
        await until(lambda: other._engine.runs.driven(run.id) is not None)

        await one.publish_event("go", "k", 7)

        found = await other._engine.waits.ended(run.id, suspended=False)
        assert found.data == {"got0": 7}
        published = [event for batch in store.batches for item in batch for event in item.publish]
        assert len({event.id for event in published}) == 1


async def test_a_run_that_another_host_took_is_not_woken_here(store: Spied) -> None:
    definition = waiting("k")
    async with WorkflowHost(store) as one:
        run = await began(one, definition)
        n = (await one._engine.reads.header(run.id)).n
        async with WorkflowHost(store) as other:
            other.register(definition)
            store._runs.release(store._runs.by_n[n], store.clock.now())
            other._engine.nudge()
            await until(lambda: n in other._engine.live)

            await one.publish_event("go", "k", 7)

            found = await other._engine.waits.ended(run.id, suspended=False)
            assert found.data == {"got0": 7}
        kinds = [row[1] for row in await rows(one, run.id)]
        assert kinds.count("step_completed") == 1


async def test_a_signal_to_a_run_that_is_gone_says_so(store: Spied) -> None:
    async with WorkflowHost(store) as host:
        run = await began(host, waiting("k"))
        n = (await host._engine.reads.header(run.id)).n
        stored = store._runs.by_n.pop(n)
        try:
            with pytest.raises(WorkflowNotFoundError):
                await host.signal(run.id, "go", 1)
        finally:
            store._runs.by_n[n] = stored


# -- what is remembered ---------------------------------------------------------------------------


async def test_waits_that_are_over_are_forgotten(store: Spied) -> None:
    built = WorkflowBuilder().for_each(
        lambda _: range(150),
        lambda b: b.wait_for("go", key=lambda _d, ctx: str(ctx.item)),
        parallel=False,
    )
    async with WorkflowHost(store) as host:
        delivering = host._engine.delivering
        run = await began(host, built.build("many"))
        most = 0
        for number in range(150):
            await host.publish_event("go", str(number))
            await rested(host)
            most = max(most, len(delivering._topics))
        await run.wait(5)

    assert 60 < most <= 65
    assert (delivering._topics, delivering._waits) == ({}, {})


async def test_a_run_that_is_put_down_is_not_delivered_to() -> None:
    async with WorkflowTest() as test:
        run = await test.start(waiting("k"))
        engine = test.host._engine
        assert engine.delivering._topics
        await test.clock.advance(timedelta(hours=1))
        assert not engine.live

        assert engine.delivering._topics == {}
        await test.host.publish_event("go", "k", 7)
        assert (await run.wait(5)).data == {"got0": 7}


async def test_what_a_run_does_next_is_not_done_in_the_name_of_the_sender() -> None:
    told: ContextVar[str] = ContextVar("told", default="nobody")
    seen: list[str] = []

    async def look() -> None:
        seen.append(told.get())

    async with WorkflowHost(Spied()) as host:
        run = await began(host, WorkflowBuilder().wait_for("go", key="k").then(look).build("looks"))
        told.set("the sender")

        await host.publish_event("go", "k")

        await run.wait(5)
    assert seen == ["nobody"]
