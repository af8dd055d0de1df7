"""The engine of one host: owns instances, drives them, gives them up.

The rules decide and the store remembers; this is the shell between them.  It implements
:class:`~wfe.core.engine.live.Owner` for the live runs and wires committer, timers, claims,
heartbeat and takeover together.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.bodies import StepFactory
from wfe.core.engine.committer import CommitHooks, Committer
from wfe.core.engine.control import Control
from wfe.core.engine.ids import Numbers
from wfe.core.engine.lifecycle import Lifecycle
from wfe.core.engine.live import LiveRun, dumps
from wfe.core.engine.logs import LogPump
from wfe.core.engine.membership import Heartbeat, Takeover, cancelled
from wfe.core.engine.middleware import StepMiddleware, WorkflowMiddleware
from wfe.core.engine.pools import WorkerPools
from wfe.core.engine.reads import Reads
from wfe.core.engine.registry import Registry, Surroundings
from wfe.core.engine.starts import Starter
from wfe.core.engine.timers import Timers
from wfe.core.engine.views import state_of
from wfe.core.engine.waits import Waits
from wfe.core.errors import HostStoppingError, ProviderError
from wfe.core.models import LifecycleEvent, from_micros
from wfe.core.providers import (
    Claimed,
    Done,
    HeaderChange,
    Hint,
    Item,
    Loaded,
    LockProvider,
    LogRow,
    PersistenceProvider,
    QueueProvider,
    StoreInfo,
    WorkerInfo,
)
from wfe.core.rules import State
from wfe.core.rules.state import Pointer
from wfe.core.steps import InstanceRef, PointerRef

__all__ = ["Engine", "Settings"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs
_FAULTS: Final = 5  # engine failures, or deaths of its host, after which a run is suspended
_CLAIM: Final = 100  # instances claimed at once
_HOUR: Final = 3600 * _SECOND


@attrs.frozen(kw_only=True)
class Settings:
    """How a host behaves.

    Attributes:
        lease: µs without a beat after which others may take over.
        max_live: Runs in memory at a time; the others wait in the store.
        linger: µs that a waiting run stays in memory before it is given up.
        poll: µs between looks at the store for work that nobody announced.
        threads: For sync bodies.
    """

    lease: int = 30 * _SECOND
    max_live: int = 1000
    linger: int = 5 * _SECOND
    poll: int = _SECOND
    threads: int = 64
    strict_versions: bool = False
    name: str = "wfe"


class Engine:
    """Runs definitions over a store."""

    def __init__(
        self,
        store: PersistenceProvider,
        *,
        queue: QueueProvider,
        lock: LockProvider,
        settings: Settings | None = None,
        app: Any = None,
        step_factory: StepFactory | None = None,
        middleware: Sequence[StepMiddleware | WorkflowMiddleware] = (),
    ) -> None:
        """Make an engine that does not run yet."""
        self.store = store
        self.clock = store.clock
        self.app = app
        self.settings = settings or Settings()
        self.lifecycle = Lifecycle()
        self.waits = Waits(self)
        self.live: dict[int, LiveRun] = {}
        self._by_id: dict[str, LiveRun] = {}
        self.pools = WorkerPools(self.settings.threads)
        self.starter = Starter(self)
        self.reads = Reads(self)
        self.control = Control(self)
        self.hooks = tuple(m for m in middleware if isinstance(m, WorkflowMiddleware))
        self.registry = Registry(
            Surroundings(
                clock=self.clock,
                pools=self.pools,
                factory=step_factory,
                middleware=[m.handle for m in middleware if isinstance(m, StepMiddleware)],
                start_child=self.starter.child,
            ),
            strict=self.settings.strict_versions,
        )
        self.epoch = 0
        self.running = False
        self.info: StoreInfo | None = None
        self._queue = queue
        self._lock = lock
        self._claims: asyncio.Task[None] | None = None
        self._parking: int | None = None
        self._listen: asyncio.Task[Sequence[int]] | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self.progress_at: dict[str, int] = {}

    # -- starting and stopping

    async def start(self) -> None:
        """Open the store, register as a worker, and begin to work."""
        self.info = await self.store.open()
        self.timers = Timers(self.clock)
        self.logs = LogPump(self.store, self._logged)
        self.numbers = Numbers(self.store)
        hooks = CommitHooks(
            epoch=lambda: self.epoch,
            woken=self._woken,
            lost=self._lost,
            broken=self.broken,
            fenced=self._fenced,
        )
        self.committer = Committer(self.store, hooks)
        await self._register()
        await self.registry.sync(self.store)
        self.running = True
        self.committer.start()
        self._takeover = Takeover(self.store, self._lock, self.settings.lease, lambda: self.epoch)
        self._heartbeat: Heartbeat | None = None
        if self.info.durable:
            self._heartbeat = Heartbeat(
                self._lock, self.settings.lease, lambda: self.epoch, lambda: bool(self.live)
            )
            self._heartbeat.start()
        self._claims = asyncio.create_task(self._work(), name="wfe-claims")

    async def _register(self) -> None:
        worker = WorkerInfo(name=self.settings.name, host=socket.gethostname(), pid=os.getpid())
        self.epoch = await self.store.register(worker)

    async def stop(self, grace: float = 5.0) -> int:
        """Let running bodies end within *grace* seconds, hand the rest back; return how many.

        Whatever is unfinished is released at once, so that another host, or the next start,
        goes on with it.
        """
        if not self.running:
            return 0
        self.running = False
        await cancelled(self._claims)
        await cancelled(self._listen)
        for run in self.live.values():
            run.draining = True
        left = await self._settle(grace)
        await self.committer.drain()  # what ended in time is recorded before the runs are let go
        for run in self.live.values():
            run.close()
        await asyncio.gather(*left, return_exceptions=True)
        await self.committer.close()
        await self.timers.close()
        await asyncio.gather(*self._posts, return_exceptions=True)
        await self.logs.close()
        if self._heartbeat is not None:
            await self._heartbeat.close()
        await self.store.unregister(self.epoch)
        self.live.clear()
        self._by_id.clear()
        self.waits.close()
        self.lifecycle.close()
        self.pools.close()
        await self.store.close()
        return len(left)

    async def _settle(self, grace: float) -> list[asyncio.Task[None]]:
        """Wait until no body runs, at most *grace* seconds; return the tasks that still do."""
        deadline = asyncio.get_running_loop().time() + grace
        while busy := [task for run in self.live.values() for task in run.working]:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return busy
            await asyncio.wait(busy, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
        return []

    @property
    def committing(self) -> bool:
        """Whether decisions are being written, or work is being looked for."""
        return self.committer.active or self.waits.nudge.is_set() or bool(self._posts)

    def check_running(self) -> None:
        """Raise when the host takes no work.

        Raises:
            HostStoppingError: It was not started, or is stopping.
        """
        if not self.running:
            message = "the host is not running; use `async with WorkflowHost(...)` or start() it"
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

    async def health(self) -> dict[str, Any]:
        """Return how the host does; see ``WorkflowHost.health``."""
        numbers = self.registry.numbers
        info = self.info
        return {
            "running": self.running,
            "live": len(self.live),
            "store": None if info is None else {"kind": info.kind, "version": info.version},
            "trouble": self.committer.trouble if self.running else None,
            "last_look": self.progress_at.get("claims"),
            "due": await self.store.due(numbers) if self.running and numbers else None,
            "workers": [attrs.asdict(w) for w in await self.store.workers()],
        }

    # -- Owner

    def changed(self, run: LiveRun) -> None:
        """Take note that *run* has inputs to decide on."""
        self.committer.changed(run)

    def ended(self, run: LiveRun) -> None:
        """A run is final: forget it, tell who waits."""
        self._forget(run)
        if self.hooks:
            self._later(self._post(run))

    def turned(self, run: LiveRun) -> None:
        """A run was suspended or resumed: tell who waits."""
        self.waits.told(run)

    async def _post(self, run: LiveRun) -> None:
        instance = run.view()
        for hook in reversed(self.hooks):
            try:
                await hook.post(instance)
            except Exception:  # noqa: BLE001 - a hook is a guest
                # The run is over and stored; a hook's failure can change nothing about it.
                _LOG.exception("a workflow middleware failed after run %s", run.ref.id)

    def _later(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._posts.add(task)
        task.add_done_callback(self._posts.discard)

    def broken(self, run: LiveRun, error: Exception) -> None:
        """The engine failed on *run*: set it aside for a while, and for good after five times."""
        _LOG.error("internal error on run %s", run.ref.id, exc_info=error)
        self._forget(run)
        run.close()
        reason = dumps({"type": type(error).__name__, "message": str(error), "step": None})
        wake = self.clock.now() + _SECOND
        self._later(self.store.fault(self.epoch, run.n, wake, reason, _FAULTS))

    def happened(self, run: LiveRun, rows: list[list[Any]], at: int) -> None:
        """Tell observers about committed rows."""
        if not self.lifecycle.watched:
            return
        when = from_micros(at)
        for _, kind, pointer, step, attempt, info, _ops in rows:
            self.lifecycle.send(
                LifecycleEvent(
                    kind=kind,
                    instance_id=run.ref.id,
                    definition=run.ref.definition,
                    at=when,
                    step=step,
                    pointer=pointer,
                    attempt=attempt,
                    data=info,
                )
            )

    def began(self, run: LiveRun, pointer: Pointer) -> None:
        """Tell observers that a body starts."""
        if self.lifecycle.watched:
            ref = PointerRef(pointer.id, pointer.step, pointer.attempt, ())
            self._send("step_started", run, ref, None)

    def _send(
        self, kind: str, run: LiveRun, pointer: PointerRef, data: Mapping[str, Any] | None
    ) -> None:
        self.lifecycle.send(
            LifecycleEvent(
                kind=kind,
                instance_id=run.ref.id,
                definition=run.ref.definition,
                at=from_micros(self.clock.now()),
                step=pointer.step,
                pointer=pointer.id,
                attempt=pointer.attempt,
                data=data,
            )
        )

    def timer(self, run: LiveRun, when: int, pointer: int | None) -> None:
        """Call :meth:`LiveRun.timer` at *when* (µs)."""
        self.timers.at(when, lambda: run.timer(pointer))

    def log(self, run: LiveRun, pointer: PointerRef, stream: str, line: str) -> None:
        """Take a log line; from any thread."""
        now = self.clock.now()
        self.logs.take(
            LogRow(n=run.n, at=now, step=pointer.step, pointer=pointer.id, stream=stream, line=line)
        )

    def _logged(self, row: LogRow) -> None:
        run = self.live.get(row.n)
        if run is not None and self.lifecycle.observed:
            ref = PointerRef(row.pointer or 0, row.step or "", 0, ())
            self._send("log", run, ref, {"stream": row.stream, "line": row.line})

    def progress(self, run: LiveRun, pointer: PointerRef, name: str, payload: Any) -> None:
        """Tell observers about progress; from any thread."""
        if self.lifecycle.observed:
            data = {"name": name, "payload": payload}
            loop = self.waits.loop
            loop.call_soon_threadsafe(self._send, "progress", run, pointer, data)

    # -- owning

    @property
    def room(self) -> int:
        """How many more runs may be live."""
        return self.settings.max_live - len(self.live)

    def adopt(self, run: LiveRun) -> None:
        """Drive a run that this worker owns."""
        self.live[run.n] = run
        self._by_id[run.ref.id] = run
        run.begin()
        if run.poked:
            self.committer.changed(run)
        if run.idle:
            self.idled(run)

    def driven(self, id: str) -> LiveRun | None:
        """Return the live run with this id, ``None`` when it is not driven here."""
        return self._by_id.get(id)

    def _forget(self, run: LiveRun) -> None:
        self.live.pop(run.n, None)
        self._by_id.pop(run.ref.id, None)
        self.committer.forget(run)
        self.waits.told(run)

    def _lost(self, run: LiveRun) -> None:
        """A commit was refused: what is in memory is not the truth any more."""
        _LOG.warning("run %s moved on without this host; loading it again", run.ref.id)
        self._forget(run)
        run.close()
        self._later(self._reload(run.n))

    async def _reload(self, n: int) -> None:
        for loaded in await self.store.load([n]):
            if loaded.header.owner == self.epoch:
                self._resume(loaded, takeovers=0)

    async def _fenced(self) -> None:
        """Another host took over: drop everything and begin anew as another worker."""
        _LOG.warning("this host was fenced; it registers anew")
        runs = list(self.live.values())
        for run in runs:
            self._forget(run)
            run.close()
        await asyncio.gather(*(t for r in runs for t in r.working), return_exceptions=True)
        await self._register()
        now = from_micros(self.clock.now())
        self.lifecycle.send(
            LifecycleEvent(kind="host_fenced", instance_id="", definition="", at=now)
        )
        self.nudge()

    def _resume(self, loaded: Loaded, takeovers: int) -> None:
        """Go on with a run as stored."""
        header = loaded.header
        ready = self.registry.number(header.d)
        if ready is None or header.n in self.live:
            return
        state, snapshot, tail = state_of(loaded)
        run = self.make_run(header_ref(loaded), ready, header.n, state, header.created_at)
        run.parent, run.parent_pointer = header.parent, header.parent_pointer
        run.seen, run.fresh = header.poke, True
        run.snapshot_bytes, run.tail_bytes = snapshot, tail
        run.read(header.poke, loaded.inbox)
        if takeovers:
            run.recover()
        self.adopt(run)
        if run.inputs:
            self.committer.changed(run)

    def make_run(
        self, ref: InstanceRef, ready: Any, n: int, state: State, created_at: int
    ) -> LiveRun:
        """Return a live run that is not driven yet."""
        return LiveRun(
            owner=self,
            ready=ready,
            ref=ref,
            n=n,
            parent=None,
            parent_pointer=None,
            created_at=created_at,
            state=state,
        )

    # -- looking for work

    def nudge(self) -> None:
        """Look for work now."""
        self.waits.nudge.set()

    def _woken(self, woken: Sequence[tuple[int, int, int | None]]) -> None:
        """Pass on which instances have work now."""
        away: list[Hint] = []
        for n, d, owner in woken:
            run = self.live.get(n)
            if run is not None:
                self.poke(run)
            elif owner is None and self.registry.number(d) is not None:
                self.nudge()
            else:
                away.append(Hint(n, d, owner))
        if away:
            self._later(self._hint(away))

    def poke(self, run: LiveRun) -> None:
        """Have *run* read its inbox."""
        run.poked = True
        self.committer.changed(run)

    async def _hint(self, hints: Sequence[Hint]) -> None:
        try:
            await self._queue.hint(hints)
        except ProviderError as error:
            # Only a hint: whoever it was for finds the work by its own poll.
            _LOG.warning("a hint was not delivered: %s", error)

    async def _work(self) -> None:
        """Claim what is due, take over from the dead, give up what only waits."""
        looked = 0
        while self.running:
            wait = self.settings.poll
            try:
                now = self.clock.now()
                if self.durable and (not looked or now - looked >= self.settings.poll):
                    looked = now
                    await self._takeover.look()
                if self.registry.pending:
                    await self.registry.sync(self.store)
                await self._park()
                wait = await self._claim()
            except ProviderError as error:
                _LOG.warning("looking for work failed, trying again: %s", error)
            except Exception:  # noqa: BLE001 - a host that stops looking would hang its runs
                _LOG.exception("internal error while looking for work, trying again")
            self.progress_at["claims"] = self.clock.now()
            await self._rest(wait)

    @property
    def durable(self) -> bool:
        """Whether other processes may share the store."""
        return self.info is not None and self.info.durable

    async def _rest(self, wait: int) -> None:
        """Sleep until a hint, a nudge, or *wait* µs have passed."""
        nudged = asyncio.ensure_future(self.waits.nudge.wait())
        listen = self._listen
        if listen is None:
            listen = self._listen = asyncio.ensure_future(self._queue.wait(self.epoch, _HOUR))
        self.timers.at(self.clock.now() + wait, self.waits.nudge.set)
        try:
            await asyncio.wait({nudged, listen}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
        self.waits.nudge.clear()
        if not listen.done():
            return
        self._listen = None
        for n in listen.result():
            run = self.live.get(n)
            if run is not None:
                self.poke(run)

    async def _claim(self) -> int:
        """Claim and load what is due; return for how long (µs) there is nothing to claim."""
        numbers = self.registry.numbers
        if not numbers:
            return self.settings.poll
        while self.room > 0:
            now = self.clock.now()
            due = await self.store.due(numbers)
            if due is None or due > now:
                return self._until(due, now)
            limit = min(self.room, _CLAIM)
            claimed = await self.store.claim(self.epoch, numbers, limit)
            if not claimed:
                return self.settings.poll if self.durable else self.settings.poll // 10
            await self._take(claimed)
        return self.settings.poll

    def _until(self, due: int | None, now: int) -> int:
        """Without other processes every change is announced, and no safety poll is needed."""
        if due is None:
            return self.settings.poll if self.durable else _HOUR
        wait = max(due - now, 1)
        return min(wait, self.settings.poll) if self.durable else wait

    async def _take(self, claimed: Sequence[Claimed]) -> None:
        takeovers = {each.n: each.takeovers for each in claimed}
        for loaded in await self.store.load(list(takeovers)):
            times = takeovers[loaded.header.n]
            if times >= _FAULTS:
                message = f"its host died {times} times while it ran"
                reason = dumps({"type": "PoisonError", "message": message, "step": None})
                await self.store.fault(self.epoch, loaded.header.n, self.clock.now(), reason, 1)
                continue
            try:
                self._resume(loaded, times)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run is set aside
                _LOG.exception("cannot go on with run %s", loaded.header.id)
                reason = dumps({"type": type(error).__name__, "message": str(error), "step": None})
                wake = self.clock.now() + _SECOND
                await self.store.fault(self.epoch, loaded.header.n, wake, reason, _FAULTS)

    def idled(self, run: LiveRun) -> None:
        """A run only waits now: give it up when it has done so for long enough."""
        run.idle_since = self.clock.now()
        self._park_by(run.idle_since + self.settings.linger)

    def _park_by(self, when: int) -> None:
        if self._parking is None:
            self._parking = when
            self.timers.at(when, self._parking_due)

    def _parking_due(self) -> None:
        self._parking = None
        self.nudge()

    async def _park(self) -> None:
        """Release runs that only wait: for long enough, or because others need the room."""
        now = self.clock.now()
        crowded = self.room <= 0
        idle = [run for run in self.live.values() if run.idle]
        ripe = [run for run in idle if crowded or now >= run.idle_since + self.settings.linger]
        if ripe:
            await asyncio.gather(*(self._release(run) for run in ripe))
        rest = [run.idle_since for run in idle if run.idle]
        if rest:
            self._park_by(min(rest) + self.settings.linger)

    async def _release(self, run: LiveRun) -> None:
        """Give up one run; a message that came meanwhile makes it due at once."""
        if not run.idle:
            return
        run.parking = True  # timers and messages do not decide until the answer is there
        header = HeaderChange(status=run.state.status, wake=run.next_wake, release=True)
        header = attrs.evolve(header, error=run.error_text)
        item = Item(n=run.n, base=run.state.seq, header=header, seen=run.seen)
        outcome = await self.committer.submit(item)
        if isinstance(outcome, Done):
            self._forget(run)
            run.close()
            self.waits.nudge.set()
        else:
            self._lost(run)


def header_ref(loaded: Loaded) -> InstanceRef:
    """Return who a stored run is."""
    header = loaded.header
    return InstanceRef(
        id=header.id,
        name=header.name,
        definition=header.definition,
        version=header.version,
        reference=header.reference,
        parent_id=header.parent_id,
        root_id=header.root_id,
    )
