"""The plain laws of a store catch what is simply wrong, without any race."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import attrs
import pytest
import test_zoo_activities
import test_zoo_answers
import test_zoo_keeping
import test_zoo_limits
import test_zoo_priorities
import test_zoo_schedules
from test_contracts_zoo import (
    PERSISTENCE_ZOO,
    ClaimsTwice,
    CountsNoTakeovers,
    FencesTheLiving,
    FinishesUnseen,
    IgnoresAsOf,
    IgnoresTheFence,
    MissesEarlierEvents,
    NamesAreNotUnique,
    OneBadItemSpoilsTheBatch,
    ReleasesTheLiving,
    StartsChildrenOfNobody,
    UpdatesARowOnceABatch,
    UsesEventsTwice,
    WritesHalfItems,
    _with_topics,
)
from test_zoo_crashes import ZOO as CRASH_ZOO
from test_zoo_races import ZOO as RACE_ZOO
from test_zoo_races import (
    BlindTopics,
    ClaimsWithoutALock,
    DedupesWithoutAnIndex,
    LoadsInTheClaimsOwnView,
    StartsWithoutAnIndex,
    gap,
)
from zoo_parts import FAILURES, with_runs

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_topics import MemoryTopics
from wfe.core.providers import (
    Claimed,
    Clock,
    DefinitionRow,
    Done,
    Event,
    Header,
    HeaderChange,
    InstanceQuery,
    Item,
    Loaded,
    LogRow,
    Message,
    Outcome,
    PersistenceProvider,
    Row,
    Stale,
    StoredInstance,
    StoreInfo,
    Subscription,
    WorkerRow,
)
from wfe.testing.contracts import PersistenceContract

NewStore = Callable[[Clock], PersistenceProvider]

# -- items --------------------------------------------------------------------------------------


class StartsChildrenAgain(MemoryRuns):
    def _is_there(self, new: Header | None) -> bool:
        return new is None


class StartsForAnybody(MemoryRuns):
    def _new_problem(self, new: Header, epoch: int | None) -> Outcome | None:
        return super()._new_problem(attrs.evolve(new, owner=None), epoch)


class Changes(MemoryStore):
    """Commits something else than it was given."""

    def changed(self, item: Item) -> Item:
        return item if item.new is None else attrs.evolve(item, new=self.begun(item.new))

    def begun(self, new: Header) -> Header:
        return new

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        return await super().commit(epoch, [self.changed(item) for item in items])


class StartsWithoutOwner(Changes):
    def begun(self, new: Header) -> Header:
        return attrs.evolve(new, owner=None)


class ForgetsTheReference(Changes):
    def begun(self, new: Header) -> Header:
        return attrs.evolve(new, reference=None)


class KeepsOneRow(Changes):
    def changed(self, item: Item) -> Item:
        return attrs.evolve(item, rows=item.rows[:1])


class DropsNulInRows(Changes):
    def changed(self, item: Item) -> Item:
        return attrs.evolve(item, rows=tuple(text.replace("\\u0000", "") for text in item.rows))


class TellsNobody(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        done = await super().commit(epoch, items)
        return [attrs.evolve(o, woken=()) if isinstance(o, Done) else o for o in done]


class NamesNoOwner(MemoryStore):
    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        return [_ownerless(outcome) for outcome in await super().commit(epoch, items)]


def _ownerless(outcome: Outcome) -> Outcome:
    if not isinstance(outcome, Done):
        return outcome
    return attrs.evolve(outcome, woken=tuple((n, d, None) for n, d, _ in outcome.woken))


class ForgetsTheError(MemoryRuns):
    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        super()._head(run, attrs.evolve(header, error=None), seen, commit)


class NeverSleepsAgain(MemoryRuns):
    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        super()._head(run, header, -1 if run.poke else seen, commit)


class NeverWakes(MemoryRuns):
    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        wake = run.wake
        delivered = super().deliver(run, message, commit)
        run.wake = wake
        return delivered


class NumbersMessagesByRun(MemoryRuns):
    def deliver(self, run: MemoryRun, message: Message, commit: MemoryCommit) -> bool:
        self._last_i = max(run.inbox, default=0)
        return super().deliver(run, message, commit)


class ConsumesEverything(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        return None if isinstance(problem, Stale) else problem

    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        super()._change(run, item, commit)
        if item.consumed:
            run.inbox.clear()


class LosesWhatCameMeanwhile(MemoryStore):
    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._runs = ConsumesEverything()
        self._turn = 0

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        self._turn += 1
        for _ in range(self._turn % 7):
            await gap()
        return await super().commit(epoch, items)


class IgnoresKeys(MemoryTopics):
    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        super().subscribe(run, attrs.evolve(subscription, key=""), commit)

    def publish(self, event: Event, commit: MemoryCommit) -> None:
        super().publish(attrs.evolve(event, key=""), commit)


# -- workers ------------------------------------------------------------------------------------


class CountsEpochs(MemoryStore):
    def __init__(self, clock: Clock | None = None) -> None:
        numbers = count(1)
        super().__init__(clock, epochs=lambda: next(numbers))


class FencesAgain(MemoryStore):
    async def fence(self, epochs: Sequence[int], *, lease: int | None) -> Sequence[int]:
        await super().fence(epochs, lease=lease)
        return [epoch for epoch in epochs if epoch in self._workers]


class ListsEverybody(MemoryStore):
    async def workers(self) -> Sequence[WorkerRow]:
        return list(self._workers.values())


class CallsEverybodyIdle(MemoryStore):
    """So nobody takes over from them."""

    async def workers(self) -> Sequence[WorkerRow]:
        return [attrs.evolve(row, owns=False) for row in await super().workers()]


# -- reading ------------------------------------------------------------------------------------


class GoesBack(MemoryStore):
    """Its clock does, as a machine's does when somebody sets it."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(Backwards(clock or VirtualClock()))


