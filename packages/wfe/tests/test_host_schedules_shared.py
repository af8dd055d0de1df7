"""Schedules on several hosts, and on files."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from schedule_parts import (
    HOUR,
    MINUTE,
    START,
    Report,
    quick,
    report,
    runs_of,
    slow,
    times,
    turns,
)

from wfe.core import WorkflowStatus
from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.models import LifecycleEvent
from wfe.host import SyncWorkflowHost, WorkflowHost
from wfe.sqlite import SqliteStore

# -- several hosts, and none -----------------------------------------------------------------------


async def test_hosts_that_were_away_make_up_for_the_newest() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    async with WorkflowHost(store) as host:
        host.register(quick)
        await host.schedules.create("s", "quick", every=HOUR, catch_up=2)
    await clock.advance(5 * HOUR + 30 * MINUTE)

    async with WorkflowHost(store) as host:
        host.register(quick)
        await clock.advance(MINUTE)

        assert await times(host) == ["04:00", "05:00"]
        found = await host.schedules.get("s")
        assert (found.missed, found.next_at) == (3, START + 6 * HOUR)


async def test_replacing_with_the_same_at_a_start_loses_no_missed_fire() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    found: list[str] = []
    for _ in range(2):
        async with WorkflowHost(store) as host:
            host.register(quick)
            await host.schedules.create("s", "quick", cron="0 * * * *", on_conflict="replace")
            await clock.advance(timedelta(seconds=1))
            found = await times(host)
        await clock.advance(150 * MINUTE)

    assert found == ["01:00", "02:00"]


async def test_each_time_has_one_run_however_many_hosts_there_are() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    hosts = [WorkflowHost(store, name=f"host {k}") for k in range(3)]
    for host in hosts:
        host.register(quick, slow)
        await host.start()
    await hosts[0].schedules.create("a", "quick", every=10 * MINUTE)
    await hosts[1].schedules.create("b", "slow", every=HOUR, overlap="queue")

    await clock.advance(3 * HOUR, turns)
    await hosts[0].stop()
    await clock.advance(3 * HOUR, turns)

    quicks = [run.created_at for run in await runs_of(hosts[1], "quick")]
    assert quicks == [START + k * 10 * MINUTE for k in range(1, 37)]
    slows = [run.created_at - START for run in await runs_of(hosts[1], "slow")]
    assert slows == [HOUR, 2.5 * HOUR, 4 * HOUR, 5.5 * HOUR]
    for host in hosts[1:]:
        await host.stop()


async def test_a_schedule_that_one_host_makes_another_fires() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    async with WorkflowHost(store) as other:
        other.register(quick)
        await clock.advance(MINUTE)
        async with WorkflowHost(store) as host:
            host.register(quick)
            await host.schedules.create("s", "quick", every=HOUR)

        await clock.advance(HOUR)

        assert await times(other) == ["01:01"]


async def test_a_host_that_drives_its_own_runs_only_fires_nothing() -> None:
    clock = VirtualClock()
    async with WorkflowHost(MemoryStore(clock), own_runs_only=True) as host:
        host.register(quick)
        await host.schedules.create("s", "quick", every=HOUR)
        await clock.advance(2 * HOUR)
        assert await runs_of(host) == []

        run = await host.schedules.trigger("s")

        assert (await run.wait(5)).status is WorkflowStatus.COMPLETE


# -- stores that outlive their hosts ---------------------------------------------------------------


class _Completions:
    """Counts the runs that complete on some hosts."""

    def __init__(self, *hosts: WorkflowHost) -> None:
        self._seen: set[str] = set()
        self._news = asyncio.Event()
        for host in hosts:
            host.subscribe(self._see)

    def _see(self, event: LifecycleEvent) -> None:
        if event.kind == "workflow_completed":
            self._seen.add(event.instance_id)
            self._news.set()

    async def reach(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self._seen) < count:
                await self._news.wait()
                self._news.clear()


async def test_two_hosts_on_one_store_start_one_run_for_each_time(shared: dict[str, Any]) -> None:
    async with WorkflowHost(**shared) as one, WorkflowHost(**shared) as two:
        done = _Completions(one, two)
        one.register(quick)
        two.register(quick)
        await one.schedules.create("s", "quick", every=timedelta(milliseconds=100))

        await done.reach(5)
        await two.schedules.pause("s")

        infos = [(await one.history(run.id))[0].data for run in await runs_of(two)]
        times = [info["at"] for info in infos if info is not None]
        assert len(times) == len(set(times)) >= 5
        found = await one.schedules.get("s")
        assert found.last_scheduled_at is not None
        assert found.last_scheduled_at.isoformat() == max(times)


async def test_a_schedule_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    async with WorkflowHost(SqliteStore(file, clock=VirtualClock())) as host:
        host.register(report)
        made = await host.schedules.create(
            "s", "report", Report("south"), cron="0 * * * *", catch_up=1, actor="ann"
        )

    later = VirtualClock(START + 3.5 * HOUR)
    host = WorkflowHost(SqliteStore(file, clock=later))
    done = _Completions(host)
    host.register(report)
    async with host:
        await done.reach(1)
        (run,) = await runs_of(host)
        found = await host.schedules.get("s")

    assert run.data == Report("south")
    assert (found.created_at, found.actor, found.catch_up) == (made.created_at, "ann", 1)
    assert (found.missed, found.last_scheduled_at, found.next_at) == (
        *(2, START + 3 * HOUR),
        START + 4 * HOUR,
    )


_DIES = """
import asyncio, os, sys
from datetime import timedelta
from wfe.core import WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore

