"""On a cluster of two nodes all keys of a store are together, wherever that is."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from valkey_parts import commands

from wfe.core.models import LifecycleEvent
from wfe.core.providers import Hint
from wfe.testing.services import Service, resolve
from wfe.testing.services.processes import free_port
from wfe.testing.services.valkey import ask_valkey
from wfe.valkey import open_lifecycle, open_lock, open_queue

LEASE = 30_000_000  # µs


@pytest.fixture(scope="module")
def cluster(
    valkey_server: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[str]]:
    """Start two nodes of the kind of server that the other tests have; give their URLs."""
    own = resolve("valkey", own=True)
    assert own.process is not None
    program = Path(f"/proc/{own.process.pid}/exe")
    if not program.exists():
        pytest.skip("no /proc to learn from which program serves")
    nodes: list[subprocess.Popen[bytes]] = []
    urls: list[str] = []
    try:
        for _ in range(2):
            port = free_port()
            folder = tmp_path_factory.mktemp("node")
            settings = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
            settings += ["--save", "", "--cluster-enabled", "yes"]
            settings += ["--cluster-port", str(free_port())]
            # By its link's name alone Redis knows whether it is to serve or to check files.
            command = ["server", *settings]
            nodes.append(
                subprocess.Popen(command, executable=program.resolve(), stdout=subprocess.DEVNULL)
            )
            urls.append(f"valkey://127.0.0.1:{port}")
        asyncio.run(_join(urls))
        yield urls
    finally:
        for node in nodes:
            node.kill()
            node.wait()
        own.stop()


async def _join(urls: list[str]) -> None:
    async with asyncio.timeout(20):
        for url, slots in zip(urls, ((0, 8191), (8192, 16383)), strict=True):
            while True:
                try:
                    ask_valkey(url, ("CLUSTER", "ADDSLOTSRANGE", *map(str, slots)))
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        info = str(ask_valkey(urls[1], ("CLUSTER", "NODES"))[0])
        port, bus = info.split()[1].partition(",")[0].rpartition(":")[2].split("@")
        ask_valkey(urls[0], ("CLUSTER", "MEET", "127.0.0.1", port, bus))
        for url in urls:
            while "cluster_state:ok" not in str(ask_valkey(url, ("CLUSTER", "INFO"))[0]):  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("prefix", ["wfe:", "shop:", "x"])
async def test_every_part_works_on_a_cluster(cluster: list[str], prefix: str) -> None:
    url = f"{cluster[0]}?cluster=true&prefix={prefix}"
    lock, queue, lifecycle = open_lock(url), open_queue(url), open_lifecycle(url)
    try:
        assert await lock.beat(1, LEASE)
        await lock.bury([2])
        assert await lock.dead([1, 2, 3], LEASE) == [2]
        lease = await lock.acquire("feeder", 1, LEASE)
        assert lease is not None
        assert await lease.release()

        queue.serve(1, (10, 11))
        waiting = asyncio.create_task(queue.wait(1, 3_000_000))
        await asyncio.sleep(0.05)
        await queue.hint([Hint(7, 11, None), Hint(8, 10, 4711)])
        assert list(await waiting) == [7]

        subscription = await lifecycle.subscribe()
        at = datetime(2025, 1, 1, tzinfo=UTC)
        event = LifecycleEvent(kind="k", instance_id="i", definition="d", at=at)
        await lifecycle.publish("a", 1, [event])
        assert await anext(aiter(subscription)) == event
        assert (await lock.server()).split()[0] in ("valkey", "redis")
    finally:
        for part in (queue, lifecycle, lock):
            await part.close()

    sizes = [await commands(node, lambda client: client.dbsize()) for node in cluster]
    assert any(isinstance(size, int) and size > 0 for size in sizes)
