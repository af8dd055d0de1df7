"""Who is alive, and named locks: keys that expire, with fencing tokens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from wfe.core.examining import Finding
from wfe.core.lean import frozen
from wfe.valkey.address import Address, parsed
from wfe.valkey.clients import Connections, Script, answered
from wfe.valkey.reach import Reach

__all__ = ["Lease", "ValkeyLock"]

_DAY: Final = 86_400_000  # ms
_WEEK: Final = 7 * _DAY
_SILENT, _BURIED = 0, 2

# KEYS: life, beat, grave.  ARGV: ms, a new life.
_BEAT: Final = Script("""
redis.call('SET', KEYS[1], ARGV[2], 'NX')
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return 1
""")
# KEYS: life, then beat and grave of each.  ARGV: a new life.
# Answers life and process of the server, its time, and of each: 0 silent, 1 it beats, 2 buried.
_LOOK: Final = Script("""
redis.call('SET', KEYS[1], ARGV[1], 'NX')
local info = redis.pcall('INFO', 'server')
local process = ''
if type(info) == 'string' then process = string.match(info, 'run_id:(%x+)') or '' end
local time = redis.call('TIME')
local found = {redis.call('GET', KEYS[1]) .. process, time[1], time[2]}
for k = 2, #KEYS, 2 do
    local state = redis.call('EXISTS', KEYS[k])
    if redis.call('EXISTS', KEYS[k + 1]) == 1 then state = 2 end
    found[#found + 1] = state
end
return found
""")
# KEYS: beat and grave of each.  ARGV: ms.
_BURY: Final = Script("""
for k = 1, #KEYS, 2 do
    redis.call('SET', KEYS[k + 1], '1', 'PX', ARGV[1])
    redis.call('DEL', KEYS[k])
end
""")
# KEYS: lock, token, own grave, the holder's grave.  ARGV: owner, ms, who is said to hold it, ms.
# Answers {1, token}, or {0, holder}.  A token is greater than every earlier one, also when the
# server forgot those: it is not less than its time in µs.
_ACQUIRE: Final = Script("""
if redis.call('EXISTS', KEYS[3]) == 1 then return {0, ''} end
local held = redis.call('GET', KEYS[1])
if held then
    local owner, token = string.match(held, '^(%d+):(%d+)$')
    if owner == ARGV[1] then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        return {1, token}
    end
    if owner ~= ARGV[3] or redis.call('EXISTS', KEYS[4]) == 0 then return {0, owner} end
end
local time = redis.call('TIME')
local token = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if last >= token then token = last + 1 end
token = string.format('%.0f', token)
redis.call('SET', KEYS[2], token, 'PX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. token, 'PX', ARGV[2])
return {1, token}
""")
# KEYS: lock.  ARGV: owner:token, ms.
_RENEW: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")
_RELEASE: Final = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")


@frozen(kw_only=True)
class Lease:
    """A named lock that somebody has.

    Attributes:
        token: Greater than that of every earlier lease of this name: what is guarded can refuse
            who comes with a lesser one, for a lease may be over without its holder knowing.
        length: µs from each renewal.
    """

    name: str
    owner: int
    token: int
    length: int
    _lock: ValkeyLock = attrs.field(alias="lock", repr=False, eq=False)

    async def renew(self) -> bool:
        """Hold it for another length from now; ``False``: it is over, or somebody else's.

        Raises:
            ProviderError: The server cannot be reached.
        """
        return await self._lock.renew(self)

    async def release(self) -> bool:
        """Give it up; ``False``: it was over, or somebody else's, and stays so.

        Raises:
            ProviderError: The server cannot be reached.
        """
        return await self._lock.release(self)


class ValkeyLock:
    """A :class:`~wfe.core.providers.LockProvider`; comfort, never the only guard of a write.

    A worker beats by a key that expires.  When such a key is missing, that counts only if this
    process itself asked the same server without a gap for a whole lease: a server that was
    flushed, restarted, replaced by its replica, or whose clock jumped, has forgotten everybody.
    """

    def __init__(
        self,
        address: Address | str,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Use the server at *address*; nothing is opened yet.

        Args:
            address: Or its URL.
            monotonic: ns, by a clock that nobody sets.

        Raises:
            ProviderError: The URL is wrong.
        """
        self._connections = Connections(parsed(address) if isinstance(address, str) else address)
        self._key = self._connections.address.key
        self._monotonic = monotonic
        self._reach = Reach()

    async def examine(self) -> Sequence[Finding]:
        """Return what an operator should know of the server."""
        from wfe.valkey.examining import examined  # noqa: PLC0415 - only for `wfe doctor`

        return await examined(self._connections)

    async def beat(self, epoch: int, lease: int) -> bool:
        """Say that *epoch* lives for another *lease* µs; ``False``: it was buried here.

        ``True`` does not say that the store has not fenced it.
        """
        keys = [self._key("life"), self._key("beat", epoch), self._key("grave", epoch)]
        return bool(await _BEAT(self._connections, keys, [_ms(lease), _life()]))

    async def leave(self) -> None:
        """Let go of the running loop's connections: the heartbeat's thread ends."""
        await self._connections.leave()

    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        """Return which of *epochs* were buried, or are certainly silent for *lease* µs."""
        if not epochs:
            return []
        keys = [self._key("life")]
        for epoch in epochs:
            keys += self._key("beat", epoch), self._key("grave", epoch)
        life, seconds, micros, *states = await _LOOK(self._connections, keys, [_life()])
        here = self._monotonic() // 1000
        self._reach.answered(here, int(seconds) * 1_000_000 + int(micros), life)
        gone = {_BURIED, _SILENT} if self._reach.lasts(lease, here) else {_BURIED}
        return [epoch for epoch, state in zip(epochs, states, strict=True) if state in gone]

    async def bury(self, epochs: Sequence[int]) -> None:
        """Take note that the store fenced *epochs*: they beat no more, and hold nothing."""
        if epochs:
            keys = [self._key(part, e) for e in epochs for part in ("beat", "grave")]
            await _BURY(self._connections, keys, [_DAY])

    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        """Take the named lock for *lease* µs; ``True`` too when *epoch* has it already."""
        return await self.acquire(name, epoch, lease) is not None

    async def acquire(self, name: str, owner: int, lease: int) -> Lease | None:
        """Take the named lock, or prolong it for who has it; ``None``: somebody else has it.

        Args:
            name: Of the lock.
            owner: An epoch, or a random number of who has none.
            lease: µs.

        Raises:
            ProviderError: The server cannot be reached.
        """
        holder = 0
        while True:
            keys = [
                self._key("lock", name),
                self._key("token", name),
                self._key("grave", owner),
                self._key("grave", holder),
            ]
            args = [owner, _ms(lease), holder, max(_WEEK, _ms(lease))]
            got, said = await _ACQUIRE(self._connections, keys, args)
            if got:
                return Lease(name=name, owner=owner, token=int(said), length=lease, lock=self)
            if not said or int(said) == holder:
                return None
            holder = int(said)  # is it buried?

    async def renew(self, lease: Lease) -> bool:
        """Hold *lease* for another length from now; ``False``: it is over."""
        keys = [self._key("lock", lease.name)]
        return bool(await _RENEW(self._connections, keys, [_value(lease), _ms(lease.length)]))

    async def release(self, lease: Lease) -> bool:
        """Give *lease* up; ``False``: it was over."""
        keys = [self._key("lock", lease.name)]
        return bool(await _RELEASE(self._connections, keys, [_value(lease)]))

    async def server(self) -> str:
        """Return name and version of the server, for operators.

        Raises:
            ProviderError: It cannot be reached.
        """
        return await said_by_server(self._connections)

    async def close(self) -> None:
        """Let go of the running loop's connections; idempotent."""
        await self._connections.leave()


async def said_by_server(connections: Connections) -> str:
    """Return name and version of the server."""
    info = await answered(connections.address, connections.plain.info("server"))
    if connections.address.cluster and "redis_version" not in info:
        info = next(iter(info.values()))  # of each node
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"


def _ms(micros: int) -> int:
    return max(micros // 1000, 1)


def _value(lease: Lease) -> str:
    return f"{lease.owner}:{lease.token}"


def _life() -> str:
    return secrets.token_hex(16)
