"""The laws of priorities and deduplication catch stores that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from inspect import getmembers
from typing import Any

import attrs
import pytest
from zoo_parts import FAILURES, with_part, with_runs

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_due import MemoryDue
from wfe.core.memory_run import MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.providers import (
    Claimed,
    Clock,
    Header,
    Item,
    Outcome,
    Refused,
)
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.priorities import PriorityLaws


def _with_due(kind: type[MemoryDue]) -> Callable[[Clock], MemoryStore]:
    def put(runs: MemoryRuns) -> None:
        runs.due = kind(runs.by_n)

    return with_part(put)


class IgnoresPriorities(MemoryDue):
    def take(self, definitions: Sequence[int], now: int, limit: int) -> list[MemoryRun]:
        found = super().take(definitions, now, 1000)
        found.sort(key=lambda run: (run.wake or 0, run.new.n))
        for run in found[limit:]:
            self.add(run, run.wake or 0)
        return found[:limit]


class ForgetsTheUnimportant(MemoryDue):
    def earliest(self, d: int) -> int | None:
        kept = self._heaps
        self._heaps = {priority: heaps for priority, heaps in kept.items() if priority >= 0}
        found = super().earliest(d)
        self._heaps = kept
        return found


class HintsFirstComeFirstServed(MemoryStore):
    async def claim(self, epoch: int, *rest: Any, **named: Any) -> Sequence[Claimed]:
        hints = named.pop("hints", None)
        if hints is None:
            return await super().claim(epoch, *rest, **named)
        found: list[Claimed] = []
        for n in hints[: rest[1]]:
            found += await super().claim(epoch, rest[0], 1, hints=[n])
        return found


class LosesPrioritiesOnRelease(MemoryRuns):
    def release(self, run: MemoryRun, wake: int | None) -> None:
        run.new = attrs.evolve(run.new, priority=0)
        super().release(run, wake)


class DedupsForEver(MemoryRuns):
    def _complete(self, run: MemoryRun, at: int | None, retain_until: int | None) -> None:
        run.completed_at, run.retain_until = at, retain_until


class NeverDedups(MemoryRuns):
    def _rival(self, new: Header) -> MemoryRun | None:
        return None


class RefusesItemsForTheirChildren(MemoryRuns):
    def _starts_problem(self, starts: Sequence[Item], epoch: int | None) -> Outcome | None:
        for child in starts:
            if child.new is not None and (rival := self._rival(child.new)) is not None:
                return Refused("dedup", rival.new.id)
        return super()._starts_problem(starts, epoch)


class RevivesBesideRivals(MemoryRuns):
    def _revival_problem(self, run: MemoryRun) -> Outcome | None:
        return None


class ForgetsDedupsOfTheRetried(MemoryRuns):
    def _complete(self, run: MemoryRun, at: int | None, retain_until: int | None) -> None:
        super()._complete(run, at, retain_until)
        if at is not None:
            run.new = attrs.evolve(run.new, dedup=None)


class ForgetsPauses(MemoryStore):
    async def paused(self) -> Sequence[str]:
        return ()


class AlwaysPausesAnew(MemoryStore):
    async def pause_definition(self, id: str, *, paused: bool) -> bool:
        await super().pause_definition(id, paused=paused)
        return True


class ForgetsWhatToRetain(MemoryRuns):
    def _complete(self, run: MemoryRun, at: int | None, retain_until: int | None) -> None:
        super()._complete(run, at, None)


ZOO: list[tuple[Callable[[Clock], MemoryStore], str]] = [
    (_with_due(IgnoresPriorities), "claim_takes_the_highest_priority_then_the_earliest"),
    (_with_due(IgnoresPriorities), "priorities_count_over_all_definitions"),
    (_with_due(ForgetsTheUnimportant), "due_is_the_earliest_of_any_priority"),
    (HintsFirstComeFirstServed, "hinted_claims_go_by_priority_too"),
    (with_runs(LosesPrioritiesOnRelease), "a_run_keeps_its_priority"),
    (with_runs(ForgetsWhatToRetain), "how_long_to_retain_is_read_back"),
    (ForgetsPauses, "paused_definitions_are_remembered"),
    (AlwaysPausesAnew, "paused_definitions_are_remembered"),
    (with_runs(DedupsForEver), "dedup_is_unique_among_the_live_of_a_definition"),
    (with_runs(NeverDedups), "dedup_is_unique_among_the_live_of_a_definition"),
    (with_runs(NeverDedups), "same_dedup_twice_in_a_batch_is_one_start"),
    (with_runs(NeverDedups), "one_start_of_many_with_a_dedup_wins"),
    (with_runs(NeverDedups), "a_child_that_is_deduplicated_is_not_started"),
    (with_runs(RefusesItemsForTheirChildren), "a_child_that_is_deduplicated_is_not_started"),
    (with_runs(RevivesBesideRivals), "a_final_run_is_not_retried_beside_its_rival"),
    (with_runs(ForgetsDedupsOfTheRetried), "a_retried_run_has_its_dedup_again"),
]


async def _law(new_store: Callable[[Clock], MemoryStore], law: str) -> None:
    store = new_store(VirtualClock())
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")(store)


@pytest.mark.parametrize(
    ("broken", "law"), ZOO, ids=[f"{k}-{law}" for k, (_, law) in enumerate(ZOO)]
)
async def test_priorities_catch(broken: Callable[[Clock], MemoryStore], law: str) -> None:
    await _law(MemoryStore, law)
    with pytest.raises(FAILURES):
        await _law(broken, law)


def test_every_law_of_priorities_is_broken_by_somebody() -> None:
    laws = {name for name, _ in getmembers(PriorityLaws) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in ZOO} >= laws
