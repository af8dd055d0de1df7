"""What URLs say, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from valkey.exceptions import ConnectionError as ValkeyConnectionError

from wfe.core.errors import ProviderError
from wfe.core.plugins import installed
from wfe.valkey import (
    ValkeyLifecycle,
    ValkeyLock,
    ValkeyQueue,
    open_lifecycle,
    open_lock,
    open_queue,
)
from wfe.valkey.address import parsed
from wfe.valkey.clients import answered


@pytest.mark.parametrize(
    ("url", "driver", "prefix"),
    [
        ("valkey://host", "valkey://host/", "{wfe:}"),
        ("redis://host:7000/3", "valkey://host:7000/3", "{wfe:}"),
        ("valkeys://u:p%40@host?prefix=shop:", "valkeys://u:p%40@host/", "{shop:}"),
        ("rediss://host/?ssl_cert_reqs=none", "valkeys://host/?ssl_cert_reqs=none", "{wfe:}"),
        ("valkey://host?prefix={shop}.wfe:", "valkey://host/", "{shop}.wfe:"),
    ],
)
def test_urls(url: str, driver: str, prefix: str) -> None:
    address = parsed(url)

    assert (address.url, address.prefix) == (driver, prefix)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("valkey://", "names no server"),
        ("http://host", "names no server"),
        ("valkey://host:port", "Port could not be cast"),
        ("valkey://host/name", "'name' is no number of a database"),
        ("valkey://host#x", "names no server"),
        ("valkey://host?prefx=x", "'prefx' is unknown; there are cluster, events, prefix"),
        ("valkey://host?ssl_ca_certs=x", "'ssl_ca_certs' is unknown"),
        ("valkeys://host?ssl=x", "prefix and ssl_ca_certs"),
        ("valkey://host?prefix=", "1 to 200 bytes"),
        ("valkey://host?prefix={}x", "no prefix"),
        ("valkey://host?prefix=}x{", "no prefix"),
        ("valkey://host?cluster=maybe", "neither true nor false"),
        ("valkey://host/1?cluster=true", "only database 0"),
        ("valkey://host?events=0", "no number of events"),
        ("valkey://host?events=many", "no number of events"),
    ],
)
def test_wrong_urls_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ProviderError, match=problem) as caught:
        open_lock(url)
    assert not caught.value.transient


def test_passwords_are_not_shown() -> None:
    address = parsed("valkey://user:geheim@host/1")

    assert "geheim" not in repr(address)
    with pytest.raises(ProviderError) as caught:
        parsed("valkey://user:geheim@host/1?x=y")
    assert "geheim" not in str(caught.value)


async def test_a_server_that_is_not_there_is_a_provider_error() -> None:
    lock = open_lock("valkey://user:geheim@127.0.0.1:1")

    with pytest.raises(ProviderError, match=r"127\.0\.0\.1:1 cannot be reached") as caught:
        await lock.beat(1, 1_000_000)
    await lock.close()

    assert "geheim" not in str(caught.value)


async def test_a_wrong_password_does_not_pass(valkey_url: str) -> None:
    lock = open_lock(valkey_url.replace("://:", "://:wrong"))

    with pytest.raises(ProviderError, match="refuses this user") as caught:
        await lock.beat(1, 1_000_000)
    await lock.close()

    assert not caught.value.transient


async def test_every_part_says_which_server_it_is(valkey_url: str) -> None:
    for part in (open_lock(valkey_url), open_queue(valkey_url), open_lifecycle(valkey_url)):
        assert isinstance(part, ValkeyLock | ValkeyQueue | ValkeyLifecycle)
        kind, _, version = (await part.server()).partition(" ")
        assert kind in ("valkey", "redis")
        assert version[0].isdigit()
        await part.close()


def test_all_schemes_are_entry_points() -> None:
    for group in ("wfe.lock", "wfe.queue", "wfe.lifecycle"):
        assert {"valkey", "valkeys", "redis", "rediss"} <= set(installed(group))


async def test_a_cancellation_that_the_driver_forgets_is_raised() -> None:
    begun = asyncio.Event()

    async def forgets(error: Exception | None) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if error is not None:
                raise error from None
        return "answer"

    for error in (None, ValkeyConnectionError("cut")):
        begun.clear()
        task = asyncio.create_task(answered(parsed("valkey://host"), forgets(error)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