@attrs.define
class Backwards:
    clock: Clock
    asked: int = 0

    def now(self) -> int:
        self.asked += 1
        return self.clock.now() - self.asked

    async def sleep_until(self, when: int) -> None:
        await self.clock.sleep_until(when)


class DueAtTheLatest(MemoryStore):
    async def due(self, definitions: Sequence[int]) -> int | None:
        found = [wake for d in definitions if (wake := self._runs.due.earliest(d)) is not None]
        return max(found, default=None)


class FindsWhateverItsData(MemoryStore):
    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        return await super().find(attrs.evolve(query, data=None))


class FindsWhateverItsReference(MemoryStore):
    async def find(self, query: InstanceQuery) -> Sequence[StoredInstance]:
        return await super().find(attrs.evolve(query, reference=None))


class LooksForNamesFirst(MemoryStore):
    async def get(self, id_or_name: str) -> StoredInstance | None:
        run = self._runs.by_name.get(id_or_name) or self._runs.by_id.get(id_or_name)
        return None if run is None else run.stored()


class RepeatsTheLastRow(MemoryStore):
    async def history(self, n: int, after: int, limit: int) -> Sequence[Row]:
        return await super().history(n, max(after - 1, -1), limit)


class WantsToKnowAll(MemoryStore):
    async def load(self, numbers: Sequence[int]) -> Sequence[Loaded]:
        if unknown := [n for n in numbers if n not in self._runs.by_n]:
            raise LookupError(unknown)
        return await super().load(numbers)


class LogsBackwards(MemoryStore):
    async def logs(self, n: int, after: int, limit: int) -> Sequence[LogRow]:
        return list(reversed(await super().logs(n, after, limit)))


