"""Hints between hosts: sorted sets, in which a doubled hint is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from wfe.core.errors import ProviderError
from wfe.core.examining import Finding
from wfe.core.lean import define
from wfe.core.providers import Hint
from wfe.valkey.address import Address, parsed
from wfe.valkey.clients import BLOCK, Connections, Script, answered
from wfe.valkey.locks import said_by_server

__all__ = ["ValkeyQueue"]

_AT_ONCE: Final = 100  # hints that one host takes: others wait for the rest
_PER_CALL: Final = 1000  # hints in one call of the script
_KEPT: Final = 60_000  # ms that a set lives after its last hint: the store is asked every second
_MOST: Final = 10_000  # hints in one set
_AGAIN: Final = "-"
"""A member that says nothing but: wait anew, for other sets."""

# KEYS: sets.  ARGV: ms that a set lives, its greatest size, score, then number and members of each.
_HINT: Final = Script("""
local at = 4
for _, key in ipairs(KEYS) do
    local count = tonumber(ARGV[at])
    for k = at + 1, at + count do redis.call('ZADD', key, 'NX', ARGV[3], ARGV[k]) end
    at = at + count + 1
    local over = redis.call('ZCARD', key) - tonumber(ARGV[2])
    if over > 0 then redis.call('ZREMRANGEBYRANK', key, -over, -1) end
    redis.call('PEXPIRE', key, ARGV[1])
end
""")


@define(eq=False)
class _Listener:
    """What one epoch waits for.

    Attributes:
        serves: Definitions whose unowned runs it can take.
        asked: Those that the blocked command waits for.
        pop: Takes hints from the server; it survives a cancelled wait, so that nothing is popped
            for nobody.
        waiters: How many wait now.
        turn: Which definition goes first, so that none is always last.
    """

    epoch: int
    serves: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    pop: asyncio.Task[Sequence[int]] | None = None
    waiters: int = 0
    turn: int = 0


class ValkeyQueue:
    """A :class:`~wfe.core.providers.QueueProvider`: one set for each owner and each definition.

    A hint for an owner goes to its own set; one for a run that nobody owns to the set of the
    definition, from which one of the hosts that :meth:`serve` it takes it.  What is lost with
    the server, or with a host that took a hint and died, is found by the hosts' polls.
    """

    def __init__(self, address: Address | str) -> None:
        """Use the server at *address* (or its URL); nothing is opened yet.

        Raises:
            ProviderError: The URL is wrong.
        """
        self._connections = Connections(parsed(address) if isinstance(address, str) else address)
        self._key = self._connections.address.key
        self._listeners: dict[int, _Listener] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- telling

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know of the server."""
        from wfe.valkey.examining import examined  # noqa: PLC0415 - only for `wfe doctor`

        return await examined(self._connections)

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell the owner, or for unowned instances a host that can run the definition."""
        for k in range(0, len(hints), _PER_CALL):
            sets: dict[str, dict[str, None]] = {}
            for hint in hints[k : k + _PER_CALL]:
                key = self._due(hint.d) if hint.owner is None else self._own(hint.owner)
                sets.setdefault(key, {})[str(hint.n)] = None
            await self._send(sets)

    async def _send(self, sets: Mapping[str, Collection[str]]) -> None:
        args: list[str | int] = [_KEPT, _MOST, time.time_ns() // 1_000_000]
        for members in sets.values():
            args += [len(members), *members]
        await _HINT(self._connections, list(sets), args)

    # -- listening

    def serve(self, epoch: int, definitions: Collection[int]) -> None:
        """Say whose unowned runs *epoch* can take from now on; before: nobody's."""
        listener = self._listener(epoch)
        listener.serves = tuple(definitions)
        blocked = listener.pop is not None and not listener.pop.done()
        if blocked and not set(listener.serves).issubset(listener.asked):
            listener.asked = listener.serves  # so that it is roused once
            task = asyncio.get_running_loop().create_task(self._rouse(epoch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _rouse(self, epoch: int) -> None:
        """Let the blocked command end, so that the next one waits for more."""
        with suppress(ProviderError):  # it ends by itself soon
            await self._send({self._own(epoch): [_AGAIN]})

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        """Return instance numbers hinted to *epoch*, waiting at most *timeout* µs; may be empty."""
        listener = self._listener(epoch)
        pop = listener.pop
        if pop is None or _over(pop):
            pop = asyncio.create_task(self._pop(listener), name="wfe-valkey-hints")
            listener.pop = pop
        listener.waiters += 1
        try:
            await asyncio.wait({pop}, timeout=timeout / 1_000_000)
        finally:
            listener.waiters -= 1
        if not pop.done() or listener.pop is not pop:  # nothing yet, or told to another waiter
            return []
        listener.pop = None
        return [] if pop.cancelled() else pop.result()

    async def _pop(self, listener: _Listener) -> Sequence[int]:
        """Return hints from the server; none when nobody waits any more."""
        while True:
            asked = listener.asked = listener.serves
            listener.turn += 1
            first = listener.turn % len(asked) if asked else 0
            keys = [self._own(listener.epoch), *map(self._due, asked[first:] + asked[:first])]
            pop = self._connections.waiting.bzmpop(BLOCK, len(keys), keys, min=True, count=_AT_ONCE)
            found = await answered(self._connections.address, pop)
            members = [member for member, _ in found[1]] if found else []
            if numbers := [int(each) for each in members if each != _AGAIN.encode()]:
                return numbers
            if not listener.waiters:
                return []

    def forget(self, epoch: int) -> None:
        """Listen no more for *epoch*: it is over."""
        listener = self._listeners.pop(epoch, None)
        if listener is not None and listener.pop is not None:
            listener.pop.cancel()

    def _listener(self, epoch: int) -> _Listener:
        listener = self._listeners.get(epoch)
        if listener is None:
            listener = self._listeners[epoch] = _Listener(epoch)
        return listener

    # -- as all

    async def server(self) -> str:
        """Return name and version of the server, for operators.

        Raises:
            ProviderError: It cannot be reached.
        """
        return await said_by_server(self._connections)

    async def close(self) -> None:
        """Listen no more, and let go of the running loop's connections; idempotent."""
        pops = [each.pop for each in self._listeners.values() if each.pop is not None]
        self._listeners.clear()
        for pop in pops:
            pop.cancel()
        await asyncio.gather(*pops, *self._tasks, return_exceptions=True)
        await self._connections.leave()

    def _own(self, epoch: int) -> str:
        return self._key("own", epoch)

    def _due(self, d: int) -> str:
        return self._key("due", d)


def _over(pop: asyncio.Task[Sequence[int]]) -> bool:
    """Whether it ended for nothing: it was stopped, or nobody waited any more."""
    return pop.done() and (pop.cancelled() or (not pop.exception() and not pop.result()))
