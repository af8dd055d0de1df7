"""What external workers do through a host: claim activities, answer them, or serve them all."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from wfe.core.cancelling import check_cancelled
from wfe.core.engine.activities import check_names
from wfe.core.engine.sizes import text_of
from wfe.core.errors import ActivityTokenError, HostStoppingError, ProviderError
from wfe.core.models import Activity, OpenActivity, to_micros

if TYPE_CHECKING:
    from wfe.core.engine import Engine

__all__ = ["Activities", "Handler"]

Handler: TypeAlias = Callable[[Activity], Any]
"""Does the work of an activity and returns its result; async, or sync (run in a thread)."""

_LOG: Final = logging.getLogger("wfe.activities")
_LEASE: Final = timedelta(minutes=5)
_PATIENCE: Final = timedelta(hours=1)  # of one waiting claim; then it begins anew
_NOW: Final = timedelta(0)


class Activities:
    """The activities of a host's store; ``host.activities``."""

    def __init__(self, engine: Engine) -> None:
        """Act through *engine*."""
        self._engine = engine

    async def claim(
        self,
        name: str | Sequence[str],
        worker: str | None = None,
        wait: timedelta = _NOW,
        lease: timedelta = _LEASE,
    ) -> Activity | None:
        """Claim the oldest activity that nobody works on.

        Args:
            name: Of the activity; several: any of them.
            worker: Who claims, for operators; ``None``: this process.
            wait: How long to wait for one.
            lease: How long the claim counts without a heartbeat; after it the activity is
                offered anew, and this claim's token is refused.

        Returns:
            The activity, ``None`` when there is none within *wait*.

        Raises:
            DataTypeError: A name or the worker is longer than 512 bytes.
            HostStoppingError: The host is not running, or was stopped meanwhile.
        """
        return await self._engine.activities.claim(
            _names(name), worker or _this_process(), to_micros(wait), _positive(lease)
        )

    async def complete(self, token: str, result: Any = None) -> None:
        """Hand in the result; the run goes on with it.

        Raises:
            ActivityTokenError: The token is unknown, expired or used, or the run is final.
            DataTypeError: The result cannot be stored; the claim still counts.
        """
        await self._engine.activities.complete(token, result)

    async def fail(self, token: str, error: str | BaseException, *, retryable: bool = True) -> None:
        """Say that the work failed; the step's error policy decides, a retry offers it anew.

        Args:
            token: Of the claim.
            error: Its text, or an exception (whose ``retryable = False`` counts too).
            retryable: Whether another attempt may succeed.

        Raises:
            ActivityTokenError: The token is unknown, expired or used, or the run is final.
        """
        if isinstance(error, str):
            kind, may = "ActivityError", retryable
        else:
            kind, may = type(error).__name__, retryable and getattr(error, "retryable", True)
        text = error if isinstance(error, str) else text_of(error)
        await self._engine.activities.fail(token, kind, text, retryable=bool(may))

    async def heartbeat(
        self, token: str, progress: Any = None, *, lease: timedelta = _LEASE
    ) -> None:
        """Hold the claim for another *lease* from now.

        Args:
            token: Of the claim.
            progress: How far the work is, for operators; ``None``: as it was.
            lease: As in :meth:`claim`.

        Raises:
            ActivityTokenError: The token is unknown, expired or used, or the run is final.
            DataTypeError: The progress cannot be stored.
        """
        await self._engine.activities.heartbeat(token, progress, _positive(lease))

    async def find(self, run: str | None = None) -> list[OpenActivity]:
        """Return the activities that are not done, oldest first.

        Args:
            run: Id or name; ``None``: those of all runs.

        Raises:
            WorkflowNotFoundError: There is no such run.
        """
        return await self._engine.activities.find(run)

    async def work(
        self,
        name: str | Sequence[str],
        handler: Handler,
        *,
        concurrency: int = 1,
        worker: str | None = None,
        lease: timedelta = _LEASE,
    ) -> None:
        """Serve activities until this call is cancelled or the host stops.

        Each is claimed, kept with heartbeats while the handler runs, and completed with what it
        returns or failed with what it raises.  A handler whose claim was lost is cancelled.

        Args:
            name: Which activities.
            handler: Gets the :class:`Activity`.
            concurrency: How many at a time.
            worker: Who works, for operators.
            lease: After how long without a sign of life another worker gets an activity.

        Raises:
            DataTypeError: A name or the worker is longer than 512 bytes.
            HostStoppingError: The host is not running.
        """
        if concurrency < 1:
            problem = f"concurrency must be at least 1, got {concurrency!r}"
            raise ValueError(problem)
        _positive(lease)
        check_names(_names(name), worker or "")
        self._engine.check_running()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(self._serve(name, handler, worker, lease))

    async def _serve(
        self, name: str | Sequence[str], handler: Handler, worker: str | None, lease: timedelta
    ) -> None:
        while True:
            check_cancelled()
            try:
                activity = await self.claim(name, worker, wait=_PATIENCE, lease=lease)
                if activity is not None:
                    await self._handle(activity, handler, lease)
            except HostStoppingError:
                return
            except ActivityTokenError as error:
                _LOG.warning("an activity was lost to another worker, or its run ended: %s", error)
            except ProviderError as error:
                check_cancelled()
                _LOG.warning("the store failed, trying again: %s", error)
                await self._pause(self._engine.settings.poll)

    async def _pause(self, micros: int) -> None:
        await self._engine.clock.sleep_until(self._engine.clock.now() + micros)

    async def _handle(self, activity: Activity, handler: Handler, lease: timedelta) -> None:
        """Run the handler with heartbeats beside it; answer with what came of it."""
        try:
            check_cancelled()
        except asyncio.CancelledError:
            await self._hand_back(activity.token)
            raise
        work = asyncio.ensure_future(_called(handler, activity))
        beats = asyncio.ensure_future(self._beat(activity.token, lease))
        try:
            await asyncio.wait({work, beats}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                beats.result()  # raises: the claim does not count any more
            if work.cancelled():
                await self.fail(activity.token, "the handler was cancelled")
                return
            try:
                result = work.result()
            except Exception as error:  # noqa: BLE001 - a handler may raise anything: it is told
                await self.fail(activity.token, error)
            else:
                await self._complete(activity.token, result)
        except asyncio.CancelledError:
            await self._hand_back(activity.token)
            raise
        finally:
            beats.cancel()
            work.cancel()
            await asyncio.gather(beats, work, return_exceptions=True)

    async def _complete(self, token: str, result: Any) -> None:
        try:
            await self.complete(token, result)
        except TypeError as error:  # it cannot be stored: the next attempt would say the same
            await self.fail(token, error, retryable=False)

    async def _beat(self, token: str, lease: timedelta) -> None:
        while True:
            await self._pause(to_micros(lease) // 3)
            check_cancelled()
            try:
                await self.heartbeat(token, lease=lease)
            except ProviderError as error:
                _LOG.warning("a heartbeat was not stored, trying again: %s", error)

    async def _hand_back(self, token: str) -> None:
        """Let go of a claim at once, so that nobody waits for its lease to end."""
        try:
            await self._engine.store.beat_activity(token, -1, None)  # passed already
            self._engine.activities.offered()
        except ProviderError as error:
            _LOG.warning("an activity was not handed back, its lease ends by itself: %s", error)


async def _called(handler: Handler, activity: Activity) -> Any:
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__):
        return await handler(activity)
    result = await asyncio.to_thread(handler, activity)
    return await result if inspect.isawaitable(result) else result


def _names(name: str | Sequence[str]) -> list[str]:
    return [name] if isinstance(name, str) else list(name)


def _positive(lease: timedelta) -> int:
    micros = to_micros(lease)
    if micros <= 0:
        problem = f"a lease must be longer than nothing, got {lease!r}"
        raise ValueError(problem)
    return micros


@functools.cache
def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