class ClaimsTheDeleted(MemoryStore):
    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self._gone: list[Claimed] = []

    async def purge(self, roots: Sequence[int]) -> int:
        self._gone += [Claimed(n, self._runs.by_n[n].new.d, 0) for n in roots]
        return await super().purge(roots)

    async def claim(self, *rest: Any, **named: Any) -> Sequence[Claimed]:
        return [*await super().claim(*rest, **named), *self._gone]


class PutsDefinitionsTwice(MemoryStore):
    async def put_definition(self, id: str, version: int, hash: str, body: str) -> int:
        new = all(row.hash != hash for row in self._definitions)
        await gap()
        if new:
            d = len(self._definitions) + 1
            self._definitions.append(DefinitionRow(d, id, version, hash, body, current=True))
            return d
        return await super().put_definition(id, version, hash, body)


class OpensEmpty(MemoryStore):
    async def open(self) -> StoreInfo:
        self._runs = MemoryRuns()
        self._definitions.clear()
        return await super().open()


class WaitsForAll(MemoryStore):
    async def waiting(self, roots: Sequence[str]) -> Sequence[tuple[int, int, int]]:
        every = [run.new.root_id for run in self._runs.by_n.values()]
        return await super().waiting(every)


ZOO: list[tuple[NewStore, str]] = [
    (with_runs(WritesHalfItems), "a_base_that_is_not_the_last_row_conflicts"),
    (with_runs(StartsChildrenAgain), "a_child_that_exists_is_left_as_it_is"),
    (LoadsInTheClaimsOwnView, "a_final_run_can_be_retried"),
    (NamesNoOwner, "a_message_names_the_owner"),
    (with_runs(NeverWakes), "a_message_wakes_an_unowned_run"),
    (OneBadItemSpoilsTheBatch, "a_strict_message_needs_a_live_target"),
    (_with_topics(BlindTopics), "a_wait_can_be_replaced"),
    (_with_topics(BlindTopics), "a_wait_that_ended_does_not_wake"),
    (IgnoresTheFence, "an_epoch_that_nobody_issued_writes_nothing"),
    (_with_topics(BlindTopics), "an_event_wakes_who_waits"),
    (with_runs(StartsChildrenOfNobody), "children_begin_with_their_parents_item"),
    (DedupesWithoutAnIndex, "children_that_are_not_final_get_the_parents_message"),
    (ClaimsTwice, "claim_by_hints_takes_only_those"),
    (ClaimsWithoutALock, "claim_is_for_the_wanted_definitions"),
    (with_runs(WritesHalfItems), "client_without_epoch_owns_nothing"),
    (with_runs(FinishesUnseen), "consuming_needs_that_every_message_was_seen"),
    (DueAtTheLatest, "due_is_the_earliest_of_the_unowned"),
    (CountsEpochs, "epochs_are_random_and_never_repeat"),
    (FencesTheLiving, "fence_by_lease_takes_the_silent"),
    (FencesAgain, "fence_returns_whom_this_call_fenced"),
    (with_runs(ForgetsTheError), "final_ends_the_run"),
    (FindsWhateverItsData, "find_by_data_looks_at_the_last_snapshot"),
    (FindsWhateverItsReference, "find_filters"),
    (ReleasesTheLiving, "finished_runs_are_out_of_everybodys_way"),
    (_with_topics(UsesEventsTwice), "found_at_once_means_not_waiting_any_more"),
    (LooksForNamesFirst, "get_finds_by_id_and_then_by_name"),
    (with_runs(FinishesUnseen), "header_change_that_keeps_the_run_needs_that_too"),
    (RepeatsTheLastRow, "history_is_paged"),
    (OneBadItemSpoilsTheBatch, "idempotency_key_is_unique_per_definition"),
    (WantsToKnowAll, "load_gives_what_exists"),
    (LogsBackwards, "log_lines_are_read_in_order_and_by_page"),
    (with_runs(UpdatesARowOnceABatch), "messages_are_read_in_the_order_they_were_sent"),
    (LosesWhatCameMeanwhile, "no_message_of_many_senders_is_lost"),
    (with_runs(NumbersMessagesByRun), "numbers_of_messages_are_not_used_again"),
    (ClaimsTheDeleted, "nothing_of_the_deleted_is_claimed"),
    (PutsDefinitionsTwice, "one_definition_put_by_many_has_one_number"),
    (_with_topics(IgnoresAsOf), "one_event_of_many_publishers_is_stored_once"),
    (with_runs(UpdatesARowOnceABatch), "one_event_wakes_every_run_and_branch"),
    (StartsWithoutAnIndex, "one_start_of_many_with_a_key_wins"),
    (IgnoresTheFence, "only_the_owner_can_fault"),
    (with_runs(WritesHalfItems), "only_the_owner_folds_consumes_and_counts_as_alive"),
    (OpensEmpty, "opening_again_changes_nothing"),
    (_with_topics(IgnoresKeys), "other_names_and_keys_do_not_match"),
    (_with_topics(BlindTopics), "publish_and_wait_in_one_item_meet"),
    (with_runs(NeverSleepsAgain), "release_after_the_message_was_seen_sleeps"),
    (ClaimsWithoutALock, "release_parks_until_the_wanted_time"),
    (with_runs(NeverWakes), "release_without_a_time_sleeps_until_woken"),
    (with_runs(NeverWakes), "retry_makes_a_final_run_claimable"),
    (KeepsOneRow, "rows_continue_the_journal_without_a_gap"),
    (with_runs(NamesAreNotUnique), "same_name_twice_in_a_batch_is_one_start"),
    (with_runs(StartsForAnybody), "start_for_somebody_else_is_a_conflict"),
    (StartsWithoutOwner, "start_owned_from_the_start_is_not_claimable"),
    (ForgetsTheReference, "start_stores_the_header_and_its_rows"),
    (TellsNobody, "start_tells_who_became_due"),
    (DropsNulInRows, "texts_come_back_as_they_were"),
    (CountsNoTakeovers, "the_first_item_after_a_claim_resets_the_counts"),
    (GoesBack, "time_does_not_run_back"),
    (LoadsInTheClaimsOwnView, "two_hosts_never_write_the_same_row"),
    (WaitsForAll, "waiting_names_what_is_unowned_below_the_roots"),
    (_with_topics(MissesEarlierEvents), "waits_in_a_row_use_each_event_once"),
    (ListsEverybody, "workers_are_listed_while_they_may_write_or_own"),
    (CallsEverybodyIdle, "a_worker_that_owns_is_listed_as_one"),
]


