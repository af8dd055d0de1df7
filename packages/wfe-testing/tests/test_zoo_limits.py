"""The laws of limits catch stores that lose a place or give one to the wrong pointer."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from inspect import getmembers
from typing import Any

import attrs
import pytest
from zoo_parts import FAILURES, with_part, with_runs

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_limits import MemoryLimits
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import (
    Clock,
    HeaderChange,
    Hold,
    Item,
    Outcome,
    superseded,
)
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.limits import LimitLaws
from wfe.testing.contracts.machine import run_machine


def _with_limits(kind: type[MemoryLimits]) -> Callable[[Clock], MemoryStore]:
    def put(runs: MemoryRuns) -> None:
        runs.limits = kind(runs.deliver)

    return with_part(put)


class GrantsOneTooMany(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        super().hold(run, attrs.evolve(hold, limit=hold.limit + 1), commit)


class GrantsTheLatest(MemoryLimits):
    def _grant(self, key: str, commit: MemoryCommit) -> None:
        waiters = self._waiters[key]
        if any(len(self._holders[key]) < hold.limit for _, hold in waiters.values()):
            self._waiters[key] = dict(reversed(waiters.items()))
        super()._grant(key, commit)


class GrantsLater(MemoryLimits):
    def _tell(
        self, run: MemoryRun, hold: Hold, at: int, commit: MemoryCommit, *, taken: bool = False
    ) -> bool:
        return False


class LeaksPlacesOfTheFinal(MemoryLimits):
    def end(self, run: MemoryRun, commit: MemoryCommit) -> None:
        for pointer, key in self._wanted.get(run.new.n, set()):
            self._waiters[key].pop((run.new.n, pointer), None)


class LetsTheFinalWait(MemoryLimits):
    def end(self, run: MemoryRun, commit: MemoryCommit) -> None:
        wanted = self._wanted.get(run.new.n, set())
        held = {entry for entry in wanted if (run.new.n, entry[0]) in self._holders[entry[1]]}
        self._free(run, held, commit)


class ForgetsWaiters(MemoryLimits):
    def _grant(self, key: str, commit: MemoryCommit) -> None:
        super()._grant(key, commit)
        self._waiters.pop(key, None)


class KeepsThoseWhoGaveUp(MemoryLimits):
    def unhold(self, run: MemoryRun, pointers: Any, commit: MemoryCommit) -> None:
        held = [p for p in pointers if (run.new.n, p) in self._holders["k"]]
        super().unhold(run, held, commit)


class FreesWithoutGranting(MemoryLimits):
    def unhold(self, run: MemoryRun, pointers: Any, commit: MemoryCommit) -> None:
        grant, self._grant = self._grant, lambda *_: None  # type: ignore[method-assign]
        super().unhold(run, pointers, commit)
        self._grant = grant  # type: ignore[method-assign]


class FreesAllPointers(MemoryLimits):
    def unhold(self, run: MemoryRun, pointers: Any, commit: MemoryCommit) -> None:
        self.end(run, commit)


class CountsPointersTwice(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        again = (run.new.n, hold.pointer) in self._holders[hold.key]
        super().hold(run, hold, commit)
        if again:
            self._holders[hold.key][0, len(self._holders[hold.key])] = run


class AskingAgainLosesTheTurn(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        self._waiters[hold.key].pop((run.new.n, hold.pointer), None)
        super().hold(run, hold, commit)


class KeepsTheFirstLimit(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        for _, first in self._waiters[hold.key].values():
            hold = attrs.evolve(hold, limit=first.limit)
        super().hold(run, hold, commit)


class MixesKeys(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        super().hold(run, attrs.evolve(hold, key="k"), commit)


class AskersFirst(MemoryRuns):
    def _want(self, run: MemoryRun, item: Item, over: bool, commit: MemoryCommit) -> None:
        super()._want(run, attrs.evolve(item, unhold=()), over, commit)
        if item.unhold and not over:
            self.limits.unhold(run, item.unhold, commit)


class HoldsForTheFinal(MemoryRuns):
    def _want(self, run: MemoryRun, item: Item, over: bool, commit: MemoryCommit) -> None:
        super()._want(run, item, over, commit)
        if over:
            super()._want(run, item, False, commit)


class WantsForTheRefused(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        if problem is not None and item.new is None and item.n in self.by_n:
            self._want(self.by_n[item.n], item, False, MemoryCommit(0, epoch))
        return problem


class GrantsBeforeTheHeader(MemoryRuns):
    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        for hold in item.hold:
            self.limits.hold(run, hold, commit)
        super()._change(run, item, commit)

    def _head(self, run: MemoryRun, header: HeaderChange, seen: int, commit: MemoryCommit) -> None:
        super()._head(run, header, run.poke, commit)

    def _want(self, run: MemoryRun, item: Item, over: bool, commit: MemoryCommit) -> None:
        super()._want(run, attrs.evolve(item, hold=()), over, commit)


class CountsAtTheStore(MemoryStore):
    """Looks, waits, and then takes a place: as a store whose hosts do not lock the key."""

    async def commit(self, epoch: int | None, items: Sequence[Item]) -> Sequence[Outcome]:
        limits = self._runs.limits
        before = {key: dict(holders) for key, holders in limits._holders.items()}
        await asyncio.sleep(0)
        now, limits._holders = limits._holders, defaultdict(dict, before)
        outcomes = await super().commit(epoch, items)
        for key, holders in now.items():
            limits._holders[key] |= holders
        return outcomes


class IgnoresRates(MemoryLimits):
    def _hold_rate(self, run: MemoryRun, hold: Hold, per: int, commit: MemoryCommit) -> None:
        self._tell(run, hold, commit.now, commit)


class RatesByFixedWindows(MemoryLimits):
    def _hold_rate(self, run: MemoryRun, hold: Hold, per: int, commit: MemoryCommit) -> None:
        at = commit.now
        while True:
            window = at // per
            if len([old for old in self._grants[hold.key] if old // per == window]) < hold.limit:
                break
            at = (window + 1) * per
        self._grants[hold.key].append(at)
        self._tell(run, hold, at, commit)


class ForgetsRatesAtTheEnd(MemoryLimits):
    def end(self, run: MemoryRun, commit: MemoryCommit) -> None:
        super().end(run, commit)
        self._grants.clear()
        self._over.clear()


class RemembersTheHighestLimit(MemoryLimits):
    highest = 0

    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        self.highest = max(self.highest, hold.limit)
        super().hold(run, attrs.evolve(hold, limit=self.highest), commit)


class AppliesBatchesBackwards(MemoryRuns):
    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        return super().commit(epoch, items[::-1], now)[::-1]


class QueuesWhoSkips(MemoryLimits):
    def hold(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        super().hold(run, attrs.evolve(hold, on_conflict="queue"), commit)


class SkipsPastTheQueue(MemoryLimits):
    def _full(self, hold: Hold) -> bool:
        return len(self._holders.get(hold.key, ())) >= hold.limit


class CancelsAll(MemoryLimits):
    def _full(self, hold: Hold) -> bool:
        return True

    def _supersede(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        super()._supersede(run, attrs.evolve(hold, limit=0), commit)


class CancelsTheYoungest(MemoryLimits):
    def _supersede(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        holders = self._holders[hold.key]
        self._holders[hold.key] = dict(reversed(holders.items()))
        super()._supersede(run, hold, commit)


class CancelsItself(MemoryLimits):
    def _supersede(self, run: MemoryRun, hold: Hold, commit: MemoryCommit) -> None:
        self._deliver(run, superseded(run.new.n, hold.key), commit)


ZOO: list[tuple[Callable[[Clock], MemoryStore], str]] = [
    (_with_limits(GrantsOneTooMany), "no_place_too_many_is_granted"),
    (_with_limits(GrantsOneTooMany), "places_are_exact_with_many_hosts"),
    (_with_limits(GrantsTheLatest), "a_freed_place_goes_to_who_waits_longest"),
    (_with_limits(GrantsLater), "a_free_place_is_granted_in_the_same_commit"),
    (_with_limits(LeaksPlacesOfTheFinal), "a_final_run_frees_its_places"),
    (_with_limits(LetsTheFinalWait), "a_final_run_waits_for_no_place"),
    (_with_limits(ForgetsWaiters), "a_freed_place_goes_to_who_waits_longest"),
    (_with_limits(ForgetsWaiters), "a_parked_run_is_woken_by_its_place"),
    (_with_limits(KeepsThoseWhoGaveUp), "who_gives_up_waiting_is_passed_over"),
    (_with_limits(FreesWithoutGranting), "a_parked_run_is_woken_by_its_place"),
    (_with_limits(FreesAllPointers), "keys_and_pointers_are_independent"),
    (_with_limits(CountsPointersTwice), "a_pointer_has_one_place_of_a_key"),
    (_with_limits(AskingAgainLosesTheTurn), "asking_again_keeps_the_turn"),
    (_with_limits(KeepsTheFirstLimit), "a_raised_limit_is_for_those_who_wait_too"),
    (_with_limits(RemembersTheHighestLimit), "a_lowered_limit_grants_nothing_until_below"),
    (with_runs(AppliesBatchesBackwards), "places_in_one_batch_are_granted_in_its_order"),
    (_with_limits(MixesKeys), "keys_and_pointers_are_independent"),
    (with_runs(AskersFirst), "who_frees_and_asks_goes_behind_the_others"),
    (with_runs(HoldsForTheFinal), "a_final_run_waits_for_no_place"),
    (with_runs(WantsForTheRefused), "a_refused_item_holds_and_frees_nothing"),
    (with_runs(GrantsBeforeTheHeader), "a_place_granted_while_parking_is_no_sleep"),
    (CountsAtTheStore, "places_are_exact_with_many_hosts"),
    (_with_limits(QueuesWhoSkips), "who_skips_is_answered_at_once_and_does_not_wait"),
    (_with_limits(SkipsPastTheQueue), "who_skips_does_not_pass_those_that_wait"),
    (_with_limits(CancelsAll), "who_cancels_ends_the_oldest_holders_and_those_that_wait"),
    (_with_limits(CancelsAll), "who_cancels_ends_nobody_where_there_is_a_place"),
    (_with_limits(CancelsTheYoungest), "who_cancels_ends_the_oldest_holders_and_those_that_wait"),
    (_with_limits(CancelsItself), "a_run_does_not_cancel_itself"),
    (_with_limits(IgnoresRates), "a_rate_grants_its_number_in_any_time"),
    (_with_limits(IgnoresRates), "a_rate_is_exact_with_many_hosts"),
    (_with_limits(RatesByFixedWindows), "a_rate_looks_back_over_its_time"),
    (_with_limits(ForgetsRatesAtTheEnd), "the_end_of_a_run_frees_no_rate"),
]


async def _law(new_store: Callable[[Clock], MemoryStore], law: str) -> None:
    store = new_store(VirtualClock())
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")(store)


@pytest.mark.parametrize(
    ("broken", "law"), ZOO, ids=[f"{k}-{law}" for k, (_, law) in enumerate(ZOO)]
)
async def test_limits_catch(broken: Callable[[Clock], MemoryStore], law: str) -> None:
    await _law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _law(broken, law)


@pytest.mark.parametrize(
    "broken", [_with_limits(GrantsTheLatest), _with_limits(LeaksPlacesOfTheFinal)]
)
def test_random_histories_catch_limits(broken: Callable[[Clock], MemoryStore]) -> None:
    with pytest.raises((*FAILURES, ExceptionGroup)):
        run_machine(broken, examples=300, shrink=False)


def test_every_law_of_limits_is_broken_by_somebody() -> None:
    laws = {name for name, _ in getmembers(LimitLaws) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in ZOO} == laws
