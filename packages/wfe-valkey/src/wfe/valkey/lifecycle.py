"""Lifecycle events over a stream of bounded length, so that late subscribers find the last ones."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import suppress
from typing import Any, Final
from weakref import WeakSet

from wfe.core.errors import ProviderError
from wfe.core.examining import Finding
from wfe.core.lifecycle_provider import checked_kinds, event_from_json, event_to_json
from wfe.core.models import LifecycleEvent
from wfe.valkey.address import Address, parsed
from wfe.valkey.clients import BLOCK, Connections, Script, answered
from wfe.valkey.locks import said_by_server

__all__ = ["ValkeyLifecycle", "ValkeySubscription"]

_LOG: Final = logging.getLogger("wfe.valkey")
_PER_CALL: Final = 500  # events in one call of the script, and read at once
_REMEMBERED: Final = 3_600_000  # ms that the last number of a source is known
_KEPT: Final = 7 * 86_400_000  # ms that the stream lives after its last event
_BACKOFF: Final = (0.1, 2.0)  # seconds
_BEGINNING: Final = "0-0"
_POSITION: Final = re.compile(r"\d{1,20}-\d{1,20}")

# KEYS: stream, last number of the source.  ARGV: length, ms that the stream lives, ms that the
# number lives, number of the first, then kind and text of each.
_PUBLISH: Final = Script("""
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local number = tonumber(ARGV[4])
for k = 5, #ARGV, 2 do
    if number > last then
        local kind, event = ARGV[k], ARGV[k + 1]
        redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'kind', kind, 'event', event)
        last = number
    end
    number = number + 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], string.format('%.0f', last), 'PX', ARGV[3])
""")


class ValkeyLifecycle:
    """A :class:`~wfe.core.lifecycle_provider.LifecyclePublisher`.

    A stream and no channel: a subscriber whose link was cut goes on where it was, and one that
    comes later can read the last events.
    """

    def __init__(self, address: Address | str) -> None:
        """Use the server at *address* (or its URL); nothing is opened yet.

        Raises:
            ProviderError: The URL is wrong.
        """
        self._connections = Connections(parsed(address) if isinstance(address, str) else address)
        self._key = self._connections.address.key
        self._subscriptions: WeakSet[ValkeySubscription] = WeakSet()

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know of the server."""
        from wfe.valkey.examining import examined  # noqa: PLC0415 - only for `wfe doctor`

        return await examined(self._connections)

    async def publish(self, source: str, first: int, events: Sequence[LifecycleEvent]) -> None:
        """Tell all subscribers, in this order; what was told under these numbers is not again."""
        keys = [self._key("events"), self._key("told", source)]
        kept = self._connections.address.events
        for k in range(0, len(events), _PER_CALL):
            args: list[str | bytes | int] = [kept, _KEPT, _REMEMBERED, first + k]
            for event in events[k : k + _PER_CALL]:
                args += event.kind, event_to_json(event)
            await _PUBLISH(self._connections, keys, args)

    async def subscribe(
        self, kinds: Collection[str] | None = None, *, after: str | None = None
    ) -> ValkeySubscription:
        """Return a subscription that has begun."""
        wanted = checked_kinds(kinds)
        if after and not _POSITION.fullmatch(after):
            problem = f"{after!r} is no position of a subscription"
            raise ProviderError("valkey", problem, transient=False)
        position = after or _BEGINNING
        if after is None:
            position = await last_of(self._connections, self._key("events"))
        subscription = ValkeySubscription(self._connections, wanted, position)
        self._subscriptions.add(subscription)
        return subscription

    async def server(self) -> str:
        """Return name and version of the server, for operators.

        Raises:
            ProviderError: It cannot be reached.
        """
        return await said_by_server(self._connections)

    async def close(self) -> None:
        """End the subscriptions, and let go of the running loop's connections; idempotent."""
        for each in tuple(self._subscriptions):
            await each.close()
        self._subscriptions.clear()
        await self._connections.leave()


class ValkeySubscription:
    """Events from one place on; made by :meth:`ValkeyLifecycle.subscribe`."""

    def __init__(
        self, connections: Connections, kinds: frozenset[str] | None, position: str
    ) -> None:
        self._connections = connections
        self._stream = connections.address.key("events")
        self._kinds = None if kinds is None else frozenset(kind.encode() for kind in kinds)
        self._position = position
        self._closed = asyncio.Event()
        self._reading: asyncio.Task[list[Any]] | None = None

    @property
    def position(self) -> str:
        """After what a later subscription goes on."""
        return self._position

    async def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        """Yield events until :meth:`close`; failures of the server are waited out."""
        pause, trouble = _BACKOFF[0], False
        while not self._closed.is_set():
            try:
                entries = await self._read()
                trouble, pause = False, _BACKOFF[0]
            except ProviderError as error:
                if not trouble:
                    _LOG.warning("lifecycle events are waited for, reading fails: %s", error)
                trouble = True
                await self._rest(pause)
                pause = min(2 * pause, _BACKOFF[1])
                continue
            for position, fields in entries:
                self._position = position.decode()
                event = self._event(fields)
                if event is not None:
                    yield event
                if self._closed.is_set():
                    return

    async def _read(self) -> list[Any]:
        """Return the next entries; none when there are none for a while, or at the end."""
        self._reading = asyncio.create_task(self._next())
        try:
            await asyncio.wait({self._reading})
            return [] if self._reading.cancelled() else self._reading.result()
        finally:
            self._reading.cancel()

    async def _next(self) -> list[Any]:
        read = self._connections.waiting.xread(
            {self._stream: self._position}, count=_PER_CALL, block=int(BLOCK * 1000)
        )
        found = await answered(self._connections.address, read)
        if found:
            entries: list[Any] = found[0][1]
            return entries
        last = await last_of(self._connections, self._stream)
        if _order(last) < _order(self._position):  # it was lost, and begins anew
            self._position = _BEGINNING
        return []

    def _event(self, fields: dict[bytes, bytes]) -> LifecycleEvent | None:
        """Return the event of an entry; ``None``: it is not wanted, or nothing of ours."""
        if self._kinds is not None and fields.get(b"kind") not in self._kinds:
            return None
        try:
            return event_from_json(fields.get(b"event", b""))
        except ValueError as error:
            _LOG.warning("an entry of the stream %s is passed over: %s", self._stream, error)
            return None

    async def _rest(self, pause: float) -> None:
        """Wait a little, or until it is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._closed.wait()

    async def close(self) -> None:
        """End the iterator."""
        self._closed.set()
        if self._reading is not None:
            self._reading.cancel()


async def last_of(connections: Connections, stream: str) -> str:
    """Return the position of the last entry."""
    found = await answered(connections.address, connections.plain.xrevrange(stream, count=1))
    return found[0][0].decode() if found else _BEGINNING


def _order(position: str) -> tuple[int, int]:
    time, _, number = position.partition("-")
    return int(time), int(number)
