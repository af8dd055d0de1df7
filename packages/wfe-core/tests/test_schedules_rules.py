"""When schedules fire, by the pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import attrs
from hypothesis import given
from hypothesis import strategies as st

from wfe.core.rules.schedules import (
    LATE,
    Every,
    Memory,
    Spec,
    due_at,
    first,
    jitter_of,
    key_of,
    plan,
)

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
HOURLY: Final = Every(HOUR, 0)


def _spec(overlap: Literal["skip", "queue", "cancel"] = "skip", **parts: Any) -> Spec:
    return Spec(every=HOUR, overlap=overlap, **parts)


def _memory(at: int | None = HOUR, **parts: Any) -> Memory:
    return Memory(at=at, **parts)


# -- times -----------------------------------------------------------------------------------------


@given(
    interval=st.integers(1, 50),
    anchor=st.integers(-100, 100),
    start=st.integers(-200, 200),
    length=st.integers(0, 300),
    most=st.integers(0, 12),
)
def test_an_interval_has_the_times_that_counting_finds(
    interval: int, anchor: int, start: int, length: int, most: int
) -> None:
    times = Every(interval, anchor)
    end = start + length
    counted = [t for t in range(start, end) if (t - anchor) % interval == 0]

    assert times.count(start, end) == len(counted)
    assert times.newest(start, end, most) == tuple(counted[-most:] if most else ())
    following = times.after(start)
    assert following is not None
    assert start < following <= start + interval
    assert (following - anchor) % interval == 0


def test_start_and_end_bound_the_times() -> None:
    spec = _spec(start=3 * HOUR, end=5 * HOUR)

    assert first(spec, HOURLY, 0) == 3 * HOUR
    assert first(spec, HOURLY, 3 * HOUR) == 4 * HOUR
    assert first(spec, HOURLY, 4 * HOUR) is None


# -- one fire ----------------------------------------------------------------------------------


def test_nothing_is_done_before_the_time() -> None:
    assert plan("s", _spec(), _memory(), now=HOUR - 1, running=False, times=HOURLY) is None


def test_at_the_time_a_run_starts_and_the_next_time_follows() -> None:
    firing = plan("s", _spec(), _memory(), now=HOUR, running=False, times=HOURLY)

    assert firing is not None
    assert (firing.start, firing.cancel, firing.next_at) == (HOUR, False, 2 * HOUR)
    assert firing.memory == _memory(at=2 * HOUR)


def test_the_last_time_has_none_after_it() -> None:
    spec = _spec(end=2 * HOUR)

    firing = plan("s", spec, _memory(), now=HOUR, running=False, times=HOURLY)

    assert firing is not None
    assert (firing.start, firing.memory.at, firing.next_at) == (HOUR, None, None)
    assert plan("s", spec, firing.memory, now=9 * HOUR, running=False, times=HOURLY) is None


# -- overlap -----------------------------------------------------------------------------------


def test_skip_counts_what_it_leaves_out() -> None:
    firing = plan("s", _spec("skip"), _memory(), now=HOUR, running=True, times=HOURLY)

    assert firing is not None
    assert (firing.start, firing.memory.skipped, firing.memory.waiting) == (None, 1, ())
    assert firing.next_at == 2 * HOUR


def test_queue_waits_and_starts_in_order_when_the_run_has_ended() -> None:
    spec, memory = _spec("queue"), _memory()
    for now in (HOUR, 2 * HOUR):
        firing = plan("s", spec, memory, now=now, running=True, times=HOURLY)
        assert firing is not None
        assert firing.start is None
        assert firing.next_at == HOUR
        memory = firing.memory
    assert memory.waiting == (HOUR, 2 * HOUR)
    assert plan("s", spec, memory, now=2 * HOUR + 1, running=True, times=HOURLY) is None

    starts: list[int | None] = []
    for _ in range(2):
        firing = plan("s", spec, memory, now=2 * HOUR + 1, running=False, times=HOURLY)
        assert firing is not None
        memory = firing.memory
        starts.append(firing.start)

    assert starts == [HOUR, 2 * HOUR]
    assert memory.waiting == ()
    assert plan("s", spec, memory, now=2 * HOUR + 1, running=False, times=HOURLY) is None


def test_queue_drops_the_oldest_when_too_many_wait() -> None:
    memory = _memory(at=4 * HOUR, waiting=(2 * HOUR, 3 * HOUR))

    firing = plan("s", _spec("queue", catch_up=2), memory, now=4 * HOUR, running=True, times=HOURLY)

    assert firing is not None
    assert (firing.memory.waiting, firing.memory.skipped) == ((3 * HOUR, 4 * HOUR), 1)


def test_cancel_ends_the_last_run_and_starts_the_next() -> None:
    running, over = (
        plan("s", _spec("cancel"), _memory(), now=HOUR, running=r, times=HOURLY)
        for r in (True, False)
    )

    assert running is not None
    assert over is not None
    assert (running.start, running.cancel) == (HOUR, True)
    assert (over.start, over.cancel) == (HOUR, False)


# -- what was missed -----------------------------------------------------------------------------


def test_a_fire_is_on_time_up_to_a_minute_late() -> None:
    spec = _spec(catch_up=0)

    on_time = plan("s", spec, _memory(), now=HOUR + LATE, running=False, times=HOURLY)
    too_late = plan("s", spec, _memory(), now=HOUR + LATE + 1, running=False, times=HOURLY)

    assert on_time is not None
    assert (on_time.start, on_time.memory.missed) == (HOUR, 0)
    assert too_late is not None
    assert (too_late.start, too_late.memory.missed) == (None, 1)


def test_the_newest_missed_fires_are_made_up_for_one_after_the_other() -> None:
    memory, now = _memory(), 10 * HOUR + 30 * MINUTE
    starts: list[int] = []

    while firing := plan("s", _spec(catch_up=3), memory, now=now, running=False, times=HOURLY):
        assert firing.start is not None
        starts.append(firing.start)
        memory = firing.memory

    assert starts == [8 * HOUR, 9 * HOUR, 10 * HOUR]
    assert (memory.missed, memory.skipped, memory.at) == (7, 0, 11 * HOUR)


def test_with_jitter_too_no_more_than_the_newest_are_made_up_for() -> None:
    spec = Spec(every=MINUTE, catch_up=1, jitter=10 * MINUTE)
    memory, now, starts = _memory(), 3 * HOUR, list[int]()

    while firing := plan("s", spec, memory, now=now, running=False, times=Every(MINUTE, 0)):
        assert firing.start is not None
        starts.append(firing.start)
        memory = firing.memory

    late = [at for at in starts if at + jitter_of("s", at, spec.jitter) < now - LATE]
    assert len(late) == 1
    assert (starts[0], starts) == (late[0], sorted(starts))


def test_cancel_makes_up_for_the_newest_only() -> None:
    now = 10 * HOUR + 30 * MINUTE

    firing = plan("s", _spec("cancel", catch_up=3), _memory(), now=now, running=True, times=HOURLY)

    assert firing is not None
    assert (firing.start, firing.cancel, firing.next_at) == (10 * HOUR, True, 11 * HOUR)
    assert (firing.memory.missed, firing.memory.skipped) == (7, 2)


def test_years_of_absence_are_skipped_at_once() -> None:
    class Counting(Every):
        asked = 0

        def after(self, when: int) -> int | None:
            Counting.asked += 1
            return super().after(when)

    times = Counting(SECOND, 0)
    spec = Spec(every=SECOND, catch_up=2)
    now = 10 * 365 * 24 * HOUR

    firing = plan("s", spec, Memory(at=SECOND), now=now, running=False, times=times)

    assert firing is not None
    assert Counting.asked < 200
    assert firing.start == now - LATE - 2 * SECOND
    assert firing.memory.missed == (now - LATE) // SECOND - 3


# -- jitter ----------------------------------------------------------------------------------------


@given(at=st.integers(0, 10**15), jitter=st.integers(1, HOUR))
def test_jitter_is_the_same_everywhere_and_bounded(at: int, jitter: int) -> None:
    late = jitter_of("s", at, jitter)

    assert 0 <= late < jitter
    assert late == jitter_of("s", at, jitter)
    assert jitter_of("s", at, 0) == 0


def test_jitter_spreads_schedules_and_times() -> None:
    by_id = {jitter_of(f"s{k}", 0, HOUR) // MINUTE for k in range(200)}
    by_time = {jitter_of("s", k * HOUR, HOUR) // MINUTE for k in range(200)}

    assert len(by_id) > 45
    assert len(by_time) > 45


def test_a_jittered_fire_waits_for_its_own_time() -> None:
    spec = _spec(jitter=30 * MINUTE)
    due = due_at("s", spec, _memory())
    assert due is not None
    assert HOUR < due < HOUR + 30 * MINUTE

    assert plan("s", spec, _memory(), now=due - 1, running=False, times=HOURLY) is None
    firing = plan("s", spec, _memory(), now=due, running=False, times=HOURLY)

    assert firing is not None
    assert firing.start == HOUR
    assert firing.next_at == due_at("s", spec, firing.memory)


# -- storing -------------------------------------------------------------------------------------


def test_spec_and_memory_survive_storing_and_members_of_later_versions() -> None:
    spec = Spec(cron="0 3 * * *", timezone="Europe/Berlin", overlap="queue", start=1, end=2)
    memory = Memory(at=5, waiting=(1, 2), last_n=3, last_id="x", skipped=4, error="no")

    assert Spec.read({**spec.stored(), "new": 1}) == spec
    assert Memory.read({**memory.stored(), "waiting": [1, 2], "new": 1}) == memory


def test_keys_differ_by_schedule_and_time() -> None:
    assert len({key_of(id_, at) for id_ in ("a", "b") for at in (1, 2)}) == 4


# -- whatever happens ------------------------------------------------------------------------------


@attrs.define
class _World:
    """A schedule that is looked at now and then; *run_ends* is when the last run ends."""

    spec: Spec
    times: Every
    memory: Memory
    started: list[int] = attrs.field(factory=list[int])
    cancelled: int = 0
    run_ends: int = -1

    def look(self, now: int, length: int) -> None:
        for _ in range(1000):
            running = self.run_ends > now
            firing = plan("s", self.spec, self.memory, now=now, running=running, times=self.times)
            if firing is None:
                return
            if firing.start is not None:
                assert not running or firing.cancel
                self.started.append(firing.start)
                self.run_ends = now + length
            assert firing.memory != self.memory
            self.memory = firing.memory
        raise AssertionError("it never comes to rest")


@given(
    overlap=st.sampled_from(["skip", "queue", "cancel"]),
    catch_up=st.integers(0, 4),
    every=st.integers(30, 400),
    jitter=st.integers(0, 30),
    end=st.none() | st.integers(1, 4000),
    looks=st.lists(st.tuples(st.integers(1, 900), st.integers(0, 600)), min_size=1, max_size=30),
)
def test_no_time_fires_twice_and_each_is_accounted_for(
    overlap: Literal["skip", "queue", "cancel"],
    catch_up: int,
    every: int,
    jitter: int,
    end: int | None,
    looks: Sequence[tuple[int, int]],
) -> None:
    spec = Spec(
        every=every * SECOND,
        overlap=overlap,
        catch_up=catch_up,
        jitter=jitter * SECOND,
        end=None if end is None else end * SECOND,
    )
    times = Every(every * SECOND, 0)
    world = _World(spec=spec, times=times, memory=Memory(at=first(spec, times, 0)))
    now = 0
    for wait, length in looks:
        now += wait * SECOND
        world.look(now, length * SECOND)

    memory = world.memory
    all_times = range(every * SECOND, now + 1, every * SECOND)
    past = [
        t
        for t in all_times
        if t + jitter_of("s", t, spec.jitter) <= now and (spec.end is None or t < spec.end)
    ]
    assert world.started == sorted(set(world.started))
    assert set(world.started) <= set(past)
    accounted = len(world.started) + memory.skipped + memory.missed + len(memory.waiting)
    assert accounted == len(past)
    assert len(memory.waiting) <= catch_up
    assert memory.at is None or memory.at not in past


@given(
    looks=st.lists(st.integers(1, 5), min_size=1, max_size=40),
    overlap=st.sampled_from(["skip", "queue", "cancel"]),
)
def test_with_short_runs_and_a_host_that_is_there_every_time_fires(
    looks: Sequence[int], overlap: Literal["skip", "queue", "cancel"]
) -> None:
    spec = Spec(every=10 * SECOND, overlap=overlap)
    times = Every(10 * SECOND, 0)
    world = _World(spec=spec, times=times, memory=Memory(at=10 * SECOND))
    now = 0
    for wait in looks:
        now += wait * SECOND
        world.look(now, 0)

    assert world.started == list(range(10 * SECOND, now + 1, 10 * SECOND))
