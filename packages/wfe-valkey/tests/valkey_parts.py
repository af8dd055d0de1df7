"""What the tests of the Valkey providers share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from valkey.asyncio import Valkey
from valkey.exceptions import ConnectionError as ValkeyConnectionError

from wfe.testing.services.processes import ServerProcess
from wfe.testing.services.records import Service
from wfe.valkey import ValkeyLock

__all__ = ["LEASE", "Link", "Ticks", "commands", "listen_for", "process_of", "start_again"]

LEASE = 30_000_000  # µs


class Ticks:
    """A monotonic clock that is moved by hand, beside the server's own."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000

    def __call__(self) -> int:
        return self.ns

    def pass_(self, micros: int) -> None:
        self.ns += micros * 1000


async def listen_for(
    lock: ValkeyLock, ticks: Ticks, lease: int = LEASE, pace: int | None = None
) -> None:
    """Ask about nobody, again and again, until a whole *lease* has passed."""
    pace = lease // 8 if pace is None else pace
    passed = 0
    await lock.dead([1], lease)
    while passed < lease:
        ticks.pass_(pace)
        passed += pace
        await lock.dead([1], lease)


def process_of(server: Service) -> ServerProcess:
    """Return the process of a server that a test has for itself."""
    assert server.process is not None
    return server.process


async def start_again(server: Service) -> None:
    """Start a server that was killed, and wait until it answers."""
    process_of(server).start()
    async with asyncio.timeout(10):
        while True:
            try:
                await commands(server.url, lambda client: client.ping())
            except ValkeyConnectionError:
                await asyncio.sleep(0.02)
            else:
                return


async def commands(url: str, do: Callable[[Any], Awaitable[object]]) -> object:
    """Do something on the server itself."""
    client = Valkey.from_url(url)
    try:
        return await do(client)
    finally:
        await client.aclose()


class Link:
    """A way to a server that can be cut."""

    def __init__(self, url: str) -> None:
        self._to = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return self._to._replace(netloc=f":{self._to.password}@127.0.0.1:{self._port}").geturl()

    async def heal(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(self._to.hostname, self._to.port)
        self._writers |= {writer, there[1]}
        await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))
        self._writers -= {writer, there[1]}


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
