"""Hosts that start, freeze, crash, stop and come back."""

from __future__ import annotations

import asyncio
import contextvars
import random  # noqa: TID251 - only its type: the source is a parameter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from wfe.core.definition import WorkflowDefinition
from wfe.core.engine import Engine, Settings
from wfe.core.engine.live import LiveRun
from wfe.core.errors import ProviderError
from wfe.core.models import LifecycleEvent
from wfe.core.providers import LockProvider
from wfe.testing.simulator.chaos import Chaos
from wfe.testing.simulator.laws import Law
from wfe.testing.simulator.ledger import Ledger
from wfe.testing.simulator.link import Link
from wfe.testing.simulator.loop import HOST, SimClock, SimLoop
from wfe.testing.simulator.trace import Trace
from wfe.testing.simulator.truth import Truth

__all__ = ["Cluster", "Gone", "Host"]

T = TypeVar("T")
_QUIET: Final = frozenset({"step_started", "log", "progress", "host_fenced"})


class Gone(Exception):  # noqa: N818 - a host is gone; that is news, not an error
    """The host died while it was asked for something: nobody knows what became of it."""


class Host:
    """One process, from its start to its end; it never comes back, its machine's next one does.

    Attributes:
        context: In which everything of the host runs; by it the loop knows whose a callback is.
        fuse: Callbacks until it crashes; ``None``: it does not.
        running: Bodies that run now, by what the workload knows them by.
    """

    def __init__(self, name: str, loop: SimLoop, trace: Trace) -> None:
        """Make a host without an engine."""
        self.name = name
        self.engine: Engine
        self.dead: bool = False
        self.fuse: int | None = None
        self.running: dict[int, Any] = {}
        self.context: contextvars.Context = contextvars.Context()
        self.context.run(HOST.set, self)
        self._loop = loop
        self._trace = trace
        self._frozen = False
        self._kept: list[asyncio.Handle] = []
        self._callers: set[asyncio.Future[Any]] = set()

    @property
    def well(self) -> bool:
        """Whether it is alive and not frozen."""
        return not (self.dead or self._frozen)

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a callback may run now; a dead host's is dropped, a frozen one's kept."""
        if self.dead:
            return False
        if self._frozen:
            self._kept.append(handle)
            return False
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.crash("at a step")
                return False
        return True

    def freeze(self) -> None:
        """Stop in the middle, as a process that the system does not run."""
        self._frozen = True

    def thaw(self) -> None:
        """Go on as if nothing had happened."""
        self._frozen = False
        kept, self._kept = self._kept, []
        self._loop.readmit(kept)

    def crash(self, why: str) -> None:
        """Die: nothing that the host wanted to do happens any more."""
        if self.dead:
            return
        self.dead = True
        self._trace.add("crash", self.name, why)
        self.leave()

    def leave(self) -> None:
        """Tell who waits for an answer that there will be none."""
        self.dead = True
        self.running.clear()
        self._kept.clear()
        for caller in self._callers:
            if not caller.done():
                caller.set_exception(Gone())
        self._callers.clear()

    async def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* on the host and return what it returns.

        Raises:
            Gone: The host died first.
        """
        if self.dead:
            work.close()
            raise Gone
        waiter: asyncio.Future[T] = self._loop.create_future()
        task = self._loop.create_task(work, context=self.context.copy())
        self._callers.add(waiter)

        def done(task: asyncio.Task[T]) -> None:
            self._callers.discard(waiter)
            if waiter.done():
                return
            if task.cancelled():
                waiter.set_exception(Gone())
            elif (error := task.exception()) is not None:
                waiter.set_exception(error)
            else:
                waiter.set_result(task.result())

        task.add_done_callback(done)
        return await waiter


