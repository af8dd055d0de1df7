"""The transaction of one attempt of a body: opened by its block, committed with its completion.

It stays open until the body and all that is around it have returned.  Then nothing else of the run
is written (its baton is held) while the completion is decided on and committed with what the body
did.  That one row is all: what follows from it goes the usual way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

import attrs

from wfe.core.engine.refusals import RunAgainError
from wfe.core.engine.secrets import guarded
from wfe.core.errors import ProviderError, StoreFullError, TransactionError
from wfe.core.models import PointerStatus
from wfe.core.policies import Retry
from wfe.core.providers import Done, Fenced, Outcome, Transaction, TransactionProvider
from wfe.core.rules.called import CallDone
from wfe.core.rules.decide import decide
from wfe.core.rules.inputs import Completed, Failed, Input, Items, Joined

if TYPE_CHECKING:
    from wfe.core.engine.calls import Calls
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun
    from wfe.core.steps import StepExecutionContext

__all__ = ["BodyTransaction"]

T = TypeVar("T")

_LOG: Final = logging.getLogger("wfe.engine")
_LONG: Final = 1.0  # seconds for which nobody minds that nobody else can write
_CANCELLED: Final = PointerStatus.CANCELLED.value


class _UnwantedError(Exception):
    """The completion does not count any more."""


class _LostError(Exception):
    """The run is not this host's any more, or has to be loaded anew."""


