"""Hints between hosts: NOTIFY and LISTEN, away from what is committed.

What hosts are told is gathered and sent at most every 5 ms by transactions of its own, because the
server lets only one transaction at a time commit that notifies.  Whatever is lost on the way, or
while there is no connection, is found by the engine's safety poll.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

import psycopg

from wfe.core.cancelling import cancelled
from wfe.core.errors import ProviderError
from wfe.core.memory_queue import MemoryQueue
from wfe.core.providers import Hint
from wfe.postgres.arrays import Texts
from wfe.postgres.parts import PostgresPart

if TYPE_CHECKING:
    from wfe.postgres.database import Connection, Database

__all__ = ["ANYBODY", "MAIL", "Listener", "PostgresQueue", "Sender", "decoded", "encoded"]

_LOG: Final = logging.getLogger("wfe.postgres")
ANYBODY: Final = 0
"""Stands for the epoch in hints about what nobody owns; no worker has it."""
MAIL: Final = -1
"""A number that no run has: there is something in the outbox."""
_PAUSE: Final = 0.005  # seconds between two sendings
_MOST: Final = 20_000  # numbers that wait to be sent; what is more is left to the polls
_LONGEST: Final = 7900  # bytes of a payload; the server takes less than 8000
_SILENCE: Final = 20.0  # seconds after which it is asked whether the server is still there
_ANSWER: Final = 5.0  # seconds for its answer
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0  # seconds between attempts to connect
_GOODBYE: Final = 1.0  # seconds for what is under way when the store closes
# They are hints: nobody waits until they are on disk.
_NOTIFY: Final = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, payload)
FROM unnest(%(payloads)s::text[]) AS p (payload)"""


def encoded(sender: str, hints: dict[int, dict[int, None]]) -> Iterator[str]:
    """Return the payloads that say *hints* (epoch -> numbers), none too long.

    Args:
        sender: Who sends them, so that it can pass over its own; without spaces.
        hints: Epoch, or :data:`ANYBODY`, and the numbers it is told.
    """
    parts, length = [sender], len(sender)
    for epoch, numbers in hints.items():
        head = f" {epoch:x}"
        parts.append(head)
        length += len(head)
        for n in numbers:
            text = f",{n:x}"
            if length + len(text) > _LONGEST:
                yield "".join(parts)
                parts, length = [sender, head], len(sender) + len(head)
            parts.append(text)
            length += len(text)
    if len(parts) > 1:
        yield "".join(parts)


def decoded(payload: str) -> tuple[str, list[tuple[int, list[int]]]]:
    """Return who sent a payload, and what it says: (epoch, numbers)."""
    sender, *groups = payload.split(" ")
    hints: list[tuple[int, list[int]]] = []
    for group in groups:
        epoch, *numbers = group.split(",")
        with suppress(ValueError):  # somebody else's, or a later version's
            hints.append((int(epoch, 16), [int(n, 16) for n in numbers]))
    return sender, hints


