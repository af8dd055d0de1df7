"""Beats, leases and fencing tokens on a real server, with short leases in real time."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from valkey_parts import LEASE, Ticks, commands, listen_for, process_of, start_again

from wfe.core.errors import ProviderError
from wfe.testing.services import resolve
from wfe.valkey import ValkeyLock
from wfe.valkey.clients import _SHARED

SHORT = 200_000  # µs


@pytest.fixture
async def lock(valkey_url: str) -> AsyncIterator[ValkeyLock]:
    lock = ValkeyLock(valkey_url)
    yield lock
    await lock.close()


async def _dead_after(lock: ValkeyLock, epoch: int, lease: int) -> float:
    """Return after how many seconds *epoch* is dead."""
    started = time.monotonic()
    async with asyncio.timeout(5):
        while not await lock.dead([epoch], lease):  # noqa: ASYNC110 - a key that expires tells nobody
            await asyncio.sleep(lease / 20_000_000)
    return time.monotonic() - started


async def test_who_falls_silent_is_dead_after_the_lease(lock: ValkeyLock) -> None:
    await lock.beat(5, SHORT)

    assert await _dead_after(lock, 5, SHORT) >= 0.19


async def test_beats_from_another_thread_keep_alive(lock: ValkeyLock) -> None:
    stop = threading.Event()
    lease = 3 * SHORT  # many beats long: the thread may have to wait for its turn

    async def beats() -> None:
        while not stop.is_set():
            await lock.beat(5, lease)
            await asyncio.sleep(SHORT / 4_000_000)
        await lock.leave()

    thread = threading.Thread(target=lambda: asyncio.run(beats()))
    thread.start()
    try:
        await _dead_after(lock, 6, lease)  # from here on silence would count
        end = time.monotonic() + 1.5 * lease / 1_000_000
        while time.monotonic() < end:
            assert await lock.dead([5], lease) == []
            await asyncio.sleep(0.01)
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)

    await _dead_after(lock, 5, lease)


async def test_a_flush_buries_nobody(valkey_url: str) -> None:
    lock = ValkeyLock(valkey_url, monotonic=(ticks := Ticks()))
    await lock.beat(5, LEASE)
    await listen_for(lock, ticks)
    assert await lock.dead([6], LEASE) == [6]

    await commands(valkey_url, lambda client: client.flushall())

    assert await lock.dead([5, 6], LEASE) == []
    await lock.beat(5, LEASE)
    await listen_for(lock, ticks)
    assert await lock.dead([5, 6], LEASE) == [6]
    await lock.close()


@pytest.mark.parametrize("durable", [False, True])
async def test_a_restart_buries_nobody(durable: bool) -> None:
    server = resolve("valkey", own=True, durable=durable)
    lock = ValkeyLock(server.url, monotonic=(ticks := Ticks()))
    try:
        await lock.beat(5, LEASE)
        await listen_for(lock, ticks)
        assert await lock.dead([6], LEASE) == [6]

        process_of(server).kill()
        with pytest.raises(ProviderError, match="cannot be reached"):
            await lock.dead([5], LEASE)
        await start_again(server)

        assert await lock.dead([5, 6], LEASE) == []
        assert await lock.beat(5, LEASE)
        await listen_for(lock, ticks)
        assert await lock.dead([5, 6], LEASE) == [6]
    finally:
        await lock.close()
        server.stop()


async def test_who_paused_concludes_nothing(valkey_url: str) -> None:
    lock = ValkeyLock(valkey_url, monotonic=(ticks := Ticks()))
    await listen_for(lock, ticks)
    assert await lock.dead([6], LEASE) == [6]

    ticks.pass_(LEASE // 2)

    assert await lock.dead([6], LEASE) == []
    await lock.close()


async def test_the_buried_are_dead_without_any_lease(lock: ValkeyLock) -> None:
    await lock.beat(5, LEASE)

    await lock.bury([5, 6])
    await lock.bury([])

    assert await lock.dead([5, 6, 7], 2**62) == [5, 6]
    assert not await lock.beat(5, LEASE)


# -- named locks


async def test_a_lease_ends_by_itself(lock: ValkeyLock) -> None:
    assert await lock.try_acquire("feeder", 1, SHORT)
    assert await lock.try_acquire("feeder", 1, LEASE)  # prolonged
    await asyncio.sleep(0.25)
    assert not await lock.try_acquire("feeder", 2, SHORT)

    assert await lock.try_acquire("feeder", 1, SHORT)
    await asyncio.sleep(0.25)

    assert await lock.try_acquire("feeder", 2, SHORT)


async def test_tokens_grow_also_when_the_server_forgets(lock: ValkeyLock, valkey_url: str) -> None:
    tokens: list[int] = []
    for owner in range(1, 6):
        lease = await lock.acquire("feeder", owner, LEASE)
        assert lease is not None
        again = await lock.acquire("feeder", owner, LEASE)
        assert again == lease
        tokens.append(lease.token)
        if owner % 2:
            assert await lease.release()
        else:
            await commands(valkey_url, lambda client: client.flushall())

    assert tokens == sorted(set(tokens))


async def test_tokens_grow_though_the_clock_went_back(lock: ValkeyLock, valkey_url: str) -> None:
    future = 2**52
    key = "{wfe:}token:feeder"
    await commands(valkey_url, lambda client: client.set(key, str(future)))

    lease = await lock.acquire("feeder", 1, LEASE)

    assert lease is not None
    assert lease.token == future + 1


async def test_only_the_owner_renews_and_releases(lock: ValkeyLock) -> None:
    lost = await lock.acquire("feeder", 1, SHORT)
    assert lost is not None
    assert await lost.renew()
    await asyncio.sleep(0.25)
    assert not await lost.renew()
    held = await lock.acquire("feeder", 2, LEASE)
    assert held is not None

    assert not await lost.renew()
    assert not await lost.release()
    assert await lock.acquire("feeder", 3, LEASE) is None
    assert held.token > lost.token
    assert await held.renew()
    assert await held.release()
    assert not await held.release()
    assert await lock.acquire("feeder", 3, LEASE) is not None


async def test_one_owner_after_itself_has_a_new_token(lock: ValkeyLock) -> None:
    first = await lock.acquire("feeder", 1, LEASE)
    assert first is not None
    await first.release()
    second = await lock.acquire("feeder", 1, LEASE)
    assert second is not None

    assert second.token > first.token
    assert not await first.release()


async def test_what_the_buried_held_is_free(lock: ValkeyLock) -> None:
    await lock.try_acquire("feeder", 1, LEASE)

    await lock.bury([1])

    assert not await lock.try_acquire("other", 1, LEASE)
    assert await lock.try_acquire("feeder", 2, LEASE)


async def test_every_key_but_one_expires(lock: ValkeyLock, valkey_url: str) -> None:
    await lock.beat(1, LEASE)
    await lock.bury([2])
    await lock.acquire("feeder", 1, LEASE)
    await lock.dead([1, 2, 3], LEASE)

    ttls: dict[bytes, int] = {}

    async def look(client: Any) -> None:
        async for key in client.scan_iter():
            ttls[key] = await client.pttl(key)

    await commands(valkey_url, look)
    assert {key for key, ttl in ttls.items() if ttl < 0} == {b"{wfe:}life"}
    assert len(ttls) == 5


async def test_users_of_one_server_share_connections(valkey_url: str) -> None:
    locks = [ValkeyLock(valkey_url) for _ in range(3)]
    for each in locks:
        await each.beat(1, LEASE)
    (shared,) = _SHARED[asyncio.get_running_loop()].values()
    assert shared.users == 3

    for each in locks:
        await each.close()
        await each.close()

    assert not _SHARED[asyncio.get_running_loop()]
    await locks[0].beat(1, LEASE)  # it can be used again
    await locks[0].close()


async def test_a_server_that_forgets_scripts_gets_them_again(
    lock: ValkeyLock, valkey_url: str
) -> None:
    await lock.beat(1, LEASE)

    await commands(valkey_url, lambda client: client.script_flush())

    assert await lock.beat(1, LEASE)
