"""Schedules on a host, on a virtual clock."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import attrs
import pytest
from schedule_parts import (
    HOUR,
    MINUTE,
    START,
    Report,
    quick,
    report,
    runs_of,
    slow,
    times,
)

from wfe.core import WorkflowStatus
from wfe.core.clocks import VirtualClock
from wfe.core.errors import (
    DataTypeError,
    DefinitionConflictError,
    DefinitionError,
    DefinitionNotFoundError,
    ScheduleNotFoundError,
)
from wfe.core.memory import MemoryStore
from wfe.core.models import WorkflowInstance
from wfe.host import WorkflowHost, WorkflowMiddleware
from wfe.testing import WorkflowTest

# -- creating --------------------------------------------------------------------------------------


async def test_a_schedule_starts_runs_and_says_what_it_did() -> None:
    async with WorkflowTest(report) as t:
        made = await t.host.schedules.create(
            "daily", "report", {"shop": "south"}, cron="0 9 * * *", timezone="Europe/Berlin"
        )
        assert made.next_at == datetime(2025, 1, 1, 8, tzinfo=UTC)
        assert made.data == {"shop": "south"}

        await t.clock.advance(timedelta(days=2))

        runs = await runs_of(t.host)
        assert [run.created_at.isoformat() for run in runs] == [
            "2025-01-01T08:00:00+00:00",
            "2025-01-02T08:00:00+00:00",
        ]
        assert {run.status for run in runs} == {WorkflowStatus.COMPLETE}
        assert runs[0].data == Report(shop="south", pages=3)
        first = (await t.host.history(runs[1].id))[0]
        assert first.actor == "schedule:daily"
        assert first.data is not None
        assert first.data["schedule"] == "daily"
        assert first.data["at"] == "2025-01-02T08:00:00+00:00"
        found = await t.host.schedules.get("daily")
        assert found.last_run_id == runs[1].id
        assert found.last_scheduled_at == found.last_fired_at == runs[1].created_at
        assert found.next_at == datetime(2025, 1, 3, 8, tzinfo=UTC)
        assert (found.skipped, found.missed, found.failed, found.error) == (0, 0, 0, None)


async def test_an_interval_counts_from_the_creation_or_the_start() -> None:
    async with WorkflowTest(quick) as t:
        await t.clock.advance(10 * MINUTE)
        await t.host.schedules.create("a", quick, every=HOUR)
        await t.host.schedules.create(
            "b", quick, every=HOUR, start=START + 2 * HOUR, end=START + 4 * HOUR
        )

        await t.clock.advance(5 * HOUR)

        assert await times(t.host) == [
            *("01:10", "02:00", "02:10", "03:00", "03:10", "04:10", "05:10")
        ]
        assert (await t.host.schedules.get("b")).next_at is None


async def test_a_time_that_the_clocks_leave_out_or_repeat() -> None:
    async with WorkflowTest(quick, start=datetime(2025, 3, 29, tzinfo=UTC)) as t:
        berlin = ZoneInfo("Europe/Berlin")
        await t.host.schedules.create("s", "quick", cron="30 2 * * *", timezone=berlin)
        await t.clock.advance(timedelta(days=3))
        await t.clock.advance(datetime(2025, 10, 25, 12, tzinfo=UTC) - t.clock.now())
        await t.clock.advance(timedelta(days=1))

        runs = await runs_of(t.host)
        shown = [f"{run.created_at.astimezone(berlin):%d %H:%M%z}" for run in runs]
        assert shown[:3] == ["29 02:30+0100", "30 03:00+0200", "31 02:30+0200"]
        assert shown[-2:] == ["25 02:30+0200", "26 02:30+0200"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs either cron or every"),
        ({"cron": "* * * * *", "every": HOUR}, "needs either cron or every"),
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": "0 0 1 1 *", "end": START + HOUR}, "no time of it lies between"),
        ({"every": timedelta(0)}, "every is not positive"),
        ({"every": HOUR, "end": START}, "it never fires"),
        ({"every": HOUR, "timezone": "Europe/Atlantis"}, "unknown"),
        ({"every": HOUR, "overlap": "both"}, "unknown overlap 'both'"),
        ({"every": HOUR, "catch_up": -1}, "catch_up is negative"),
        ({"every": HOUR, "jitter": -MINUTE}, "jitter is negative"),
        ({"every": HOUR, "jitter": 2 * HOUR}, "jitter is longer than the 1:00:00"),
        ({"cron": "0,5 3 * * *", "jitter": HOUR}, "jitter is longer than the 0:05:00"),
    ],
)
async def test_what_never_can_be_meant_is_refused(options: dict[str, Any], problem: str) -> None:
    async with WorkflowTest(quick) as t:
        with pytest.raises(DefinitionError, match=problem):
            await t.host.schedules.create("s", "quick", **options)

        assert await t.host.schedules.find() == []


async def test_unknown_definitions_and_unfit_data_are_refused() -> None:
    async with WorkflowTest(report) as t:
        schedules = t.host.schedules
        with pytest.raises(DefinitionNotFoundError):
            await schedules.create("s", "unheard of", every=HOUR)
        with pytest.raises(DefinitionNotFoundError):
            await schedules.create("s", "report", {"shop": "s"}, version=7, every=HOUR)
        with pytest.raises(DataTypeError, match=r"data\.shop"):
            await schedules.create("s", "report", {"pages": 1}, every=HOUR)
        with pytest.raises(DataTypeError, match="schedule id"):
            await schedules.create("s" * 513, "report", {"shop": "s"}, every=HOUR)

        assert await schedules.find() == []


async def test_an_object_of_the_data_type_is_given_to_each_run() -> None:
    async with WorkflowTest(report) as t:
        await t.host.schedules.create("s", "report", Report(shop="south", pages=7), every=HOUR)

        await t.clock.advance(HOUR)

        assert (await runs_of(t.host))[0].data == Report(shop="south", pages=7)


async def test_an_id_is_used_once_unless_it_is_replaced() -> None:
    async with WorkflowTest(quick, report) as t:
        schedules = t.host.schedules
        await schedules.create("s", "quick", every=HOUR)
        with pytest.raises(DefinitionConflictError, match="exists"):
            await schedules.create("s", "quick", every=HOUR)
        await t.clock.advance(90 * MINUTE)

        same = await schedules.create("s", "quick", every=HOUR, on_conflict="replace")
        assert same.next_at == START + 2 * HOUR  # as if nothing had been said
        other = await schedules.create(
            "s", "report", {"shop": "x"}, every=2 * HOUR, on_conflict="replace"
        )

        assert (other.definition, other.next_at) == ("report", START + timedelta(hours=3.5))
        assert other.last_run_id is not None
        await t.clock.advance(2 * HOUR)
        assert [run.definition for run in await runs_of(t.host)] == ["quick", "report"]


# -- pausing, triggering, backfilling --------------------------------------------------------------


async def test_a_paused_schedule_does_not_fire_and_goes_on_from_its_resumption() -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("s", "quick", every=HOUR)
        paused = await t.host.schedules.pause("s", actor="ann")
        assert (paused.paused, paused.next_at, paused.actor) == (True, None, "ann")
        await t.clock.advance(3 * HOUR + 10 * MINUTE)
        assert await runs_of(t.host) == []

        resumed = await t.host.schedules.resume("s", actor="bob")
        again = await t.host.schedules.resume("s")

        assert (resumed.paused, resumed.next_at) == (False, START + 4 * HOUR)
        assert again == resumed
        await t.clock.advance(HOUR)
        assert await times(t.host) == ["04:00"]
        assert (await t.host.schedules.get("s")).missed == 0


@pytest.mark.parametrize("paused", [False, True])
async def test_trigger_starts_a_run_now(paused: bool) -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=HOUR)
        if paused:
            await t.host.schedules.pause("s")
        await t.clock.advance(10 * MINUTE)

        run = await t.host.schedules.trigger("s", actor="ann")

        first = (await run.history())[0]
        assert (first.actor, first.data) == (
            "ann",
            {"schedule": "s", "at": "2025-01-01T00:10:00+00:00"},
        )
        found = await t.host.schedules.get("s")
        assert (found.last_run_id, found.paused) == (run.id, paused)
        if paused:
            await t.host.schedules.resume("s")
        await t.clock.advance(HOUR)  # the triggered run goes on: overlap counts it
        assert (await t.host.schedules.get("s")).skipped == 1
        assert len(await runs_of(t.host)) == 1


async def test_backfill_starts_what_the_times_lack() -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("s", "quick", cron="0 * * * *")
        await t.clock.advance(2 * HOUR + MINUTE)

        made = await t.host.schedules.backfill("s", START, START + 5 * HOUR)
        again = await t.host.schedules.backfill("s", START, START + 5 * HOUR)

        assert [run.new for run in made] == [True, False, False, True, True]
        assert [run.id for run in again] == [run.id for run in made]
        assert not any(run.new for run in again)
        await t.clock.advance(5 * HOUR)
        assert sorted(await times(t.host)) == [f"{hour:02}:00" for hour in range(8)]
        found = await t.host.schedules.get("s")
        assert (found.skipped, found.missed, found.failed) == (0, 0, 0)


async def test_a_backfill_without_end_is_refused() -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("s", "quick", every=timedelta(seconds=1))

        with pytest.raises(DefinitionError, match="more than 10000 times"):
            await t.host.schedules.backfill("s", START, START + timedelta(days=1))
        with pytest.raises(ValueError, match="time zone"):
            await t.host.schedules.backfill("s", datetime(2025, 1, 1), START)  # noqa: DTZ001
        assert await runs_of(t.host) == []


async def test_a_deleted_schedule_is_gone_and_its_runs_go_on() -> None:
    async with WorkflowTest(slow) as t:
        schedules = t.host.schedules
        await schedules.create("s", "slow", every=HOUR)
        await t.clock.advance(HOUR)

        await schedules.delete("s")
        await t.clock.advance(5 * HOUR)

        assert [run.status for run in await runs_of(t.host)] == [WorkflowStatus.COMPLETE]
        for call in (schedules.get, schedules.delete, schedules.pause, schedules.resume):
            with pytest.raises(ScheduleNotFoundError, match="'s'"):
                await call("s")
        with pytest.raises(ScheduleNotFoundError):
            await schedules.trigger("s")
        with pytest.raises(ScheduleNotFoundError):
            await schedules.backfill("s", START, START)


async def test_schedules_are_found_by_definition() -> None:
    async with WorkflowTest(quick, slow) as t:
        for id_, definition in (("b", "quick"), ("a", "quick"), ("c", "slow")):
            await t.host.schedules.create(id_, definition, every=HOUR)

        assert [each.id for each in await t.host.schedules.find()] == ["a", "b", "c"]
        assert [each.id for each in await t.host.schedules.find("quick")] == ["a", "b"]


# -- overlap ---------------------------------------------------------------------------------------


async def test_skip_leaves_out_what_overlaps() -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=HOUR)

        await t.clock.advance(6 * HOUR)

        assert await times(t.host) == ["01:00", "03:00", "05:00"]
        assert (await t.host.schedules.get("s")).skipped == 3


async def test_queue_waits_for_the_end_of_the_last_run() -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=HOUR, overlap="queue")

        await t.clock.advance(3 * HOUR)
        waiting = (await t.host.schedules.get("s")).waiting
        await t.clock.advance(3 * HOUR)

        assert waiting == (START + 3 * HOUR,)
        assert await times(t.host) == ["01:00", "02:00", "03:00", "04:00"]
        created = [run.created_at - START for run in await runs_of(t.host)]
        assert created == [HOUR, 2.5 * HOUR, 4 * HOUR, 5.5 * HOUR]
        assert (await t.host.schedules.get("s")).skipped == 0


async def test_queue_drops_the_oldest_above_its_limit() -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=20 * MINUTE, overlap="queue", catch_up=1)

        await t.clock.advance(3 * HOUR)

        assert await times(t.host) == ["00:20", "01:40"]
        found = await t.host.schedules.get("s")
        assert (found.skipped, len(found.waiting)) == (6, 1)


async def test_cancel_terminates_the_last_run_and_says_why() -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=HOUR, overlap="cancel")

        await t.clock.advance(2 * HOUR)

        first, second = await runs_of(t.host)
        assert (first.status, second.status) == (
            WorkflowStatus.TERMINATED,
            WorkflowStatus.RUNNABLE,
        )
        ended = next(e for e in await t.host.history(first.id) if e.actor == "schedule:s" and e.seq)
        assert ended.reason == "the schedule 's' starts the next run"


async def test_a_suspended_run_counts_as_running() -> None:
    async with WorkflowTest(slow) as t:
        await t.host.schedules.create("s", "slow", every=HOUR)
        await t.clock.advance(HOUR)
        (run,) = await runs_of(t.host)
        await t.host.suspend(run.id)

        await t.clock.advance(5 * HOUR)

        assert len(await runs_of(t.host)) == 1
        assert (await t.host.schedules.get("s")).skipped == 5


# -- trouble ---------------------------------------------------------------------------------------


class _Veto(WorkflowMiddleware):
    def __init__(self) -> None:
        self.closed = True

    async def pre(self, instance: WorkflowInstance[Any]) -> None:
        if self.closed:
            raise PermissionError("the shop is closed")

    async def post(self, instance: WorkflowInstance[Any]) -> None:
        """Nothing."""


async def test_a_run_that_cannot_be_started_is_counted_and_the_next_is_tried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    veto = _Veto()
    async with WorkflowTest(quick, middleware=[veto]) as t:
        await t.host.schedules.create("s", "quick", every=HOUR)
        with caplog.at_level(logging.WARNING, "wfe.engine"):
            await t.clock.advance(2 * HOUR)
        failed = await t.host.schedules.get("s")
        veto.closed = False
        await t.clock.advance(HOUR)

        assert (failed.failed, failed.error, failed.last_run_id) == (2, "the shop is closed", None)
        assert "cannot be started: the shop is closed" in caplog.text
        after = await t.host.schedules.get("s")
        assert (after.failed, after.error) == (2, None)
        assert await times(t.host) == ["03:00"]


async def test_a_definition_that_is_registered_later_fires_then() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    async with WorkflowHost(store) as first:
        first.register(quick)
        await first.schedules.create("s", "quick", every=HOUR)
    async with WorkflowHost(store) as other:
        await clock.advance(HOUR)
        assert await runs_of(other) == []

        other.register(quick)
        await clock.advance(timedelta(seconds=1))

        assert await times(other) == ["01:00"]


async def test_many_schedules_that_nobody_here_can_run_hide_none() -> None:
    clock = VirtualClock()
    store = MemoryStore(clock)
    async with WorkflowHost(store) as first:
        first.register(quick)
        for k in range(150):
            await first.schedules.create(f"q{k}", "quick", every=HOUR)
    async with WorkflowHost(store) as other:
        other.register(slow)
        await other.schedules.create("mine", "slow", every=HOUR + MINUTE)

        await clock.advance(2 * HOUR)

        assert await times(other) == ["01:01"]


async def test_a_schedule_that_cannot_be_read_keeps_no_other_from_firing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("a", "quick", every=HOUR)
        await t.host.schedules.create("b", "quick", every=HOUR)
        (row,) = await t.store.schedules("a")
        later = row.spec.replace('"skip"', '"of a later version"')
        assert await t.store.put_schedule(attrs.evolve(row, spec=later))

        await t.clock.advance(2 * HOUR)

        assert await times(t.host) == ["01:00", "02:00"]
        warned = [r.getMessage() for r in caplog.records if r.name == "wfe.engine"]
        assert warned == ["schedule 'a' cannot fire on this host: 'of a later version'"]


async def test_a_last_run_that_was_purged_is_over() -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("s", "quick", every=HOUR)
        await t.clock.advance(HOUR)
        assert await t.host.purge("quick") == 1

        await t.clock.advance(HOUR)

        assert await times(t.host) == ["02:00"]


async def test_without_the_cron_library_a_stored_schedule_waits_for_a_host_that_has_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with WorkflowTest(quick) as t:
        await t.host.schedules.create("s", "quick", cron="0 * * * *")
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "cronsim", None)
            with pytest.raises(DefinitionError, match=r"pip install 'wfe-core\[cron\]'"):
                await t.host.schedules.create("x", "quick", cron="0 * * * *")
            await t.clock.advance(HOUR)
            assert await runs_of(t.host) == []
        assert "pip install 'wfe-core[cron]'" in caplog.text

        await t.host.schedules.create("y", "quick", every=HOUR)  # something to look for
        await t.clock.settle()

        assert await times(t.host) == ["01:00"]
