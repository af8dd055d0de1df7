"""The laws of schedules catch stores that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from inspect import getmembers

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_schedules import MemorySchedules
from wfe.core.providers import Fire, Item, Outcome, Refused, ScheduleRow
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.schedules import ScheduleLaws


class IgnoresRev(MemorySchedules):
    def check(self, fire: Fire) -> Refused | None:
        row = self.rows.get(fire.id)
        return super().check(attrs.evolve(fire, rev=row.rev)) if row else Refused("schedule")


class FiresWhenPaused(MemorySchedules):
    def check(self, fire: Fire) -> Refused | None:
        row = self.rows.get(fire.id)
        return None if row is not None and row.rev == fire.rev else Refused("schedule")


class FiresWhatIsGone(MemorySchedules):
    def check(self, fire: Fire) -> Refused | None:
        return super().check(fire) if fire.id in self.rows else None

    def apply(self, fire: Fire, n: int) -> None:
        if fire.id in self.rows:
            super().apply(fire, n)


class ForgetsTheLastRun(MemorySchedules):
    def apply(self, fire: Fire, n: int) -> None:
        super().apply(attrs.evolve(fire, started=False), n)


class TakesSkippedForRuns(MemorySchedules):
    def apply(self, fire: Fire, n: int) -> None:
        super().apply(attrs.evolve(fire, started=True), n)


class KeepsTheRev(MemorySchedules):
    def apply(self, fire: Fire, n: int) -> None:
        rev = self.rows[fire.id].rev
        super().apply(fire, n)
        self.rows[fire.id] = attrs.evolve(self.rows[fire.id], rev=rev)


class KeepsTheState(MemorySchedules):
    def apply(self, fire: Fire, n: int) -> None:
        super().apply(attrs.evolve(fire, state=self.rows[fire.id].state), n)


class KeepsTheTime(MemorySchedules):
    def apply(self, fire: Fire, n: int) -> None:
        super().apply(attrs.evolve(fire, next_at=self.rows[fire.id].next_at), n)


class Overwrites(MemorySchedules):
    def put(self, row: ScheduleRow, now: int) -> bool:
        known = self.rows.get(row.id)
        return super().put(attrs.evolve(row, rev=0 if known is None else known.rev), now)


class ReplacesAsNew(MemorySchedules):
    def put(self, row: ScheduleRow, now: int) -> bool:
        done = super().put(row, now)
        if done:
            last_n = row.last_n
            self.rows[row.id] = attrs.evolve(self.rows[row.id], created_at=now, last_n=last_n)
        return done


class ForgetsTheVersion(MemorySchedules):
    def put(self, row: ScheduleRow, now: int) -> bool:
        return super().put(attrs.evolve(row, version=None), now)


class MakesUpRevs(MemorySchedules):
    def put(self, row: ScheduleRow, now: int) -> bool:
        done = super().put(row, now)
        if done:
            self.rows[row.id] = attrs.evolve(self.rows[row.id], rev=1)
        return done


class DeletesBlindly(MemorySchedules):
    def delete(self, id: str) -> bool:
        super().delete(id)
        return True


class FindsInAnyOrder(MemorySchedules):
    def find(self, id: str | None, definition: str | None) -> Sequence[ScheduleRow]:
        return super().find(id, definition)[::-1]


class FindsByIdOnly(MemorySchedules):
    def find(self, id: str | None, definition: str | None) -> Sequence[ScheduleRow]:
        return super().find(id, None)


class DueWhenPaused(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        kept = self.rows
        self.rows = {id: attrs.evolve(row, paused=False) for id, row in kept.items()}
        found = super().due(limit, now)
        self.rows = kept
        return found


class DueTooSoon(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        return super().due(limit, now + 3_600_000_000)


class KnowsNoLimit(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        return super().due(limit + 1, now)


class LatestFirst(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        rows, following = super().due(limit, now)
        return rows[::-1], following


class SeesNoFuture(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        return super().due(limit, now)[0], None


class AlwaysSomething(MemorySchedules):
    def due(self, limit: int, now: int) -> tuple[Sequence[ScheduleRow], int | None]:
        rows, following = super().due(limit, now)
        return rows, now if following is None else following


class ChecksBeforeItWaits(MemoryStore):
    """Two hosts may both win."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        fires = [item.fire for item in items]
        refused = [fire and self._runs.schedules.check(fire) for fire in fires]
        await asyncio.sleep(0)
        bare = [attrs.evolve(item, fire=None) for item in items]
        outcomes = list(await super().commit(epoch, bare))
        for k, fire in enumerate(fires):
            if refused[k]:
                outcomes[k] = refused[k] or outcomes[k]
            elif fire is not None:
                self._runs.schedules.apply(fire, items[k].n)
        return outcomes