armed = False

def work():
    pass

def die(moment):
    if armed and moment == sys.argv[2]:
        os._exit(9)

async def main():
    global armed
    clock = VirtualClock()
    store = SqliteStore(sys.argv[1], clock=clock, on_commit=die)
    async with WorkflowHost(store, lease=timedelta(days=1)) as host:  # it need not beat meanwhile
        host.register(WorkflowBuilder().start_with(work).build("quick"))
        await host.schedules.create("s", "quick", every=timedelta(hours=1))
        await host._engine.numbers.take()  # else numbers are fetched first
        armed = True  # the first thing to be written from here on is the fire
        clock.move_to(clock.now() + 3_600_000_000)
        await asyncio.sleep(30)

asyncio.run(main())
"""


@pytest.mark.parametrize(("moment", "stored"), [("before", 0), ("after", 1)])
async def test_a_death_around_the_commit_of_a_fire_leaves_all_or_nothing(
    tmp_path: Path, moment: str, stored: int
) -> None:
    file = tmp_path / "runs.db"
    died = await asyncio.create_subprocess_exec(sys.executable, "-c", _DIES, str(file), moment)
    assert await died.wait() == 9

    host = WorkflowHost(SqliteStore(file, clock=VirtualClock(START + HOUR)))
    async with host:  # nothing is registered: what was stored is seen, nothing is fired
        found = await host.schedules.get("s")
        assert len(await runs_of(host)) == stored
        assert (found.last_run_id is not None) == bool(stored)
        done = _Completions(host)

        host.register(quick)
        await done.reach(1)

        (run,) = await runs_of(host)
        found = await host.schedules.get("s")
        assert (found.last_run_id, found.next_at) == (run.id, START + 2 * HOUR)
        assert (found.missed, found.skipped) == (0, 0)


def test_the_blocking_host_has_schedules_too(tmp_path: Path) -> None:
    with SyncWorkflowHost(f"sqlite:///{tmp_path / 'runs.db'}") as host:
        host.register(quick)
        made = host.schedules.create("s", "quick", cron="0 0 1 1 *")
        assert host.schedules.find() == [made]
        assert host.schedules.pause("s").paused
        assert not host.schedules.resume("s").paused

        run = host.schedules.trigger("s")
        (filled,) = host.schedules.backfill("s", START, START + HOUR)

        assert run.wait(10).status is filled.wait(10).status is WorkflowStatus.COMPLETE
        assert host.schedules.get("s").last_run_id == run.id
        host.schedules.delete("s")
        assert host.schedules.find("quick") == []
