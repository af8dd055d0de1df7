"""Several processes on one file: death, fairness, races, hints."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wfe.core.providers import Done, Header, Hint, Item, WorkerInfo
from wfe.sqlite import SqliteStore

Start = Callable[..., Any]
LEASE = 30_000_000  # µs
WORKER = WorkerInfo(name="w", host="h", pid=1)


async def test_a_killed_host_is_dead_at_once_though_its_child_lives(
    store: SqliteStore, process: Start
) -> None:
    host = process("hold")
    said = host.hear()
    epoch, child, n = said["epoch"], said["child"], said["n"]
    assert list(await store.dead([epoch], LEASE)) == []

    os.kill(host.popen.pid, signal.SIGKILL)
    host.popen.wait()
    try:
        os.kill(child, 0)  # it is alive
        started = time.monotonic()
        dead = list(await store.dead([epoch], LEASE))
        took = time.monotonic() - started
    finally:
        os.kill(child, signal.SIGKILL)

    assert dead == [epoch]
    assert took < 0.1
    mine = await store.register(WORKER)
    assert list(await store.fence([epoch], lease=None)) == [epoch]
    assert await store.orphans(10) == 1
    (claimed,) = await store.claim(mine, [1], 10)
    assert (claimed.n, claimed.takeovers) == (n, 1)


async def test_hosts_of_one_process_do_not_bury_one_another(store: SqliteStore, path: Path) -> None:
    other = SqliteStore(path)
    await other.open()
    mine, its = await store.register(WORKER), await other.register(WORKER)

    assert list(await store.dead([mine, its], LEASE)) == []
    await other.close()
    assert list(await store.dead([mine, its], LEASE)) == [its]


async def test_closing_one_store_keeps_the_locks_of_the_other(
    store: SqliteStore, path: Path, process: Start
) -> None:
    mine = await store.register(WORKER)
    other = SqliteStore(path)
    await other.open()
    await other.close()

    outside = process("dead")
    outside.tell(str(mine))

    assert outside.hear() == {"dead": False}


async def test_two_writers_share_the_file_fairly(process: Start) -> None:
    writers = [process("commit"), process("commit")]
    for writer in writers:
        writer.hear()
    for writer in writers:
        writer.tell("go")

    said = [await asyncio.to_thread(writer.hear) for writer in writers]

    counts = sorted(entry["count"] for entry in said)
    assert counts[0] / counts[1] > 0.4
    assert max(entry["worst"] for entry in said) < 1.0


async def test_events_between_processes_meet_each_wait_once(
    store: SqliteStore, process: Start
) -> None:
    count = 100
    waiting, publishing = process("subscribe"), process("publish")
    waiting.hear()
    publishing.hear()
    waiting.tell(str(count))
    runs = waiting.hear()["begun"]

    waiting.tell("go")
    publishing.tell(str(count))
    assert [waiting.hear(), publishing.hear()] == [{"done": True}] * 2

    found = {n: (poke, len(rows)) for n, poke, rows in await store.inbox(runs)}
    assert found == dict.fromkeys(runs, (1, 1))
    claimed = await store.claim(await store.register(WORKER), [1], 1000)
    assert sorted(entry.n for entry in claimed) == runs


async def test_processes_that_share_work_do_each_run_once(
    store: SqliteStore, process: Start
) -> None:
    first = await store.allocate(300)
    runs = list(range(first, first + 300))
    outcomes = await store.commit(
        None,
        [
            Item(
                n=n,
                new=Header(n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", wake=0),
                rows=('"begin"',),
            )
            for n in runs
        ],
    )
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    workers = [process("work"), process("work")]
    for worker in workers:
        worker.hear()
    for worker in workers:
        worker.tell("go")

    ended = [n for worker in workers for n in worker.hear()["ended"]]

    assert sorted(ended) == runs
    assert {len(await store.history(n, -1, 10)) for n in runs} == {2}


async def test_a_hint_reaches_another_process_soon(store: SqliteStore, process: Start) -> None:
    host = process("wait")
    epoch = host.hear()["epoch"]
    delays: list[float] = []
    for k in range(10):
        # It may not be back in its wait yet; the socket keeps the hint.
        owner = epoch if k % 2 else None
        sent = time.monotonic()
        await store.hint([Hint(k, 1, owner)])
        said = await asyncio.to_thread(host.hear)
        assert said["numbers"] == [k]
        delays.append(said["at"] - sent)

    assert statistics.median(delays) < 0.05


async def test_sockets_of_the_dead_are_removed(store: SqliteStore, process: Start) -> None:
    host = process("wait")
    host.hear()
    wake = store._opened.wake
    assert wake is not None
    directory = wake._directory
    assert directory is not None
    assert len(list(directory.iterdir())) == 1
    host.kill()

    await store.register(WORKER)

    assert len(list(directory.iterdir())) == 1
    assert (directory.stat().st_mode & 0o777) == 0o700


@pytest.mark.parametrize("point", ["before", "after"])
async def test_a_crash_at_a_commit_loses_nothing_acknowledged(
    path: Path, process: Start, point: str
) -> None:
    # register, allocate, begin, then rows: the 9th commit is that of row 6.
    host = process("crash", point, "9")
    begun = host.hear()
    acknowledged = [said["acknowledged"] for said in host.rest()]
    assert host.popen.wait() == -signal.SIGKILL

    store = SqliteStore(path)
    await store.open()

    rows = [row.seq for row in await store.history(begun["n"], -1, 100)]
    assert acknowledged == [1, 2, 3, 4, 5]
    assert rows == list(range(6 if point == "before" else 7))
    assert list(await store.dead([begun["epoch"]], LEASE)) == [begun["epoch"]]
    await store.close()


async def test_stores_in_threads_write_one_after_another(path: Path) -> None:
    async def write() -> list[int]:
        mine = SqliteStore(path)
        await mine.open()
        firsts = [await mine.allocate(1) for _ in range(50)]
        await mine.close()
        return firsts

    given = await asyncio.gather(*(asyncio.to_thread(asyncio.run, write()) for _ in range(4)))

    numbers = [n for some in given for n in some]
    assert len(set(numbers)) == 200