class _Heartbeat:
    """Beats on the loop, where the real one has a thread: it stops with its host."""

    def __init__(
        self,
        lock: LockProvider,
        lease: int,
        epoch: Callable[[], int],
        busy: Callable[[], bool],
    ) -> None:
        self._lock = lock
        self._lease = lease
        self._epoch = epoch
        self._busy = busy
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3e6)
            if self._busy():
                try:
                    await self._lock.beat(self._epoch(), self._lease)
                except ProviderError:
                    continue  # the real one logs it and beats again as well

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


@attrs.frozen(kw_only=True)
class World:
    """What all hosts share."""

    loop: SimLoop
    rng: random.Random
    truth: Truth
    chaos: Chaos
    ledger: Ledger
    trace: Trace
    definitions: Mapping[str, WorkflowDefinition]
    skews: tuple[int, ...]
    lease: int


class Cluster:
    """The machines: each has one host at a time, or none.

    Attributes:
        hosts: By machine; ``None``: it is down.
        born: How many hosts were started.
    """

    def __init__(self, world: World) -> None:
        """Make a cluster of machines that are down, one for each skew."""
        self.world = world
        self.hosts: list[Host | None] = [None] * len(world.skews)
        self.all: list[Host] = []
        world.ledger.live = self._live

    @property
    def born(self) -> int:
        return len(self.all)

    def _live(self, epoch: int, n: int) -> LiveRun | None:
        for host in self.hosts:
            if host is not None and not host.dead and host.engine.epoch == epoch:
                return host.engine.live.get(n)
        return None

    def owner(self, epoch: int) -> Host | None:
        """Return the living host with this epoch."""
        found = (h for h in self.hosts if h is not None and not h.dead and h.engine.epoch == epoch)
        return next(found, None)

    @property
    def well(self) -> list[Host]:
        """Hosts that answer now."""
        return [h for h in self.hosts if h is not None and h.well and h.engine.running]

    async def start(self, k: int) -> None:
        """Start a host on machine *k*, unless there is one."""
        world = self.world
        if self.hosts[k] is not None:
            return
        clock = SimClock(world.loop, world.skews[k])
        host = Host(f"host{k}.{self.born}", world.loop, world.trace)
        link = Link(world.truth, world.chaos, world.loop, clock, world.trace)
        link.host = host
        host.engine = self._engine(link, host)
        for definition in world.definitions.values():
            host.engine.register(definition)
        self.hosts[k] = host
        self.all.append(host)
        world.trace.add("start", host.name)
        try:
            await host.call(host.engine.start())
        except (Gone, ProviderError):
            host.leave()  # its machine starts another one later
            self.hosts[k] = None

    def _engine(self, link: Link, host: Host) -> Engine:
        rng, world = self.world.rng, self.world
        settings = Settings(
            lease=world.lease,
            max_live=rng.choice([2, 5, 1000, 1000]),
            linger=rng.choice([0, 500_000, 5_000_000]),
            name=host.name,
        )
        store = cast("Any", link)
        engine = Engine(store, queue=store, lock=store, settings=settings, heartbeat=_Heartbeat)
        engine.report.lifecycle.add(self._observed)
        return engine

    def _observed(self, event: LifecycleEvent) -> None:
        if event.kind in _QUIET:
            return
        account = self.world.ledger.by_id.get(event.instance_id)
        seen = (event.kind, event.pointer, event.attempt)
        if account is None or seen not in account.journal.seen:
            problem = f"{event.kind} of {event.step} in {event.instance_id} was never committed"
            self.world.trace.broken(Law.LIFECYCLE, problem)

    def down(self, k: int) -> None:
        """Forget the dead host of machine *k*."""
        host = self.hosts[k]
        if host is not None and host.dead:
            self.hosts[k] = None

    async def stop(self, k: int, grace: float) -> None:
        """Stop the host of machine *k* as its operator would."""
        host = self.hosts[k]
        if host is None or not host.well or not host.engine.running:
            return
        self.world.trace.add("stop", host.name)
        try:
            await host.call(host.engine.stop(grace))
        except Gone:
            return
        host.leave()
        self.hosts[k] = None
