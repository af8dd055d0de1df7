"""Looks for work: claims what is due, takes over from the dead, gives up what only waits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.engine.ids import shown_name
from wfe.core.engine.live import dumps
from wfe.core.engine.membership import Takeover, cancelled
from wfe.core.engine.views import state_of
from wfe.core.errors import ProviderError, UnreadableTextError
from wfe.core.models import WorkflowStatus
from wfe.core.providers import (
    Claimed,
    Done,
    HeaderChange,
    Hint,
    Item,
    Loaded,
    LockProvider,
    QueueProvider,
)
from wfe.core.steps import InstanceRef

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun

__all__ = ["FAULTS", "Seeker"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs
_HOUR: Final = 3600 * _SECOND
_CLAIM: Final = 100  # instances claimed at once
FAULTS: Final = 5
"""Engine failures on a run, or deaths of its host, after which it is suspended."""


class Seeker:
    """The loop beside the committer."""

    def __init__(self, engine: Engine, queue: QueueProvider, lock: LockProvider) -> None:
        """Look for work for *engine*."""
        self._engine = engine
        self._queue = queue
        self._lock = lock
        self._unsure = False
        self._heard_as = 0
        self._takeover = Takeover(engine.store, lock, engine.settings.lease, lambda: engine.epoch)
        self._task: asyncio.Task[None] | None = None
        self._listen: asyncio.Task[Sequence[int]] | None = None
        self._nudge = asyncio.Event()
        self._parking: int | None = None
        self._claimed: dict[int, int] = {}
        self._looked = 0
        self._crowded = False
        self.last_look: int | None = None
        """When the loop went round last, µs."""

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="wfe-seeker")

    async def close(self) -> None:
        """Stop looking."""
        await cancelled(self._task)
        await cancelled(self._listen)

    def doubt(self, n: int) -> None:
        """Look whether this host owns run *n*, and drive it if it does."""
        self._claimed.setdefault(n, 0)
        self._nudge.set()

    def nudge(self) -> None:
        """Look for work now."""
        self._nudge.set()

    def room_made(self) -> None:
        """A run left memory: go on claiming if that waited for room."""
        if self._crowded:
            self._nudge.set()

    @property
    def nudged(self) -> bool:
        """Whether it will look at the next turn of the loop."""
        return self._nudge.is_set()

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell other hosts about work."""
        try:
            await self._queue.hint(hints)
        except ProviderError as error:
            # Only a hint: whoever it was for finds the work by its own poll.
            _LOG.warning("a hint was not delivered: %s", error)

    async def _run(self) -> None:
        while True:
            wait = self._engine.settings.poll
            try:
                wait = await self._look()
            except ProviderError as error:
                _LOG.warning("looking for work failed, trying again: %s", error)
            except Exception:  # noqa: BLE001 - a host that stops looking would hang its runs
                _LOG.exception("internal error while looking for work, trying again")
            self.last_look = self._engine.clock.now()
            await self._rest(wait)

    async def _look(self) -> int:
        """Go round once; return for how long (µs) nothing needs to be looked for."""
        engine = self._engine
        now = engine.clock.now()
        if engine.durable and (not self._looked or now - self._looked >= engine.settings.poll):
            self._looked = now
            await self._takeover.look()
            await self._catch_up()
            await engine.gates.refresh()
            await engine.outbox.drain()
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        await self._park()
        if self._claimed:
            await self._take(())
        await self._sure(due=False)
        return await self._claim()

    async def _catch_up(self) -> None:
        """Read what was sent to runs that live here, in case the hint was lost."""
        live = self._engine.live
        try:
            found = await self._engine.store.inbox(list(live)) if live else ()
        except UnreadableTextError:  # whose it is will be known when each is read for itself
            for each in list(live.values()):
                self._engine.poke(each)
            return
        for n, poke, _ in found:
            run = live.get(n)
            if run is not None and poke > run.seen:
                self._engine.poke(run)

    async def _sure(self, *, due: bool) -> None:
        """Make certain that this host may claim, and has what it claimed.

        An idle host does not beat, and may be taken for dead; the answer to a claim may be lost.
        """
        engine = self._engine
        epoch = engine.epoch
        if self._unsure:
            await engine.store.unregister(epoch)
            self._unsure = False
            await engine.renew(epoch)
            return
        idle = engine.durable and due and not engine.live
        if idle and not await self._lock.beat(epoch, engine.settings.lease):
            await engine.renew(epoch)

    async def _rest(self, wait: int) -> None:
        """Sleep until a hint, a nudge, or *wait* µs have passed."""
        engine = self._engine
        nudged = asyncio.ensure_future(self._nudge.wait())
        listen = self._listen
        if listen is not None and self._heard_as != engine.epoch:
            await cancelled(listen)  # hints go to the epoch that this host has now
            listen = None
        if listen is None:
            self._heard_as = engine.epoch
            listen = self._listen = asyncio.ensure_future(self._queue.wait(engine.epoch, _HOUR))
        engine.timers.at(engine.clock.now() + wait, self._nudge.set)
        try:
            await asyncio.wait({nudged, listen}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
        self._nudge.clear()
        if not listen.done():
            return
        self._listen = None
        for n in self._heard(listen):
            run = engine.live.get(n)
            if run is not None:
                engine.poke(run)
            elif n == 0:  # about no run, but about schedules
                engine.schedules.nudge()

    def _heard(self, listen: asyncio.Task[Sequence[int]]) -> Sequence[int]:
        try:
            return listen.result()
        except ProviderError as error:
            _LOG.warning("listening for hints failed, trying again: %s", error)
            return ()

    # -- claiming

    async def _claim(self) -> int:
        """Claim and load what is due; return for how long (µs) there is nothing to claim."""
        engine = self._engine
        numbers = engine.gates.numbers
        poll = engine.settings.poll
        while numbers:
            self._crowded = engine.room <= 0
            if self._crowded:
                break  # whoever ends makes room, and has this looked at again
            now = engine.clock.now()
            due, hints = await self._due(numbers)
            if due is None or due > now:
                return self._until(due, now)
            await self._sure(due=True)
            limit = min(engine.room, _CLAIM)
            try:
                claimed = await engine.store.claim(engine.epoch, numbers, limit, hints)
            except ProviderError as error:
                self._unsure = error.unknown
                raise
            if not claimed:
                return poll if engine.durable else poll // 10
            await self._take(claimed)
        return poll

    async def _due(self, numbers: Sequence[int]) -> tuple[int | None, Sequence[int] | None]:
        """Return when the next run is due, and which runs may be claimed (``None``: all)."""
        engine = self._engine
        if engine.roots is None:
            return await engine.store.due(numbers), None
        found = await engine.store.waiting(tuple(engine.roots))
        mine = [(wake, n) for wake, n, d in found if d in numbers]
        return (mine[0][0] if mine else None), [n for _, n in mine]

    def _until(self, due: int | None, now: int) -> int:
        """Without other processes every change is announced, and no safety poll is needed."""
        poll, durable = self._engine.settings.poll, self._engine.durable
        if due is None:
            return poll if durable else _HOUR
        wait = max(due - now, 1)
        return min(wait, poll) if durable else wait

    async def _take(self, claimed: Sequence[Claimed]) -> None:
        engine = self._engine
        # Kept until they are loaded: when the store fails here, the next look goes on with them.
        self._claimed.update({each.n: each.takeovers for each in claimed})
        for loaded in await self._load(list(self._claimed)):
            header = loaded.header
            times = self._claimed.pop(header.n)
            if header.owner != engine.epoch:
                continue  # this host was fenced meanwhile
            aside = header.status == WorkflowStatus.SUSPENDED
            # One that is set aside already is there because somebody asks for it again.
            if times >= engine.settings.max_interruptions and not aside:
                message = f"its host died {times} times while it ran"
                reason = dumps({"type": "PoisonError", "message": message, "step": None})
                await engine.set_aside(header.n, header.id, reason, 1)
                continue
            try:
                self.resume(loaded, times)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run is set aside
                _LOG.exception("cannot go on with run %s", header.id)
                reason = dumps({"type": type(error).__name__, "message": str(error), "step": None})
                await engine.set_aside(header.n, header.id, reason, FAULTS)

    async def _load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        """Return what there is of *numbers*; a run that cannot be read is set aside."""
        store = self._engine.store
        found: list[Loaded] = []
        try:
            found.extend(await store.load(numbers))
        except UnreadableTextError:
            for n in numbers:
                try:
                    found.extend(await store.load([n]))
                except UnreadableTextError as error:
                    await self._unreadable(n, error)
        there = {loaded.header.n for loaded in found}
        for n in numbers:
            if n not in there:
                del self._claimed[n]
        return found

    async def _unreadable(self, n: int, error: UnreadableTextError) -> None:
        _LOG.error("cannot read run number %d: %s", n, error)
        engine = self._engine
        reason = dumps({"type": type(error).__name__, "message": str(error), "step": None})
        await engine.store.fault(engine.epoch, n, engine.clock.now() + _SECOND, reason, FAULTS)

    def resume(self, loaded: Loaded, takeovers: int) -> None:
        """Go on with a run as stored; after *takeovers*, bodies may have been interrupted."""
        engine = self._engine
        header = loaded.header
        ready = engine.registry.number(header.d)
        if ready is None or header.n in engine.live:
            return
        state, snapshot, tail = state_of(loaded)
        run = engine.make_run(_ref(loaded), ready, header.n, state, header.created_at)
        run.parent, run.parent_pointer = header.parent, header.parent_pointer
        run.fresh = True
        run.snapshot_bytes, run.tail_bytes = snapshot, tail
        run.read(header.poke, loaded.inbox)
        if takeovers:
            run.recover()
        engine.adopt(run)
        if run.inputs:
            engine.changed(run)

    # -- parking

    def idled(self, run: LiveRun) -> None:
        """A run only waits now: give it up when it has done so for long enough."""
        run.idle_since = self._engine.clock.now()
        self._park_by(run.idle_since + self._engine.settings.linger)

    def _park_by(self, when: int) -> None:
        if self._parking is None:
            self._parking = when
            self._engine.timers.at(when, self._parking_due)

    def _parking_due(self) -> None:
        self._parking = None
        self.nudge()

    async def _park(self) -> None:
        """Release runs that only wait: for long enough, or because others need the room."""
        now = self._engine.clock.now()
        linger = self._engine.settings.linger
        crowded = self._engine.room <= 0
        idle = [run for run in self._engine.live.values() if run.idle]
        ripe = [run for run in idle if crowded or now >= run.idle_since + linger]
        if ripe:
            await asyncio.gather(*(self._release(run) for run in ripe))
        rest = [run.idle_since for run in idle if run.idle]
        if rest:
            self._park_by(min(rest) + linger)

    async def _release(self, run: LiveRun) -> None:
        """Give up one run; a message that came meanwhile makes it due at once."""
        if not run.idle:
            return
        run.parking = True  # timers and messages do not decide until the answer is there
        status = WorkflowStatus(run.state.status)
        header = HeaderChange(
            status=status.value, wake=run.next_wake, release=True, error=run.error_text
        )
        if status.final:  # a retry that came to nothing: it ends as it had ended
            until = self._engine.retain_until(run, status.value)
            header = attrs.evolve(header, release=False, final=True, retain_until=until)
        item = Item(n=run.n, base=run.state.seq, header=header, seen=run.seen)
        try:
            outcome = await self._engine.committer.submit(item)
        except ProviderError:
            run.parking = False  # it stays where it is, and is tried again later
            run.go_on()  # what came due meanwhile
            self._engine.changed(run)
            raise
        if isinstance(outcome, Done):
            self._engine.forget(run)
            run.close()
            self.nudge()
        else:
            self._engine.lost(run)


def _ref(loaded: Loaded) -> InstanceRef:
    """Return who a stored run is."""
    header = loaded.header
    return InstanceRef(
        id=header.id,
        name=shown_name(header.name, header.definition, header.n),
        definition=header.definition,
        version=header.version,
        reference=header.reference,
        parent_id=header.parent_id,
        root_id=header.root_id,
    )