class BodyTransaction:
    """The transaction of one attempt: what ``ctx.transaction()`` returns."""

    def __init__(self, engine: Engine, run: LiveRun, ctx: StepExecutionContext[Any]) -> None:
        """Make one that is not open yet; from any thread."""
        self._engine = engine
        self._run = run
        self._ctx = ctx
        self._stack = AsyncExitStack()
        self._tx: Transaction | None = None
        self._epoch = 0
        self._entered = False
        self._inside = False
        self._broken: ProviderError | None = None
        self._excused = True
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def connection(self) -> Any:
        """The driver's own connection, inside the transaction.

        Raises:
            TransactionError: The block was not entered, or was left by an exception.
        """
        if self._tx is None:
            problem = "the transaction is not open; write `async with ctx.transaction() as tx:`"
            raise TransactionError(problem)
        return self._tx.connection

    @property
    def excludes(self) -> bool:
        """Whether it is open, so that this host itself cannot write to the store."""
        return self._tx is not None and self._store.exclusive_transactions

    @property
    def problem(self) -> TransactionError | None:
        """Why the store ended it already; ``None``: it did not."""
        return None if self._tx is None else self._tx.problem

    @property
    def excused(self) -> bool:
        """Whether a failure of the body is the store's, so that the body runs again."""
        return self._broken is not None and self._excused

    @property
    def _store(self) -> TransactionProvider:
        return cast("TransactionProvider", self._engine.store)

    # -- the block

    async def __aenter__(self) -> Self:
        """Open it for an async body."""
        await self._enter(blocking=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Roll it back if the block failed; else it stays open until the body is over."""
        await self._leave(error)

    def __enter__(self) -> Self:
        """Open it for a sync body.

        Raises:
            TransactionError: It is called in an event loop.
        """
        if _in_loop():
            problem = "an async body writes `async with ctx.transaction()`, not `with`"
            raise TransactionError(problem)
        self._await(self._enter(blocking=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """As :meth:`__aexit__`."""
        self._await(self._leave(error))

    def _await(self, work: Coroutine[Any, Any, None]) -> None:
        """Have the host's loop do *work*, from a body's thread."""
        asyncio.run_coroutine_threadsafe(work, self._engine.loop).result()

    async def _enter(self, *, blocking: bool) -> None:
        if self._entered:
            raise TransactionError("a transaction is entered once")
        self._entered = self._inside = True
        engine, store = self._engine, self._store
        self._epoch = engine.epoch
        try:
            if store.exclusive_transactions:
                # Before the writer: an item of this run could wait for it, and this for the item.
                await self._stack.enter_async_context(self._baton())
            self._check_wanted()
            opened = store.transaction(self._epoch, engine.settings.lease, blocking=blocking)
            self._tx = await self._stack.enter_async_context(opened)
            self._check_wanted()
        except BaseException as error:
            await self.close()
            if isinstance(error, ProviderError) and error.transient:
                self._broken = error
            raise
        if store.exclusive_transactions:
            self._alarm = asyncio.get_running_loop().call_later(_LONG, self._warn)

    def _check_wanted(self) -> None:
        if self._run.closed or self._ctx.cancelled.is_set():
            raise asyncio.CancelledError

    async def _leave(self, error: BaseException | None) -> None:
        self._inside = False
        if error is None or self._tx is None:
            return
        problem = self.problem
        self._look(error)
        await self.close()
        if problem is not None and isinstance(error, Exception):
            raise problem from error

    def _look(self, error: BaseException | None) -> None:
        """Find out whether the store broke off what the body did, which *error* left."""
        if self._broken is not None or self._tx is None or self.problem is not None:
            return
        broken = self._tx.interruption(error)
        if broken is None:
            return
        engine, limit = self._engine, self._engine.settings.max_interruptions
        # Whoever needs more room than there is waits for it, as all that is committed does.
        if not isinstance(broken, StoreFullError):
            self._excused = engine.transactions.lost(self._run, self._ctx) < limit
        if not self._excused:
            engine.transactions.done(self._run, self._ctx)
            problem = (
                f"{broken.problem}; {limit} times in a row while the step used the connection: does"
                " one of its statements end it?"
            )
            broken = attrs.evolve(broken, problem=problem)
        self._broken = broken

    @asynccontextmanager
    async def _baton(self) -> AsyncGenerator[None]:
        """Keep everything else of the run from being written."""
        run = self._run
        if run.turns is None:
            run.turns = asyncio.Lock()
        async with run.turns:
            await self._engine.committer.hold(run)
            try:
                yield
            finally:
                self._engine.committer.let_go(run)

    def _warn(self) -> None:
        _LOG.warning(
            "the transaction of step %s of run %s has kept everybody from writing to the store for"
            " more than %g s; do what takes long before it",
            self._ctx.pointer.step,
            self._run.ref.id,
            _LONG,
        )

    async def close(self) -> None:
        """Give it back: it is rolled back unless it was committed; safe to repeat."""
        self._tx = None
        if self._alarm is not None:
            self._alarm.cancel()
        stack, self._stack = self._stack, AsyncExitStack()
        _, cancelled = await _to_its_end(stack.aclose())
        if cancelled:
            raise asyncio.CancelledError

    # -- the body is over

    async def judge(self, error: BaseException | None) -> Exception | None:
        """Return what is to blame for a failure in place of the body; ``None``: nothing is.

        Args:
            error: What the body raised; ``None``: that is not known any more.

        Raises:
            RunAgainError: The store is, and the body has to run again.
        """
        problem = self.problem
        self._look(error)
        await self.close()
        if problem is not None or self._broken is None:
            return problem
        if not self._excused:
            return self._broken
        await self._engine.transactions.rest(self._broken)
        raise RunAgainError

    async def end(self, outcome: Input) -> Input:
        """Commit a body's completion with what it did; return what became of the attempt.

        Raises:
            RunAgainError: It was rolled back, and the body has to run again.
        """
        if isinstance(outcome, Failed):
            problem = await self.judge(None)
            if problem is None:
                return outcome
            failed = self._failed(problem, outcome.started)
            if isinstance(problem, ProviderError):  # whether to try again is the body's to say
                failed = attrs.evolve(failed, retryable=outcome.retryable)
            return failed
        if self._tx is None:
            return outcome
        masks = self._run.masks
        done = outcome if masks is None else guarded(outcome, masks)
        if isinstance(done, Completed):
            done = self._fitting(done)
        if not isinstance(done, Completed):
            return await self._without(done)
        try:
            await self._commit(Joined(done))
        except _UnwantedError:
            return done  # the usual way says why
        except (asyncio.CancelledError, RunAgainError):
            raise
        except Exception as error:  # noqa: BLE001 - the database refused what the body did
            return self._failed(error, done.started)
        return done

    async def end_call(self, calls: Calls, key: str, done: CallDone) -> bool:
        """Commit the completion of a function's call; ``False``: it goes the usual way.

        Raises:
            RunAgainError: It was rolled back, and the body has to run again.
            Exception: It was rolled back: the call failed.
        """
        if self._tx is None:
            return False
        masks = self._run.masks
        # The call stands for its function, whose other inputs are looked at when they are fed.
        refused: Any = done if masks is None else guarded(cast("Input", done), masks)
        if isinstance(refused, Failed):
            await self.close()
            raise TransactionError(refused.message)
        calls.joining.add(key)
        try:
            await self._commit(cast("Input", done))
        except _UnwantedError:
            return False
        finally:
            calls.joining.discard(key)
        return True

    def _fitting(self, done: Completed) -> Input:
        """Return the completion, or its failure if what it would store is too big."""
        run = self._run
        decision = decide(run.ready.plan, run.state, [done], self._engine.clock.now())
        written = sum(len(str(row)) for row in decision.rows)
        refused = self._engine.sizes.refused(run, [done], decision, written)
        return done if refused is None else refused[0]

    async def _without(self, outcome: Input) -> Input:
        """Roll back for an outcome that is no completion."""
        problem = self.problem
        await self.close()
        if isinstance(outcome, Items):
            text = "a body with a transaction cannot return branch(): let another step do that"
            problem = TransactionError(text)
        elif not isinstance(outcome, Failed):
            problem = None
        return outcome if problem is None else self._failed(problem, 0)

    def _failed(self, error: Exception, started: int) -> Failed:
        from wfe.core.engine.nodes import failed  # noqa: PLC0415 - it imports what imports this

        policy = self._run.ready.runners[self._ctx.pointer.step].policy
        wanted = not isinstance(policy, Retry) or policy.wants(error)
        return failed(self._ctx, error, started, retryable=None if wanted else False)

    async def _commit(self, each: Input) -> None:
        """Commit *each* with what the body did; whatever else happens, it is given back."""
        problem: ProviderError | None = None
        try:
            self._check_whole()
            if not self._store.exclusive_transactions:
                await self._stack.enter_async_context(self._baton())
            if self._tx is None or not self._wanted(each):
                raise _UnwantedError
            _, cancelled = await _to_its_end(self._committed(each, self._tx))
        except ProviderError as error:
            if not error.transient or not self._excused:
                raise
            problem = error
        except _LostError:
            await self._let_end()
        else:
            if cancelled:
                self._go_on()
        finally:
            await self.close()
        if problem is not None:
            await self._engine.transactions.rest(problem)
            raise RunAgainError

    def _check_whole(self) -> None:
        """Raise unless everything that the body did may be committed now."""
        self._look(None)
        if self._broken is not None:
            raise self._broken
        if self._inside:
            text = "the body returned before it left the block of its transaction"
            raise TransactionError(text)

    async def _let_end(self) -> None:
        """Never return: whoever takes note of the loss closes the run, and this with it.

        Perhaps it did already, and the cancellation had to wait for the commit to end.
        """
        await self.close()
        if self._run.closed:
            raise asyncio.CancelledError
        await asyncio.get_running_loop().create_future()

    def _wanted(self, each: Input) -> bool:
        """Whether *each* still counts; what was asked meanwhile may have ended its pointer."""
        given: Any = each
        pointer = self._run.state.pointers.get(given.pointer)
        if self._run.closed or pointer is None or pointer.attempt != given.attempt:
            return False
        return pointer.status != _CANCELLED and "live" not in pointer.extra

    def _go_on(self) -> None:
        """It was cancelled too late: it is committed, and goes on if its run does."""
        task = asyncio.current_task()
        if self._run.closed or task is None:
            raise asyncio.CancelledError
        task.uncancel()

    async def _committed(self, each: Input, tx: Transaction) -> None:
        run = self._run
        item, decision = run.alone(each)
        if not decision.rows:
            raise _UnwantedError
        try:
            outcome: Outcome = await tx.commit(item)
        except ProviderError as error:
            if not error.unknown:
                raise
            # If it was committed after all, its row is there, and the body does not run again.
            _LOG.warning("nobody knows whether a step's transaction was committed: %s", error)
            if not run.closed:
                self._engine.runs.lost(run)
            raise _LostError from error
        self._engine.transactions.worked()
        self._engine.transactions.done(run, self._ctx)
        if isinstance(outcome, Done):
            if not run.closed:
                run.went_alone(each, decision, outcome)
            return
        if isinstance(outcome, Fenced):
            self._engine.transactions.fenced(self._epoch)
        elif not run.closed:
            self._engine.runs.lost(run)
        raise _LostError


async def _to_its_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Do *work* to its end; return its result, and whether this was cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    return task.result(), cancelled


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
