"""Looks for work: claims what is due, takes over from the dead, gives up what only waits."""

from __future__ import annotations

import asyncio
import logging
import random  # noqa: TID251 - the shell draws when it looks; the rules draw nothing
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from wfe.core.cancelling import cancelled
from wfe.core.engine.hints import Hints
from wfe.core.engine.ids import shown_name
from wfe.core.engine.json_text import dumps
from wfe.core.engine.membership import Takeover
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
    StoredInstance,
)
from wfe.core.steps import InstanceRef

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.live import LiveRun

__all__ = ["FAULTS", "Seeker"]

_LOG: Final = logging.getLogger("wfe.engine")
_SECOND: Final = 1_000_000  # µs
_HOUR: Final = 3600 * _SECOND
_CLAIM: Final = 100  # instances claimed at once where there are other hosts, and loaded at once
_CLAIM_ALL: Final = 1000  # claimed at once by who is alone
_SPREAD: Final = 0.1  # of the time between looks, by which hosts differ
_APART: Final = 2_000  # µs for each other host, over which hosts spread what is due for all
_APART_MOST: Final = 30_000  # µs
_LATE: Final = 900 * _SECOND  # for so long Linux sends anew what was not acknowledged
FAULTS: Final = 5
"""Engine failures on a run, or deaths of its host, after which it is suspended."""


