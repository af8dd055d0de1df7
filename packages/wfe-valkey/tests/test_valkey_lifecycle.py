"""Lifecycle events outlive what happens to the server, as far as the server keeps them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from valkey_parts import commands, process_of, start_again

from wfe.core.errors import ProviderError
from wfe.core.models import LifecycleEvent
from wfe.testing.services import resolve
from wfe.valkey import ValkeyLifecycle, lifecycle
from wfe.valkey.lifecycle import ValkeySubscription


def event(number: int) -> LifecycleEvent:
    at = datetime(2025, 1, 1, tzinfo=UTC)
    return LifecycleEvent(kind="k", instance_id="i", definition="d", at=at, pointer=number)


async def _take(subscription: ValkeySubscription, count: int) -> list[int | None]:
    got: list[int | None] = []
    async with asyncio.timeout(8):
        async for each in subscription:
            got.append(each.pointer)
            if len(got) == count:
                break
    return got


@pytest.mark.parametrize("durable", [False, True])
async def test_a_subscriber_goes_on_after_a_restart(durable: bool) -> None:
    server = resolve("valkey", own=True, durable=durable)
    publisher = ValkeyLifecycle(server.url)
    try:
        subscription = await publisher.subscribe()
        reading = asyncio.create_task(_take(subscription, 4))
        await publisher.publish("a", 1, [event(1), event(2)])
        await asyncio.sleep(0.1)
        process_of(server).kill()
        with pytest.raises(ProviderError):
            await publisher.publish("a", 3, [event(3)])
        await start_again(server)

        await publisher.publish("a", 3, [event(3), event(4)])

        assert await reading == [1, 2, 3, 4]
    finally:
        await publisher.close()
        server.stop()


async def test_a_flush_loses_only_what_was_not_read(valkey_url: str) -> None:
    publisher = ValkeyLifecycle(valkey_url)
    subscription = await publisher.subscribe()
    await publisher.publish("a", 1, [event(1)])
    assert await _take(subscription, 1) == [1]

    await publisher.publish("a", 2, [event(2)])
    await commands(valkey_url, lambda client: client.flushall())
    await publisher.publish("a", 3, [event(3)])

    assert await _take(subscription, 1) == [3]
    await publisher.close()


async def test_a_stream_that_begins_anew_in_the_past_is_read(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "BLOCK", 0.1)
    publisher = ValkeyLifecycle(valkey_url)
    future = "9999999999999-0"
    await commands(
        valkey_url, lambda c: c.xadd("{wfe:}events", {"kind": "k", "event": "{}"}, id=future)
    )
    subscription = await publisher.subscribe()
    assert subscription.position == future

    reading = asyncio.create_task(_take(subscription, 1))
    await commands(valkey_url, lambda client: client.flushall())
    await publisher.publish("a", 1, [event(1)])

    assert await reading == [1]
    await publisher.close()


async def test_what_is_no_event_is_passed_over(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = ValkeyLifecycle(valkey_url)
    subscription = await publisher.subscribe()

    async def spoil(client: Any) -> None:
        await client.xadd("{wfe:}events", {"other": "thing"})
        await client.xadd("{wfe:}events", {"kind": "k", "event": "nonsense"})

    await commands(valkey_url, spoil)
    await publisher.publish("a", 1, [event(1)])

    assert await _take(subscription, 1) == [1]
    assert caplog.text.count("is passed over") == 2
    await publisher.close()


async def test_reading_ends_within_a_failing_server() -> None:
    publisher = ValkeyLifecycle("valkey://127.0.0.1:1")
    with pytest.raises(ProviderError, match="cannot be reached"):
        await publisher.subscribe()
    subscription = await publisher.subscribe(after="")
    reading = asyncio.create_task(_take(subscription, 1))
    await asyncio.sleep(0.05)

    await publisher.close()

    assert await reading == []


async def test_everything_expires(valkey_url: str) -> None:
    publisher = ValkeyLifecycle(valkey_url)
    await publisher.publish("a", 1, [event(1)])
    await publisher.close()

    ttls: dict[bytes, int] = {}

    async def look(client: Any) -> None:
        async for key in client.scan_iter():
            ttls[key] = await client.ttl(key)

    await commands(valkey_url, look)
    assert set(ttls) == {b"{wfe:}events", b"{wfe:}told:a"}
    assert all(ttl > 0 for ttl in ttls.values())
