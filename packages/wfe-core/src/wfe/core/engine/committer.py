"""Group commit: what all runs and callers want written goes to the store in one transaction.

One pump per store and process.  It takes whatever is there when it comes round, so a single
commit goes straight through and a thousand go together; nothing waits for company.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import TYPE_CHECKING, Final

from wfe.core.cancelling import cancelled
from wfe.core.engine.batches import Batch, Call, reowned, size_of, unowned
from wfe.core.engine.instant import instant
from wfe.core.errors import (
    DuplicateNameError,
    HostStoppingError,
    ProviderError,
    UnreadableTextError,
)
from wfe.core.lean import frozen
from wfe.core.providers import (
    Conflict,
    Done,
    Fenced,
    InboxRow,
    Item,
    Outcome,
    PersistenceProvider,
    Refused,
    Stale,
)

if TYPE_CHECKING:
    from wfe.core.engine.delivering import Delivering
    from wfe.core.engine.live import LiveRun

__all__ = ["CommitHooks", "Committer"]

_LOG: Final = logging.getLogger("wfe.engine")
# Of a thousand runs one half works while the server writes the other half: all in one batch would
# take turns with it, and a batch of 500 is large enough for its COMMIT to cost an item nothing.
_MOST_ITEMS: Final = 500
_MOST_BYTES: Final = 4 * 1024 * 1024
_QUEUE_LIMIT: Final = 10_000  # starts and messages that wait; then callers wait before they queue
_TURN: Final = 0.001  # seconds that commits at once may take before others have a turn
_BACKOFF: Final = (0.05, 5.0)  # seconds, first and longest pause after a store's failure


@frozen(kw_only=True)
class CommitHooks:
    """What the engine does with outcomes."""

    epoch: Callable[[], int | None]
    emitted: Callable[[], Awaitable[None] | None]
    emitting: Callable[[], bool]
    woken: Callable[[Sequence[tuple[int, int, int | None]]], None]
    offered: Callable[[], None]
    started: Callable[[Sequence[Item], Done], None]
    lost: Callable[[LiveRun], None]
    broken: Callable[[LiveRun, Exception], None]
    fenced: Callable[[int], Awaitable[None]]
    doubt: Callable[[int], None]


class Committer:
    """The pump."""

    def __init__(
        self,
        store: PersistenceProvider,
        hooks: CommitHooks,
        delivering: Delivering,
        at_work: AbstractSet[object] = frozenset(),
    ) -> None:
        """Make one that does not run yet; what is *at_work* will want something written soon."""
        self._store = store
        self._hooks = hooks
        self._delivering = delivering
        self._dirty: dict[LiveRun, None] = {}
        self._ready: dict[LiveRun, None] = {}  # of this round: what comes meanwhile is for the next
        self._callers: deque[Call] = deque()
        self._holds: list[tuple[LiveRun, asyncio.Future[None]]] = []
        self._signal = asyncio.Event()
        self._rested = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()
        self._busy = False
        self._now = instant(store)
        self._at_work = at_work
        self._turn: float | None = None  # when the first commit at once of this turn began
        self.trouble: str | None = None
        """Why the store refuses writes now; ``None`` when it does not."""

    def start(self) -> None:
        """Begin to pump."""
        self._context = contextvars.copy_context()
        self._task = asyncio.create_task(self._run(), name="wfe-committer")

    def changed(self, run: LiveRun) -> None:
        """Take note that *run* has something to decide on."""
        self._dirty[run] = None
        self._signal.set()

    def at_once(self, run: LiveRun) -> bool:
        """Decide on what *run* has and commit it here and now; ``False``: leave it to the pump.

        That saves the way to the pump and back when nothing else is there to go along, and the
        store can do it without waiting.  Whatever turns out unusual is the pump's again.
        """
        if run.poked or not self._alone():
            return False
        try:
            item = run.prepare()
            if item is None:
                return True
            outcome = self._tried(item)
            if not isinstance(outcome, Done):
                run.again()
                return False
            run.settled(outcome)
        except Exception as error:  # noqa: BLE001 - the rules failed: the run is set aside
            self._hooks.broken(run, error)
        else:
            self._tell((item,), (outcome,))
        return True

    def _alone(self) -> bool:
        """Whether nothing else is to be written soon, and others had their turn."""
        waiting = self._dirty or self._ready or self._callers or self._holds or self._busy
        if self._now is None or waiting or self._at_work or self._hooks.emitting():
            return False
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._turn is None:
            self._turn = now
            loop.call_soon(self._turned)
        return now - self._turn < _TURN

    def _turned(self) -> None:
        """All that was ready had its turn."""
        self._turn = None

    def _tried(self, item: Item) -> Outcome | None:
        """Commit *item* of a run; ``None``: not now, or the store failed, as the pump will see."""
        try:
            return self._written(item)
        except Exception:  # noqa: BLE001 - the pump tries again, and says what is wrong
            return None

    def _written(self, item: Item) -> Outcome | None:
        """Commit *item* alone, now; ``None``: that does not go, and nothing is written."""
        outcomes = None if self._now is None else self._now(self._hooks.epoch(), (item,))
        return None if outcomes is None or isinstance(outcomes[0], Fenced) else outcomes[0]

    async def hold(self, run: LiveRun) -> None:
        """Return when nothing of *run* is being written; nothing will be until :meth:`let_go`.

        One at a time for each run.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._holds.append((run, future))
        self._signal.set()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it had it already
                self.let_go(run)
            raise

    def let_go(self, run: LiveRun) -> None:
        """Let what *run* wants be written again."""
        run.held_back = False
        if not run.closed:
            self.changed(run)

    def _give_holds(self) -> None:
        """Between two batches nothing of any run is being written."""
        holds, self._holds = self._holds, []
        for run, future in holds:
            if not future.done():
                run.held_back = True
                future.set_result(None)

    def forget(self, run: LiveRun) -> None:
        """Drop what *run* wanted."""
        self._dirty.pop(run, None)
        self._ready.pop(run, None)
        self._delivering.forget(run.n)

    async def submit(self, item: Item, *, direct: bool = False) -> Outcome:
        """Commit *item* and return its outcome.

        A caller that is cancelled while it waits does not undo the write.

        Args:
            item: Of no instance, or a start.
            direct: It is one event that nobody has published before, or one message: the run that
                it is for may take it at once.

        Raises:
            ProviderError: The store failed; nothing of the item was written.
            HostStoppingError: The host stopped before the item was taken.
        """
        while len(self._callers) >= _QUEUE_LIMIT:
            self._room.clear()
            await self._room.wait()
        if self._task is None or self._task.done():
            raise HostStoppingError
        if self._alone():
            outcome = (self._taken(item) if direct else None) or self._sent(item)
            if outcome is not None:
                return outcome
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._callers.append(Call(item, future, direct))
        self._signal.set()
        return await future

    def _sent(self, item: Item) -> Outcome | None:
        """Commit what a caller wants written, now; ``None``: that does not go."""
        try:
            outcome = self._written(item)
        except Exception:
            self._abandoned(item)  # it may have been written all the same
            raise
        if outcome is not None:
            self._tell((item,), (outcome,))
        return outcome

    def _taken(self, item: Item) -> Done | None:
        """Commit the transition of the run that takes *item*, now; ``None``: that does not go."""
        run = self._delivering.reader(item)
        made = None if run is None else self._delivering.taken(run, item)
        if run is None or made is None:
            return None
        try:
            outcome = self._written(made)
        except Exception as error:
            self._unsettled(run, error)
            raise
        if not isinstance(outcome, Done):
            self._unsettled(run, outcome)
            return None
        try:
            self._context.copy().run(run.settled, outcome)  # not in that of whoever sends it
            self._delivering.settled(run)
        except Exception as error:  # noqa: BLE001 - as in `at_once`
            self._hooks.broken(run, error)
        self._tell((made,), (outcome,))
        return outcome

    def _unsettled(self, run: LiveRun, why: Outcome | Exception | None) -> None:
        """What *run* took at once was not committed, or nobody knows: it goes the long way."""
        if run.closed:
            return
        self._delivering.given_back(run)
        if isinstance(why, Conflict):
            self._hooks.lost(run)
        elif isinstance(why, Stale):
            run.poked += 1
        elif isinstance(why, Exception) and getattr(why, "unknown", True):
            self._hooks.lost(run)  # it may have been committed all the same
        if not run.closed:  # with what came meanwhile
            self.changed(run)

    @property
    def active(self) -> bool:
        """Whether something waits to be written, or is being written."""
        return bool(self._dirty or self._ready or self._callers or self._busy)

    async def drain(self, deadline: float) -> None:
        """Return when nothing waits to be written, or the store refuses.

        Args:
            deadline: By the loop's clock; until then a store that refuses is tried again.
        """
        loop = asyncio.get_running_loop()
        while self.active and (self.trouble is None or loop.time() < deadline):
            self._rested.clear()
            if self._busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(None if self.trouble is None else deadline):
                        await self._rested.wait()
            else:
                await asyncio.sleep(0)

    async def close(self) -> None:
        """Stop; callers that still wait get :class:`HostStoppingError`."""
        await cancelled(self._task)
        while self._callers:
            future = self._callers.popleft().future
            if not future.done():
                future.set_exception(HostStoppingError())

    async def _run(self) -> None:
        pause = _BACKOFF[0]
        while True:
            await self._signal.wait()
            self._signal.clear()
            self._busy = True
            try:
                again = await self._round()
                self.trouble, pause = None, _BACKOFF[0]
            except ProviderError as error:
                if self.trouble is None:
                    _LOG.warning("the store refuses writes, trying again: %s", error)
                self.trouble = str(error)
                again = await self._back_off(pause)
                pause = min(2 * pause, _BACKOFF[1])
            except Exception as error:  # noqa: BLE001 - a pump that stops would hang every run
                _LOG.exception("internal error in the committer, trying again")
                self.trouble = str(error)
                again = await self._back_off(pause)
                pause = min(2 * pause, _BACKOFF[1])
            finally:
                self._busy = False
                self._rested.set()
            if again:
                self._signal.set()

    async def _back_off(self, pause: float) -> bool:
        await asyncio.sleep(pause)
        return True

    async def _round(self) -> bool:
        """Commit one batch; return whether there is more."""
        if self._holds:
            self._give_holds()
        self._ready.update(self._dirty)
        self._dirty.clear()
        await self._read_inboxes()
        batch = self._decided()
        if self._callers:
            self._add_calls(batch)
        self._room.set()
        if batch.items:
            await self._commit(batch)
        return bool(self._dirty or self._ready or self._callers)

    def _add_calls(self, batch: Batch) -> None:
        """Add what callers want written, as much of it as there is room for."""
        crowded = self._delivering.crowded(islice(self._callers, _MOST_ITEMS))
        plain: list[Call] = []
        room = _MOST_ITEMS - len(batch.items)
        while self._callers and len(plain) + batch.direct < room and batch.size < _MOST_BYTES:
            call = self._callers.popleft()
            batch.size += size_of(call.item)
            run = self._delivering.reader(call.item) if call.direct else None
            made = None
            if run is not None and run.n not in crowded:
                made = self._delivering.taken(run, call.item)
            if run is None or made is None:
                plain.append(call)
            else:
                batch.add(run, made)
                batch.calls.append(call)
                batch.direct += 1
        batch.calls += plain
        batch.items += [call.item for call in plain]

    async def _read_inboxes(self) -> None:
        poked = {run.n: run for run in self._ready if run.poked}
        if not poked:
            return
        before = {n: run.poked for n, run in poked.items()}
        for n, poke, rows in await self._inboxes(poked):
            poked[n].read(poke, rows)
            poked[n].poked -= before[n]  # who was told of more meanwhile reads again

    async def _inboxes(
        self, poked: Mapping[int, LiveRun]
    ) -> Sequence[tuple[int, int, Sequence[InboxRow]]]:
        """Return the inboxes of runs; a run whose inbox cannot be read is set aside."""
        try:
            return await self._store.inbox(list(poked))
        except UnreadableTextError:
            found: list[tuple[int, int, Sequence[InboxRow]]] = []
        for n, run in poked.items():
            try:
                found.extend(await self._store.inbox([n]))
            except UnreadableTextError as error:
                self._hooks.broken(run, error)
        return found

    def _decided(self) -> Batch:
        batch = Batch()
        while self._ready and len(batch.items) < _MOST_ITEMS and batch.size < _MOST_BYTES:
            run = next(iter(self._ready))
            del self._ready[run]
            try:
                item = run.prepare()
            except Exception as error:  # noqa: BLE001 - the rules failed: the run is set aside
                self._hooks.broken(run, error)
                continue
            if item is not None:
                batch.add(run, item)
        return batch

    async def _commit(self, batch: Batch) -> None:
        runs, items, own = batch.runs, batch.items, batch.own
        try:
            emitted = self._hooks.emitted()
            if emitted is not None:  # before the completions: who reads to the end has all
                await emitted
            epoch = self._hooks.epoch()
            outcomes = await self._store.commit(epoch, items)
        except Exception as error:
            self._uncommitted(batch, error)
            raise
        if Fenced in map(type, outcomes):
            await self._fenced(epoch, batch.calls)
            return
        for run, outcome in zip(runs[:own] if batch.direct else runs, outcomes, strict=False):
            self._settle(run, outcome)
        if batch.calls:
            self._answer(batch, outcomes[own:])
        self._tell(items, outcomes)

    def _answer(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        sent_back: list[Call] = []
        takers = iter(batch.runs[batch.own :])
        for call, outcome in zip(batch.calls, outcomes, strict=True):
            run = next(takers, None)
            if run is not None and isinstance(outcome, Done):
                self._settle(run, outcome)
                self._delivering.settled(run)
            elif run is not None:
                self._unsettled(run, outcome)
                sent_back.append(Call(call.item, call.future))
                continue
            if not call.future.done():
                call.future.set_result(outcome)
            elif isinstance(outcome, Done):  # the caller has gone, what it started has not
                self._abandoned(call.item)
        self._callers.extendleft(reversed(sent_back))

    def _uncommitted(self, batch: Batch, error: Exception) -> None:
        for run in batch.runs[: batch.own]:
            run.again()
            self._dirty[run] = None
        for run in batch.runs[batch.own :]:
            self._unsettled(run, error)
        for call in batch.calls:
            self._abandoned(call.item)  # it may have been written all the same
            if not call.future.done():
                call.future.set_exception(error)

    def _tell(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        woken: list[tuple[int, int, int | None]] = []
        offered = False
        for item, outcome in zip(items, outcomes, strict=True):
            if not isinstance(outcome, Done):
                continue
            if item.starts or item.new is not None:
                started = (*item.starts, item) if unowned(item) else item.starts
                if started:
                    self._hooks.started(started, outcome)
            if outcome.woken:
                woken.extend(outcome.woken)
            if item.activities:
                offered = True
            if item.subscribe:
                self._delivering.noted(item)
        if woken:
            self._hooks.woken(woken)
        if offered:
            self._hooks.offered()

    def _abandoned(self, item: Item) -> None:
        if item.new is not None and item.new.owner is not None:
            self._hooks.doubt(item.n)

    def _settle(self, run: LiveRun, outcome: Outcome) -> None:
        if run.closed:
            return  # given up while this was under way: whoever owns it now goes on with it
        if isinstance(outcome, Done):
            run.settled(outcome)
            return
        if isinstance(outcome, Refused) and outcome.why in ("name", "dedup"):
            run.refused(DuplicateNameError(outcome.existing or "of a sub-workflow"))
            self._dirty[run] = None
            return
        run.again()
        if isinstance(outcome, Conflict):
            self._hooks.lost(run)
        else:  # stale, or a message in it was refused: read the inbox and decide anew
            run.poked += 1
            self._dirty[run] = None

    async def _fenced(self, epoch: int | None, calls: Sequence[Call]) -> None:
        """Begin anew as another worker; callers' items, which owned nothing, go in again."""
        try:
            await self._hooks.fenced(epoch or 0)
        finally:  # also when the store did not take the new worker yet: nobody waits in vain
            for call in reversed(calls):
                anew = reowned(call.item, self._hooks.epoch())
                self._callers.appendleft(Call(anew, call.future))
            self._signal.set()
