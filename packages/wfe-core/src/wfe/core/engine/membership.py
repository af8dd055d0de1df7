"""Being a worker among others: heartbeat, and taking over from the dead."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

from wfe.core.errors import ProviderError
from wfe.core.providers import (
    LockProvider,
    PersistenceProvider,
    QueueProvider,
    SeparateLock,
    SeparateQueue,
    WorkerRow,
)

__all__ = ["FOREVER", "Beats", "Heartbeat", "HeartbeatFactory", "Takeover", "leave", "rarely"]

A = TypeVar("A")

_LOG: Final = logging.getLogger("wfe.engine")
_PATIENCE: Final = 1_000_000  # µs for an answer of a lock elsewhere, but no more than lease/10
_MUTE: Final = 5_000_000  # µs that it is left alone after a failure, but no more than lease/6
FOREVER: Final = 2**62
"""µs: a lease that no silence exceeds; who is dead by it is certainly dead."""
_RARELY: Final = 300_000_000  # µs between beats of who owns nothing
_DAY: Final = 86_400_000_000  # µs of silence after which a worker without runs is forgotten
_GOODBYE: Final = 1.0  # seconds for a lock elsewhere when the host stops
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
        self._trouble = False  # told once, not at every beat
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="wfe-heartbeat", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            beaten = time.monotonic()  # registering was a beat
            # Looked at more often than beaten: a host that was idle beats soon after it is not.
            while not self._stop.wait(self._lease / 12_000_000):
                now = time.monotonic()
                if now - beaten >= self._lease / 3_300_000 and self._busy():
                    beaten = now
                    runner.run(self._beat())
            if isinstance(self._lock, SeparateLock):
                runner.run(self._leave(self._lock))

    async def _beat(self) -> None:
        # That the worker was fenced is seen by its looks at the store, whoever keeps the beats.
        # A beat that failed is tried again; the store's fence decides if that is too late.
        patience = self._lease / 3_000_000 if isinstance(self._lock, SeparateLock) else None
        try:
            async with asyncio.timeout(patience):
                await self._lock.beat(self._epoch(), self._lease)
        except TimeoutError:
            self._failed("no answer")
        except ProviderError as error:
            self._failed(str(error))
        else:
            self._trouble = False

    def _failed(self, problem: str) -> None:
        if not self._trouble:
            _LOG.warning("heartbeat failed, trying again: %s", problem)
        self._trouble = True

    async def _leave(self, lock: SeparateLock) -> None:
        with contextlib.suppress(ProviderError):  # nothing is lost
            await lock.leave()

    async def close(self) -> None:
        """Stop the thread and wait for it."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)


