"""The laws of activities catch stores that are broken in one place."""

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
from wfe.core.memory_activities import MemoryActivities
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import (
    ActivityRow,
    ActivityStart,
    Clock,
    Done,
    Item,
    Outcome,
)
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.activities import ActivityLaws
from wfe.testing.contracts.machine import run_machine


def _with_activities(kind: type[MemoryActivities]) -> Callable[[Clock], MemoryStore]:
    def put(runs: MemoryRuns) -> None:
        runs.activities = kind()

    return with_part(put)


class AcceptsExpiredTokens(MemoryActivities):
    def held(self, token: str, now: int) -> ActivityRow | None:
        return super().held(token, 0)


class AcceptsOldTokens(MemoryActivities):
    def claim(self, *args: Any, **named: Any) -> ActivityRow | None:
        known = dict(self._by_token)
        row = super().claim(*args, **named)
        self._by_token.update(known)
        return row


class LeasesAreTooShort(MemoryActivities):
    def claim(
        self, names: Sequence[str], worker: str, token: str, until: int, now: int
    ) -> ActivityRow | None:
        return super().claim(names, worker, token, until, now + 1)


class KeepsTheTokenWhenReplaced(MemoryActivities):
    def offer(self, n: int, start: ActivityStart) -> None:
        old = [row for row in self.rows(n) if row.pointer == start.pointer]
        super().offer(n, start)
        for row in old:
            if row.token is not None:
                a = self._by_run[n][start.pointer]
                self._rows[a] = attrs.evolve(
                    self._rows[a], token=row.token, lease_until=row.lease_until
                )
                self._by_token[row.token] = a


class AddsInsteadOfReplacing(MemoryActivities):
    def drop(self, n: int, pointer: int) -> None:
        return None


class KeepsTheWorkOfTheFinal(MemoryActivities):
    def end(self, n: int) -> None:
        return None


class ClaimsTheNewest(MemoryActivities):
    def claim(self, names: Sequence[str], *rest: Any, **named: Any) -> ActivityRow | None:
        kept = self._by_name
        self._by_name = defaultdict(
            dict, {name: dict(reversed(found.items())) for name, found in kept.items()}
        )
        row = super().claim(names, *rest, **named)
        self._by_name = kept
        return row


class ClaimsByNameFirst(MemoryActivities):
    def claim(self, names: Sequence[str], *rest: Any, **named: Any) -> ActivityRow | None:
        for name in names:
            row = super().claim([name], *rest, **named)
            if row is not None:
                return row
        return None


class ClaimsAnyName(MemoryActivities):
    def claim(self, names: Sequence[str], *rest: Any, **named: Any) -> ActivityRow | None:
        return super().claim(list(self._by_name), *rest, **named)


class BeatsDoNotCount(MemoryActivities):
    def beat(self, token: str, until: int, progress: str | None, now: int) -> bool:
        row = self.held(token, now)
        return row is not None and super().beat(token, row.lease_until or 0, progress, now)


class ErasesProgress(MemoryActivities):
    def beat(self, token: str, until: int, progress: str | None, now: int) -> bool:
        alive = super().beat(token, until, progress, now)
        if alive and progress is None:
            a = self._by_token[token]
            self._rows[a] = attrs.evolve(self._rows[a], progress=None)
        return alive


class ClaimsWorkTwice(MemoryStore):
    async def claim_activity(
        self, names: Sequence[str], *rest: Any, **named: Any
    ) -> ActivityRow | None:
        before = [row for row in await self.activities() if row.name in names and not row.token]
        await asyncio.sleep(0)
        row = await super().claim_activity(names, *rest, **named)
        return row or (before[0] if before else None)


class FinishesTwice(MemoryStore):
    async def finish_activity(self, token: str, result: str) -> Outcome:
        row = self._runs.activities.held(token, self.clock.now())
        await asyncio.sleep(0)
        outcome = await super().finish_activity(token, result)
        return outcome if row is None else Done(self.clock.now())


