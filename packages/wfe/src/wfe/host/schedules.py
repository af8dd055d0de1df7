"""Workflows that start by themselves: ``host.schedules``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar, get_args

from wfe.core.definition import WorkflowDefinition
from wfe.core.engine.crontimes import cron_times, zone_name
from wfe.core.errors import DefinitionError
from wfe.core.models import to_micros
from wfe.core.rules.schedules import Spec
from wfe.core.schedules import Overlap, Schedule
from wfe.host.runs import WorkflowRun

if TYPE_CHECKING:
    from wfe.core.engine import Engine

__all__ = ["Schedules", "SyncSchedules"]

T = TypeVar("T")
R = TypeVar("R")

_NONE: Final = timedelta(0)


class Schedules:
    """The schedules of a host's store.

    Any host that has the definition registered fires them; each time starts one run, however many
    hosts there are.
    """

    def __init__(self, engine: Engine) -> None:
        """Act through *engine*."""
        self._engine = engine

    async def create(  # noqa: PLR0913 - the parts of a schedule
        self,
        id: str,
        definition: str | WorkflowDefinition,
        data: Any = None,
        version: int | None = None,
        *,
        cron: str | None = None,
        every: timedelta | None = None,
        timezone: str | tzinfo = "UTC",
        overlap: Overlap = "skip",
        catch_up: int = 10,
        jitter: timedelta = _NONE,
        start: datetime | None = None,
        end: datetime | None = None,
        actor: str | None = None,
        on_conflict: Literal["error", "replace"] = "error",
    ) -> Schedule:
        """Let a workflow start by itself, from now on.

        Args:
            id: Unique in the store.
            definition: Id of a definition that is registered here or stored; or a definition, which
                is registered.
            data: What each run starts with.
            version: ``None``: the highest that the firing host has registered.
            cron: Five fields (minute, hour, day, month, weekday), or six with a second before
                them.  Needs the extra ``wfe-core[cron]``.
            every: Instead of *cron*: an interval, counted from *start* (which fires too), else
                from now.
            timezone: Of *cron*: an IANA name, or a ``ZoneInfo``.
            overlap: While the last run is not final, a fire is skipped (``skip``), waits for its
                end (``queue``), or terminates it (``cancel``).
            catch_up: How many fires that no host was there for are made up for: the newest, one run
                after the other; 0: none.  Also how many may wait with ``queue``.
            jitter: Each fire is late by up to this, by an amount that is the same on every host.
            start: No fire before this time.
            end: No fire at or after this time.
            actor: Who creates it.
            on_conflict: When the id exists: ``error``, or ``replace``: a schedule with the same
                times goes on where it is, others begin anew.

        Raises:
            DefinitionError: It never fires; the cron text, time zone, overlap, jitter or interval
                is wrong; or the extra is missing.
            DefinitionConflictError: The id exists and *on_conflict* is ``error``.
            DefinitionNotFoundError: The definition is neither registered nor stored.
            DataTypeError: The data does not fit the definition's type, or cannot be stored.
        """
        if isinstance(definition, WorkflowDefinition):
            if not any(known is definition for known in self._engine.registry.given):
                self._engine.register(definition)
            version = definition.version if version is None else version
            definition = definition.id
        spec = Spec(
            cron=cron,
            every=None if every is None else to_micros(every),
            timezone=zone_name(timezone),
            overlap=overlap,
            catch_up=catch_up,
            jitter=to_micros(jitter),
            start=None if start is None else to_micros(start),
            end=None if end is None else to_micros(end),
        )
        _check(id, spec)
        return await self._engine.scheduling.create(
            id, definition, version, data, spec, actor=actor, on_conflict=on_conflict
        )

    async def pause(self, id: str, actor: str | None = None) -> Schedule:
        """Let a schedule not fire until it is resumed; times that pass meanwhile are lost.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        return await self._engine.scheduling.pause(id, actor)

    async def resume(self, id: str, actor: str | None = None) -> Schedule:
        """Let a paused schedule fire again, from now on; what waited still does.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        return await self._engine.scheduling.resume(id, actor)

    async def trigger(self, id: str, actor: str | None = None) -> WorkflowRun:
        """Start a run now, also when the schedule is paused or another run of it goes on.

        Raises:
            ScheduleNotFoundError: There is none.
            DefinitionNotFoundError: Its definition is neither registered nor stored.
            DataTypeError: Its data does not fit the definition any more.
        """
        run_id = await self._engine.scheduling.trigger(id, actor)
        return WorkflowRun(run_id, True, self._engine)

    async def backfill(self, id: str, start: datetime, end: datetime) -> list[WorkflowRun]:
        """Start a run for each of the schedule's times in [*start*, *end*) that has none yet.

        They start together, whatever the overlap says, and without jitter; also when the schedule
        is paused.

        Returns:
            The runs, in the order of their times; ``new`` says which were started now.

        Raises:
            ScheduleNotFoundError: There is none.
            DefinitionError: These are more than 10,000 times.
            DefinitionNotFoundError: Its definition is neither registered nor stored.
            DataTypeError: Its data does not fit the definition any more.
            ValueError: *start* or *end* has no time zone.
        """
        made = await self._engine.scheduling.backfill(id, to_micros(start), to_micros(end))
        return [WorkflowRun(run_id, new, self._engine) for run_id, new in made]

    async def delete(self, id: str) -> None:
        """Delete a schedule; its runs stay, and go on.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        await self._engine.scheduling.delete(id)

    async def get(self, id: str) -> Schedule:
        """Return a schedule.

        Raises:
            ScheduleNotFoundError: There is none.
        """
        return await self._engine.scheduling.get(id)

    async def find(self, definition: str | None = None) -> list[Schedule]:
        """Return the schedules, all or those of one definition, by id."""
        return await self._engine.scheduling.find(definition)


