"""Being a worker among others: heartbeat, and taking over from the dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from wfe.core.errors import ProviderError
from wfe.core.providers import LockProvider, PersistenceProvider

__all__ = ["Beats", "Heartbeat", "HeartbeatFactory", "Takeover", "cancelled"]

_LOG: Final = logging.getLogger("wfe.engine")
_NEVER: Final = 2**62  # µs: a lease that no silence exceeds
_RELEASE: Final = 5000  # instances released in one statement


class Beats(Protocol):
    """Says regularly that a worker lives."""

    def start(self) -> None:
        """Begin to beat."""
        ...

    async def close(self) -> None:
        """Stop, and return when no beat is under way any more."""
        ...


HeartbeatFactory: TypeAlias = Callable[
    [LockProvider, int, Callable[[], int], Callable[[], bool]], Beats
]
"""Makes one from the lock, the lease (µs), who beats, and whether that is worth it."""


class Heartbeat:
    """Beats in a thread with a loop of its own, so that a busy event loop loses no lease."""

    def __init__(
        self,
        lock: LockProvider,
        lease: int,
        epoch: Callable[[], int],
        busy: Callable[[], bool],
    ) -> None:
        """Beat for *epoch* every third of *lease* (µs) while *busy*."""
        self._lock = lock
        self._lease = lease
        self._epoch = epoch
        self._busy = busy
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="wfe-heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while not self._stop.wait(self._lease / 3_000_000):
                if self._busy():
                    runner.run(self._beat())

    async def _beat(self) -> None:
        try:
            await self._lock.beat(self._epoch(), self._lease)
        except ProviderError as error:
            # Tried again in a third of a lease; the store's fence decides if that is too late.
            _LOG.warning("heartbeat failed: %s", error)

    async def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


class Takeover:
    """Fences dead workers and releases what they owned: fence, release; the claim is as always.

    A worker whose process is certainly gone is fenced at once.  One that is only silent is
    fenced when this host itself reached the store for a whole lease without a gap: after an
    outage or a laptop's sleep all beats are old, and nobody may conclude anything from that.
    """

    def __init__(
        self,
        store: PersistenceProvider,
        lock: LockProvider,
        lease: int,
        epoch: Callable[[], int],
    ) -> None:
        """Watch the workers of *store*."""
        self._store = store
        self._lock = lock
        self._lease = lease
        self._epoch = epoch
        self._good_since: int | None = None
        self._last_look: int | None = None

    async def look(self) -> int:
        """Take over from whoever is dead; return how many instances were released."""
        now = self._store.clock.now()
        gap = self._last_look is None or now - self._last_look > self._lease // 3
        if gap or self._good_since is None:
            self._good_since = now
        self._last_look = now
        workers = await self._store.workers()
        mine = self._epoch()
        others = [w.epoch for w in workers if w.epoch != mine and w.fenced is None]
        left = any(w.fenced is not None for w in workers)
        if others:
            left = await self._fence(others, now) or left
        return await self._release() if left else 0

    async def _fence(self, others: list[int], now: int) -> bool:
        gone = list(await self._lock.dead(others, _NEVER))
        fenced = list(await self._store.fence(gone, lease=None)) if gone else []
        if self._good_since is not None and now - self._good_since >= self._lease:
            rest = [epoch for epoch in others if epoch not in gone]
            silent = list(await self._lock.dead(rest, self._lease)) if rest else []
            if silent:
                fenced += await self._store.fence(silent, lease=self._lease)
        if fenced:
            _LOG.warning("took over from %d dead worker(s)", len(fenced))
        return bool(fenced)

    async def _release(self) -> int:
        released = 0
        while batch := await self._store.orphans(_RELEASE):
            released += batch
        return released


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Cancel *task* and wait until it has ended."""
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
