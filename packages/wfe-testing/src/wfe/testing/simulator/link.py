"""One host's connection to the store: the same calls, on which everything can go wrong."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.errors import StoreUnavailableError
from wfe.core.providers import Hint, Item, Outcome, StoreInfo
from wfe.testing.simulator.chaos import Chaos, Plan
from wfe.testing.simulator.loop import SimClock, SimLoop
from wfe.testing.simulator.trace import Trace
from wfe.testing.simulator.truth import Truth, at_once

if TYPE_CHECKING:
    from wfe.testing.simulator.cluster import Host

__all__ = ["Link"]

_INFO: Final = StoreInfo("simulated", durable=True, version="1")


class Link:
    """Persistence, queue and lock of one host: what the store has, by way of a bad line.

    What is sent is executed by the store even if the host dies meanwhile, freezes, or gives up.
    """

    def __init__(
        self, truth: Truth, chaos: Chaos, loop: SimLoop, clock: SimClock, trace: Trace
    ) -> None:
        """Connect to *truth*; *clock* is what the host takes for the store's time."""
        self.features: frozenset[str] = truth.features
        self.clock = clock
        self.host: Host | None = None
        self._truth = truth
        self._chaos = chaos
        self._loop = loop
        self._trace = trace
        self._outside = contextvars.Context()  # belongs to no host: it runs whatever happens

    async def open(self) -> StoreInfo:
        """Say that the store outlives its hosts."""
        return _INFO

    async def close(self) -> None:
        """Nothing to let go of."""

    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        """Wait for hints; they are spoilt on their way, not here."""
        return await self._truth.wait(epoch, timeout)

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Send hints: each arrives never, late, twice, or as it should."""
        for hint in hints:
            for late in self._chaos.hint():
                if late:
                    arrive = functools.partial(self._hinted, hint)
                    self._loop.call_later(late / 1e6, arrive, context=self._outside)
                else:
                    self._hinted(hint)

    def _hinted(self, hint: Hint) -> None:
        at_once(self._truth.hint([hint]))

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        """Commit, with what can happen to a call."""
        outcomes: Sequence[Outcome] = await self._call("commit", self._truth.commit, epoch, items)
        return outcomes

    def commit_now(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome] | None:
        """Commit at once; a call to which something would happen on its way has to wait."""
        plan = self._chaos.plan()
        if plan is not None and (plan.before or plan.after or plan.crash):
            return None
        fate = "done" if plan is None else plan.fate
        done = None if fate == "refused" else at_once(self._truth.commit(epoch, items))
        if fate != "done":
            self._trace.add("chaos", self._name, "commit_now", plan)
            raise _lost()
        return done

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return one of the store's methods, with what can happen to a call of it."""
        method = getattr(self._truth, name)  # AttributeError: the store cannot do that
        call = functools.partial(self._call, name, method)
        setattr(self, name, call)
        return call

    async def _call(self, name: str, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        plan = self._chaos.plan()
        if plan is None:
            return await method(*args, **options)
        self._trace.add("chaos", self._name, name, plan)
        answer = self._loop.create_future()
        work = functools.partial(method, *args, **options)
        arrive = functools.partial(self._arrive, plan, work, answer)
        self._loop.call_later(plan.before / 1e6, arrive, context=self._outside)
        if plan.crash == "sent":
            self._crash()
        return await answer

    @property
    def _name(self) -> str:
        return "?" if self.host is None else self.host.name

    def _crash(self) -> None:
        if self.host is not None and not self._chaos.calm:
            self.host.crash("in a call")

    def _arrive(self, plan: Plan, work: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        """The store executes a call."""
        result: Any = None
        error: Exception | None = None
        if plan.fate != "refused":
            try:
                result = at_once(work())
            except Exception as raised:  # noqa: BLE001 - the caller gets it
                error = raised
        if plan.crash == "taken":
            self._crash()
        if plan.fate != "done":
            error = _lost()
        reply = functools.partial(_reply, answer, result, error)
        self._loop.call_later(plan.after / 1e6, reply, context=self._outside)


def _lost() -> StoreUnavailableError:
    return StoreUnavailableError("simulated", "the connection was lost", unknown=True)


def _reply(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
