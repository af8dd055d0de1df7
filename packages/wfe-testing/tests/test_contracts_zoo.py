"""Every contract catches providers that are broken in one place, so it can fail."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_due import MemoryDue
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_topics import MemoryTopics
from wfe.core.providers import (
    Claimed,
    Clock,
    Conflict,
    Done,
    Event,
    Fenced,
    Header,
    HeaderChange,
    Hint,
    InstanceQuery,
    Item,
    Message,
    Outcome,
    PersistenceProvider,
    Stale,
    StoredInstance,
    Subscription,
    WorkerInfo,
)
from wfe.testing.contracts import LockContract, PersistenceContract, QueueContract
from wfe.testing.contracts.locks import nothing
from wfe.testing.contracts.machine import run_machine
from wfe.testing.contracts.queues import count_epochs

FAILURES = (AssertionError, TimeoutError, ValueError, LookupError)
"""What a law raises that is not kept; unpacking too few rows is a ValueError."""

# -- persistence --------------------------------------------------------------------------------


def _with_runs(runs: type[MemoryRuns]) -> Callable[[Clock], MemoryStore]:
    def new_store(clock: Clock) -> MemoryStore:
        store = MemoryStore(clock)
        store._runs = runs()
        return store

    return new_store


def _with_part(name: str, part: Callable[[MemoryRuns], object]) -> Callable[[Clock], MemoryStore]:
    """Return a store of which one collaborator is broken."""

    def new_store(clock: Clock) -> MemoryStore:
        store = MemoryStore(clock)
        setattr(store._runs, name, part(store._runs))
        return store

    return new_store


def _with_topics(topics: type[MemoryTopics]) -> Callable[[Clock], MemoryStore]:
    return _with_part("topics", lambda runs: topics(runs.deliver))


def _with_due(due: type[MemoryDue]) -> Callable[[Clock], MemoryStore]:
    return _with_part("due", lambda runs: due(runs.by_n))


class IgnoresTheFence(MemoryStore):
    def _alive(self, epoch: int) -> bool:
        return True


class ClaimsForTheFenced(MemoryStore):
    async def claim(self, epoch: int, *rest: Any, **named: Any) -> Sequence[Claimed]:
        worker = self._workers.get(epoch)
        if worker is not None:
            self._workers[epoch] = attrs.evolve(worker, fenced=None)
        claimed = await super().claim(epoch, *rest, **named)
        if worker is not None:
            self._workers[epoch] = worker
        return claimed


class GivesNumbersTwice(MemoryStore):
    async def allocate(self, count: int) -> int:
        first = self._last_n + 1
        await asyncio.sleep(0)
        self._last_n = first + count - 1
        return first


class ClaimsTwice(MemoryStore):
    async def claim(self, epoch: int, *rest: Any, **named: Any) -> Sequence[Claimed]:
        definitions, limit = rest[0], rest[1]
        runs = self._runs.due.take(definitions, self.clock.now(), limit)
        for run in runs:
            self._runs.release(run, run.wake)
        await asyncio.sleep(0)
        for run in runs:
            self._runs.own(run, epoch)
        return [Claimed(run.new.n, run.new.d, run.takeovers) for run in runs]


class ForgetsTakeoversOfTheOwned(MemoryStore):
    async def owned(self, epoch: int) -> Sequence[Claimed]:
        return [attrs.evolve(each, takeovers=0) for each in await super().owned(epoch)]


class TellsOfTheOwnedOfAll(MemoryStore):
    async def owned(self, epoch: int) -> Sequence[Claimed]:
        owned = super().owned
        return [each for other in self._workers for each in await owned(other)]


class OneBadItemSpoilsTheBatch(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        outcomes = await super().commit(epoch, items)
        if all(isinstance(outcome, Done | Fenced) for outcome in outcomes):
            return outcomes
        return [Conflict()] * len(items)


class CountsStopsAsTakeovers(MemoryStore):
    async def unregister(self, epoch: int) -> None:
        await self.fence([epoch], lease=None)
        await self.orphans(1000)


class CountsNoTakeovers(MemoryStore):
    async def orphans(self, limit: int) -> int:
        before = {n: run.takeovers for n, run in self._runs.by_n.items()}
        count = await super().orphans(limit)
        for n, takeovers in before.items():
            self._runs.by_n[n].takeovers = takeovers
        return count


class ReleasesTheLiving(MemoryStore):
    async def orphans(self, limit: int) -> int:
        for epoch in list(self._workers):
            for run in list(self._runs.owned[epoch].values()):
                self._runs.release(run, self.clock.now())
        return await super().orphans(limit)


class FencesTheLiving(MemoryStore):
    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        return await super().fence(epochs, lease=None)


class NeverSuspends(MemoryStore):
    async def fault(self, epoch: int, n: int, wake: int, reason: str, limit: int) -> None:
        await super().fault(epoch, n, wake, reason, limit + 1000)


class RepeatsPages(MemoryStore):
    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        if query.after is not None:
            query = attrs.evolve(query, after=(query.after[0] + 1, query.after[1]))
        return await super().find(query)


class ForgetsWhichIsCurrent(MemoryStore):
    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        for row in self._definitions:
            if (row.id, row.version, row.hash) == (id, version, hash):
                return row.d
        return await super().put_definition(id, version, hash, body)


class MissesEarlierEvents(MemoryTopics):
    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        events, self._events[subscription.name, subscription.key] = (
            self._events[subscription.name, subscription.key],
            [],
        )
        super().subscribe(run, subscription, commit)
        self._events[subscription.name, subscription.key] = events


class UsesEventsTwice(MemoryTopics):
    def _match(
        self, run: MemoryRun, subscription: Subscription, stored: Any, commit: MemoryCommit
    ) -> None:
        super()._match(run, subscription, stored, commit)
        run.subscriptions[subscription.pointer] = subscription
        topic = self._waiting[subscription.name, subscription.key]
        topic[run.new.n, subscription.pointer] = (run, subscription)


class StoresEventsTwice(MemoryTopics):
    def publish(self, event: Event, commit: MemoryCommit) -> None:
        self._places.pop(event.id, None)
        super().publish(event, commit)


class IgnoresAsOf(MemoryTopics):
    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        super().subscribe(run, attrs.evolve(subscription, as_of=0), commit)


class NothingExpires(MemoryTopics):
    def publish(self, event: Event, commit: MemoryCommit) -> None:
        super().publish(attrs.evolve(event, expires=None), commit)


class ExpiresTooEarly(MemoryTopics):
    def publish(self, event: Event, commit: MemoryCommit) -> None:
        expires = None if event.expires is None else event.expires - 1
        super().publish(attrs.evolve(event, expires=expires), commit)


class SleepsOverMessages(MemoryRuns):
    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        super()._head(run, header, run.poke, commit)


class FinishesUnseen(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        return None if isinstance(problem, Stale) else problem


class WritesHalfItems(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        if problem is not None and item.new is None:
            self._write_half(item)
        return problem

    def _append(self, item: Item, epoch: int | None, done: Done) -> Outcome:
        outcome = super()._append(item, epoch, done)
        if not isinstance(outcome, Done):
            self._write_half(item)
        return outcome

    def _write_half(self, item: Item) -> None:
        if item.n in self.by_n:
            self.by_n[item.n].rows.extend([(0, text) for text in item.rows])


class LetsAnybodyWrite(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        run = self.by_n.get(item.n)
        return super()._problem(item, epoch if run is None else run.owner)


class DoublesMessages(MemoryRuns):
    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        return super().deliver(run, attrs.evolve(message, dedupe=None), commit)


class UpdatesARowOnceABatch(MemoryRuns):
    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        self.told: set[int] = set()
        return super().commit(epoch, items, now)

    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        first = run.new.n not in self.told
        self.told.add(run.new.n)
        return first and super().deliver(run, message, commit)


class DropsNul(MemoryRuns):
    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        payload = message.payload.replace("\\u0000", "")
        return super().deliver(run, attrs.evolve(message, payload=payload), commit)


class PutsOffWhatWasDue(MemoryRuns):
    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        delivered = super().deliver(run, message, commit)
        if run.owner is None:
            self.release(run, commit.now)
        return delivered


class TellsFinalRuns(MemoryRuns):
    def _targets(self, n: int, message: Message) -> Any:
        target = None if message.target is None else self.by_n.get(message.target)
        return super()._targets(n, message) if target is None else (target,)


class StartsChildrenOfNobody(MemoryRuns):
    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        for child in (child for item in items for child in item.starts):
            super().commit(epoch, [child], now)
        return super().commit(epoch, items, now)


class TruncatesAtSnapshots(MemoryRuns):
    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        super()._change(run, item, commit)
        if item.fold is not None:
            run.rows[: item.fold.seq] = [(0, "null")] * item.fold.seq


class NamesAreNotUnique(MemoryRuns):
    def _new_problem(self, new: Header, epoch: int | None) -> Outcome | None:
        return super()._new_problem(attrs.evolve(new, name=None), epoch)


class ClaimsTheLatest(MemoryDue):
    def take(self, definitions: Sequence[int], now: int, limit: int) -> list[MemoryRun]:
        found = super().take(definitions, now, 1000)
        for run in found[: max(len(found) - limit, 0)]:
            self.add(run, run.wake or 0)
        return found[-limit:]


PERSISTENCE_ZOO: list[tuple[Callable[[Clock], PersistenceProvider], str]] = [
    (IgnoresTheFence, "a_fenced_worker_writes_nothing"),
    (IgnoresTheFence, "after_a_fence_no_commit_succeeds"),
    (ClaimsForTheFenced, "a_fenced_worker_claims_nothing"),
    (GivesNumbersTwice, "numbers_are_given_out_once"),
    (ClaimsTwice, "each_due_run_is_claimed_once"),
    (ForgetsTakeoversOfTheOwned, "a_worker_hears_what_it_owns_however_it_came_to_it"),
    (TellsOfTheOwnedOfAll, "a_worker_hears_what_it_owns_however_it_came_to_it"),
    (OneBadItemSpoilsTheBatch, "bad_items_leave_the_others_alone"),
    (CountsStopsAsTakeovers, "unregister_hands_back_without_counting_a_takeover"),
    (CountsNoTakeovers, "orphans_are_released_due_now_and_counted"),
    (ReleasesTheLiving, "orphans_are_released_due_now_and_counted"),
    (FencesTheLiving, "fence_by_lease_spares_who_was_heard_of"),
    (NeverSuspends, "faults_back_off_and_then_suspend"),
    (RepeatsPages, "pages_of_find_meet_each_run_once"),
    (
        ForgetsWhichIsCurrent,
        "a_definition_is_stored_once_and_the_last_put_is_current",
    ),
    (_with_topics(MissesEarlierEvents), "an_event_published_before_the_wait_is_found"),
    (_with_topics(MissesEarlierEvents), "publish_and_wait_at_once_always_meet"),
    (_with_topics(UsesEventsTwice), "an_event_is_used_once_per_wait"),
    (_with_topics(StoresEventsTwice), "a_repeated_event_id_is_one_event"),
    (_with_topics(IgnoresAsOf), "events_before_as_of_do_not_count"),
    (_with_runs(SleepsOverMessages), "release_never_sleeps_over_a_message"),
    (_with_runs(SleepsOverMessages), "release_and_message_at_once_never_sleep"),
    (_with_runs(FinishesUnseen), "final_needs_that_every_message_was_seen"),
    (_with_runs(WritesHalfItems), "a_refused_item_leaves_no_trace"),
    (_with_runs(LetsAnybodyWrite), "only_the_owner_changes_the_header"),
    (_with_runs(DoublesMessages), "dedupe_keeps_one_row_until_it_is_consumed"),
    (_with_runs(UpdatesARowOnceABatch), "all_that_a_batch_does_to_a_run_counts"),
    (_with_runs(DropsNul), "texts_of_any_kind_are_kept"),
    (_with_runs(PutsOffWhatWasDue), "a_message_does_not_put_off_what_was_due"),
    (_with_runs(TellsFinalRuns), "a_lax_message_to_nobody_is_dropped"),
    (_with_runs(StartsChildrenOfNobody), "children_fall_with_their_parents_item"),
    (_with_runs(TruncatesAtSnapshots), "load_gives_the_last_snapshot_and_the_rows_above_it"),
    (_with_runs(NamesAreNotUnique), "name_is_unique_in_the_store"),
    (_with_due(ClaimsTheLatest), "claim_takes_the_earliest_due"),
    (_with_topics(NothingExpires), "an_expired_event_is_for_nobody_who_comes_later"),
    (_with_topics(NothingExpires), "an_event_that_has_expired_already_wakes_nobody"),
    (_with_topics(ExpiresTooEarly), "an_expired_event_is_for_nobody_who_comes_later"),
]


async def _persistence_law(new_store: Callable[[Clock], PersistenceProvider], law: str) -> None:
    store = new_store(VirtualClock())
    await store.open()
    try:
        async with asyncio.timeout(5):
            await getattr(PersistenceContract(), f"test_{law}")(store)
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("broken", "law"),
    PERSISTENCE_ZOO,
    ids=[f"{k}-{law}" for k, (_, law) in enumerate(PERSISTENCE_ZOO)],
)
async def test_persistence_contract_catches(
    broken: Callable[[Clock], PersistenceProvider], law: str
) -> None:
    await _persistence_law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _persistence_law(broken, law)


@pytest.mark.parametrize(
    "broken",
    [
        _with_runs(PutsOffWhatWasDue),
        _with_runs(FinishesUnseen),
        _with_topics(UsesEventsTwice),
    ],
)
def test_random_histories_catch(broken: Callable[[Clock], PersistenceProvider]) -> None:
    with pytest.raises((*FAILURES, ExceptionGroup)):
        run_machine(broken, examples=1000, shrink=False)  # some need a hundred


# -- queues ---------------------------------------------------------------------------------------


class Deaf(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        return None


class TellsOwnersOnly(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        await super().hint([hint for hint in hints if hint.owner is not None])


class TellsEverybody(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        await super().hint([attrs.evolve(hint, owner=None) for hint in hints])


class Invents(MemoryStore):
    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        numbers = await super().wait(epoch, timeout)
        return [*numbers, 99] if numbers else numbers


class Repeats(MemoryStore):
    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        numbers = await super().wait(epoch, timeout)
        for n in numbers[:1]:
            self._queue.put(epoch, n)
        return numbers


class Impatient(MemoryStore):
    async def wait(self, epoch: int, timeout: int) -> Sequence[int]:
        return await super().wait(epoch, timeout // 100)


class KeepsTheLastOnly(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        await super().hint(hints[-1:])


class RaisesForStrangers(MemoryStore):
    async def hint(self, hints: Sequence[Hint]) -> None:
        for hint in hints:
            if hint.owner is not None:
                assert self._queue.put(hint.owner, hint.n), "nobody has this epoch"


QUEUE_ZOO: list[tuple[type[MemoryStore], str]] = [
    (Deaf, "a_hint_wakes_the_waiting_owner"),
    (TellsOwnersOnly, "a_hint_for_nobody_reaches_somebody"),
    (TellsEverybody, "owners_get_their_own_hints_only"),
    (TellsEverybody, "a_hint_for_an_unknown_owner_is_nobodys"),
    (Invents, "a_hint_wakes_the_waiting_owner"),
    (Repeats, "nothing_is_told_twice_or_invented"),
    (Impatient, "waiting_ends_with_the_time_and_nothing"),
    (KeepsTheLastOnly, "many_hints_arrive"),
    (RaisesForStrangers, "a_hint_for_an_unknown_owner_is_nobodys"),
]


async def _queue_law(store: MemoryStore, law: str) -> None:
    await getattr(QueueContract(), f"test_{law}")(store, count_epochs())


@pytest.mark.parametrize(("broken", "law"), QUEUE_ZOO)
async def test_queue_contract_catches(broken: type[MemoryStore], law: str) -> None:
    await _queue_law(MemoryStore(), law)
    with pytest.raises(FAILURES):
        await _queue_law(broken(), law)


# -- locks ----------------------------------------------------------------------------------------


class GrantsAll(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        return True


class GrantsLate(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        free = name not in self._locks or self._locks[name][0] == epoch
        await asyncio.sleep(0)
        self._locks[name] = (epoch, lease)
        return free


class NeverExpires(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        return await super().try_acquire(name, epoch, lease * 1000)


class NeverRenews(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        holder, until = self._locks.get(name, (0, 0))
        if holder == epoch and until > self.clock.now():
            return True
        return await super().try_acquire(name, epoch, lease)


class ForgetsNames(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        return await super().try_acquire("the lock", epoch, lease)


class BuriesTheLiving(MemoryStore):
    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        return await super().dead(epochs, lease // 2)


class BelievesInGhosts(MemoryStore):
    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        return [epoch for epoch in await super().dead(epochs, lease) if epoch in self._workers]


class WaitsForEver(MemoryStore):
    async def dead(self, epochs: Sequence[int], lease: int) -> Sequence[int]:
        return [epoch for epoch in epochs if not self._alive(epoch)]


class BeatsForTheFenced(MemoryStore):
    async def beat(self, epoch: int, lease: int) -> bool:
        await super().beat(epoch, lease)
        return True


class TrustsTheFenced(MemoryStore):
    async def try_acquire(self, name: str, epoch: int, lease: int) -> bool:
        holder, until = self._locks.get(name, (epoch, 0))
        if holder != epoch and until > self.clock.now():
            return False
        return await super().try_acquire(name, epoch, lease)


LOCK_ZOO: list[tuple[type[MemoryStore], str]] = [
    (GrantsAll, "one_holder_at_a_time"),
    (GrantsLate, "one_of_many_wins"),
    (NeverExpires, "a_lock_is_free_after_its_lease_and_not_before"),
    (NeverRenews, "taking_it_again_renews_it"),
    (ForgetsNames, "names_are_independent"),
    (BuriesTheLiving, "nobody_is_dead_before_the_lease_is_over"),
    (BelievesInGhosts, "who_was_never_there_is_dead"),
    (WaitsForEver, "who_is_silent_for_a_lease_is_dead"),
    (BeatsForTheFenced, "who_was_fenced_is_told_so_by_its_beat"),
    (TrustsTheFenced, "a_fenced_holder_holds_nothing"),
]


async def _lock_law(kind: type[MemoryStore], law: str) -> None:
    store = kind(clock := VirtualClock())
    worker = WorkerInfo(name="w", host="h", pid=1)

    def new_epoch() -> Awaitable[int]:
        return store.register(worker)

    def fence(epoch: int) -> Awaitable[object]:
        return store.fence([epoch], lease=None)

    method = getattr(LockContract(), f"test_{law}")
    offered = {"clock": clock, "fence": fence, "listened": nothing}
    wanted = {name: value for name, value in offered.items() if name in method.__annotations__}
    await method(store, new_epoch, **wanted)


@pytest.mark.parametrize(("broken", "law"), LOCK_ZOO)
async def test_lock_contract_catches(broken: type[MemoryStore], law: str) -> None:
    await _lock_law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _lock_law(broken, law)


# -- capabilities ----------------------------------------------------------------------


def test_laws_about_what_is_not_claimed_are_skipped(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile("""
        import pytest

        class TestOne:
            capabilities = frozenset({"durable"})

            @pytest.mark.needs("durable")
            def test_claimed(self): pass

            @pytest.mark.needs("durable", "expiry")
            def test_unclaimed(self): raise AssertionError
    """)

    installed = entry_points(group="pytest11", name="wfe")
    plugin = [] if installed else ["-p", "wfe.testing.plugin"]

    result = pytester.runpytest_inprocess("--strict-markers", "-rs", *plugin)

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines("*provider does not claim 'expiry'*")
