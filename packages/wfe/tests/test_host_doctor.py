"""A host looks over its store, its workers and runs, and all providers beside it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from wfe.core import WorkflowBuilder
from wfe.core.clocks import VirtualClock
from wfe.core.examining import Finding
from wfe.core.memory import MemoryStore
from wfe.core.providers import WorkerInfo
from wfe.host import WorkflowHost
from wfe.sqlite import SqliteStore

DEAD = "valkey://127.0.0.1:9"
WAITING = WorkflowBuilder().wait_for("go").build("waiting")


def nothing() -> None:
    """Do nothing."""


QUICK = WorkflowBuilder().start_with(nothing).build("quick")


def texts(found: list[Finding], level: str) -> list[str]:
    return [f"{each.topic}: {each.text}" for each in found if each.level == level]


async def test_a_host_that_runs_examines_itself() -> None:
    async with WorkflowHost("memory://") as host:
        found = list(await host.examine())

    assert texts(found, "problem") == []
    assert [each.topic for each in found] == [
        "store",
        "store",
        "clock",
        "runs",
        "workers",
        "definitions",
    ]


async def test_a_host_that_was_not_started_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowHost(url) as host:
        await host.start_workflow(WAITING)
    store = SqliteStore(tmp_path / "runs.db")
    host = WorkflowHost(store)

    found = list(await host.examine())

    assert texts(found, "problem") == []
    assert store.stats.commits == 0
    again = list(await host.examine())
    assert len(again) == len(found)


async def test_every_live_worker_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowHost(url, name="busy") as busy, WorkflowHost(url, name="idle"):
        await busy.start_workflow(WAITING)
        found = list(await WorkflowHost(url).examine())

    told = [each.text for each in found if each.topic == "workers"]
    assert told[0] == "2 alive"
    assert sum("busy (" in text and "is at work on 1 run" in text for text in told) == 1
    assert sum("idle (" in text and "is idle, heard of 0 s ago" in text for text in told) == 1
    assert texts(found, "problem") == []


async def test_an_idle_worker_that_missed_its_beats_is_not_called_alive() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    await store.register(WorkerInfo(name="gone", host="h", pid=1))
    looks = WorkflowHost(store)
    clock.move_to(clock.now() + 5 * 60 * 1_000_000)
    idle = list(await looks.examine())
    clock.move_to(clock.now() + 10 * 60 * 1_000_000)

    found = list(await looks.examine())

    assert "workers: 1 alive" in texts(idle, "ok")
    assert "workers: 0 alive" in texts(found, "note")
    silent = "workers: gone (h, pid 1) owns nothing, and was heard of 15 min ago: probably gone"
    assert silent in texts(found, "note")


async def test_a_host_that_only_asks_is_no_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/runs.db"
    async with WorkflowHost(url, name="worker") as worker:
        worker.register(QUICK)
        async with WorkflowHost(url, name="guest", own_runs_only=True, max_live=0) as guest:
            guest.register(QUICK)
            run = await guest.start_workflow("quick")
            ended = await run.wait(timeout=10)
            await guest.pause_definition("quick")
            health = await guest.health()

    assert ended.status.value == "complete"
    assert [each["name"] for each in health["workers"]] == ["worker"]


async def test_an_idle_host_that_was_fenced_registers_anew(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "runs.db")
    async with WorkflowHost(store, name="idle"):
        (old,) = [row.epoch for row in await store.workers()]
        await store.fence([old], lease=None)
        async with asyncio.timeout(10):
            while not (rows := await store.workers()):  # noqa: ASYNC110 - the host's own polls
                await asyncio.sleep(0.05)

        assert [row.name for row in rows] == ["idle"]
        assert rows[0].epoch != old


async def test_due_runs_that_nobody_takes_and_late_schedules_are_problems() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    async with WorkflowHost(store, max_live=0, retention=None) as host:
        host.register(QUICK)
        await host.start_workflow("quick")
        await host.schedules.create("nightly", "quick", every=timedelta(seconds=30))
        await host.pause_definition("quick")
        paused = list(await host.examine())
        await host.resume_definition("quick")
        clock.move_to(clock.now() + 600 * 1_000_000)
        found = list(await host.examine())

    assert "definitions: paused: quick" in texts(paused, "note")
    problems = [each for each in found if each.level == "problem"]
    assert any(
        "'quick' version 1" in each.text and "due since 10 min, and nobody takes them" in each.text
        for each in problems
    )
    assert all(each.hint for each in problems)


async def test_what_stands_beside_the_store_is_asked_too(
    postgres_url: str, valkey_url: str, opensearch_url: str
) -> None:
    host = WorkflowHost(
        postgres_url,
        queue=valkey_url,
        lock=valkey_url,
        lifecycle=valkey_url,
        search=opensearch_url,
    )

    found = list(await host.examine())

    assert {"store", "clock", "workers", "valkey", "search"} <= {each.topic for each in found}
    assert len([each for each in found if each.topic == "valkey"]) == 1


async def test_one_that_cannot_be_asked_hides_nothing_else(tmp_path: Path) -> None:
    host = WorkflowHost(f"sqlite:///{tmp_path}/runs.db", queue=DEAD, lock=DEAD)

    found = list(await host.examine())

    problems = texts(found, "problem")
    assert any(text.startswith("queue: ") and "cannot be reached" in text for text in problems)
    assert any(each.topic == "store" and each.level == "ok" for each in found)