class FiresApart(MemoryStore):
    """The schedule changes although the start is refused."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for item in items:
            problem = None if item.fire is None else self._runs.schedules.check(item.fire)
            if item.fire is not None and problem is None:
                self._runs.schedules.apply(item.fire, item.n)
            bare = attrs.evolve(item, fire=None)
            outcomes += [problem] if problem else await super().commit(epoch, [bare])
        return outcomes


class StartsFirst(MemoryStore):
    """The run starts although the schedule was changed."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for item in items:
            (outcome,) = await super().commit(epoch, [attrs.evolve(item, fire=None)])
            problem = None if item.fire is None else self._runs.schedules.check(item.fire)
            if item.fire is not None and problem is None:
                self._runs.schedules.apply(item.fire, item.n)
            outcomes.append(problem or outcome)
        return outcomes


ZOO: list[tuple[type[MemorySchedules | MemoryStore], str]] = [
    (IgnoresRev, "a_fire_at_another_rev_starts_nothing"),
    (IgnoresRev, "fires_of_one_batch_follow_each_other"),
    (FiresWhenPaused, "a_paused_schedule_does_not_fire"),
    (FiresWhatIsGone, "a_deleted_schedule_is_gone"),
    (ForgetsTheLastRun, "a_fire_changes_the_schedule_with_its_run"),
    (TakesSkippedForRuns, "a_fire_without_a_run_keeps_the_last_one"),
    (KeepsTheRev, "one_of_many_fires_wins"),
    (KeepsTheState, "a_fire_changes_the_schedule_with_its_run"),
    (KeepsTheTime, "a_fire_changes_the_schedule_with_its_run"),
    (Overwrites, "a_schedule_is_new_once"),
    (Overwrites, "replacing_what_is_not_there_is_refused"),
    (ReplacesAsNew, "replacing_keeps_the_last_run_and_the_creation"),
    (MakesUpRevs, "replacing_needs_the_present_rev"),
    (ForgetsTheVersion, "a_schedule_is_stored_as_it_is"),
    (DeletesBlindly, "a_deleted_schedule_is_gone"),
    (FindsInAnyOrder, "schedules_are_found_by_id_and_definition"),
    (FindsByIdOnly, "schedules_are_found_by_id_and_definition"),
    (DueWhenPaused, "due_schedules_are_those_whose_time_has_come"),
    (DueTooSoon, "due_schedules_are_those_whose_time_has_come"),
    (LatestFirst, "due_schedules_are_those_whose_time_has_come"),
    (SeesNoFuture, "due_schedules_are_those_whose_time_has_come"),
    (KnowsNoLimit, "due_schedules_are_limited_and_say_when_the_next_is"),
    (AlwaysSomething, "nothing_follows_when_nothing_is_to_come"),
    (ChecksBeforeItWaits, "one_of_many_fires_wins"),
    (FiresApart, "a_refused_start_leaves_the_schedule_as_it_is"),
    (StartsFirst, "a_fire_at_another_rev_starts_nothing"),
    (StartsFirst, "a_refused_fire_sends_no_message"),
]


def _store(kind: type[MemorySchedules | MemoryStore]) -> MemoryStore:
    if issubclass(kind, MemoryStore):
        return kind(VirtualClock())
    store = MemoryStore(VirtualClock())
    store._runs.schedules = kind()
    return store


async def _law(kind: type[MemorySchedules | MemoryStore], law: str) -> None:
    store = _store(kind)
    await store.open()
    await getattr(PersistenceContract(), f"test_{law}")(store)


@pytest.mark.parametrize(
    ("broken", "law"), ZOO, ids=lambda each: each if isinstance(each, str) else each.__name__
)
async def test_schedule_laws_catch(broken: type[MemorySchedules | MemoryStore], law: str) -> None:
    await _law(MemoryStore, law)
    with pytest.raises((AssertionError, ValueError)):
        await _law(broken, law)


def test_every_law_of_schedules_is_broken_by_somebody() -> None:
    laws = {name for name, _ in getmembers(ScheduleLaws) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in ZOO} == laws
