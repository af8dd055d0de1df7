"""Runs a durable function: its calls become inputs for the rules, committed rows their answers.

The function's coroutine lives only as long as the run is in memory.  Run again, from its start,
it gets the answers that the journal has without any commit, and goes on where they end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import orjson

from wfe.core.engine.patience import patiently
from wfe.core.engine.sizes import text_of
from wfe.core.engine.strands import STRAND, Journal, Record, Strand, state_of_row
from wfe.core.errors import DeterminismError, StepFailedError, StepTimeoutError
from wfe.core.lean import define
from wfe.core.models import PointerStatus
from wfe.core.rules.called import CallDone, FunctionBroken, FunctionFailed
from wfe.core.rules.inputs import Input

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import Pointer

__all__ = ["Calls", "Made"]

_PENDING: Final = PointerStatus.PENDING.value
_SLEEPING: Final = PointerStatus.SLEEPING.value
_PAGE: Final = 1000

T = TypeVar("T")

Answer = tuple[str, str, Any, int, int]
"""Kind, name and info of a row, when it was committed (µs), its seq."""


@define(kw_only=True, eq=False)
class Made:
    """A call that the function makes.

    Attributes:
        n: Its number in the strand.
        record: What the journal has of it, ``None``: nothing.
    """

    strand: Strand
    key: str
    n: int
    name: str
    hash: str
    site: str
    record: Record | None

    def info(self, **more: Any) -> dict[str, Any]:
        """Return the info of its row."""
        return {"call": self.key, "n": self.n, "hash": self.hash, "site": self.site, **more}


class Calls:
    """The calls of one function of a live run.

    Attributes:
        run: The live run.
        engine: Its host.
        pointer: The function's.
        attempt: Of the function.
        journal: What was recorded of it before.
        joining: Calls whose completion is being committed with a transaction of their bodies.
        broken: Why the function does not fit its journal; ``None``: it does, so far.
    """

    def __init__(self, run: LiveRun, pointer: Pointer) -> None:
        """Serve the function at *pointer* of *run*."""
        self.run = run
        self.engine: Engine = cast("Engine", run.owner)
        self.pointer: int = pointer.id
        self.attempt: int = pointer.attempt
        self.step: str = pointer.step
        self.journal: Journal = Journal()
        self.broken: DeterminismError | None = None
        self.root: Strand | None = None
        self.leaves = 1
        self._running = 0
        self._given = 0  # answers that a strand was given and has not gone on with
        self._waiting = 0
        self._loading = True
        self._stopped = False
        self._late: list[tuple[list[Any], int, int]] = []
        self._waiters: dict[str, asyncio.Future[Answer]] = {}
        self._pauses: dict[str, asyncio.Future[Answer | None]] = {}
        self._early: dict[str, Answer] = {}
        self._lasting: set[str] = set()
        self.joining: set[str] = set()
        self._held: list[asyncio.Future[None]] = []
        self._watchers: list[asyncio.Future[None]] = []

    # -- the life of the function

    async def load(self) -> None:
        """Read what the journal has of the function's calls."""
        run, after = self.run, -1
        # A run that was just started here has nothing in its journal but its start.
        while run.state.seq > 0:
            rows = await patiently(partial(self.engine.store.history, run.n, after, _PAGE))
            for row in rows:
                self.journal.take(orjson.loads(row.event), row.at, row.seq)
                after = row.seq
            if len(rows) < _PAGE:
                break
        for event, at, seq in self._late:
            if seq > after:
                self.journal.take(event, at, seq)
        self._loading, self._late = False, []
        self.journal.ready()

    async def drive(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run the function and return its result.

        Raises:
            DeterminismError: It does not make the calls that its journal has.
            BaseException: Whatever it raises.
        """
        root = self.root = self.journal.strand("", self.run.created_at, -1)

        async def main() -> Any:
            STRAND.set(root)
            return await function()

        task = root.task = asyncio.create_task(main())
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            self._stopped = True
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # nobody wants it, and nobody is told that nobody did
            raise
        if self.broken is None:
            for left in self.journal.left():
                recorded = f"{left.name!r} (call {left.key}, made at {left.site})"
                self.broken = DeterminismError(recorded, "nothing more: it has ended")
                break
        if self.broken is not None:
            if not task.cancelled():
                task.exception()
            raise self.broken
        if task.cancelled():
            raise StepFailedError(None, "CancelledError", "the function cancelled itself")
        return task.result()

    def failure(self, error: BaseException, started: int) -> Input:
        """Return the function's failure as an input for the rules."""
        key, attempt = self.pointer, self.attempt
        if isinstance(error, DeterminismError):
            found = {"type": "DeterminismError", "message": str(error), "step": self.step}
            return cast("Input", FunctionBroken(pointer=key, attempt=attempt, error=found))
        if isinstance(error, StepFailedError):
            kind, message, step = error.error_type, error.message, error.step or self.step
        else:
            kind, step = type(error).__name__, self.step
            message = text_of(error) or kind
        found = {"type": kind, "message": message, "step": step}
        return cast(
            "Input",
            FunctionFailed(
                pointer=key,
                attempt=attempt,
                error=found,
                started=started,
                call=getattr(error, "__wfe_call__", None),
            ),
        )

    # -- idle or not

    @property
    def parked(self) -> bool:
        """Whether the function only waits for what comes from outside."""
        busy = self._running or self._given or self._loading
        return not busy and self._waiting >= self.leaves

    @contextmanager
    def waits(self) -> Generator[None, None, None]:
        """Count a strand as waiting for what comes from outside."""
        self._waiting += 1
        if self.parked and self.run.idle:
            self.engine.idled(self.run)
        try:
            yield
        finally:
            self._waiting -= 1

    @contextmanager
    def works(self) -> Generator[None, None, None]:
        """Count a step body as running."""
        self._running += 1
        self._count()
        try:
            yield
        finally:
            self._running -= 1
            self._count()

    async def may_work(self) -> None:
        """Return when a body may begin.

        Not while the run is suspended, or the host stops, or may have been taken for dead.
        """
        while True:
            if self.run.owner.unsure:
                await self.run.owner.sure()
            self.check()
            if self.run.runnable and not self.run.draining:
                return
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._held.append(future)
            with self.waits():
                await self._taken(future)

    def _give(self, future: asyncio.Future[T] | None, value: T) -> bool:
        """Give a strand what it waits for; ``False``: it does not wait any more."""
        if future is None or future.done():
            return False
        self._given += 1
        self._count()
        future.set_result(value)
        return True

    async def _taken(self, future: asyncio.Future[T]) -> T:
        """Wait for what :meth:`_give` gives."""
        try:
            return await future
        finally:
            if future.done() and not future.cancelled():
                self._given -= 1
                self._count()

    def _count(self) -> None:
        """Take note of whether something will want to be recorded soon."""
        if (self._running or self._given) and not self.run.closed:
            self.engine.at_work.add(self)
        else:
            self.engine.at_work.discard(self)

    # -- making calls

    @property
    def over(self) -> bool:
        """Whether nothing that the function does counts any more."""
        return self.run.closed or self._stopped or self.broken is not None

    def check(self) -> None:
        """Raise when no call may be made any more."""
        if self.run.closed or self._stopped:
            raise asyncio.CancelledError
        if self.broken is not None:
            raise self.broken

    async def enter(self, name: str, hash: str, site: str) -> Made:
        """Begin a call; a strand that was cancelled here before waits here to be cancelled."""
        made = self.try_enter(name, hash, site)
        if made is None:
            await self.block()
            raise asyncio.CancelledError
        return made

    def try_enter(self, name: str, hash: str, site: str) -> Made | None:
        """Begin a call; ``None``: the strand was cancelled here before."""
        self.check()
        strand = STRAND.get()
        if (strand.cut is not None or strand.gated) and strand.barred():
            return None
        n = strand.calls
        strand.calls = n + 1
        key = strand.key(name)
        strand.current = (name, key)
        record = strand.records.pop(n, None) if strand.records else None
        if record is not None:
            if record.key != key or record.hash != hash:
                raise self.mismatch(record, name, key, site)
            if record.state != "open":
                self.journal.forget(key)
            if self._watchers:
                self.moved()
        return Made(strand=strand, key=key, n=n, name=name, hash=hash, site=site, record=record)

    def mismatch(self, record: Record, name: str, key: str, site: str) -> DeterminismError:
        """Return the error for a call that is not the recorded one, and stop the function."""
        same = " with other arguments" if record.key == key else ""
        recorded = f"{record.name!r} (call {record.key}, made at {record.site})"
        error = DeterminismError(recorded, f"{name!r}{same} (call {key}, made at {site})")
        self.broken = error
        current = asyncio.current_task()
        for strand in self.root.live() if self.root else ():
            if strand.task is not None and strand.task is not current:
                strand.task.cancel()
        return error

    async def block(self) -> None:
        """Wait where the strand was cancelled before, until it is cancelled again."""
        self.check()
        STRAND.get().blocked = True
        self.moved()
        with self.waits():
            await asyncio.get_running_loop().create_future()

    def moved(self) -> None:
        """A strand ended, or came to where it is cancelled."""
        watchers, self._watchers = self._watchers, []
        for each in watchers:
            self._give(each, None)

    async def movement(self) -> None:
        """Return when a strand ended, or came to where it is cancelled."""
        self.check()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.append(future)
        await self._taken(future)

    # -- answers

    def feed(self, each: object) -> None:
        """Hand an input to the rules."""
        self.run.feed(cast("Input", each))

    async def recorded(self, each: object, key: str) -> Answer:
        """Hand the outcome of the call *key* to the rules; return its row, once it is committed.

        That is at once if nothing else could go along: neither of this function nor of others.
        """
        future = self._waiters[key] = asyncio.get_running_loop().create_future()
        try:
            if self.leaves > 1 or self.run.closed:
                self.feed(each)
            else:
                self.run.take(cast("Input", each))
                self.run.owner.finished(self.run)
            return await self._taken(future)
        finally:
            if self._waiters.get(key) is future:
                del self._waiters[key]

    async def answer(self, key: str) -> Answer:
        """Return the next row about the call *key*."""
        if key in self._early:
            return self._early.pop(key)
        future = self._waiters[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._taken(future)
        finally:
            if self._waiters.get(key) is future:
                del self._waiters[key]

    async def answer_or_wake(self, key: str) -> Answer | None:
        """Return the next row about the call *key*; ``None``: its pause is over."""
        future = self._pauses[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._taken(future)
        finally:
            if self._pauses.get(key) is future:
                del self._pauses[key]

    def committed(self, rows: Sequence[list[Any]], at: int, seq: int) -> None:
        """Take in rows that are committed now, the first of them with *seq*."""
        for number, row in enumerate(rows, seq):
            info = row[5]
            if not info or "call" not in info:
                continue
            if self._loading:
                self._late.append((row, at, number))
                continue
            key, answer = info["call"], (row[1], row[3], info, at, number)
            if key in self._lasting and state_of_row(row[1], info) == "open":
                continue  # it is its end that is waited for
            if self._give(self._waiters.pop(key, None), answer):
                continue
            if self._give(self._pauses.pop(key, None), answer):
                continue
            if self.journal.known(key):
                self.journal.note(key, row[1], row[3], info, at, number)
            elif row[1] == "step_skipped" or key in self.joining:
                self._early[key] = answer  # its body runs just now
        if self._held and self.run.runnable:
            self.go_on()

    def go_on(self) -> None:
        """Let bodies begin that were held back, if they may."""
        held, self._held = self._held, []
        for each in held:
            self._give(each, None)

    def wake(self, pointer: Pointer) -> None:
        """The pause of a call is over."""
        self._give(self._pauses.pop(pointer.extra["call"], None), None)

    def lasting(self, key: str) -> Pointer | None:
        """Return the pointer of a call that lasts."""
        for pointer in self.run.state.pointers.values():
            if pointer.parent == self.pointer and pointer.extra.get("call") == key:
                return pointer
        return None

    def lasting_in(self, strands: Iterable[Strand]) -> list[tuple[str, str]]:
        """Return name and key of the calls that strands have not got an answer to."""
        return [strand.current for strand in strands if strand.current is not None]

    def ready(self, pointer: Pointer) -> bool:
        """Whether the next attempt of a call may begin."""
        if pointer.status == _PENDING:
            return True
        wake = pointer.wake
        return pointer.status == _SLEEPING and wake is not None and wake <= self.engine.clock.now()

    def record(self, made: Made, answer: Answer) -> Record:
        """Return what a row says of a call."""
        kind, _, info, at, seq = answer
        return Record(
            key=made.key,
            n=made.n,
            name=made.name,
            hash=made.hash,
            site=made.site,
            kind=kind,
            state=state_of_row(kind, info),
            info={**made.record.info, **info} if made.record else info,
            at=at,
            seq=seq,
        )

    async def outcome(self, made: Made) -> Record:
        """Return how a call that lasts ends."""
        record = made.record
        if record is None or record.state == "open":
            self._lasting.add(made.key)
            try:
                with self.waits():
                    answer = await self.answer(made.key)
            finally:
                self._lasting.discard(made.key)
            record = self.record(made, answer)
        return self.ended(made, record)

    def ended(self, made: Made, record: Record) -> Record:
        """Note that a call got its answer.

        Raises:
            StepFailedError: It failed (``StepTimeoutError``: it took too long).
        """
        made.strand.ended(record.at, record.seq)
        if record.state == "failed":
            raise self._raised(made, record.info["error"])
        return record

    def _raised(self, made: Made, error: Any) -> StepFailedError:
        late = error["type"] == "StepTimeoutError"
        cls = StepTimeoutError if late else StepFailedError
        raised = cls(made.name, error["type"], error["message"], self.run.ref.id)
        raised.__dict__["__wfe_call__"] = made.key
        return raised

    def note(self, made: Made, kind: str, **info: Any) -> None:
        """Record a call that has its answer at once, without waiting for the commit."""
        if made.record is None:
            done = CallDone(
                pointer=self.pointer,
                attempt=self.attempt,
                name=made.name,
                info=made.info(**info),
                kind=kind,
            )
            self.feed(done)
        made.strand.returned += 1
        made.strand.current = None
