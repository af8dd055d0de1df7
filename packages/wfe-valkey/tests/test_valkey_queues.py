"""Hints find hosts that can use them, are bounded, and outlive what happens to the server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from valkey_parts import commands, process_of, start_again

from wfe.core.errors import ProviderError
from wfe.core.providers import Hint
from wfe.testing.services import resolve
from wfe.valkey import ValkeyQueue, queues

LONG = 3_000_000  # µs
BRIEF = 50_000


@pytest.fixture
async def queue(valkey_url: str) -> AsyncIterator[ValkeyQueue]:
    queue = ValkeyQueue(valkey_url)
    yield queue
    await queue.close()


@pytest.fixture
async def elsewhere(valkey_url: str) -> AsyncIterator[ValkeyQueue]:
    queue = ValkeyQueue(valkey_url)
    yield queue
    await queue.close()


async def _waiting(queue: ValkeyQueue, epoch: int, *serves: int) -> asyncio.Task[Sequence[int]]:
    """Return a wait whose command is on its way."""
    queue.serve(epoch, serves)
    task = asyncio.create_task(queue.wait(epoch, LONG))
    await asyncio.sleep(0.05)
    return task


async def test_only_who_serves_a_definition_takes_its_runs(
    queue: ValkeyQueue, elsewhere: ValkeyQueue
) -> None:
    other = await _waiting(elsewhere, 1, 10, 11)
    right = await _waiting(queue, 2, 20)

    await elsewhere.hint([Hint(7, 20, None)])

    assert list(await right) == [7]
    assert not other.done()
    other.cancel()


async def test_a_hint_is_taken_by_one(queue: ValkeyQueue, elsewhere: ValkeyQueue) -> None:
    waits = [await _waiting(each, n, 10) for n, each in enumerate((queue, elsewhere), 1)]

    await queue.hint([Hint(7, 10, None)])
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.05)

    assert [list(each.result()) for each in waits if each.done()] == [[7]]
    for each in waits:
        each.cancel()


async def test_what_is_served_can_grow_while_it_waits(
    queue: ValkeyQueue, elsewhere: ValkeyQueue
) -> None:
    waiting = await _waiting(queue, 1, 10)

    queue.serve(1, (10, 11))
    await elsewhere.hint([Hint(7, 11, None)])

    started = time.monotonic()
    assert list(await waiting) == [7]
    assert time.monotonic() - started < 3  # the blocked command alone: five


async def test_hints_wait_for_a_host_that_begins(
    queue: ValkeyQueue, elsewhere: ValkeyQueue
) -> None:
    await elsewhere.hint([Hint(n, 10, None) for n in (7, 8, 7, 9)])

    waiting = await _waiting(queue, 1, 10)

    assert list(await waiting) == [7, 8, 9]


async def test_many_unowned_runs_are_shared_out(queue: ValkeyQueue, elsewhere: ValkeyQueue) -> None:
    await queue.hint([Hint(n, 10, None) for n in range(1, 251)])

    got = [
        await (await _waiting(each, n, 10)) for n, each in enumerate((queue, elsewhere, queue), 1)
    ]

    assert [len(each) for each in got] == [100, 100, 50]
    assert sorted(n for each in got for n in each) == list(range(1, 251))


async def test_nothing_is_popped_for_a_wait_that_was_given_up(
    queue: ValkeyQueue, elsewhere: ValkeyQueue
) -> None:
    for n in range(1, 30):
        waiting = asyncio.create_task(queue.wait(1, LONG))
        await asyncio.sleep(0.001 * (n % 5))
        telling = asyncio.create_task(elsewhere.hint([Hint(n, 10, 1)]))
        await asyncio.sleep(0.001 * (n % 3))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await telling
        got: set[int] = set() if waiting.cancelled() else set(waiting.result())
        async with asyncio.timeout(2):
            while n not in got:
                got |= set(await queue.wait(1, LONG))


async def test_sets_are_bounded_and_expire(queue: ValkeyQueue, valkey_url: str) -> None:
    await queue.hint([Hint(n, 10, None) for n in range(1, 12_001)])
    await queue.hint([Hint(1, 10, 4711)])

    found: dict[bytes, tuple[int, int]] = {}

    async def look(client: Any) -> None:
        async for key in client.scan_iter():
            found[key] = (await client.zcard(key), await client.pttl(key))

    await commands(valkey_url, look)
    assert set(found) == {b"{wfe:}due:10", b"{wfe:}own:4711"}
    assert found[b"{wfe:}due:10"][0] == 10_000
    assert all(0 < ttl <= 60_000 for _, ttl in found.values())


async def test_who_waits_no_more_pops_no_more(
    queue: ValkeyQueue, elsewhere: ValkeyQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "BLOCK", 0.1)
    queue.serve(1, (10,))
    assert list(await queue.wait(1, BRIEF)) == []
    await asyncio.sleep(0.2)

    await elsewhere.hint([Hint(7, 10, None)])

    assert list(await (await _waiting(elsewhere, 2, 10))) == [7]


async def test_the_forgotten_pop_no_more(queue: ValkeyQueue, elsewhere: ValkeyQueue) -> None:
    waiting = await _waiting(queue, 1, 10)

    queue.forget(1)
    queue.forget(1)

    assert list(await waiting) == []
    await asyncio.sleep(0.05)
    await elsewhere.hint([Hint(7, 10, None)])
    assert list(await (await _waiting(elsewhere, 2, 10))) == [7]


async def test_a_killed_server_fails_the_wait_and_the_next_one_goes_on() -> None:
    server = resolve("valkey", own=True)
    queue = ValkeyQueue(server.url)
    try:
        waiting = await _waiting(queue, 1, 10)
        process_of(server).kill()

        with pytest.raises(ProviderError, match="cannot be reached"):
            await waiting
        with pytest.raises(ProviderError, match="cannot be reached"):
            await queue.hint([Hint(7, 10, None)])
        await start_again(server)

        waiting = await _waiting(queue, 1, 10)
        await queue.hint([Hint(8, 10, None)])
        assert list(await waiting) == [8]
    finally:
        await queue.close()
        server.stop()


async def test_a_flush_while_waiting_changes_nothing(queue: ValkeyQueue, valkey_url: str) -> None:
    waiting = await _waiting(queue, 1, 10)

    await commands(valkey_url, lambda client: client.flushall())
    await queue.hint([Hint(7, 10, None)])

    assert list(await waiting) == [7]
