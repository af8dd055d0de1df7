"""A host in memory on a virtual clock, for users' tests: no sleep, no server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.models import WorkflowInstance
from wfe.host import StepMiddleware, WorkflowHost, WorkflowMiddleware, WorkflowRun

if TYPE_CHECKING:
    from wfe.core.engine import Engine

__all__ = ["TestClock", "WorkflowTest"]

_SPINS = 50  # looks at a store that writes before it is given time
_NAP = 0.0005  # seconds
_PATIENCE = 0.25  # seconds of real time that a body may take for real work (a thread, a process)


class TestClock:
    """The clock of a :class:`WorkflowTest`: it moves only when told."""

    __test__ = False  # no test class, whatever its name

    def __init__(self, clock: VirtualClock, settle: Callable[..., Any]) -> None:
        """Move *clock*, and let work settle at each stop."""
        self._clock = clock
        self._settle = settle

    def now(self) -> datetime:
        """Return the virtual time, aware, UTC."""
        from wfe.core.models import from_micros  # noqa: PLC0415 - only here

        return from_micros(self._clock.now())

    async def advance(self, by: timedelta) -> None:
        """Move on by *by*; timers on the way fire in order, and their work settles."""
        await self._clock.advance(by, self._settle)

    async def settle(self, patience: float | None = None) -> None:
        """Return when everything that is due now has been done.

        Args:
            patience: Seconds of real time for bodies that do real work; 0: do not wait for bodies,
                for example because they wait for the test; ``None``: that of the test.
        """
        await self._settle(patience)


class WorkflowTest:
    """A host for one test; use it as ``async with WorkflowTest() as t``.

    Attributes:
        host: The host, with a store in memory.
        clock: Its clock.
    """

    __test__ = False

    def __init__(
        self,
        *definitions: Any,
        app: Any = None,
        middleware: Sequence[StepMiddleware | WorkflowMiddleware] = (),
        start: datetime | None = None,
        patience: float = _PATIENCE,
        **options: Any,
    ) -> None:
        """Make a host; nothing runs before ``async with``.

        Args:
            definitions: Registered at the start.
            app: ``ctx.app`` of the bodies.
            middleware: Of the host.
            start: First time of the clock, aware; ``None``: 2025-01-01 UTC.
            patience: Seconds of real time that ``advance`` and ``settle`` give bodies that do real
                work (a thread, a process, a network) before they go on without them.
            options: More of :class:`~wfe.host.WorkflowHost`.  Runs and events are kept for ever,
                however far the clock moves, unless ``retention`` and ``event_retention`` are given.
        """
        options = {"retention": None, "event_retention": None, **options}
        self._clock = VirtualClock(start)
        self.store: MemoryStore = MemoryStore(self._clock)
        self.host: WorkflowHost = WorkflowHost(
            self.store, app=app, middleware=middleware, **options
        )
        self.clock: TestClock = TestClock(self._clock, self._settle)
        self._definitions = definitions
        self._patience = patience

    async def __aenter__(self) -> Self:
        """Start the host."""
        self.host.register(*self._definitions)
        await self.host.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the host at once."""
        await self.host.stop(grace=0)

    async def start(self, definition: Any, data: Any = None, **options: Any) -> WorkflowRun:
        """Start a run of a definition (registered if need be) and let it settle."""
        run = await self.host.start_workflow(definition, data, **options)
        await self._settle()
        return run

    async def run(self, definition: Any, data: Any = None, **options: Any) -> WorkflowInstance[Any]:
        """Start a run and return it once it is final; the clock stands still."""
        run = await self.host.start_workflow(definition, data, **options)
        return await run.wait(timedelta(seconds=10))

    async def _settle(self, patience: float | None = None) -> None:
        engine: Engine = self.host._engine  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._patience if patience is None else patience)
        calm = looks = 0
        while calm < 5:
            # A store that writes in a thread or elsewhere needs the processor for it.
            await asyncio.sleep(0 if looks < _SPINS else _NAP)
            looks = looks + 1 if engine.committing else 0
            calm = 0 if engine.committing else calm + 1
            working = [task for run in engine.live.values() for task in run.working]
            if calm == 5 and working and loop.time() < until:
                await asyncio.wait(working, timeout=0.005, return_when=asyncio.FIRST_COMPLETED)
                calm = 0
