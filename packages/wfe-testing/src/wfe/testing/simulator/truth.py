"""The store of a simulation: the memory store, with the ledger looking over its shoulder."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from wfe.core.memory import MemoryStore
from wfe.core.providers import Claimed, Done, InboxRow, Item, Outcome, StoredInstance, WorkerInfo
from wfe.testing.simulator.laws import Law
from wfe.testing.simulator.ledger import Ledger, Truths
from wfe.testing.simulator.loop import SimClock
from wfe.testing.simulator.trace import Trace

__all__ = ["Truth", "at_once"]

T = TypeVar("T")


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns; it must not wait for anything."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    work.close()
    message = f"{work!r} waited; the store of a simulation must not"
    raise RuntimeError(message)


class Truth(MemoryStore):
    """The one store; hosts see it through a :class:`~wfe.testing.simulator.link.Link` each."""

    def __init__(self, clock: SimClock, ledger: Ledger, trace: Trace) -> None:
        """Begin empty."""
        super().__init__(clock)
        self._ledger = ledger
        self._trace = trace
        ledger.truths = Truths(self.header_of, self.inbox_of, clock.now)

    def header_of(self, n: int) -> StoredInstance | None:
        """Return the header of run *n*."""
        run = self._runs.by_n.get(n)
        return None if run is None else run.stored()

    def inbox_of(self, n: int) -> Sequence[InboxRow]:
        """Return the unread messages of run *n*."""
        run = self._runs.by_n.get(n)
        return () if run is None else run.messages()

    async def register(self, worker: WorkerInfo) -> int:
        epoch = await super().register(worker)
        self._trace.add("register", worker.name, epoch)
        return epoch

    async def unregister(self, epoch: int) -> None:
        with self._trace.watched():
            self._ledger.was_fenced([epoch], self.clock.now())
            await super().unregister(epoch)
            self._trace.add("unregister", epoch)
            self._ledger.released("unregister")

    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        fenced = await super().fence(epochs, lease=lease)
        if fenced:
            self._trace.add("fence", *fenced)
            self._ledger.was_fenced(fenced, self.clock.now())
        return fenced

    async def orphans(self, limit: int) -> int:
        with self._trace.watched():
            released = await super().orphans(limit)
            if released:
                self._trace.add("orphans", released)
                self._ledger.released("orphans")
        return released

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        with self._trace.watched():
            outcomes = await super().commit(epoch, items)
            for item, outcome in zip(items, outcomes, strict=True):
                self._trace.commit(epoch, item, outcome)
            self._ledger.committed(epoch, items, outcomes)
        return outcomes

    async def finish_activity(self, token: str, result: str) -> Outcome:
        with self._trace.watched():
            outcome = await super().finish_activity(token, result)
            if isinstance(outcome, Done):
                self._trace.add("finished", token, result, *outcome.woken)
                self._ledger.finished([n for n, _, _ in outcome.woken])
        return outcome

    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        with self._trace.watched():
            claimed = await super().claim(epoch, definitions, limit, hints)
            if claimed:
                numbers = [each.n for each in claimed]
                self._trace.add("claim", epoch, *numbers)
                self._ledger.claimed(epoch, numbers)
        return claimed

    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        with self._trace.watched():
            await super().fault(epoch, n, wake, reason, limit)
            self._trace.add("fault", epoch, n, reason)
            self._ledger.set_aside(n)
            if '"PoisonError"' not in reason:
                self._trace.broken(Law.INTERNAL, f"a host gave up run {n}: {reason}")