class FinishesSilently(MemoryStore):
    async def finish_activity(self, token: str, result: str) -> Outcome:
        deliver, self._runs.deliver = self._runs.deliver, lambda *_: True  # type: ignore[method-assign]
        outcome = await super().finish_activity(token, result)
        self._runs.deliver = deliver  # type: ignore[method-assign]
        return outcome


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


class FinishesWithAnyToken(MemoryActivities):
    def held(self, token: str, now: int) -> ActivityRow | None:
        return super().held(token, now) or next(iter(self.rows(None)), None)


class LosesParameters(MemoryActivities):
    def offer(self, n: int, start: ActivityStart) -> None:
        super().offer(n, attrs.evolve(start, parameters="null"))


class ListsAll(MemoryActivities):
    def rows(self, n: int | None) -> list[ActivityRow]:
        return super().rows(None)


ZOO: list[tuple[Callable[[Clock], MemoryStore], str]] = [
    (with_runs(HoldsForTheFinal), "work_that_is_not_wanted_any_more_is_gone"),
    (with_runs(WantsForTheRefused), "a_refused_item_offers_and_ends_nothing"),
    (_with_activities(FinishesWithAnyToken), "an_unknown_token_is_refused"),
    (_with_activities(LosesParameters), "offered_work_is_stored_as_it_is"),
    (_with_activities(ListsAll), "activities_are_listed_by_run_or_all"),
    (_with_activities(AcceptsExpiredTokens), "a_claim_counts_until_its_lease_has_passed"),
    (_with_activities(AcceptsOldTokens), "a_claim_counts_until_its_lease_has_passed"),
    (_with_activities(LeasesAreTooShort), "a_claim_counts_until_its_lease_has_passed"),
    (_with_activities(KeepsTheTokenWhenReplaced), "work_of_the_same_pointer_is_replaced"),
    (_with_activities(AddsInsteadOfReplacing), "work_of_the_same_pointer_is_replaced"),
    (_with_activities(AddsInsteadOfReplacing), "work_that_is_not_wanted_any_more_is_gone"),
    (_with_activities(KeepsTheWorkOfTheFinal), "work_that_is_not_wanted_any_more_is_gone"),
    (_with_activities(KeepsTheWorkOfTheFinal), "a_batch_of_ends_ends_all_their_work"),
    (_with_activities(ClaimsTheNewest), "a_claim_gets_the_oldest_of_its_names"),
    (_with_activities(ClaimsByNameFirst), "the_older_of_two_names_comes_first"),
    (_with_activities(ClaimsAnyName), "a_claim_gets_the_oldest_of_its_names"),
    (_with_activities(BeatsDoNotCount), "a_beat_holds_the_claim"),
    (_with_activities(ErasesProgress), "progress_stays_until_there_is_more"),
    (ClaimsWorkTwice, "one_of_many_claimers_gets_it"),
    (FinishesTwice, "work_is_finished_once"),
    (FinishesSilently, "finishing_tells_the_run"),
]


async def _law(new_store: Callable[[Clock], MemoryStore], law: str) -> None:
    store = new_store(VirtualClock())
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")(store)


@pytest.mark.parametrize(
    ("broken", "law"), ZOO, ids=[f"{k}-{law}" for k, (_, law) in enumerate(ZOO)]
)
async def test_activities_catch(broken: Callable[[Clock], MemoryStore], law: str) -> None:
    await _law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _law(broken, law)


@pytest.mark.parametrize("broken", [_with_activities(AcceptsExpiredTokens)])
def test_random_histories_catch_activities(broken: Callable[[Clock], MemoryStore]) -> None:
    with pytest.raises((*FAILURES, ExceptionGroup)):
        run_machine(broken, examples=300, shrink=False)


def test_every_law_of_activities_is_broken_by_somebody() -> None:
    laws = {name for name, _ in getmembers(ActivityLaws) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in ZOO} == laws
