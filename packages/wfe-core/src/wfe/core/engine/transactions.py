"""Steps that change the application's tables in the transaction that records their completion.

A store that fails while the body works breaks its attempt off: like a host that dies, that uses up
none of the step's retries, and like hosts that die it may only happen so often in a row.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from wfe.core.engine.body_transactions import BodyTransaction
from wfe.core.errors import ProviderError, TransactionError

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun
    from wfe.core.steps import StepExecutionContext

__all__ = ["Transactions"]

_LOG: Final = logging.getLogger("wfe.engine")
_BACKOFF: Final = (0.05, 5.0)  # seconds, first and longest pause after a store's failure


class Transactions:
    """The transactions of one host's steps."""

    def __init__(self, engine: Engine) -> None:
        """Serve the steps of *engine*."""
        self._engine = engine
        self._pause = _BACKOFF[0]
        self._renewals: set[asyncio.Task[None]] = set()
        self._losses: WeakKeyDictionary[LiveRun, dict[tuple[str, int], int]] = WeakKeyDictionary()

    def of(self, run: LiveRun, ctx: StepExecutionContext[Any]) -> BodyTransaction:
        """Return the transaction of a body, not open yet.

        Raises:
            ProviderError: The store has none.
            TransactionError: The step has a cache or artifacts, whose contents would stand for
                an effect that was rolled back.
        """
        engine = self._engine
        if "transaction" not in engine.store.features:
            kind = "store" if engine.info is None else engine.info.kind
            problem = (
                "ctx.transaction(): this store has no transactions that a step could share; a"
                " SQLite file and PostgreSQL have"
            )
            raise ProviderError(kind, problem, transient=False)
        runner = run.ready.runners.get(ctx.pointer.step)
        if runner is not None and runner.around is not None:
            problem = (
                f"step {ctx.pointer.step!r} has a cache or artifacts, and a transaction: what it"
                " keeps would stay though the transaction was rolled back; make two steps of it"
            )
            raise TransactionError(problem)
        return BodyTransaction(engine, run, ctx)

    async def rest(self, error: ProviderError) -> None:
        """Wait a while: the store failed."""
        _LOG.warning("a step's transaction was rolled back, the step runs again: %s", error)
        pause, self._pause = self._pause, min(2 * self._pause, _BACKOFF[1])
        await asyncio.sleep(pause)

    def worked(self) -> None:
        """Take note that the store works."""
        self._pause = _BACKOFF[0]

    def lost(self, run: LiveRun, ctx: StepExecutionContext[Any]) -> int:
        """Count that an attempt lost its connection once more; return how often in a row."""
        losses = self._losses.setdefault(run, {})
        attempt = (ctx.idempotency_key, ctx.pointer.attempt)
        losses[attempt] = losses.get(attempt, 0) + 1
        return losses[attempt]

    def done(self, run: LiveRun, ctx: StepExecutionContext[Any]) -> None:
        """Forget the losses of an attempt that is over."""
        self._losses.get(run, {}).pop((ctx.idempotency_key, ctx.pointer.attempt), None)

    def fenced(self, epoch: int) -> None:
        """Register anew; that ends the run which found it out, so it cannot be waited for there."""
        task = asyncio.create_task(self._renew(epoch))
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)

    async def _renew(self, epoch: int) -> None:
        try:
            await self._engine.renew(epoch)
        except ProviderError as error:  # the next look at the store finds it out again
            _LOG.warning("this host could not register anew yet: %s", error)
            self._engine.nudge()
