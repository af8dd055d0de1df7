"""The other processes of a measurement: ``python -m benchmarks.scaling.worker ROLE JSON``."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from benchmarks.scaling.flows import COUNTS, definitions, say
from benchmarks.scaling.places import Place
from benchmarks.scaling.timing import TimedStore, summary
from wfe.core.providers import SeparateQueue, WorkerInfo
from wfe.host import WorkflowHost

_INFO = WorkerInfo(name="bench", host="here", pid=1)
_HOUR = 3_600_000_000  # µs


class Orders:
    """What the process that measures says, line by line."""

    async def start(self) -> None:
        """Begin to listen."""
        self._reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._reader), sys.stdin)

    async def next(self) -> str:
        """Return the next word; ``""``: there will be none."""
        return (await self._reader.readline()).decode().strip()


def _stats(store: Any) -> dict[str, int]:
    stats = store.stats
    names = ("commits", "items", "rows", "statements", "round_trips", "repeated")
    return {name: getattr(stats, name, 0) for name in names}


async def drive(place: Place, spec: dict[str, Any], orders: Orders) -> None:
    """Drive runs from "go" to "stop"."""
    providers = place.providers()
    store: Any = providers.persistence
    await store.open()
    host = WorkflowHost(
        store,
        queue=providers.queue,
        lock=providers.lock,
        max_live=spec.get("max_live", 1000),
        lease=timedelta(seconds=spec.get("lease", 30)),
        name=spec.get("name", "bench"),
    )
    host.register(*definitions().values())
    say(ready=True)
    await orders.next()
    before, cpu = _stats(store), time.process_time()
    async with host:
        say(up=True)
        await orders.next()
        used = time.process_time() - cpu
        asked = {name: count - before[name] for name, count in _stats(store).items()}
        say(stop={"cpu": used, **asked, **COUNTS})


async def claim(place: Place, spec: dict[str, Any], orders: Orders) -> None:
    """Claim until nothing is left, or so often."""
    store = place.providers().persistence
    await store.open()
    epoch = await store.register(_INFO)
    say(ready=True)
    await orders.next()
    claimed = calls = 0
    times: list[float] = []
    while calls < spec["calls"]:
        began = time.perf_counter()
        some = await store.claim(epoch, spec["definitions"], spec["batch"])
        times.append(time.perf_counter() - began)
        calls += 1
        claimed += len(some)
        if not some:
            break
    say(go={"claimed": claimed, "calls": calls, "at": time.monotonic_ns(), **summary(times)})
    await store.close()


async def hear(place: Place, spec: dict[str, Any], orders: Orders) -> None:
    """Tell when each hint arrived."""
    del orders
    providers = place.providers()
    store, queue = providers.persistence, providers.queue
    await store.open()
    epoch = await store.register(_INFO)
    if isinstance(queue, SeparateQueue):
        queue.serve(epoch, (1,))
    listening = asyncio.ensure_future(queue.wait(epoch, _HOUR))
    await asyncio.sleep(0.3)  # until it listens, whatever that takes
    say(ready=True)
    heard = 0
    while heard < spec["count"]:
        numbers = await listening
        at = time.monotonic_ns()
        heard += len(numbers)
        listening = asyncio.ensure_future(queue.wait(epoch, _HOUR))
        say(heard=dict.fromkeys(numbers, at))
    await asyncio.Event().wait()


async def commit(place: Place, spec: dict[str, Any], orders: Orders) -> None:
    """Start runs and drive them, over and over; tell how long commits took, phase by phase."""
    store = TimedStore(place.providers().persistence)
    async with WorkflowHost(store) as host:
        host.register(*definitions().values())

        async def again() -> None:
            while True:
                await (await host.start_workflow("ten")).wait()

        loops = [asyncio.create_task(again()) for _ in range(spec["loops"])]
        say(ready=True)
        async with _cancelled(loops):
            while word := await orders.next():
                say(**{word: summary(store.taken())})


@asynccontextmanager
async def _cancelled(tasks: list[asyncio.Task[None]]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def purge(place: Place, spec: dict[str, Any], orders: Orders) -> None:
    """Delete finished runs of a definition on "go"."""
    async with WorkflowHost(place.store, max_live=0) as host:
        say(ready=True)
        await orders.next()
        began = time.perf_counter()
        deleted = 0
        for definition in spec["definitions"]:
            deleted += await host.purge(definition)
        say(go={"deleted": deleted, "seconds": time.perf_counter() - began})
        await orders.next()


_ROLES: dict[str, Callable[[Place, dict[str, Any], Orders], Awaitable[None]]] = {
    "drive": drive,
    "claim": claim,
    "hear": hear,
    "commit": commit,
    "purge": purge,
}


async def _main(role: str, spec: dict[str, Any]) -> None:
    orders = Orders()
    await orders.start()
    await _ROLES[role](Place(**spec.pop("place")), spec, orders)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], json.loads(sys.argv[2])))