def _check(id: str, spec: Spec) -> None:
    """Refuse what can never be meant.

    Raises:
        DefinitionError: What, and what to do.
    """
    wrong: list[tuple[bool, str, str]] = [
        (
            (spec.cron is None) == (spec.every is None),
            "it needs either cron or every",
            'say cron="0 3 * * *" or every=timedelta(hours=1)',
        ),
        (spec.every is not None and spec.every <= 0, "every is not positive", "make it longer"),
        (
            spec.overlap not in get_args(Overlap),
            f"unknown overlap {spec.overlap!r}",
            f"one of {', '.join(get_args(Overlap))}",
        ),
        (spec.catch_up < 0, "catch_up is negative", "0 means that nothing is made up for"),
        (spec.jitter < 0, "jitter is negative", "leave it out for none"),
    ]
    for is_wrong, problem, hint in wrong:
        if is_wrong:
            raise DefinitionError(problem, f"schedule {id!r}", hint)
    if spec.cron is not None:
        cron_times(spec.cron, spec.timezone)


class _Caller(Protocol):
    """Runs a coroutine on the host's loop and returns its result."""

    def __call__(self, work: Coroutine[Any, Any, T], /) -> T: ...


class SyncSchedules(Generic[R]):
    """:class:`Schedules` whose methods block; *handle* makes blocking handles of runs."""

    def __init__(
        self, schedules: Schedules, call: _Caller, handle: Callable[[WorkflowRun], R]
    ) -> None:
        """Block on *schedules* with *call*."""
        self._schedules = schedules
        self._call = call
        self._handle = handle

    def create(
        self, id: str, definition: str | WorkflowDefinition, data: Any = None, **options: Any
    ) -> Schedule:
        """Let a workflow start by itself; see :meth:`Schedules.create`."""
        return self._call(self._schedules.create(id, definition, data, **options))

    def pause(self, id: str, actor: str | None = None) -> Schedule:
        """Let a schedule not fire until it is resumed."""
        return self._call(self._schedules.pause(id, actor))

    def resume(self, id: str, actor: str | None = None) -> Schedule:
        """Let a paused schedule fire again."""
        return self._call(self._schedules.resume(id, actor))

    def trigger(self, id: str, actor: str | None = None) -> R:
        """Start a run now; return its blocking handle."""
        return self._handle(self._call(self._schedules.trigger(id, actor)))

    def backfill(self, id: str, start: datetime, end: datetime) -> list[R]:
        """Start the runs that times in [*start*, *end*) lack; see :meth:`Schedules.backfill`."""
        return [self._handle(run) for run in self._call(self._schedules.backfill(id, start, end))]

    def delete(self, id: str) -> None:
        """Delete a schedule; its runs stay."""
        self._call(self._schedules.delete(id))

    def get(self, id: str) -> Schedule:
        """Return a schedule."""
        return self._call(self._schedules.get(id))

    def find(self, definition: str | None = None) -> list[Schedule]:
        """Return the schedules, all or those of one definition, by id."""
        return self._call(self._schedules.find(definition))