class Sender:
    """Tells other hosts; gathers what comes meanwhile."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name
        self._hints: dict[int, dict[int, None]] = {}
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    def put(self, hints: Iterable[Hint]) -> None:
        """Send *hints* soon."""
        for hint in hints:
            if self._waiting >= _MOST:
                break
            self._hints.setdefault(hint.owner or ANYBODY, {})[hint.n] = None
            self._waiting += 1
        if self._hints and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._send_all(), name="wfe-notify")

    async def _send_all(self) -> None:
        while self._hints:
            hints, self._hints, self._waiting = self._hints, {}, 0
            payloads = Texts(encoded(self._name, hints))
            args = {"channel": self._db.names.channel(), "payloads": payloads}
            try:
                await self._db.all(_NOTIFY, args)
            except ProviderError as error:
                _LOG.warning("hosts were not told of %d runs: %s", len(hints), error)
            await asyncio.sleep(_PAUSE)

    async def close(self) -> None:
        """Send what is left; for a second at most."""
        task, self._task = self._task, None
        if task is None:
            return
        await asyncio.wait({task}, timeout=_GOODBYE)
        await cancelled(task)


class Listener:
    """Hears what other hosts tell, on a connection of its own."""

    def __init__(self, db: Database, heard: Callable[[str], object]) -> None:
        self._db = db
        self._heard = heard
        self._ready = asyncio.Event()
        self._task = asyncio.create_task(self._listen(), name="wfe-listen")

    @property
    def alive(self) -> bool:
        """Whether it still tries, in the running loop."""
        return not self._task.done() and self._task.get_loop() is asyncio.get_running_loop()

    async def ready(self) -> None:
        """Return when it has listened for the first time, or could not."""
        await self._ready.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._task.get_loop() is not asyncio.get_running_loop():
            return  # it ended with its loop
        # Who is cancelled while it connects leaves the server a connection that nobody ends before
        # garbage is collected.
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self._ready.wait()
        await cancelled(self._task)

    async def _listen(self) -> None:
        pause, said = _FIRST_PAUSE, False
        while True:
            try:
                connection = await self._db.connect_alone()
                try:
                    await connection.execute(f'LISTEN "{self._db.names.channel()}"'.encode())
                    pause, said = _FIRST_PAUSE, False
                    self._ready.set()
                    await self._hear(connection)
                finally:
                    connection.pgconn.finish()
            except (ProviderError, psycopg.Error, OSError) as error:
                if not said:
                    why = str(error).strip().partition("\n")[0]
                    _LOG.warning("cannot hear of work just now, only look for it: %s", why)
                said = True
            self._ready.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE)

    def _notified(self, notify: psycopg.Notify) -> None:
        self._heard(notify.payload)

    async def _hear(self, connection: Connection) -> None:
        """Pass on all that arrives, until the connection is lost."""
        pgconn = connection.pgconn
        connection.add_notify_handler(self._notified)
        while True:
            pgconn.consume_input()
            while notify := pgconn.notifies():
                self._heard(notify.extra.decode(errors="replace"))
            if not await _readable(pgconn.socket, _SILENCE):
                await _ask(connection)


async def _ask(connection: Connection) -> None:
    """Find out whether the server is still there: one that vanished says nothing either."""
    asking = asyncio.ensure_future(_is_standby(connection))
    try:
        await asyncio.wait({asking}, timeout=_ANSWER)
    finally:
        if not asking.done():
            # Closed before it is cancelled: the driver would wait for a server that is gone.
            connection.pgconn.finish()
            asking.cancel()
            await asyncio.wait({asking})
    if asking.cancelled():
        raise TimeoutError(f"no answer within {_ANSWER:g} s")
    if asking.result():
        raise ConnectionError("the server has become a standby, on which nobody tells anything")


async def _is_standby(connection: Connection) -> bool:
    row = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
    return bool(row and row[0])


async def _readable(fd: int, seconds: float) -> bool:
    """Wait until there is something to read; ``False``: nothing came for so long."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[bool] = loop.create_future()

    def settle(value: bool) -> None:
        if not waiter.done():
            waiter.set_result(value)

    timer = loop.call_later(seconds, settle, False)
    loop.add_reader(fd, settle, True)
    try:
        return await waiter
    finally:
        loop.remove_reader(fd)
        timer.cancel()


class PostgresQueue(PostgresPart):
    """Hints of a :class:`~wfe.postgres.store.PostgresStore`."""

    _mail: MemoryQueue | None = None
    _sender: Sender | None = None
    _listener: Listener | None = None

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell hosts of this process at once, and others soon."""
        if not hints:
            return
        if self._sender is None:
            self._sender = Sender(self._opened, self._own_name)
        mailboxes = self._mailboxes
        await mailboxes.hint([hint for hint in hints if hint.owner is None])
        self._sender.put(
            [hint for hint in hints if hint.owner is None or not mailboxes.put(hint.owner, hint.n)]
        )

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        self._listen()
        self._epochs.add(epoch)
        return await self._mailboxes.wait(epoch, timeout)

    @cached_property
    def _own_name(self) -> str:
        return secrets.token_hex(4)

    @cached_property
    def _epochs(self) -> set[int]:
        """Who waits here."""
        return set()

    @property
    def _mailboxes(self) -> MemoryQueue:
        if self._mail is None:
            self._mail = MemoryQueue(self.clock)
        return self._mail

    def _listen(self) -> Listener:
        if self._listener is None or not self._listener.alive:
            self._listener = Listener(self._opened, self._heard)
        return self._listener

    def _heard(self, payload: str) -> None:
        sender, groups = decoded(payload)
        if sender == self._own_name:
            return
        for epoch, numbers in groups:
            for each in self._epochs if epoch == ANYBODY else (epoch,):
                for n in numbers:
                    self._mailboxes.put(each, n)

    async def _start_queue(self) -> None:
        """Begin to hear what other hosts tell; called when a worker registers."""
        await self._listen().ready()

    def _forget_mail(self, epoch: int) -> None:
        """Drop what waits for an epoch that is over; called when it is unregistered."""
        self._epochs.discard(epoch)
        self._mailboxes.forget(epoch)

    async def _close_queue(self) -> None:
        """Send what is left and stop listening; called when the store closes."""
        sender, self._sender = self._sender, None
        listener, self._listener = self._listener, None
        if sender is not None:
            await sender.close()
        if listener is not None:
            await listener.close()