async def keeps(new_store: NewStore, law: str) -> None:
    store = new_store(VirtualClock())
    await store.open()
    async with asyncio.timeout(2):
        await getattr(PersistenceContract(), f"test_{law}")(store)


@pytest.mark.parametrize(("broken", "law"), ZOO, ids=[law for _, law in ZOO])
async def test_a_plain_law_catches(broken: NewStore, law: str) -> None:
    await keeps(MemoryStore, law)
    with pytest.raises(FAILURES):
        await keeps(broken, law)


def test_every_law_of_a_store_is_broken_by_somebody() -> None:
    """Those of parts are counted where their zoos are; the machine is tried on three stores."""
    parts = (
        test_zoo_activities,
        test_zoo_answers,
        test_zoo_keeping,
        test_zoo_limits,
        test_zoo_priorities,
        test_zoo_schedules,
    )
    zoos: list[Sequence[tuple[Any, str]]] = [ZOO, PERSISTENCE_ZOO, CRASH_ZOO, RACE_ZOO]
    caught = {law for zoo in (*zoos, *(part.ZOO for part in parts)) for _, law in zoo}
    laws = {n.removeprefix("test_") for n in dir(PersistenceContract) if n.startswith("test_")}

    assert laws - caught == {"random_histories_are_those_of_the_memory_store"}
