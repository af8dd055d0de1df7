"""Drives one run until it ends, until nothing here can move it, or until the user stops it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import attrs

from wfe.core.lean import define, frozen
from wfe.core.models import LifecycleEvent, WorkflowInstance
from wfe.host.cli.errors import Exit
from wfe.host.cli.model import Picture
from wfe.host.cli.stored import Stuck, cleaning_up, stuck
from wfe.host.cli.views import View
from wfe.host.host import WorkflowHost
from wfe.host.runs import WorkflowRun

__all__ = ["Ended", "Feed", "driven", "interruptible", "ticking"]

_TICK: Final = 0.1  # seconds between frames
_LOOK: Final = 0.25  # seconds between questions whether the run can still move
_PATIENCE: Final = timedelta(minutes=1)
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@define
class Feed:
    """Passes a host's events to picture and view; keeps those that come before they exist."""

    view: View
    picture: Picture | None = None
    _early: list[LifecycleEvent] = attrs.field(factory=list[LifecycleEvent], init=False)

    @property
    def compares(self) -> bool:
        """Whether the view shows how long things took last time."""
        return getattr(self.view, "compares", True)

    def take(self, event: LifecycleEvent) -> None:
        """Take one event of the host."""
        if self.picture is None:
            self._early.append(event)
            return
        change = self.picture.apply(event)
        if change is not None:
            self.view.tell(event, change)

    def show(self, picture: Picture) -> None:
        """Begin to show *picture*."""
        self.view.begin(picture)
        self.picture = picture
        early, self._early = self._early, []
        for event in early:
            self.take(event)


@frozen(kw_only=True)
class Ended:
    """How driving ended: exactly one of the three is set."""

    instance: WorkflowInstance[Any] | None = None
    stuck: Stuck | None = None
    interrupted: bool = False


@contextmanager
def interruptible(last_word: Callable[[], None]) -> Generator[asyncio.Event]:
    """Set the event at the first signal; at the second say *last_word* and leave the process."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            last_word()
            os._exit(Exit.INTERRUPTED)
        stop.set()

    for each in _SIGNALS:
        loop.add_signal_handler(each, on_signal)
    try:
        yield stop
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)


async def ticking(view: View) -> None:
    """Let the view show that time passes, until cancelled."""
    while True:
        await asyncio.sleep(_TICK)
        view.tick()


async def driven(
    host: WorkflowHost,
    run: WorkflowRun,
    stop: asyncio.Event,
    *,
    wait: bool = False,
    kept: bool = True,
) -> Ended:
    """Return when the run and what it took along is final, stuck, or at *stop*.

    Stuck: only events or a ``resume`` can move it, or a time-out that is more than a minute away.

    Args:
        host: It drives the run.
        run: Which.
        stop: Set when the user wants to leave.
        wait: Whether it is not stuck when an event can move it.
        kept: Whether the store outlives this process; else every time-out is waited for.
    """
    ended = asyncio.ensure_future(run.wait())
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while True:
            await asyncio.wait({ended, stopped}, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                # Sub-workflows that it took along with it have hooks to run.
                while not stopped.done() and await cleaning_up(host, run.id):
                    await asyncio.wait({stopped}, timeout=_TICK)
                return Ended(instance=ended.result())
            if stopped.done():
                return Ended(interrupted=True)
            why = await _twice(lambda: stuck(host, run.id, _PATIENCE if kept else None))
            left = why is not None and (why.suspended is not None or not (wait and kept))
            if left and not ended.done():
                return Ended(stuck=why)
    finally:
        ended.cancel()
        stopped.cancel()


async def _twice(ask: Callable[[], Awaitable[Stuck | None]]) -> Stuck | None:
    """Believe the answer only when it holds: a message may have been on its way."""
    if await ask() is None:
        return None
    await asyncio.sleep(_TICK)
    return await ask()
