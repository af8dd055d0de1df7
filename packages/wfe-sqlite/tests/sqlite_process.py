"""A host in a process of its own, for the tests: run by path with a command and a database."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from wfe.core.providers import Done, Event, Header, HeaderChange, Item, Subscription, WorkerInfo
from wfe.sqlite import SqliteStore


def say(**facts: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(facts) + b"\n")
    sys.stdout.buffer.flush()


def heard() -> str:
    return sys.stdin.readline().strip()


def me() -> WorkerInfo:
    return WorkerInfo(name="process", host="here", pid=os.getpid())


async def begin(store: SqliteStore, epoch: int | None) -> int:
    n = await store.allocate(1)
    new = Header(
        n=n, id=f"run-{n}", d=1, definition="x", version=1, root_id="r", owner=epoch, wake=0
    )
    (outcome,) = await store.commit(epoch, [Item(n=n, new=new, rows=('"begin"',))])
    assert isinstance(outcome, Done)
    return n


async def hold(store: SqliteStore) -> None:
    """Register, fork a child that stays, and wait to be killed."""
    epoch = await store.register(me())
    n = await begin(store, epoch)
    inherited, _ = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(inherited, 1)  # for ever: this process holds the other end too
        os._exit(0)
    say(epoch=epoch, child=child, n=n)
    heard()


async def commit(store: SqliteStore) -> None:
    """Commit single rows for 1.5 s; say how many, and the longest one."""
    epoch = await store.register(me())
    n = await begin(store, epoch)
    say(ready=True)
    heard()
    count, worst = 0, 0.0
    end = time.monotonic() + 1.5
    while (started := time.monotonic()) < end:
        (outcome,) = await store.commit(epoch, [Item(n=n, base=count, rows=('"row"',))])
        assert isinstance(outcome, Done)
        worst = max(worst, time.monotonic() - started)
        count += 1
    say(count=count, worst=worst)


async def wait(store: SqliteStore) -> None:
    """Wait for hints and say when they came, on the clock that all processes share."""
    epoch = await store.register(me())
    say(epoch=epoch)
    for _ in range(20):
        numbers = await store.wait(epoch, 10_000_000)
        say(numbers=numbers, at=time.monotonic())


async def dead(store: SqliteStore) -> None:
    """Say whether the host with the epoch that is told looks dead from here."""
    epoch = int(heard())
    say(dead=list(await store.dead([epoch], 30_000_000)) == [epoch])


async def stick(store: SqliteStore) -> None:
    """Stop inside a write transaction until told to go on."""

    def on_commit(point: str) -> None:
        if point == "before":
            say(inside=os.getpid())
            heard()

    store._opened.writer._on_commit = on_commit
    await store.allocate(1)
    say(done=True)


async def publish(store: SqliteStore) -> None:
    """Publish the events ``k-0`` and following, one commit each."""
    say(ready=True)
    count = int(heard())
    for k in range(count):
        await store.commit(None, [Item(publish=(Event(id=f"e-{k}", name="go", key=f"k-{k}"),))])
    say(done=True)


async def subscribe(store: SqliteStore) -> None:
    """Park runs on the events ``k-0`` and following, one commit each."""
    epoch = await store.register(me())
    say(ready=True)
    count = int(heard())
    runs = [await begin(store, epoch) for _ in range(count)]
    say(begun=runs)
    heard()
    for k, n in enumerate(runs):
        wait_ = Subscription(pointer=1, name="go", key=f"k-{k}", as_of=0)
        header = HeaderChange(status="runnable", release=True)
        item = Item(n=n, base=0, rows=('"wait"',), subscribe=(wait_,), header=header)
        (outcome,) = await store.commit(epoch, [item])
        assert isinstance(outcome, Done)
    say(done=True)


async def work(store: SqliteStore) -> None:
    """Claim and end what is due until nothing is left."""
    epoch = await store.register(me())
    say(ready=True)
    heard()
    ended: list[int] = []
    while claimed := await store.claim(epoch, [1], 5):
        items = [
            Item(
                n=entry.n,
                base=0,
                rows=(f'"{epoch}"',),
                header=HeaderChange(status="complete", final=True),
            )
            for entry in claimed
        ]
        outcomes = await store.commit(epoch, items)
        assert all(isinstance(outcome, Done) for outcome in outcomes)
        ended += [entry.n for entry in claimed]
    say(ended=ended)


async def crash(store: SqliteStore) -> None:
    """Commit rows, saying each that was acknowledged, until the hook kills the process."""
    epoch = await store.register(me())
    n = await begin(store, epoch)
    say(n=n, epoch=epoch)
    for base in range(1000):
        await store.commit(epoch, [Item(n=n, base=base, rows=('"row"',))])
        say(acknowledged=base + 1)


def killer(point: str, at: int) -> Callable[[str], None]:
    """Return a hook that kills the process at the *at*-th *point* of a commit."""
    counts = {"before": 0, "after": 0}

    def on_commit(now: str) -> None:
        counts[now] += 1
        if now == point and counts[now] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_commit


def foreign(path: str) -> None:
    """Not a host: a program that keeps the file locked."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    say(locked=True)
    heard()
    db.execute("COMMIT")
    db.close()


async def main(command: str, path: str, *rest: str) -> None:
    commands: dict[str, Callable[[SqliteStore], Awaitable[None]]] = {
        run.__name__: run
        for run in (hold, commit, wait, dead, stick, publish, subscribe, work, crash)
    }
    hook = killer(rest[0], int(rest[1])) if rest else None
    store = SqliteStore(Path(path), on_commit=hook)
    await store.open()
    await commands[command](store)
    await store.close()


if __name__ == "__main__":
    if sys.argv[1] == "foreign":
        foreign(sys.argv[2])
    else:
        asyncio.run(main(*sys.argv[1:]))
