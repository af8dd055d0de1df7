"""Starts and events that belong to a transaction of the application."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from wfe.core.errors import (
    DuplicateNameError,
    LeaseLostError,
    ProviderError,
    StoreUnavailableError,
)
from wfe.core.providers import Done, Event, Item, OutboxProvider, Outcome, Refused

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.options import StartOptions

__all__ = ["HandOver", "Outbox"]

T = TypeVar("T")


class HandOver:
    """A connection that belongs to another thread, which does the work on it."""

    def __init__(self, connection: Any) -> None:
        """Lend *connection*, of the thread that will :meth:`serve`."""
        self._connection = connection
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    async def run(self, work: Callable[[Any], T]) -> T:
        """Have *work* done on the connection; from the host's loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def job() -> None:
            try:
                result = work(self._connection)
            except Exception as error:  # noqa: BLE001 - it belongs to who waits
                loop.call_soon_threadsafe(future.set_exception, error)
            else:
                loop.call_soon_threadsafe(future.set_result, result)

        self._jobs.put(job)
        return await future

    def serve(self) -> None:
        """Do what is asked for until :meth:`end`; in the connection's thread."""
        while (job := self._jobs.get()) is not None:
            job()

    def end(self) -> None:
        """Let :meth:`serve` return; from any thread."""
        self._jobs.put(None)


class Outbox:
    """Hands items to the store's :class:`~wfe.core.providers.OutboxProvider`."""

    def __init__(self, engine: Engine) -> None:
        """Enqueue in *engine*'s store."""
        self._engine = engine

    @property
    def there(self) -> bool:
        """Whether the store has transactions of the application."""
        return "outbox" in self._engine.store.features

    def check(self) -> OutboxProvider:
        """Return the store's outbox.

        Raises:
            HostStoppingError: The host is not running.
            ProviderError: The store has no transactions of the application.
        """
        self._engine.check_running()
        if not self.there:
            info = self._engine.info
            kind = "store" if info is None else info.kind
            problem = (
                "within=: this store has no transactions that an application could take part in;"
                " use a database, for example sqlite:///app.db"
            )
            raise ProviderError(kind, problem, transient=False)
        return cast("OutboxProvider", self._engine.store)

    async def _put(self, connection: Any, item: Item) -> Outcome:
        """Write *item* in the transaction on *connection*."""
        store = self.check()
        if isinstance(connection, HandOver):
            outcome = await connection.run(lambda its: store.enqueue(its, item))
        else:
            outcome = store.enqueue(connection, item)
        if inspect.isawaitable(outcome):
            return await outcome
        return outcome

    async def start(
        self, connection: Any, id: str, version: int | None, data: Any, options: StartOptions
    ) -> tuple[str, bool]:
        """Start a run when the application commits; return its id, and whether it is new.

        Raises:
            ProviderError: The store cannot take it there.
            DuplicateNameError: The name is taken.
        """
        self.check()
        try:
            item = await self._engine.starter.unowned(id, version, data, options)
        except StoreUnavailableError as error:
            problem = (
                f"definition {id!r} is not stored yet, and {error.problem}; register definitions"
                " before the application's transaction begins"
            )
            raise ProviderError(error.provider, problem) from error
        outcome = await self._put(connection, item)
        if isinstance(outcome, Done) and item.new is not None:
            if self._engine.runs.roots is not None:
                self._engine.runs.roots.add(item.new.id)
            return item.new.id, True
        if isinstance(outcome, Refused):
            if outcome.why == "name" or outcome.existing is None:
                raise DuplicateNameError(options.name or "")
            return outcome.existing, False
        raise LeaseLostError

    async def publish(self, connection: Any, event: Event) -> None:
        """Leave *event* for publishing after the application's commit.

        Raises:
            ProviderError: The store cannot take it there.
        """
        await self._put(connection, Item(publish=(event,)))

    async def drain(self) -> None:
        """Publish what committed transactions left."""
        if self.there:
            store = cast("OutboxProvider", self._engine.store)
            woken = await store.drain_outbox(1000)
            if woken:
                self._engine.runs.woken(woken)
