"""Hosts on one store with lock and queue elsewhere: the store is the truth, whatever happens."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
from valkey_parts import Link, commands, process_of, start_again

from wfe.core import StepExecutionContext, WorkflowBuilder, WorkflowDefinition, WorkflowStatus
from wfe.core.engine import Settings
from wfe.host import WorkflowHost, WorkflowRun
from wfe.host import parts as host_module
from wfe.host.connect import connect
from wfe.testing.services import resolve

Ctx: TypeAlias = StepExecutionContext[Any]
SHORT = timedelta(seconds=1)
LONG = timedelta(seconds=30)


@attrs.define
class Seen:
    """What bodies did; the application object of these tests."""

    ran: Counter[str] = attrs.field(factory=Counter[str])
    cancelled: int = 0
    begun: asyncio.Event = attrs.field(factory=asyncio.Event)


async def note(ctx: Ctx) -> None:
    ctx.app.ran[ctx.idempotency_key] += 1
    await asyncio.sleep(0.05)


async def hang_once(ctx: Ctx) -> None:
    """Hang at the first time, and end at any later one."""
    ctx.app.ran["hang"] += 1
    ctx.app.begun.set()
    if ctx.app.ran["hang"] > 1:
        return
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        ctx.app.cancelled += 1
        raise


ORDER: WorkflowDefinition = (
    WorkflowBuilder()
    .start_with(note)
    .then(note)
    .wait_for("paid", key=lambda _, ctx: ctx.instance.id)
    .then(note)
    .build("order")
)
JOB: WorkflowDefinition = WorkflowBuilder().start_with(hang_once).build("job")

Start: TypeAlias = Callable[..., Any]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def start(store_url: str, seen: Seen) -> AsyncIterator[Start]:
    """Start hosts on one store."""
    async with AsyncExitStack() as stack:

        async def start(server: str, **options: Any) -> WorkflowHost:
            options = {"lock": server, "queue": server, "lease": SHORT, "app": seen, **options}
            host = WorkflowHost(store_url, **options)
            host.register(ORDER, JOB)
            return await stack.enter_async_context(host)

        yield start


@pytest.fixture
def rare_polls(monkeypatch: pytest.MonkeyPatch) -> timedelta:
    """Let hosts look at the store three times a minute; return a lease that goes with that."""
    poll = timedelta(seconds=20)
    patched = partial(Settings, poll=poll // timedelta(microseconds=1))
    monkeypatch.setattr(host_module, "Settings", patched)
    return 6 * poll


async def _all_complete(runs: list[WorkflowRun], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        ended = [await run.wait() for run in runs]
    assert {instance.status for instance in ended} == {WorkflowStatus.COMPLETE}


# -- as long as nothing happens


async def test_an_event_reaches_a_run_on_another_host_at_once(
    start: Start, valkey_url: str, rare_polls: timedelta
) -> None:
    owner = await start(valkey_url, lease=rare_polls)
    other = await start(valkey_url, lease=rare_polls)
    delays: list[float] = []
    for _ in range(5):
        run = await owner.start_workflow("order")
        async with asyncio.timeout(5):
            async for entry in owner.subscribe(["step_waiting"]):
                if entry.instance_id == run.id:
                    break
        begun = time.monotonic()
        await other.publish_event("paid", run.id)
        await run.wait(30)
        delays.append(time.monotonic() - begun)

    assert sorted(delays)[2] < 3  # the polls alone: ten seconds more


async def test_runs_that_a_host_only_starts_are_driven_by_another_at_once(
    start: Start, valkey_url: str, rare_polls: timedelta
) -> None:
    await start(valkey_url, lease=rare_polls)
    starter = await start(valkey_url, lease=rare_polls, max_live=0)
    await asyncio.sleep(0.1)

    delays: list[float] = []
    for _ in range(5):
        begun = time.monotonic()
        run = await starter.start_workflow("job")
        await starter.terminate(run.id)
        await run.wait()
        delays.append(time.monotonic() - begun)

    assert sorted(delays)[2] < 3


async def test_everybody_can_follow_what_all_hosts_do(start: Start, valkey_url: str) -> None:
    hosts = [await start(valkey_url, lifecycle=valkey_url) for _ in range(3)]
    subscription = await hosts[2].follow()
    runs = [await host.start_workflow("order") for host in hosts]
    for host, run in zip(hosts, runs, strict=True):
        await host.publish_event("paid", run.id)
    await _all_complete(runs)

    kinds: dict[str, list[str]] = {run.id: [] for run in runs}
    async with asyncio.timeout(10):
        async for event in subscription:
            kinds[event.instance_id].append(event.kind)
            if all(told[-1:] == ["workflow_completed"] for told in kinds.values()):
                break

    for run in runs:
        told = [kind for kind in kinds[run.id] if kind != "step_started"]
        assert told == [entry.kind for entry in await hosts[0].history(run.id)]
    assert (await hosts[0].health())["lifecycle"]["dropped"] == 0


# -- whatever happens to the server


async def _orders(hosts: list[WorkflowHost], count: int = 20) -> list[WorkflowRun]:
    runs = [await hosts[k % len(hosts)].start_workflow("order") for k in range(count)]
    for k, run in enumerate(runs):
        await hosts[(k + 1) % len(hosts)].publish_event("paid", run.id)
    return runs


async def test_flushing_all_the_time_disturbs_nothing(
    start: Start, valkey_url: str, seen: Seen
) -> None:
    hosts = [await start(valkey_url, lifecycle=valkey_url) for _ in range(3)]
    epochs = [host._engine.epoch for host in hosts]
    end = asyncio.get_running_loop().time() + 3

    async def flush(client: Any) -> None:
        while asyncio.get_running_loop().time() < end:
            await client.flushall()
            await asyncio.sleep(0.05)

    flushing = asyncio.create_task(commands(valkey_url, flush))
    runs: list[WorkflowRun] = []
    while not flushing.done():
        runs += await _orders(hosts, 6)
        await asyncio.sleep(0.2)
    await flushing
    await _all_complete(runs)

    assert set(seen.ran.values()) == {1}
    assert [host._engine.epoch for host in hosts] == epochs


async def test_a_server_that_is_killed_and_forgets_everything_is_missed_by_nobody(
    start: Start, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    server = resolve("valkey", own=True)
    try:
        hosts = [await start(server.url, lifecycle=server.url) for _ in range(3)]
        runs = await _orders(hosts)
        process_of(server).kill()
        caplog.clear()
        runs += await _orders(hosts)
        await _all_complete(runs)
        told = Counter(record.getMessage().partition(":")[0] for record in caplog.records)

        await start_again(server)
        runs = await _orders(hosts)
        await _all_complete(runs)
        async with asyncio.timeout(10):
            while (await hosts[0].health())["lifecycle"]["trouble"]:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.05)

        assert set(seen.ran.values()) == {1}
        assert max(told.values()) <= len(hosts)  # each trouble once for each host, and no flood
        for host in hosts:
            await host.stop()
    finally:
        server.stop()


async def test_a_server_that_hangs_holds_nothing_up(start: Start, seen: Seen) -> None:
    server = resolve("valkey", own=True)
    try:
        hosts = [await start(server.url, lifecycle=server.url) for _ in range(2)]
        await _all_complete(await _orders(hosts))
        process_of(server).freeze()
        begun = time.monotonic()
        await _all_complete(await _orders(hosts))
        took = time.monotonic() - begun
        process_of(server).thaw()
        await _all_complete(await _orders(hosts))

        assert took < 8
        assert set(seen.ran.values()) == {1}
        for host in hosts:
            await host.stop()
    finally:
        server.stop()


# -- whatever happens to hosts


async def test_a_fenced_host_learns_it_from_the_store(
    start: Start, valkey_url: str, seen: Seen, store_url: str
) -> None:
    host = await start(valkey_url, lease=LONG)
    run = await host.start_workflow("job")
    await seen.begun.wait()
    epoch = host._engine.epoch
    store = connect(store_url).persistence
    await store.open()

    assert list(await store.fence([epoch], lease=None)) == [epoch]

    await _all_complete([run], 10)
    assert seen.cancelled == 1
    assert host._engine.epoch != epoch
    await store.close()


async def test_what_a_killed_process_ran_is_taken_over(
    start: Start, valkey_url: str, seen: Seen, store_url: str
) -> None:
    host = await start(valkey_url)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("valkey_process.py")),
        store_url,
        valkey_url,
        "1",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        async with asyncio.timeout(20):
            assert await child.stdout.readline() == b"begun\n"
        await asyncio.sleep(1.5)  # longer than a lease: it beats
        assert seen.ran["hang"] == 0
    finally:
        child.send_signal(signal.SIGKILL)
        await child.wait()
    begun = time.monotonic()

    seen.ran["hang"] = 1  # the next one ends
    await _all_complete([await host.run("the-job")], 10)

    assert time.monotonic() - begun < 4


async def test_a_host_that_alone_is_cut_off_leaves_the_work_to_others(
    start: Start, valkey_url: str, seen: Seen
) -> None:
    link = Link(valkey_url)
    await link.heal()
    cut_off = await start(link.url)
    run = await cut_off.start_workflow("job")
    await seen.begun.wait()
    other = await start(valkey_url)
    await asyncio.sleep(1.5)
    assert seen.ran["hang"] == 1

    await link.cut()
    await _all_complete([run], 10)

    async with asyncio.timeout(3):
        while not seen.cancelled:  # noqa: ASYNC110 - it sees at its next look that it was fenced
            await asyncio.sleep(0.02)
    async with asyncio.timeout(5):  # it registers anew
        while sum(w["fenced"] is None for w in (await other.health())["workers"]) != 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    await link.heal()
    again = await other.start_workflow("job")
    await _all_complete([again], 10)
    await cut_off.stop()
    await link.cut()
