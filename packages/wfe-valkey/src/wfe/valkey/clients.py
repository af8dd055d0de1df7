"""The driver's clients: one for each event loop and server, shared by who uses the same."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from valkey.asyncio import Valkey, ValkeyCluster
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoScriptError,
    ResponseError,
    ValkeyClusterException,
    ValkeyError,
)
from valkey.exceptions import ConnectionError as ValkeyConnectionError
from valkey.exceptions import TimeoutError as ValkeyTimeoutError

from wfe.core.errors import ProviderError, StoreUnavailableError
from wfe.core.lean import define
from wfe.valkey.address import Address

__all__ = ["BLOCK", "Client", "Connections", "Script", "answered"]

BLOCK: Final = 5.0
"""Seconds that one blocking command waits; then it is sent again, so that a link that went
silent is noticed."""

_ANSWER: Final = 5.0  # seconds for the answer to any other command
_CONNECT: Final = 3.0  # seconds
_PASSING: Final = ("LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "OOM", "BUSY")
"""First words of refusals that pass."""

Client: TypeAlias = Any
"""The driver's client; its own types say too little for the strict checkers."""


@define
class _Shared:
    """The clients of one server and loop."""

    plain: Client
    waiting: Client
    users: int = 0


_LOCK: Final = threading.Lock()
_SHARED: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Address, _Shared]]] = (
    WeakKeyDictionary()
)


class Connections:
    """What a provider uses of the clients; nothing is opened before it is needed.

    The heartbeat has a thread and a loop of its own, so it has connections of its own too.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._used: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()

    @property
    def plain(self) -> Client:
        """For commands that are answered at once."""
        return self._ours().plain

    @property
    def waiting(self) -> Client:
        """For commands that block up to :data:`BLOCK` seconds."""
        return self._ours().waiting

    def _ours(self) -> _Shared:
        loop = asyncio.get_running_loop()
        with _LOCK:
            shared = self._used.get(loop)
            if shared is None:
                there = _SHARED.setdefault(loop, {})
                shared = there.get(self.address)
                if shared is None:
                    shared = there[self.address] = _Shared(
                        _client(self.address, _ANSWER), _client(self.address, BLOCK + _ANSWER)
                    )
                shared.users += 1
                self._used[loop] = shared
            return shared

    async def leave(self) -> None:
        """Let go of the running loop's clients; the last one closes them."""
        loop = asyncio.get_running_loop()
        with _LOCK:
            shared = self._used.pop(loop, None)
            if shared is None:
                return
            shared.users -= 1
            if shared.users:
                return
            del _SHARED[loop][self.address]
        await shared.plain.aclose()
        await shared.waiting.aclose()


def _client(address: Address, timeout: float) -> Client:
    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": _CONNECT}
    if address.cluster:
        return ValkeyCluster.from_url(address.url, **options)  # pyright: ignore[reportUnknownMemberType]
    # A connection that the server closed meanwhile is made anew, once; all that we send may be
    # sent twice.
    return Valkey.from_url(  # pyright: ignore[reportUnknownMemberType]
        address.url,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ValkeyConnectionError],
        **options,
    )


class Script:
    """Lua that the server runs as one step."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(
        self, connections: Connections, keys: Sequence[str], args: Sequence[str | bytes | int]
    ) -> Any:
        """Run it.

        Raises:
            ProviderError: The server cannot be reached, or refused.
        """
        return await answered(connections.address, self._run(connections.plain, keys, args))

    async def _run(self, client: Client, keys: Sequence[str], args: Sequence[Any]) -> Any:
        try:
            return await client.evalsha(self._sha, len(keys), *keys, *args)
        except NoScriptError:  # a new server, or one that forgot
            return await client.eval(self._text, len(keys), *keys, *args)


async def answered(address: Address, command: Awaitable[Any]) -> Any:
    """Return the server's answer to *command*.

    Raises:
        ProviderError: The server cannot be reached, or refused.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        with _translated(address):
            return await command
    finally:
        # The driver sends within `asyncio.wait_for`, which in Python 3.11 forgets a cancellation
        # that comes at the moment of its end.
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError


@contextmanager
def _translated(address: Address) -> Generator[None]:
    """Turn the driver's errors into :class:`ProviderError`."""
    try:
        yield
    except (AuthenticationError, AuthorizationError) as error:
        problem = f"{address.shown} refuses this user: {error}; see user and password in the URL"
        raise ProviderError("valkey", problem, transient=False) from error
    except (ValkeyConnectionError, ValkeyTimeoutError, ValkeyClusterException, OSError) as error:
        problem = f"{address.shown} cannot be reached: {error}"
        raise StoreUnavailableError("valkey", problem, unknown=True) from error
    except ResponseError as error:
        passes = str(error).startswith(_PASSING)
        raise ProviderError("valkey", f"{address.shown} refused: {error}", passes) from error
    except ValkeyError as error:
        raise ProviderError("valkey", f"{address.shown}: {error}") from error
