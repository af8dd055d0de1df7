"""Fires schedules: sleeps until the next one is due, plans, and commits one run per time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from wfe.core.cancelling import cancelled
from wfe.core.codec import decode
from wfe.core.data import model_for
from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.crontimes import cron_times
from wfe.core.engine.json_text import dumps
from wfe.core.engine.registry import Registered
from wfe.core.errors import (
    DefinitionNotFoundError,
    HostStoppingError,
    ProviderError,
)
from wfe.core.lean import frozen
from wfe.core.models import WorkflowStatus, from_micros
from wfe.core.providers import GENTLY, Done, Fire, Hint, Item, Message, Refused, ScheduleRow
from wfe.core.rules.plan import make_plan
from wfe.core.rules.schedules import Every, Firing, Memory, Spec, Times, due_at, key_of, plan

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine

__all__ = ["ANYBODY", "Known", "Schedules", "times_of"]

_LOG: Final = logging.getLogger("wfe.engine")
_ROWS: Final = 100  # due schedules that are read at first
ANYBODY: Final = Hint(0, 0, None)
"""A hint about no instance: every host looks at the schedules."""


@frozen
class Known:
    """A stored schedule, read."""

    row: ScheduleRow
    spec: Spec
    memory: Memory

    @staticmethod
    def of(row: ScheduleRow) -> Known:
        """Read *row*."""
        return Known(row, Spec.read(orjson.loads(row.spec)), Memory.read(orjson.loads(row.state)))

    @property
    def data(self) -> Any:
        """What its runs start with."""
        return decode(orjson.loads(self.row.data))

    def info(self, at: int, actor: str | None = None) -> Mapping[str, Any]:
        """Return what the history of its run for *at* (µs) begins with."""
        who = actor or f"schedule:{self.row.id}"
        return {"actor": who, "schedule": self.row.id, "at": from_micros(at).isoformat()}


def times_of(spec: Spec) -> Times:
    """Return the times of *spec*.

    Raises:
        DefinitionError: The cron text is wrong, or its library is not installed here.
    """
    if spec.cron is not None:
        return cron_times(spec.cron, spec.timezone)
    return Every(spec.every or 1, spec.anchor)


class Schedules:
    """The loop beside the seeker.

    It only reads while nothing is due.  Every host looks at every schedule; the store takes the
    first change of a schedule, and the others look again.
    """

    def __init__(self, engine: Engine) -> None:
        """Fire the schedules of *engine*'s store."""
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._alarm: int | None = None
        self._looking = False
        self._watched: set[int] = set()
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin to fire; a host that drives its own runs only leaves schedules to others."""
        if self._engine.runs.roots is None:
            self._task = asyncio.create_task(self._run(), name="wfe-schedules")

    async def close(self) -> None:
        """Fire no more."""
        await cancelled(self._task)
        self._task = None

    def nudge(self) -> None:
        """Look at the schedules now."""
        self._news.set()

    @property
    def nudged(self) -> bool:
        """Whether it looks now, or will at the next turn of the loop."""
        return self._task is not None and (self._looking or self._news.is_set())

    async def changed(self) -> None:
        """A schedule was made or changed: all hosts look."""
        self.nudge()
        await self._engine.seeker.hint([ANYBODY])

    def ended(self, n: int) -> None:
        """A run is final: a fire may have waited for that."""
        if n in self._watched:
            self._news.set()

    # -- the loop

    async def _run(self) -> None:
        engine = self._engine
        while True:
            until: int | None = engine.clock.now() + engine.seeker.poll
            self._looking = True
            try:
                until = await self._look()
            except ProviderError as error:
                _LOG.warning("looking at the schedules failed, trying again: %s", error)
            except HostStoppingError:
                return
            except Exception:  # noqa: BLE001 - a host that stops looking would never fire again
                _LOG.exception("internal error while looking at the schedules, trying again")
            self._looking = False
            await self._rest(until)

    async def _rest(self, until: int | None) -> None:
        """Sleep until there is news, or it is *until* (µs; ``None``: without end)."""
        if until is not None and (self._alarm is None or until < self._alarm):
            self._alarm = until
            self._engine.timers.at(until, self._ring)
        await self._news.wait()
        self._news.clear()

    def _ring(self) -> None:
        self._alarm = None
        self._news.set()

    async def _look(self) -> int | None:
        """Fire what is due; return when to look again (µs; ``None``: when there is news)."""
        engine = self._engine
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        limit = _ROWS
        rows, following = await engine.store.due_schedules(limit)
        while len(rows) == limit:  # some may be due for ever: nobody here has their definition
            limit *= 4
            rows, following = await engine.store.due_schedules(limit)
        self._watched = set()
        soon = [following, *[await self._one(row) for row in rows]]
        if engine.durable:  # other processes make, change and end things too
            soon.append(engine.clock.now() + engine.seeker.poll)
        return min((when for when in soon if when is not None), default=None)

    async def _one(self, row: ScheduleRow) -> int | None:
        """Handle one schedule; what is wrong with it keeps no other from firing."""
        try:
            return await self._handle(Known.of(row))
        except (ProviderError, HostStoppingError):
            raise
        except Exception as error:  # noqa: BLE001 - for example what a later version stored
            self._tell(row, error)
            return None

    def _tell(self, row: ScheduleRow, error: Exception) -> None:
        """Warn once about a schedule."""
        if row.id not in self._told:
            self._told.add(row.id)
            _LOG.warning("schedule %r cannot fire on this host: %s", row.id, error, exc_info=error)

    async def _handle(self, known: Known) -> int | None:
        """Do what a schedule that is due needs; return when to look at it again (µs)."""
        engine = self._engine
        row, memory = known.row, known.memory
        try:
            ready = engine.registry.find(row.definition, row.version)
        except DefinitionNotFoundError:
            return None  # a host that has it fires it
        times = times_of(known.spec)
        running = await self._running(memory)
        now = engine.clock.now()
        firing = plan(row.id, known.spec, memory, now=now, running=running, times=times)
        if firing is None:
            return due_at(row.id, known.spec, memory)
        return await self._fire(known, ready, firing, now)

    async def _running(self, memory: Memory) -> bool:
        """Whether the last run is not final; its end here makes the loop look again."""
        if memory.last_id is None or memory.last_n is None:
            return False
        self._watched.add(memory.last_n)  # watch first, then look: an end in between is not missed
        header = await self._engine.store.get(memory.last_id)
        return header is not None and not WorkflowStatus(header.status).final

    async def _fire(self, known: Known, ready: Registered, firing: Firing, now: int) -> int | None:
        """Commit *firing*; return when to look at the schedule again (µs)."""
        item = await self._item(known, ready, firing, now)
        outcome = await self._engine.committer.submit(item)
        if isinstance(outcome, Refused) and outcome.why == "idem":
            # A backfill was here before: the time is done.
            item = self._without_run(known, firing, firing.memory)
            outcome = await self._engine.committer.submit(item)
        if not isinstance(outcome, Done):
            return now  # another host won, or it was changed: look again
        if item.new is not None:
            _LOG.info("schedule %r started run %s", known.row.id, item.new.id)
            self._watched.add(item.n)
        elif firing.memory.waiting:
            return now
        return due_at(known.row.id, known.spec, firing.memory)

    async def _item(self, known: Known, ready: Registered, firing: Firing, now: int) -> Item:
        at, memory = firing.start, firing.memory
        if at is None:
            return self._without_run(known, firing, memory)
        try:
            item = await self._engine.starter.prepared(
                ready, known.data, key_of(known.row.id, at), known.info(at)
            )
        except (ProviderError, HostStoppingError):
            raise
        except Exception as error:  # noqa: BLE001 - data that does not fit, or a middleware's veto
            _LOG.warning("schedule %r: the run cannot be started: %s", known.row.id, error)
            failed = attrs.evolve(memory, failed=memory.failed + 1, error=str(error))
            return self._without_run(known, firing, failed)
        state = started(memory, item, at, now)
        fire = Fire(
            id=known.row.id,
            rev=known.row.rev,
            next_at=firing.next_at,
            state=dumps(state.stored()),
        )
        cancel = self._cancel(known) if firing.cancel else ()
        return attrs.evolve(item, fire=fire, messages=cancel)

    def _without_run(self, known: Known, firing: Firing, memory: Memory) -> Item:
        fire = Fire(
            id=known.row.id,
            rev=known.row.rev,
            next_at=firing.next_at,
            state=dumps(memory.stored()),
            started=False,
        )
        return Item(fire=fire)

    def _cancel(self, known: Known) -> tuple[Message, ...]:
        name = f"schedule:{known.row.id}"
        reason = f"the schedule {known.row.id!r} starts the next run"
        message = Message(
            target=known.memory.last_n,
            kind="terminate",
            payload=GENTLY,
            actor=name,
            reason=reason,
        )
        return (message,)

    # -- definitions

    async def runnable(self, definition: str, version: int | None) -> Registered:
        """Return a definition that runs can be started of: registered, or only stored.

        Raises:
            DefinitionNotFoundError: It is neither.
        """
        engine = self._engine
        if engine.registry.pending:
            await engine.registry.sync(engine.store)
        try:
            return engine.registry.find(definition, version)
        except DefinitionNotFoundError:
            rows = [row for row in await engine.store.definitions(definition) if row.current]
            fitting = [row for row in rows if version in (None, row.version)]
            if not fitting:
                raise
            row = max(fitting, key=lambda row: row.version)
        stored = WorkflowDefinition.from_json(orjson.loads(row.body))
        model = model_for(None)
        return Registered(d=row.d, plan=make_plan(stored, model.reducers), model=model, runners={})


def started(memory: Memory, item: Item, at: int, now: int) -> Memory:
    """Return *memory* with the run of *item*, which is for the time *at* (µs)."""
    if item.new is None:
        return memory
    return attrs.evolve(
        memory, last_n=item.n, last_id=item.new.id, last_at=at, fired_at=now, error=None
    )
