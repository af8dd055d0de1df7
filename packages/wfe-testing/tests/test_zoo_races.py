"""The laws of races catch stores that look, let others in, and then do what they had decided."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from inspect import getmembers, isfunction
from typing import Any, ClassVar

import attrs
import pytest
from test_contracts_zoo import GivesNumbersTwice, OneBadItemSpoilsTheBatch
from zoo_parts import FAILURES

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_limits import MemoryLimits
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_topics import MemoryTopics
from wfe.core.providers import (
    ActivityRow,
    Claimed,
    Clock,
    Event,
    Hold,
    Item,
    Loaded,
    Message,
    Outcome,
    Refused,
    ScheduleRow,
    Subscription,
)
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.meetings import MeetingLaws
from wfe.testing.contracts.races import RaceLaws


async def gap() -> None:
    """Let everybody else look too."""
    await asyncio.sleep(0)


# -- owners -------------------------------------------------------------------------------------


class ClaimsWithoutALock(MemoryStore):
    async def claim(
        self, epoch: int, definitions: Sequence[int], limit: int, hints: Sequence[int] | None = None
    ) -> Sequence[Claimed]:
        due = [
            run
            for n, run in self._runs.by_n.items()
            if run.owner is None and run.wake is not None and (hints is None or n in hints)
        ][:limit]
        await gap()
        for run in due:
            self._runs.release(run, None)
            self._runs.own(run, epoch)
        return [Claimed(run.new.n, run.new.d, run.takeovers) for run in due]


class TakesOverAtOnce(MemoryStore):
    """Fences and releases in one step, of which a claim that was on its way is no part."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._released: set[int] = set()

    async def claim(self, epoch: int, *rest: Any, **named: Any) -> Sequence[Claimed]:
        worker = self._workers[epoch]
        for _ in range(3):
            await gap()
        fenced, self._workers[epoch] = self._workers[epoch], worker
        claimed = await super().claim(epoch, *rest, **named)
        self._workers[epoch] = fenced
        return claimed

    async def orphans(self, limit: int) -> int:
        fenced = {e for e, row in self._workers.items() if row.fenced is not None}
        lost = [run for e in fenced - self._released for run in self._runs.owned[e].values()]
        self._released |= fenced
        for run in lost:
            self._runs.release(run, self.clock.now())
        return len(lost)


class LoadsInTheClaimsOwnView(MemoryStore):
    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._view: dict[int, Loaded] = {}

    async def claim(self, *rest: Any, **named: Any) -> Sequence[Claimed]:
        view = {each.header.n: each for each in await super().load(list(self._runs.by_n))}
        await gap()
        claimed = await super().claim(*rest, **named)
        self._view.update({entry.n: view[entry.n] for entry in claimed})
        return claimed

    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        return [self._view.pop(each.header.n, each) for each in await super().load(numbers)]


class FencesWithoutALock(MemoryStore):
    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        alive = [epoch for epoch in epochs if self._alive(epoch)]
        await gap()
        await super().fence(alive, lease=lease)
        return alive


class ReleasesTwice(MemoryStore):
    async def orphans(self, limit: int) -> int:
        lost = [
            run
            for epoch, row in self._workers.items()
            if row.fenced is not None
            for run in self._runs.owned[epoch].values()
        ][:limit]
        await gap()
        for run in lost:
            run.takeovers += 1
            self._runs.release(run, self.clock.now())
        return len(lost)


class LooksAtTheFence(MemoryStore):
    """The epoch check is a look and no lock."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        if epoch is not None and not self._alive(epoch):
            return await super().commit(epoch, items)
        for _ in range(3):
            await gap()
        return self._runs.commit(epoch, items, self.clock.now())


# -- items decided too early --------------------------------------------------------------------


class EarlyRuns(MemoryRuns):
    """Believes what was decided about an item before."""

    def __init__(self) -> None:
        super().__init__()
        self.early: dict[int, Outcome | None] = {}

    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        if id(item) in self.early:
            return self.early.pop(id(item))
        return super()._problem(item, epoch)


class Early(MemoryStore):
    """Decides about some items, lets others in, and applies them."""

    about: ClassVar[str]

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._runs: EarlyRuns = EarlyRuns()

    def early(self, item: Item) -> bool:
        return bool(getattr(item, self.about))

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        copies = [attrs.evolve(item) for item in items]
        decided = {
            id(item): MemoryRuns._problem(self._runs, item, epoch)
            for item in copies
            if self.early(item)
        }
        await gap()
        self._runs.early.update(decided)
        return await super().commit(epoch, copies)


class StartsWithoutAnIndex(Early):
    about = "new"


class FiresWithoutItsRev(Early):
    about = "fire"


class TellsWithoutALock(Early):
    about = "messages"


class EndsWithoutALock(Early):
    def early(self, item: Item) -> bool:
        return item.header is not None and item.header.final


class AsksTheInbox(MemoryStore):
    """Releases by what was in the inbox when it looked."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        looked = [
            item.header is not None
            and item.header.release
            and self._runs.by_n[item.n].poke == item.seen
            for item in items
        ]
        await gap()
        believed = [
            attrs.evolve(item, seen=self._runs.by_n[item.n].poke) if quiet else item
            for item, quiet in zip(items, looked, strict=True)
        ]
        return await super().commit(epoch, believed)