class Takeover:
    """Fences dead workers and releases what they owned: fence, release; the claim is as always.

    A worker whose process is certainly gone is fenced at once.  One that is only silent is
    fenced when this host itself reached the store for a whole lease without a gap, and saw it own
    something all the time: after an outage or a laptop's sleep all beats are old, as are those of
    who had nothing to beat for, and nobody may conclude anything from that.  From who owns nothing
    there is nothing to take over: it is left alone until it is silent for a day.
    A lock elsewhere that cannot be asked keeps nothing from going on but takeovers.

    Attributes:
        seen: When the store said last that this worker is not fenced, µs.
        alive: Set whenever the store says so.
        fenced: The epoch of this host that the store said is fenced; 0: none.
        others: How many other workers are not fenced, as last seen.
        cut_off: This host was fenced while it could not reach the lock, and others could: it
            takes no work until it reaches it again.
    """

    def __init__(
        self,
        store: PersistenceProvider,
        lock: LockProvider,
        lease: int,
        epoch: Callable[[], int],
        *,
        foreign: bool = False,
    ) -> None:
        """Watch the workers of *store*; *foreign*: the lock is not the store itself."""
        self._store = store
        self._lock = lock
        self._lease = lease
        self._epoch = epoch
        self._foreign = foreign
        self._good_since: int | None = None
        self._last_look: int | None = None
        self._owning: dict[int, int] = {}  # since when others are seen to own something
        self._beaten: int = store.clock.now()
        self._well = not foreign  # registering is a beat, but only in the store
        self._mute_until = 0
        self._trouble = False
        self.seen: int = store.clock.now()
        self.alive: asyncio.Event = asyncio.Event()
        self.fenced: int = 0
        self.others: int = 0
        self.cut_off: bool = False

    async def look(self) -> int:
        """Take over from whoever is dead; return how many instances were released."""
        mine, workers = await self._read()
        now = self._store.clock.now()
        gap = self._last_look is None or now - self._last_look > self._lease // 3
        if gap or self._good_since is None:
            self._good_since = now
        self._last_look = now
        others = [w for w in workers if w.epoch != mine and w.fenced is None]
        self.others = len(others)
        self._owning = {w.epoch: self._owning.get(w.epoch, now) for w in others if w.owns}
        left = any(w.fenced is not None for w in workers)
        if others:
            left = await self._fence(others, now) or left
        released = await self._release() if left else 0
        if released:
            _LOG.warning("took over %d run(s) from dead workers", released)
        return released

    async def _read(self) -> tuple[int, Sequence[WorkerRow]]:
        """Return who this host is and all workers; notice whether it is fenced.

        After a silence it beats first, in the store: who took this host for dead may be just about
        to fence it, and that a look finds nothing yet says little.
        """
        mine = self._epoch()
        silent = self._store.clock.now() - self.seen > self._lease * 2 // 3
        if silent and "lock" in self._store.features:
            await cast("LockProvider", self._store).beat(mine, self._lease)
        asked = self._store.clock.now()  # the answer may wait for as long as this host is paused
        workers = await self._store.workers()
        if any(w.epoch == mine and w.fenced is None for w in workers):
            self.seen = asked
            self.alive.set()
        else:
            self.fenced = mine
            self.cut_off = self.cut_off or self._trouble
        return mine, workers

    async def show(self, *, idle: bool) -> bool:
        """Beat if that was long ago, so that who looks sees that it lives; ``False``: fenced."""
        beating = not idle and not self._foreign  # anyway, and in the store
        if beating or self._store.clock.now() - self._beaten < rarely(self._lease):
            return True
        if self._foreign and "lock" in self._store.features:
            await cast("LockProvider", self._store).beat(self._epoch(), self._lease)
        return await self.fit()

    def registered(self) -> None:
        """Take note that this host is a new worker."""
        self.seen = self._beaten = self._store.clock.now()
        self._well = not self._foreign
        self.alive.set()

    @property
    def fresh(self) -> bool:
        """Whether it beat so lately that nobody takes it for dead before its next beat."""
        return self._well and self._store.clock.now() - self._beaten < self._lease // 3

    async def fit(self) -> bool:
        """Beat; whether this host may claim.  ``False``: it is fenced, and must register anew.

        Raises:
            ProviderError: The store, or the lock that it is, failed; or this host alone is cut
                off from a lock elsewhere.
        """
        self._beaten, self._well = self._store.clock.now(), False
        if not self._foreign:
            self._well = await self._lock.beat(self._epoch(), self._lease)
            return self._well
        mine, _ = await self._read()
        if self.fenced == mine:
            return False
        well = await self._asked(self._lock.beat(mine, self._lease), True)
        if self._trouble and self.cut_off:
            problem = "it cannot be reached, and this host was fenced for that; it claims nothing"
            raise ProviderError("lock", problem)
        self.cut_off = False
        self._well = well and not self._trouble
        return well

    async def _fence(self, others: Sequence[WorkerRow], now: int) -> bool:
        epochs = [w.epoch for w in others]
        gone = list(await self._asked(self._lock.dead(epochs, FOREVER), ()))
        if self._foreign and "deaths" in self._store.features:  # it knows more than beats can say
            dead = await cast("LockProvider", self._store).dead(epochs, FOREVER)
            gone += [epoch for epoch in dead if epoch not in gone]
        fenced = list(await self._store.fence(gone, lease=None)) if gone else []
        if self._good_since is not None and now - self._good_since >= self._lease:
            since = now - self._lease
            rest = [e for e in epochs if e not in gone and self._owning.get(e, now) <= since]
            silent: list[int] = []
            if rest:
                silent += await self._asked(self._lock.dead(rest, self._lease), ())
            if silent:
                fenced += await self._store.fence(silent, lease=self._lease)
        long = max(_DAY, 3 * rarely(self._lease))
        forgotten = [w.epoch for w in others if not w.owns and now - w.beat > long]
        if forgotten:
            fenced += await self._store.fence(forgotten, lease=long)
        if fenced:
            self.others -= len(fenced)
            _LOG.info("fenced %d silent worker(s)", len(fenced))
            if isinstance(self._lock, SeparateLock):
                await self._asked(self._lock.bury(fenced), None)
        return bool(fenced)

    async def _asked(self, question: Coroutine[Any, Any, A], unknown: A) -> A:
        """Return the lock's answer; *unknown* when it is elsewhere and gives none.

        After a failure it is left alone for a while, so that a lock that hangs does not hold up
        everything else.
        """
        if not self._foreign:
            return await question
        now = self._store.clock.now()
        if now < self._mute_until:
            question.close()
            return unknown
        try:
            async with asyncio.timeout(min(_PATIENCE, self._lease // 10) / 1_000_000):
                answer = await question
        except (ProviderError, TimeoutError) as error:
            if not self._trouble:
                problem = str(error) or "no answer"
                _LOG.warning("the lock fails, nobody is taken over from: %s", problem)
            self._trouble = True
            self._mute_until = now + min(_MUTE, self._lease // 6)
            return unknown
        self._trouble = False
        return answer

    async def _release(self) -> int:
        released = 0
        while batch := await self._store.orphans(_RELEASE):
            released += batch
        return released


def rarely(lease: int) -> int:
    """Return how often (µs) a worker beats that owns nothing: only for operators, to see it live.

    Args:
        lease: Of the worker, µs; who owns something beats every third of it.
    """
    return max(_RARELY, lease // 3)


async def leave(lock: LockProvider, queue: QueueProvider, epoch: int) -> None:
    """Take leave of a lock and a queue that are not the store itself; their failures are logged."""
    try:
        if epoch and isinstance(lock, SeparateLock):  # a guest never beat
            async with asyncio.timeout(_GOODBYE):
                await lock.bury([epoch])
    except (ProviderError, TimeoutError) as error:  # its beats end by themselves
        problem = str(error) or "no answer"
        _LOG.warning("the lock did not take the good-bye of this host: %s", problem)
    for part in (queue, lock):
        if isinstance(part, SeparateLock | SeparateQueue):
            try:
                await part.close()
            except ProviderError as error:
                _LOG.warning("%s did not close: %s", type(part).__name__, error)
