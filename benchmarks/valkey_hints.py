"""Hints over Valkey two ways: sorted sets, as `wfe.valkey` does, and streams with groups.

Run it by path with the URL of a server that has nothing to lose; it prints a table.  What is
compared is said in docs/decisions/0010-valkey-hints-are-sorted-sets.md.
"""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - draws when the next hint is told
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from valkey.asyncio import Valkey
from valkey.exceptions import ResponseError

from wfe.core.providers import Hint
from wfe.valkey import ValkeyQueue

ROUNDS: Final = 1000
BURST: Final = 10_000
DOUBLED: Final = 10
STREAM: Final = "{bench:}stream"
GROUP: Final = "hosts"


class Sets:
    """The provider itself."""

    def __init__(self, url: str) -> None:
        self._queue = ValkeyQueue(f"{url}?prefix=bench:")
        self._queue.serve(1, (1,))

    async def tell(self, numbers: Sequence[int]) -> None:
        await self._queue.hint([Hint(n, 1, None) for n in numbers])

    async def hear(self) -> Sequence[int]:
        return await self._queue.wait(1, 10_000_000)

    async def close(self) -> None:
        await self._queue.close()


class Streams:
    """A stream with a group: each entry is read, and acknowledged when its run is claimed."""

    def __init__(self, url: str) -> None:
        self._client: Any = Valkey.from_url(url, socket_timeout=30)

    async def tell(self, numbers: Sequence[int]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for n in numbers:
                pipe.xadd(STREAM, {"n": n}, maxlen=100_000, approximate=True)
            await pipe.execute()

    async def hear(self) -> Sequence[int]:
        with suppress(ResponseError):  # it is there
            await self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        found = await self._client.xreadgroup(GROUP, "me", {STREAM: ">"}, count=100, block=10_000)
        entries = found[0][1] if found else []
        if entries:
            await self._client.xack(STREAM, GROUP, *[entry for entry, _ in entries])
        return [int(fields[b"n"]) for _, fields in entries]

    async def close(self) -> None:
        await self._client.aclose()


WAYS: Final[dict[str, type[Sets | Streams]]] = {"sets": Sets, "streams": Streams}


async def listen(way: Sets | Streams, count: int) -> None:
    """Say when each hint came, on the clock that all processes share."""
    heard = 0
    print("ready", flush=True)
    while heard < count:
        numbers = await way.hear()
        at = time.monotonic_ns()
        heard += len(numbers)
        print(*(f"{n}:{at}" for n in numbers), flush=True)
    await way.close()


async def wake(name: str, url: str) -> tuple[float, float]:
    """Return p50 and p99 (ms) of the time from before the hint to its arrival elsewhere."""
    listener = await asyncio.create_subprocess_exec(
        sys.executable, __file__, url, name, str(ROUNDS), stdout=subprocess.PIPE
    )
    assert listener.stdout is not None
    await listener.stdout.readline()
    way = WAYS[name](url)
    told: dict[int, int] = {}
    for n in range(1, ROUNDS + 1):
        await asyncio.sleep(random.uniform(0.001, 0.003))
        told[n] = time.monotonic_ns()
        await way.tell([n])
    out, _ = await listener.communicate()
    await way.close()
    heard = [each.split(":") for each in out.decode().split()]
    delays = sorted((int(at) - told[int(n)]) / 1e6 for n, at in heard)
    return delays[len(delays) // 2], delays[int(len(delays) * 0.99)]


async def memory(name: str, url: str, server: Any) -> tuple[float, float]:
    """Return kB that hints take which nobody reads: each once, and each ten times."""
    way = WAYS[name](url)
    used: list[float] = []
    for times in (1, DOUBLED):
        await server.flushall()
        for _ in range(times):
            for first in range(0, BURST, 1000):
                await way.tell(range(1_000_000 + first, 1_000_000 + first + 1000))
        sizes = [await server.memory_usage(key, samples=0) async for key in server.scan_iter()]
        used.append(sum(sizes) / 1024)
    await way.close()
    return used[0], used[1]


async def rate(name: str, url: str, server: Any) -> tuple[float, float]:
    """Return hints a second told (100 a call) and heard (100 a call)."""
    await server.flushall()
    way = WAYS[name](url)
    begun = time.perf_counter()
    for first in range(0, BURST, 100):
        await way.tell(range(first, first + 100))
    told = BURST / (time.perf_counter() - begun)
    begun, heard = time.perf_counter(), 0
    while heard < BURST:
        heard += len(await way.hear())
    await way.close()
    return told, BURST / (time.perf_counter() - begun)


async def death(name: str, url: str, server: Any) -> int:
    """Return how many of 100 hints the server still has after their reader died."""
    await server.flushall()
    way = WAYS[name](url)
    await way.tell(range(1, 101))
    if isinstance(way, Streams):  # dead before it acknowledged
        await server.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        await server.xreadgroup(GROUP, "the dead", {STREAM: ">"}, count=100)
        left = (await server.xpending(STREAM, GROUP))["pending"]
    else:
        await way.hear()
        left = sum([await server.zcard(key) async for key in server.scan_iter()])
    await way.close()
    return int(left)


async def main(url: str) -> None:
    """Measure both ways, in turn, three times; print the best of each."""
    server: Any = Valkey.from_url(url)
    for name in WAYS:
        wakes: list[tuple[float, float]] = []
        rates: list[tuple[float, float]] = []
        for _ in range(3):
            await server.flushall()
            wakes.append(await wake(name, url))
            rates.append(await rate(name, url, server))
        once, doubled = await memory(name, url, server)
        left = await death(name, url, server)
        p50, p99 = min(wake[0] for wake in wakes), min(wake[1] for wake in wakes)
        told, heard = max(rate[0] for rate in rates), max(rate[1] for rate in rates)
        print(f"{name:8} wake p50 {p50:.2f} ms, p99 {p99:.2f} ms")
        print(f"{name:8} told {told:,.0f}/s, heard {heard:,.0f}/s")
        print(f"{name:8} 10,000 hints {once:,.0f} kB; each told ten times {doubled:,.0f} kB")
        print(f"{name:8} of 100 hints that a dead reader took, {left} are left")
    await server.flushall()
    await server.aclose()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        asyncio.run(listen(WAYS[sys.argv[2]](sys.argv[1]), int(sys.argv[3])))
    else:
        asyncio.run(main(sys.argv[1]))
