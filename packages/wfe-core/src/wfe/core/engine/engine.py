"""The engine of one host: owns instances, drives them, gives them up.

The rules decide and the store remembers; this is the shell between them.  It implements
:class:`~wfe.core.engine.owner.Owner` for the live runs and wires committer, timers, claims,
heartbeat and takeover together.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.activities import Activities
from wfe.core.engine.bodies import StepFactory
from wfe.core.engine.carriers import Carriers
from wfe.core.engine.committer import CommitHooks, Committer
from wfe.core.engine.control import Control
from wfe.core.engine.delivering import Delivering
from wfe.core.engine.errands import Errands
from wfe.core.engine.gates import Gates
from wfe.core.engine.ids import Numbers
from wfe.core.engine.inventory import Inventory
from wfe.core.engine.live import LiveRun
from wfe.core.engine.lookups import Lookups
from wfe.core.engine.membership import Beats, Heartbeat, HeartbeatFactory
from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware, tell_ended
from wfe.core.engine.options import StartOptions
from wfe.core.engine.outbox import Outbox
from wfe.core.engine.pools import WorkerPools
from wfe.core.engine.publishing import Publishing
from wfe.core.engine.reads import Reads
from wfe.core.engine.registry import Registry, Surroundings
from wfe.core.engine.reporting import Reporter
from wfe.core.engine.retention import Archive, Retention
from wfe.core.engine.runs import Runs
from wfe.core.engine.schedules import Schedules
from wfe.core.engine.scheduling import Scheduling
from wfe.core.engine.secrets import Vault
from wfe.core.engine.seeking import Seeker
from wfe.core.engine.settings import Settings
from wfe.core.engine.shared import Shared
from wfe.core.engine.sizes import Sizes
from wfe.core.engine.starts import Starter
from wfe.core.engine.stopping import stop
from wfe.core.engine.streams import Streams
from wfe.core.engine.timers import Timers
from wfe.core.engine.waits import Waits
from wfe.core.errors import HostStoppingError
from wfe.core.lifecycle_provider import LifecyclePublisher
from wfe.core.payloads import with_texts
from wfe.core.providers import (
    BlobProvider,
    Clock,
    LockProvider,
    PayloadCodec,
    PersistenceProvider,
    QueueProvider,
    StoreInfo,
    WorkerInfo,
)
from wfe.core.rules.inputs import Received
from wfe.core.secrets import EnvSecrets, SecretsProvider

if TYPE_CHECKING:
    from wfe.core.artifact_index import ArtifactStore
    from wfe.core.engine.artifacts import Artifacts
    from wfe.core.engine.caching import CacheMode, Results
    from wfe.core.engine.feeding import SearchSettings
    from wfe.core.engine.searching import Searching
    from wfe.core.engine.transactions import Transactions

__all__ = ["Engine"]

_SECOND: Final = 1_000_000  # µs
_STALLED: Final = 300 * _SECOND  # without a turn of the loop a host counts as hung


class Engine:
    """Runs definitions over a store.

    Attributes:
        live: Runs in memory, by number.
        timers: From :meth:`start` on, as ``numbers``, ``committer``, ``delivering``, ``seeker``.
    """

    timers: Timers
    numbers: Numbers
    committer: Committer
    delivering: Delivering
    seeker: Seeker
    epoch: int = 0
    running: bool = False
    info: StoreInfo | None = None
    publishing: Publishing | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    heartbeat: Beats | None = None

    def __init__(  # noqa: PLR0913 - the parts of a host
        self,
        store: PersistenceProvider,
        *,
        queue: QueueProvider,
        lock: LockProvider,
        settings: Settings | None = None,
        app: Any = None,
        step_factory: StepFactory | None = None,
        middleware: Sequence[StepMiddleware | WorkflowMiddleware] = (),
        heartbeat: HeartbeatFactory = Heartbeat,
        archive: Archive | None = None,
        codec: PayloadCodec | None = None,
        blobs: BlobProvider | None = None,
        secrets: SecretsProvider | None = None,
        artifacts: ArtifactStore | None = None,
        caching: CacheMode = "on",
        lifecycle: LifecyclePublisher | None = None,
        search: SearchSettings | None = None,
    ) -> None:
        """Make an engine that does not run yet."""
        self.settings: Settings = settings or Settings()
        self.store: PersistenceProvider = with_texts(store, codec, blobs, self.settings.max_inline)
        self.clock: Clock = store.clock
        self.app = app
        self.sizes: Sizes = Sizes(
            value=self.settings.max_inline,
            data=self.settings.max_data,
            blobs=blobs is not None,
            history=self.settings.max_history,
        )
        self.retention: Retention = Retention(self, lock, archive)
        self.outbox: Outbox = Outbox(self)
        self.streams: Streams = Streams(self)
        self.waits: Waits = Waits(self)
        self.runs: Runs = Runs(self, own_only=self.settings.own_runs_only)
        self.live: dict[int, LiveRun] = self.runs.live
        self.carriers: Carriers = Carriers()
        self.at_work: set[object] = set()
        self.report: Reporter = Reporter(self.store, self.live)
        if lifecycle is not None:
            # What is encoded in the store is not told in clear elsewhere.
            self._publish(lifecycle, data=codec is None)
        self.shared: Shared = Shared()
        self.pools: WorkerPools = WorkerPools(self.settings.threads, self.settings.processes)
        self.starter: Starter = Starter(self)
        self.reads: Reads = Reads(self)
        self.control: Control = Control(self)
        self.gates: Gates = Gates(self, self.settings.labels, self.settings.max_steps)
        self.lookups: Lookups = Lookups(self)
        self.activities: Activities = Activities(self)
        self.schedules: Schedules = Schedules(self)
        self.scheduling: Scheduling = Scheduling(self)
        self.search: SearchSettings | None = search
        self.inventory: Inventory = Inventory(self)
        self.hooks: tuple[WorkflowMiddleware, ...] = tuple(
            m for m in middleware if isinstance(m, WorkflowMiddleware)
        )
        self._artifact_store = artifacts
        self._caching = caching
        self.vault: Vault = Vault(secrets or EnvSecrets())
        self.registry: Registry = self._registry(step_factory, middleware)
        self.queue: QueueProvider = queue
        self.lock: LockProvider = lock
        self._foreign = id(lock) != id(store)  # one object may be both, for all the types know
        self._make_heartbeat = heartbeat
        self.errands: Errands = Errands()
        self._renewing = asyncio.Lock()

    def _publish(self, lifecycle: LifecyclePublisher, *, data: bool) -> None:
        self.publishing = Publishing(lifecycle, self.clock, self.settings.lease, data=data)
        self.report.lifecycle.away = self.publishing.take

    def _registry(
        self,
        step_factory: StepFactory | None,
        middleware: Sequence[StepMiddleware | WorkflowMiddleware],
    ) -> Registry:
        surroundings = Surroundings(
            clock=self.clock,
            pools=self.pools,
            factory=step_factory,
            middleware=[m.handle for m in middleware if isinstance(m, StepMiddleware)],
            start_child=self.starter.child,
            vault=self.vault,
            results=lambda: self.results,
            artifacts=lambda: self.artifacts,
        )
        return Registry(surroundings, strict=self.settings.strict_versions)

    # -- starting and stopping

    async def start(self) -> None:
        """Open the store, register as a worker, and begin to work; once it runs, do nothing."""
        if self.running:
            return
        self.info = await self.store.open()
        try:
            await self._start(self.info)
        except BaseException:
            await self.store.close()
            raise

    async def _start(self, info: StoreInfo) -> None:
        self.timers = Timers(self.clock)
        self.report.open()
        self.numbers = Numbers(self.store, few=self.settings.own_runs_only)
        hooks = CommitHooks(
            epoch=lambda: self.epoch or None,
            emitted=self.report.emitted,
            emitting=self.report.emitting,
            woken=self.runs.woken,
            offered=self.activities.offered,
            lost=self.runs.lost,
            broken=self.runs.broken,
            fenced=self.renew,
            doubt=self.doubt,
            started=self.report.started,
        )
        self.delivering = Delivering(self.live, self.clock.now)
        self.committer = Committer(self.store, hooks, self.delivering, self.at_work)
        self.epoch = 0 if self.settings.guest else await self._registered()
        await self.registry.sync(self.store)
        await self.gates.refresh()
        self.running = True
        self._loop = asyncio.get_running_loop()
        self.committer.start()
        self.seeker = Seeker(self, self.queue, self.lock, foreign=self._foreign)
        if info.durable and not self.settings.guest:
            self.heartbeat = self._make_heartbeat(
                self.lock, self.settings.lease, lambda: self.epoch, self._alive
            )
            self.heartbeat.start()
        if self.publishing is not None:
            self.publishing.start()
        self.seeker.start()
        self.schedules.start()
        self.retention.start()
        if self.search is not None:
            self.searching.start()

    def _alive(self) -> bool:
        """Whether this host owns runs and gets on with them; asked by the heartbeat's thread.

        A host that beats but never progresses would hold its runs for ever.
        """
        looked = self.seeker.last_look
        stalled = looked is not None and self.clock.now() - looked > _STALLED
        return bool(self.live) and not stalled

    async def _registered(self) -> int:
        worker = WorkerInfo(name=self.settings.name, host=socket.gethostname(), pid=os.getpid())
        return await self.store.register(worker)

    async def join(self) -> None:
        """Be a worker from now on, if this host was a guest: only workers hold locks."""
        async with self._renewing:
            self.epoch = self.epoch or await self._registered()

    async def stop(self, grace: float = 5.0) -> int:
        """Let running bodies end within *grace* seconds, hand the rest back; return how many.

        Whatever is unfinished is released at once, so that another host, or the next start,
        goes on with it.
        """
        if not self.running:
            return 0
        self.running = False
        return await stop(self, grace)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The files that steps keep."""
        from wfe.core.engine.artifacts import Artifacts  # noqa: PLC0415 - most hosts keep none

        return Artifacts(self, self._artifact_store)

    @property
    def transactions(self) -> Transactions:
        """The transactions of steps."""
        return self._transactions

    @cached_property
    def _transactions(self) -> Transactions:
        from wfe.core.engine.transactions import Transactions  # noqa: PLC0415 - as above

        return Transactions(self)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that the host runs on; it was started."""
        return cast("asyncio.AbstractEventLoop", self._loop)

    @cached_property
    def searching(self) -> Searching:
        """What finds runs and lines by words."""
        from wfe.core.engine.searching import Searching  # noqa: PLC0415 - most hosts never search

        return Searching(self, self.lock, self.search)

    @cached_property
    def results(self) -> Results:
        """The results that steps keep."""
        from wfe.core.engine.caching import Results  # noqa: PLC0415 - as above

        return Results(self, self.lock, self._caching)

    @property
    def committing(self) -> bool:
        """Whether decisions are being written, work is looked for, or bodies are about to begin."""
        active = self.committer.active or self.carriers.busy
        active = active or self.retention.busy or self.schedules.nudged
        reading = self.lookups.busy or self.activities.busy
        reading = reading or (self.search is not None and self.searching.busy)
        return active or reading or self.seeker.nudged or self.errands.busy

    def check_running(self) -> None:
        """Raise when the host takes no work.

        Raises:
            HostStoppingError: It was not started, is stopping, or runs on another event loop.
        """
        if not self.running:
            message = "the host is not running; use `async with WorkflowHost(...)` or start() it"
            raise HostStoppingError(message)
        if asyncio.get_running_loop() is not self._loop:
            message = (
                "the host runs on another event loop; call it there, for example with"
                " asyncio.run_coroutine_threadsafe(), or use SyncWorkflowHost"
            )
            raise HostStoppingError(message)

    def register(self, definition: WorkflowDefinition) -> None:
        """Take a definition; it is stored at the start, or soon when the engine runs already.

        Raises:
            DefinitionError: It cannot run here: a callable is missing, a CEL text is wrong.
            DefinitionConflictError: Versions are strict, and this one has other contents.
        """
        self.registry.add(definition)
        if self.running:
            self.nudge()
            self.schedules.nudge()

    async def health(self) -> dict[str, Any]:
        """Return how the host does; see ``WorkflowHost.health``."""
        return await self.inventory.health()

    # -- Owner

    def changed(self, run: LiveRun) -> None:
        """Take note that *run* has inputs to decide on."""
        self.committer.changed(run)

    def finished(self, run: LiveRun) -> None:
        """A body of *run* is done: decide on it, at once if nothing could go along with it."""
        if not self.committer.at_once(run):
            self.committer.changed(run)

    def ended(self, run: LiveRun) -> None:
        """A run is final: forget it, tell who waits."""
        self.runs.forget(run)
        self.schedules.ended(run.n)
        self.report.streams.tell()
        if self.hooks:
            self.errands.run(tell_ended(self.hooks, run.view))

    def retain_until(self, run: LiveRun, status: str) -> int | None:
        """Return when retention may delete *run* if it ends now so, µs; ``None``: never."""
        return self.retention.until(run, status)

    def idled(self, run: LiveRun) -> None:
        """A run only waits now."""
        self.seeker.idled(run)

    @property
    def slots(self) -> asyncio.Semaphore | None:
        """One for each body that may run at a time; ``None``: no limit."""
        return self.gates.slots

    @property
    def unsure(self) -> bool:
        """Whether this host may have been taken for dead, and begins no body until it knows."""
        return self.seeker.unsure

    async def sure(self) -> None:
        """Return when the store said that this host is not fenced; never if it stops before."""
        await self.seeker.sure()

    async def start_run(
        self, id: str, version: int | None, data: Any, options: StartOptions
    ) -> str:
        """Start another run; return its id."""
        return (await self.starter.start(id, version, data, options))[0]

    def look_up(self, run: LiveRun, message: Received) -> None:
        """Feed *message* to *run* once what it needs was looked up."""
        self.lookups.look_up(run, message)

    def answered(self, update: str) -> None:
        """The answer to an update is in the history."""
        self.control.updates.answered(update)

    def turned(self, run: LiveRun) -> None:
        """A run was suspended or resumed: tell who waits."""
        self.waits.told(run)

    def broken(self, run: LiveRun, error: Exception) -> None:
        """The engine failed on *run*: set it aside."""
        self.runs.broken(run, error)

    def timer(self, run: LiveRun, when: int, pointer: int | None) -> None:
        """Call :meth:`LiveRun.timer` at *when* (µs)."""
        self.timers.wake(when, run, pointer)

    def doubt(self, n: int) -> None:
        """Run *n* may be owned by this host without being driven: look at it soon."""
        self.seeker.doubt(n)

    async def renew(self, epoch: int) -> None:
        """*epoch* was fenced: drop everything and begin anew as another worker.

        Raises:
            ProviderError: The store did not take the new worker; ask again.
        """
        async with self._renewing:
            if epoch != self.epoch:
                return  # done already
            await self.runs.drop()
            self.epoch = await self._registered()
            self.seeker.registered()
        if self.publishing is not None:
            self.publishing.fenced()
        self.report.fenced()
        self.nudge()

    def nudge(self) -> None:
        """Look for work now."""
        self.seeker.nudge()

    @property
    def durable(self) -> bool:
        """Whether other processes may share the store."""
        return self.info is not None and self.info.durable
