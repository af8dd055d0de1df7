"""What callers do with schedules: make, change, trigger and look at them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import orjson

from wfe.core.codec import encode
from wfe.core.engine.ids import uuid7
from wfe.core.engine.json_text import dumps
from wfe.core.engine.schedules import Known, started, times_of
from wfe.core.engine.sizes import check_index
from wfe.core.errors import (
    DefinitionConflictError,
    DefinitionError,
    LeaseLostError,
    ScheduleNotFoundError,
)
from wfe.core.models import from_micros
from wfe.core.providers import Done, Fire, Refused, ScheduleRow
from wfe.core.rules.schedules import Memory, Spec, Times, due_at, first, key_of
from wfe.core.schedules import Schedule

if TYPE_CHECKING:
    from wfe.core.engine.engine import Engine
    from wfe.core.engine.registry import Registered

__all__ = ["Scheduling"]

_MOST: Final = 10_000  # runs of one backfill
_LOOKED_AT: Final = 10  # times between which a jitter must fit
_TIMING: Final = frozenset({"cron", "every", "timezone", "start", "end"})


class Scheduling:
    """The schedules of a store, for their users; every change is optimistic."""

    def __init__(self, engine: Engine) -> None:
        """Act on the schedules of *engine*'s store."""
        self._engine = engine

    async def create(
        self,
        id: str,
        definition: str,
        version: int | None,
        data: Any,
        spec: Spec,
        *,
        actor: str | None,
        on_conflict: Literal["error", "replace"],
    ) -> Schedule:
        """Store a schedule.

        Raises:
            DefinitionError: It never fires, or says something impossible.
            DefinitionConflictError: There is one with this id, and *on_conflict* is ``error``.
            DefinitionNotFoundError: The definition is neither registered nor stored.
            DataTypeError: The data cannot be stored or does not fit the definition's type, or the
                id cannot be indexed.
        """
        engine = self._engine
        engine.check_running()
        check_index("schedule id", id)
        if not id:
            raise DefinitionError("a schedule needs an id", "schedule")
        ready = await engine.schedules.runnable(definition, version)
        text = _given(ready, data)
        while True:
            now = engine.clock.now()
            old = await self._known(id)
            if old is not None and on_conflict == "error":
                problem = "a schedule with this id exists"
                hint = 'delete it first, or say on_conflict="replace"'
                raise DefinitionConflictError(problem, f"schedule {id!r}", hint)
            whole = attrs.evolve(spec, anchor=_anchor(spec, old, now))
            memory = self._begun(id, whole, old, now, actor)
            row = ScheduleRow(
                id=id,
                definition=definition,
                version=version,
                data=text,
                spec=dumps(whole.stored()),
                next_at=_next_at(id, whole, memory),
                paused=old is not None and old.row.paused,
                state=dumps(memory.stored()),
                created_at=now if old is None else old.row.created_at,
                rev=0 if old is None else old.row.rev,
            )
            if old is not None and _same(old.row, row):
                return _shown(old)
            if await engine.store.put_schedule(row):
                await engine.schedules.changed()
                return await self.get(id)

    def _begun(self, id: str, spec: Spec, old: Known | None, now: int, actor: str | None) -> Memory:
        """Return what a new schedule remembers, or one whose definition is *spec* from now on."""
        times = times_of(spec)
        at = first(spec, times, now)
        if old is None or not _same_times(old.spec, spec):
            # One that exists already may have seen its last time, a new one would be a mistake.
            if at is None:
                raise DefinitionError("it never fires", f"schedule {id!r}", _why(spec))
            _check_jitter(id, spec, times, now)
        if old is None:
            return Memory(at=at, actor=actor)
        if _same_times(old.spec, spec):
            # Made anew at each start of an application: what was missed is made up for.
            waiting = old.memory.waiting if spec.overlap != "cancel" else ()
            return attrs.evolve(old.memory, waiting=waiting, actor=actor)
        return attrs.evolve(old.memory, at=at, waiting=(), actor=actor)

    async def pause(self, id: str, actor: str | None) -> Schedule:
        """Let a schedule fire no more; what waits keeps waiting.

        Raises:
            ScheduleNotFoundError: There is none.
        """

        def paused(known: Known) -> ScheduleRow:
            memory = attrs.evolve(known.memory, actor=actor)
            return attrs.evolve(known.row, paused=True, state=dumps(memory.stored()))

        return await self._change(id, paused)

    async def resume(self, id: str, actor: str | None) -> Schedule:
        """Let a paused schedule fire again, from now on.

        Raises:
            ScheduleNotFoundError: There is none.
        """

        def resumed(known: Known) -> ScheduleRow:
            if not known.row.paused:
                return known.row
            times = times_of(known.spec)
            at = first(known.spec, times, self._engine.clock.now())
            memory = attrs.evolve(known.memory, at=at, actor=actor)
            return attrs.evolve(
                known.row,
                paused=False,
                next_at=_next_at(id, known.spec, memory),
                state=dumps(memory.stored()),
            )

        return await self._change(id, resumed)

    async def _change(self, id: str, change: Callable[[Known], ScheduleRow]) -> Schedule:
        self._engine.check_running()
        while True:
            known = await self._existing(id)
            row = change(known)
            if row == known.row:
                return _shown(known)
            if await self._engine.store.put_schedule(row):
                await self._engine.schedules.changed()
                return await self.get(id)

    async def delete(self, id: str) -> None:
        """Delete a schedule; its runs stay.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        self._engine.check_running()
        if not await self._engine.store.delete_schedule(id):
            raise ScheduleNotFoundError(id)

    async def get(self, id: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        self._engine.check_running()
        return _shown(await self._existing(id))

    async def find(self, definition: str | None) -> list[Schedule]:
        """Return the schedules, all or those of one definition, by id."""
        self._engine.check_running()
        rows = await self._engine.store.schedules(None, definition)
        return [_shown(Known.of(row)) for row in rows]

    # -- runs by hand

    async def trigger(self, id: str, actor: str | None) -> str:
        """Start a run of a schedule now, whatever its overlap says; return the run's id.

        Raises:
            ScheduleNotFoundError: There is none.
            DataTypeError: The data does not fit the definition (any more).
        """
        self._engine.check_running()
        while True:
            known = await self._existing(id)
            run_id = await self._triggered(known, actor)
            if run_id is not None:
                self._mine(run_id)
                return run_id

    async def _triggered(self, known: Known, actor: str | None) -> str | None:
        """Start a run; ``None``: the schedule was changed meanwhile."""
        engine, row = self._engine, known.row
        now = engine.clock.now()
        ready = await engine.schedules.runnable(row.definition, row.version)
        key = f"trigger:{row.id}:{uuid7()}"
        item = await engine.starter.prepared(ready, known.data, key, known.info(now, actor))
        if not row.paused:
            state = dumps(started(known.memory, item, now, now).stored())
            fire = Fire(id=row.id, rev=row.rev, next_at=row.next_at, state=state)
            item = attrs.evolve(item, fire=fire)
        outcome = await engine.committer.submit(item)
        if isinstance(outcome, Refused) and outcome.why == "schedule":
            return None
        if not isinstance(outcome, Done) or item.new is None:
            raise LeaseLostError

        def knows(now_known: Known) -> ScheduleRow:
            memory = started(now_known.memory, item, now, now)
            return attrs.evolve(now_known.row, state=dumps(memory.stored()))

        if row.paused:  # it fires nothing now; when it does again, it knows of this run
            with contextlib.suppress(ScheduleNotFoundError):
                await self._change(row.id, knows)
        return item.new.id

    async def backfill(self, id: str, start: int, end: int) -> list[tuple[str, bool]]:
        """Start a run for each time in [*start*, *end*) that has none; return ids and newness.

        Raises:
            ScheduleNotFoundError: There is none.
            DefinitionError: These are more than 10,000 times.
            DataTypeError: The data does not fit the definition (any more).
        """
        self._engine.check_running()
        known = await self._existing(id)
        times = times_of(known.spec).newest(start, end, _MOST + 1)
        if len(times) > _MOST:
            problem = f"more than {_MOST} times lie between start and end"
            raise DefinitionError(problem, f"backfill of schedule {id!r}", "take shorter parts")
        row = known.row
        ready = await self._engine.schedules.runnable(row.definition, row.version)
        made = await asyncio.gather(*(self._fill(known, ready, at) for at in times))
        self._engine.nudge()
        return made

    async def _fill(self, known: Known, ready: Registered, at: int) -> tuple[str, bool]:
        key = key_of(known.row.id, at)
        item = await self._engine.starter.prepared(ready, known.data, key, known.info(at))
        outcome = await self._engine.committer.submit(item)
        if isinstance(outcome, Refused) and outcome.existing is not None:
            return outcome.existing, False
        if not isinstance(outcome, Done) or item.new is None:
            raise LeaseLostError
        self._mine(item.new.id)
        return item.new.id, True

    def _mine(self, run_id: str) -> None:
        if self._engine.runs.roots is not None:
            self._engine.runs.roots.add(run_id)
            self._engine.nudge()

    # -- reading

    async def _known(self, id: str) -> Known | None:
        rows = await self._engine.store.schedules(id)
        return Known.of(rows[0]) if rows else None

    async def _existing(self, id: str) -> Known:
        known = await self._known(id)
        if known is None:
            raise ScheduleNotFoundError(id)
        return known


def _given(ready: Registered, data: object) -> str:
    """Return the JSON of *data* as given, once it is sure that a run can start with it."""
    stored = ready.model.start(data)
    return dumps(encode(data, "data") if _is_plain(data) else stored)


def _is_plain(data: object) -> bool:
    """Whether *data* may lack fields, whose defaults each run makes anew."""
    return data is None or isinstance(data, Mapping)


def _anchor(spec: Spec, old: Known | None, now: int) -> int:
    """Return from where intervals are counted: the start, else the creation."""
    if spec.start is not None:
        return spec.start
    same = old is not None and old.spec.every == spec.every and old.spec.start is None
    return old.spec.anchor if old is not None and same else now


def _next_at(id: str, spec: Spec, memory: Memory) -> int | None:
    """Return when to look at a schedule: what waits is looked at all the time."""
    return memory.waiting[0] if memory.waiting else due_at(id, spec, memory)


def _same_times(one: Spec, other: Spec) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _TIMING)


def _same(old: ScheduleRow, new: ScheduleRow) -> bool:
    """Whether nothing that a user says differs."""
    said = (old.definition, old.version, old.data, orjson.loads(old.spec))
    return said == (new.definition, new.version, new.data, orjson.loads(new.spec))


def _why(spec: Spec) -> str:
    if spec.end is not None:
        return "no time of it lies between its start (or now) and its end"
    return "no time of it lies in the next 50 years"


def _check_jitter(id: str, spec: Spec, times: Times, now: int) -> None:
    """Refuse a jitter that would mix up neighbouring times.

    Raises:
        DefinitionError: It is as long as the time between two of the next fires.
    """
    coming: list[int] = []
    at = first(spec, times, now)
    while spec.jitter and at is not None and len(coming) < _LOOKED_AT:
        coming.append(at)
        at = first(spec, times, at)
    shortest = min((after - before for before, after in pairwise(coming)), default=None)
    if shortest is not None and spec.jitter > shortest:
        length = timedelta(microseconds=shortest)
        problem = f"its jitter is longer than the {length} between two of its times"
        raise DefinitionError(problem, f"schedule {id!r}", "make the jitter shorter")


def _shown(known: Known) -> Schedule:
    row, spec, memory = known.row, known.spec, known.memory
    coming = None if row.paused else due_at(row.id, spec, memory)
    return Schedule(
        id=row.id,
        definition=row.definition,
        version=row.version,
        data=known.data,
        cron=spec.cron,
        every=None if spec.every is None else timedelta(microseconds=spec.every),
        timezone=spec.timezone,
        overlap=spec.overlap,
        catch_up=spec.catch_up,
        jitter=timedelta(microseconds=spec.jitter),
        start=None if spec.start is None else from_micros(spec.start),
        end=None if spec.end is None else from_micros(spec.end),
        next_at=None if coming is None else from_micros(coming),
        paused=row.paused,
        waiting=tuple(map(from_micros, memory.waiting)),
        last_run_id=memory.last_id,
        last_scheduled_at=None if memory.last_at is None else from_micros(memory.last_at),
        last_fired_at=None if memory.fired_at is None else from_micros(memory.fired_at),
        skipped=memory.skipped,
        missed=memory.missed,
        failed=memory.failed,
        error=memory.error,
        actor=memory.actor,
        created_at=from_micros(row.created_at),
    )