class DedupesWithoutAnIndex(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        changed = [
            attrs.evolve(item, messages=tuple(self._fresh(each) for each in item.messages))
            for item in items
        ]
        await gap()
        return await super().commit(epoch, changed)

    def _fresh(self, message: Message) -> Message:
        run = self._runs.by_n[message.target or 0]
        known = message.dedupe in run.dedupes
        return message if known else attrs.evolve(message, dedupe=None)


class LocksAsItComes(MemoryStore):
    """Locks the rows of a batch in its order, as an unsorted update does."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._row_locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        rows = [n for item in items for n in (item.n, *(m.target or 0 for m in item.messages))]
        held: list[asyncio.Lock] = []
        try:
            for n in dict.fromkeys(filter(None, rows)):
                async with asyncio.timeout(0.2):  # the server finds the deadlock
                    await self._row_locks[n].acquire()
                held.append(self._row_locks[n])
                await gap()
            return await super().commit(epoch, items)
        finally:
            for lock in held:
                lock.release()


# -- meetings -----------------------------------------------------------------------------------


class BlindTopics(MemoryTopics):
    """Matches only with what was there when it looked."""

    seen_events: frozenset[str] = frozenset()
    seen_waits: frozenset[tuple[int, int]] = frozenset()

    def look(self) -> tuple[frozenset[str], frozenset[tuple[int, int]]]:
        return frozenset(self._places), frozenset(
            place for waits in self._waiting.values() for place in waits
        )

    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        topic = (subscription.name, subscription.key)
        events = self._events[topic]
        self._events[topic] = [each for each in events if each[2].id in self.seen_events]
        super().subscribe(run, subscription, commit)
        self._events[topic] = events

    def publish(self, event: Event, commit: MemoryCommit) -> None:
        waits = self._waiting[event.name, event.key]
        hidden = {place: waits.pop(place) for place in list(waits) if place not in self.seen_waits}
        super().publish(event, commit)
        self._waiting[event.name, event.key].update(hidden)


class MatchesWithoutAGuard(MemoryStore):
    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._topics = BlindTopics(self._runs.deliver)
        self._runs.topics = self._topics

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        seen = self._topics.look()
        await gap()
        self._topics.seen_events, self._topics.seen_waits = seen
        return await super().commit(epoch, items)


class StoresEventsWithoutAnIndex(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        topics = self._runs.topics
        new = {e.id for item in items for e in item.publish if e.id not in topics._places}
        await gap()
        for id_ in new:
            topics._places.pop(id_, None)
        return await super().commit(epoch, items)


class WritesWaitsBack(MemoryStore):
    """Writes back the waits that it read."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        runs = [run for run in self._runs.by_n.values() if run.subscriptions]
        seen = [(run, wait) for run in runs for wait in run.subscriptions.values()]
        await gap()
        done = await super().commit(epoch, items)
        for run, wait in seen:
            if wait.pointer not in run.subscriptions:
                run.subscriptions[wait.pointer] = wait
                waits = self._runs.topics._waiting[wait.name, wait.key]
                waits[run.new.n, wait.pointer] = (run, wait)
        return done


class PutsSchedulesWithoutTheirRev(MemoryStore):
    async def put_schedule(self, row: ScheduleRow) -> bool:
        free = row.id not in self._runs.schedules.rows
        await gap()
        if free:
            self._runs.schedules.rows.pop(row.id, None)
        return await super().put_schedule(row)


class GivesWorkWithoutALock(MemoryStore):
    async def claim_activity(
        self, names: Sequence[str], worker: str, token: str, lease: int
    ) -> ActivityRow | None:
        work = self._runs.activities
        free = [row for row in work.rows(None) if row.token is None and row.name in names]
        await gap()
        if not free:
            return None
        until = self.clock.now() + lease
        row = attrs.evolve(free[0], token=token, worker=worker, lease_until=until)
        work._rows[row.a], work._by_token[token] = row, row.a
        return row


class FinishesWorkWithoutALock(MemoryStore):
    async def finish_activity(self, token: str, result: str) -> Outcome:
        row = self._runs.activities.held(token, self.clock.now())
        await gap()
        if row is None:
            return Refused("missing")
        if self._runs.activities.held(token, self.clock.now()) is None:
            message = Message(target=row.n, kind="activity_done", payload=f'{{"pointer":{row.a}}}')
            return (await self.commit(None, [Item(messages=(message,))]))[0]
        return await super().finish_activity(token, result)


class UnguardedLimits(MemoryLimits):
    """Goes by the places and the waiters that it saw before."""

    full: frozenset[str] = frozenset()
    waiting: frozenset[tuple[int, int]] = frozenset()
    overbooks: bool = False
    asking: bool = False

    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        if self.overbooks and hold.key not in self.full:
            self._holders[hold.key][run.new.n, hold.pointer] = run
            self._wanted[run.new.n].add((hold.pointer, hold.key))
            self._tell(run, hold, commit.now, commit)
            return
        self.asking = hold.key in self.full
        super().hold(run, hold, commit)
        self.asking = False

    def _grant(self, key: str, commit: MemoryCommit) -> None:
        unseen = [place for place in self._waiters[key] if place not in self.waiting]
        if self.overbooks or not (self.asking or unseen):
            super()._grant(key, commit)


class LimitsWithoutAGuard(MemoryStore):
    overbooks: ClassVar[bool] = False

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._limits = UnguardedLimits(self._runs.deliver)
        self._limits.overbooks = self.overbooks
        self._runs.limits = self._limits

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        holds = [hold for item in items for hold in item.hold]
        full = frozenset(hold.key for hold in holds if self._limits._full(hold))
        waiting = frozenset(p for places in self._limits._waiters.values() for p in places)
        await gap()
        self._limits.full, self._limits.waiting = full, waiting
        return await super().commit(epoch, items)


class CountsPlacesWithoutAGuard(LimitsWithoutAGuard):
    overbooks = True


class CountsRatesWithoutAGuard(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        limits = self._runs.limits
        grants = {key: list(times) for key, times in limits._grants.items()}
        over = list(limits._over)
        await gap()
        limits._grants = defaultdict(list, grants)
        limits._over = over
        return await super().commit(epoch, items)


class PurgesWithoutALock(MemoryStore):
    async def purge(self, roots: Sequence[int]) -> int:
        count = sum([len(await self.family(root)) for root in roots])
        await gap()
        await super().purge(roots)
        return count


ZOO: list[tuple[type[MemoryStore], str]] = [
    (ClaimsWithoutALock, "twenty_claimers_get_each_due_run_once"),
    (ClaimsWithoutALock, "twenty_claimers_of_the_same_hints_get_each_once"),
    (LoadsInTheClaimsOwnView, "who_claims_loads_what_the_last_owner_wrote"),
    (FencesWithoutALock, "twenty_hosts_fence_a_worker_once"),
    (ReleasesTwice, "twenty_hosts_release_each_orphan_once"),
    (LooksAtTheFence, "no_commit_succeeds_after_a_fence_elsewhere"),
    (LooksAtTheFence, "what_a_dying_host_got_hold_of_is_taken_over"),
    (TakesOverAtOnce, "what_a_dying_host_got_hold_of_is_taken_over"),
    (AsksTheInbox, "release_and_message_of_two_hosts_never_sleep"),
    (EndsWithoutALock, "an_end_and_an_accepted_message_exclude_each_other"),
    (TellsWithoutALock, "an_end_and_an_accepted_message_exclude_each_other"),
    (DedupesWithoutAnIndex, "a_message_sent_by_twenty_is_kept_once"),
    (LocksAsItComes, "batches_in_any_order_never_deadlock"),
    (OneBadItemSpoilsTheBatch, "a_name_in_many_batches_spoils_none"),
    (StartsWithoutAnIndex, "a_name_in_many_batches_spoils_none"),
    (GivesNumbersTwice, "numbers_given_to_twenty_are_different"),
    (MatchesWithoutAGuard, "two_hundred_waits_and_events_meet_once_each"),
    (StoresEventsWithoutAnIndex, "an_event_sent_by_twenty_is_one_event"),
    (WritesWaitsBack, "a_wait_that_ends_while_its_event_comes_is_over"),
    (StartsWithoutAnIndex, "one_start_of_twenty_hosts_wins"),
    (FiresWithoutItsRev, "one_fire_of_twenty_hosts_wins"),
    (PutsSchedulesWithoutTheirRev, "a_schedule_put_by_twenty_is_new_once"),
    (GivesWorkWithoutALock, "work_is_claimed_and_finished_once_by_twenty"),
    (FinishesWorkWithoutALock, "work_is_claimed_and_finished_once_by_twenty"),
    (CountsPlacesWithoutAGuard, "places_are_never_exceeded_by_twenty"),
    (LimitsWithoutAGuard, "a_place_freed_while_another_asks_is_granted"),
    (CountsRatesWithoutAGuard, "a_rate_is_exact_for_twenty_hosts"),
    (PurgesWithoutALock, "families_are_purged_once_by_many"),
]


async def keeps(kind: type[MemoryStore], law: str) -> None:
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")([kind(VirtualClock())])


@pytest.mark.parametrize(("broken", "law"), ZOO)
async def test_the_laws_of_races_catch(broken: type[MemoryStore], law: str) -> None:
    await keeps(MemoryStore, law)
    with pytest.raises(FAILURES):
        await keeps(broken, law)


def test_every_law_of_races_is_broken_by_somebody() -> None:
    laws = {
        name.removeprefix("test_")
        for part in (RaceLaws, MeetingLaws)
        for name, _ in getmembers(part, isfunction)
        if name.startswith("test_")
    }

    assert laws == {law for _, law in ZOO}