class Seeker:
    """The loop beside the committer.

    Attributes:
        poll: µs between looks at the store; each host has its own.
    """

    def __init__(
        self, engine: Engine, queue: QueueProvider, lock: LockProvider, *, foreign: bool = False
    ) -> None:
        """Look for work for *engine*; *foreign*: the lock is not the store itself."""
        self._engine = engine
        self._alone = engine.settings.guest or not engine.durable  # nobody takes over from it
        self._unsure_until = 0
        self._asked: int = engine.clock.now()  # when it asked last what it owns, or began to own
        lease = engine.settings.lease
        self._takeover = Takeover(engine.store, lock, lease, lambda: engine.epoch, foreign=foreign)
        # Hosts that started together would look together for ever.
        spread = random.uniform(1 - _SPREAD, 1)  # noqa: S311 - no secret
        self.poll: int = max(int(engine.settings.poll * spread), 1)
        # Well below a third of a lease: who leaves such gaps may take over from nobody.
        self._poll = min(self.poll, max(lease // 6, 1))
        self._patience = lease * 2 // 3
        self._looking = False
        self._hints = Hints(engine, queue, self._poll)
        self._alarm: int | None = None
        self._task: asyncio.Task[None] | None = None
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
        await self._hints.close()

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
        """Whether it looks now, or will at the next turn of the loop."""
        return self._looking or self._nudge.is_set()

    @property
    def unsure(self) -> bool:
        """Whether this host may have been taken for dead since the store said otherwise."""
        if self._alone:
            return False
        return self._engine.clock.now() - self._takeover.seen > self._patience

    async def sure(self) -> None:
        """Return when the store said again that this host is not fenced; never if it stops."""
        while self.unsure:
            self._nudge.set()
            self._takeover.alive.clear()
            await self._takeover.alive.wait()

    def registered(self) -> None:
        """Take note that this host is a new worker."""
        self._takeover.registered()
        self._asked = self._engine.clock.now()

    async def _run(self) -> None:
        while True:
            wait = self._poll
            self._looking = True
            try:
                wait = await self._look()
            except ProviderError as error:
                _LOG.warning("looking for work failed, trying again: %s", error)
            except Exception:  # noqa: BLE001 - a host that stops looking would hang its runs
                _LOG.exception("internal error while looking for work, trying again")
            self.last_look = self._engine.clock.now()
            self._looking = False
            await self._rest(wait)

    async def _look(self) -> int:
        """Go round once; return for how long (µs) nothing needs to be looked for."""
        engine = self._engine
        now = engine.clock.now()
        if engine.durable and self._due_look(now):
            self._looked = now
            if not engine.settings.guest:
                await self._take_over()
            await self._catch_up()
            await self._recall()
            await engine.gates.refresh()
            await engine.outbox.drain()
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        await self._park()
        if self._claimed:
            await self._take(())
        return await self._claim()

    async def _take_over(self) -> None:
        """Take over from the dead; register anew if somebody did so from this host."""
        engine = self._engine
        await self._takeover.look()
        fenced = self._takeover.fenced == engine.epoch
        if fenced or not await self._takeover.show(idle=not engine.live):
            await engine.renew(engine.epoch)

    def _due_look(self, now: int) -> bool:
        return not self._looked or now - self._looked >= self._poll or self.unsure

    async def _catch_up(self) -> None:
        """Read what was sent to runs that live here, in case the hint was lost."""
        live = self._engine.live
        try:
            found = await self._engine.store.inbox(list(live)) if live else ()
        except UnreadableTextError:  # whose it is will be known when each is read for itself
            for each in list(live.values()):
                self._engine.runs.poke(each)
            return
        for n, poke, _ in found:
            run = live.get(n)
            if run is not None and poke > run.seen:
                self._engine.runs.poke(run)

    async def _sure(self) -> None:
        """Make certain that this host may claim: an idle one may be taken for dead."""
        engine = self._engine
        epoch = engine.epoch
        if not engine.durable or engine.live or self._takeover.fresh:
            return
        if not await self._takeover.fit():
            await engine.renew(epoch)

    async def _recall(self) -> None:
        """Find the runs that a claim got whose answer was lost; what runs here goes on meanwhile.

        A claim that seems to have failed may still be on its way, for as long as the network may
        deliver it: what this host owns is looked at until then.  One that a server kept for longer
        (it waited for somebody's lock) is found by asking now and then, whatever happened.
        """
        engine = self._engine
        now = engine.clock.now()
        if now > self._unsure_until and now - self._asked < _LATE:
            return
        self._asked = now
        owned = await engine.store.owned(engine.epoch)
        lost = [each for each in owned if each.n not in engine.live]
        if lost:
            await self._take(lost)

    async def hint(self, hints: Sequence[Hint]) -> None:
        """Tell other hosts about work."""
        await self._hints.tell(hints)

    async def _rest(self, wait: int) -> None:
        """Sleep until a hint, a nudge, or *wait* µs have passed."""
        engine = self._engine
        nudged = asyncio.ensure_future(self._nudge.wait())
        listen = await self._hints.listening()
        until = engine.clock.now() + wait
        self._wake_at(until if listen is not None else min(until, self._hints.deaf_until))
        try:
            waited = {nudged} if listen is None else {nudged, listen}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nudged.cancel()
        self._nudge.clear()
        for n in self._hints.heard():
            run = engine.live.get(n)
            if run is not None:
                engine.runs.poke(run)
            elif n == 0:  # about no run, but about schedules
                engine.schedules.nudge()
            elif n == -1:  # an application's transaction left an event in the outbox
                self._looked = 0

    def _wake_at(self, when: int) -> None:
        """Look again then; one time is enough, the earliest."""
        if self._alarm is None or when < self._alarm:
            self._alarm = when
            self._engine.timers.at(when, lambda: self._ring(when))

    def _ring(self, when: int) -> None:
        if when == self._alarm:
            self._alarm = None
            self._nudge.set()

    # -- claiming

    async def _claim(self) -> int:
        """Claim and load what is due; return for how long (µs) there is nothing to claim."""
        engine = self._engine
        numbers = engine.gates.numbers
        poll = self._poll
        while numbers:
            self._crowded = engine.runs.room <= 0
            if self._crowded:
                break  # whoever ends makes room, and has this looked at again
            now = engine.clock.now()
            due, hints = await self._due(numbers)
            if due is None or due > now:
                return self._until(due, now)
            await self._sure()
            # Other hosts are to get their share; who is alone goes on with everything at once.
            most = _CLAIM if self._takeover.others else _CLAIM_ALL
            limit = min(engine.runs.room, most)
            try:
                claimed = await engine.store.claim(engine.epoch, numbers, limit, hints)
            except ProviderError as error:
                if error.unknown:
                    self._unsure_until = engine.clock.now() + _LATE
                raise
            if not claimed:
                return poll if engine.durable else poll // 10
            await self._take(claimed)
            if engine.durable and self._due_look(engine.clock.now()):
                return 0  # however much there is to claim, what else is looked for is not put off
        return poll

    async def _due(self, numbers: Sequence[int]) -> tuple[int | None, Sequence[int] | None]:
        """Return when the next run is due, and which runs may be claimed (``None``: all)."""
        engine = self._engine
        if engine.runs.roots is None:
            return await engine.store.due(numbers), None
        found = await engine.store.waiting(tuple(engine.runs.roots))
        mine = [(wake, n) for wake, n, d in found if d in numbers]
        return (mine[0][0] if mine else None), [n for _, n in mine]

    def _until(self, due: int | None, now: int) -> int:
        """Without other processes every change is announced, and no safety poll is needed."""
        poll, durable = self._poll, self._engine.durable
        if due is None:
            return poll if durable else _HOUR
        wait = max(due - now, 1)
        if not durable:
            return wait
        # All hosts know when it is due: most of them find it taken when they are a little later.
        late = min(self._takeover.others * _APART, _APART_MOST)
        return min(wait + int(random.random() * late), poll)  # noqa: S311 - no secret

    async def _take(self, claimed: Sequence[Claimed]) -> None:
        # Kept until they are loaded: when the store fails here, the next look goes on with them.
        self._claimed.update({each.n: each.takeovers for each in claimed})
        numbers = list(self._claimed)
        for i in range(0, len(numbers), _CLAIM):
            if i:
                await asyncio.sleep(0)  # bodies begin before others are loaded
            await self._go_on_with(numbers[i : i + _CLAIM])

    async def _go_on_with(self, numbers: Sequence[int]) -> None:
        """Load runs that this host claimed, and begin their bodies."""
        engine = self._engine
        begun: list[LiveRun] = []
        aside: list[tuple[StoredInstance, str, int]] = []
        for loaded in await self._load(numbers):
            header = loaded.header
            times = self._claimed.pop(header.n)
            if header.owner != engine.epoch:
                continue  # this host was fenced meanwhile
            # One that is set aside already is there because somebody asks for it again.
            suspended = header.status == WorkflowStatus.SUSPENDED
            if times >= engine.settings.max_interruptions and not suspended:
                message = f"its host died {times} times while it ran"
                aside.append((header, _reason("PoisonError", message), 1))
                continue
            try:
                run = self.resume(loaded, times)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run is set aside
                _LOG.exception("cannot go on with run %s", header.id)
                aside.append((header, _reason(type(error).__name__, str(error)), FAULTS))
            else:
                begun += [run] if run is not None and times else []
        for run in begun:  # all bodies are handed out: they begin before this is written
            run.recover()
        for header, reason, limit in aside:
            await engine.runs.set_aside(header.n, header.id, reason, limit)

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
        reason = _reason(type(error).__name__, str(error))
        await engine.store.fault(engine.epoch, n, engine.clock.now() + _SECOND, reason, FAULTS)

    def resume(self, loaded: Loaded, takeovers: int) -> LiveRun | None:
        """Go on with a run as stored.

        Returns:
            The run, if after *takeovers* it has yet to be noted that bodies may have been
            interrupted: who watches is told of that before they begin anew, else nobody waits.
        """
        engine = self._engine
        header = loaded.header
        ready = engine.registry.number(header.d)
        if ready is None or header.n in engine.live:
            return None
        state, snapshot, tail = state_of(loaded)
        run = engine.runs.make(_ref(loaded), ready, header.n, state, header.created_at)
        run.parent, run.parent_pointer = header.parent, header.parent_pointer
        run.fresh = True
        run.snapshot_bytes, run.tail_bytes = snapshot, tail
        run.read(header.poke, loaded.inbox)
        watched = engine.report.lifecycle.watched
        if takeovers and watched:
            run.recover()
        engine.runs.adopt(run)
        if run.inputs:
            engine.changed(run)
        return run if takeovers and not watched else None

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
        crowded = self._engine.runs.room <= 0
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
            self._engine.runs.forget(run)
            run.close()
            self.nudge()
        else:
            self._engine.runs.lost(run)


def _reason(error: str, message: str) -> str:
    """Return the JSON of why a run is set aside."""
    return dumps({"type": error, "message": message, "step": None})


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
