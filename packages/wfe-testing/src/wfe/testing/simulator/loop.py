"""An event loop without a clock, a selector or threads: time jumps, and the order is drawn.

Each callback belongs to the host in whose context it was made, so that a host can be frozen or
dropped between any two steps of its tasks, as a crash would do it: nothing of it ever runs again.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import random  # noqa: TID251 - only its type: the source is a parameter
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final, Protocol, TypeVar, TypeVarTuple, Unpack

__all__ = ["HOST", "Deadlock", "Livelock", "SimClock", "SimLoop", "Tenant", "new_loop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_START: Final = 1_750_000_000_000_000  # µs since 1970: when every simulation begins
_MOST_TURNS: Final = 300_000  # callbacks of one simulation; the usual number is some thousands
_SPIN: Final = 1000  # rounds without a pause after which time passes all the same
_SWEEP: Final = 2000  # tasks made between two looks for ended ones


class Tenant(Protocol):
    """Whose callbacks run on the loop."""

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether *handle* may run now; ``False``: it was dropped, or kept for later."""
        ...


HOST: Final[contextvars.ContextVar[Any]] = contextvars.ContextVar("wfe-simulated-host")


class Deadlock(Exception):  # noqa: N818 - a state of the simulation, told by its name
    """Nothing is ready and no timer is set, but the simulation is not over."""


class Livelock(Exception):  # noqa: N818 - likewise
    """Callbacks go on and on; the message says which came last."""


class SimLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in virtual time.

    The order of plain callbacks is that of their registration, as asyncio promises.  Steps of
    different tasks that are ready at the same time change places by seed: no program may rely on
    their order.

    Attributes:
        micros: Virtual time since the start, µs.
        turns: Callbacks that ran.
        problems: What ended with an exception that nobody looked at.
    """

    def __init__(self, rng: random.Random, *, shuffle: bool) -> None:
        """Draw the order of task steps from *rng*, if *shuffle*."""
        self.micros: int = 0
        self.turns: int = 0
        self.problems: list[str] = []
        self._rng = rng
        self._shuffle = shuffle
        self._ready: list[asyncio.Handle] = []
        self._timers: list[tuple[int, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._sweep_at = _SWEEP
        self._spun = 0
        self._last: asyncio.Handle | None = None
        self._closed = False
        self._stop: Callable[[], Exception | None] = lambda: None

    def stop_when(self, found: Callable[[], Exception | None]) -> None:
        """End :meth:`run_until_complete` with the exception that *found* returns, if any."""
        self._stop = found

    # -- time and callbacks

    def time(self) -> float:
        return self.micros / 1_000_000

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self._closed:
            self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        # A wait, however short, takes time: who repeats it until a time has come must come to it.
        later = self.micros + (max(1, round(delay * 1e6)) if delay > 0 else 0)
        return self.at(later, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.at(round(when * 1e6), callback, *args, context=context)

    def at(
        self, micros: int, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Call *callback* when :attr:`micros` is at least *micros*."""
        handle = asyncio.TimerHandle(micros / 1e6, callback, args, self, context)
        if not self._closed:
            heapq.heappush(self._timers, (micros, next(self._order), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to do: cancelled timers are passed over when they come."""

    # -- tasks and futures

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_more: Any,
    ) -> asyncio.Task[T]:
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._sweep_at:
            self._tasks = [each for each in self._tasks if not each.done()]
            self._sweep_at = len(self._tasks) + _SWEEP
        return task

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - of the protocol
        func: Callable[[Unpack[Ts]], T],
        *args: *Ts,
    ) -> asyncio.Future[T]:
        """Call *func* in a later turn: there are no threads here."""
        future: asyncio.Future[T] = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - handed on to whoever awaits it
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_soon(work)
        return future

    # -- running

    def run_until_complete(self, future: Any) -> Any:
        """Run until *future* is done and return its result.

        Raises:
            Deadlock: Nothing can happen any more.
            Livelock: Too much happens.
        """
        with self._running():
            task: asyncio.Future[Any] = asyncio.ensure_future(future, loop=self)
            while not task.done():
                self._turn()
                if (stop := self._stop()) is not None:
                    raise stop
                if self.turns > _MOST_TURNS:
                    raise Livelock(repr(self._last))
        return task.result()

    @contextmanager
    def _running(self) -> Generator[None]:
        asyncio._set_running_loop(self)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        try:
            yield
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def _turn(self) -> None:
        self._spun += 1
        if not self._ready or (self._spun > _SPIN and self._timers):
            self._jump()
        batch, self._ready = self._ready, []
        if self._shuffle and len(batch) > 1:
            self._mix(batch)
        for handle in batch:
            if handle.cancelled():
                continue
            tenant: Tenant | None = handle._context.get(HOST)  # type: ignore[attr-defined]  # noqa: SLF001
            if tenant is None or tenant.admits(handle):
                self.turns += 1
                self._last = handle
                handle._run()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]

    def _jump(self) -> None:
        """Move on to the next timer, and make ready what is due then."""
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Deadlock
        self.micros = max(self.micros, timers[0][0])
        self._spun = 0
        while timers and timers[0][0] <= self.micros:
            handle = heapq.heappop(timers)[2]
            if not handle.cancelled():
                self._ready.append(handle)

    def _mix(self, batch: list[asyncio.Handle]) -> None:
        """Let the steps of tasks change places with one another; all else stays in place."""
        places = [k for k, handle in enumerate(batch) if _of_task(handle)]
        if len(places) > 1:
            steps = [batch[k] for k in places]
            self._rng.shuffle(steps)
            for k, handle in zip(places, steps, strict=True):
                batch[k] = handle

    def readmit(self, handles: list[asyncio.Handle]) -> None:
        """Make ready what a frozen host had kept."""
        self._ready.extend(handles)

    # -- ending

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Take note of what ended with an exception."""
        if not self._closed:
            error = context.get("exception")
            self.problems.append(f"{context.get('message')}: {error!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Drop what is left, without running any more of it than its ``finally`` blocks."""
        self._closed = True
        for task in self._tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
                coroutine: Any = task.get_coro()
                # What still awaits in there is told off by RuntimeError: it is a dead host's.
                with suppress(BaseException):
                    coroutine.close()
        self._tasks.clear()
        self._ready.clear()
        self._timers.clear()


def _of_task(handle: asyncio.Handle) -> bool:
    callback: Callable[..., Any] = handle._callback  # type: ignore[attr-defined]  # noqa: SLF001
    return isinstance(getattr(callback, "__self__", None), asyncio.Task)


def new_loop(rng: random.Random, *, shuffle: bool) -> SimLoop:
    """Return a :class:`SimLoop`."""
    # It lacks what needs an operating system (sockets, processes, signals): for a checker that
    # makes it abstract.
    make: Any = SimLoop
    loop: SimLoop = make(rng, shuffle=shuffle)
    return loop


class SimClock:
    """The loop's time, shifted by *skew* µs: a machine's own idea of the store's time."""

    def __init__(self, loop: SimLoop, skew: int = 0) -> None:
        """Follow *loop*."""
        self._loop = loop
        self.skew = skew

    def now(self) -> int:
        """Return µs since 1970, UTC."""
        return _START + self._loop.micros + self.skew

    async def sleep_until(self, when: int) -> None:
        """Return when :meth:`now` is at least *when* (µs)."""
        left = when - self.now()
        if left <= 0:
            return
        loop = self._loop
        future = loop.create_future()
        handle = loop.at(loop.micros + left, _settle, future)
        try:
            await future
        finally:
            handle.cancel()


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
