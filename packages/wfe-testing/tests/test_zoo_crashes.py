"""The laws of crashes catch stores that forget something, or say goodbye for the dead."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from inspect import getmembers, isfunction

import attrs
import pytest
from zoo_parts import FAILURES

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_schedules import MemorySchedules
from wfe.core.providers import Clock
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.crashes import CrashLaws


class Durable(MemoryStore):
    """What a crash leaves of it: everything, unless a sub-class loses something."""

    async def crash(self) -> None:
        return None


class SaysGoodbyeForAll(Durable):
    async def crash(self) -> None:
        for worker in await self.workers():
            await self.unregister(worker.epoch)


class ForgetsWorkers(Durable):
    async def crash(self) -> None:
        self._workers.clear()


class ForgetsFences(Durable):
    async def crash(self) -> None:
        self._workers = {e: attrs.evolve(w, fenced=None) for e, w in self._workers.items()}


class ForgetsOwners(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            self._runs.release(run, run.wake)


class ForgetsTakeovers(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            run.takeovers = 0


class ForgetsTheInbox(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            run.inbox.clear()


class ForgetsSnapshots(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            run.snapshot = None


class ForgetsLastRows(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            del run.rows[1:]


class ForgetsWhenAParkedRunIsDue(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            run.wake = None


class ForgetsLeases(Durable):
    async def crash(self) -> None:
        work = self._runs.activities
        work._by_token.clear()
        work._rows = {a: attrs.evolve(row, token=None) for a, row in work._rows.items()}


class ForgetsSchedules(Durable):
    async def crash(self) -> None:
        self._runs.schedules = MemorySchedules()


class ForgetsPauses(Durable):
    async def crash(self) -> None:
        self._paused.clear()


class ForgetsLogs(Durable):
    async def crash(self) -> None:
        self._logs.clear()


class ForgetsStreams(Durable):
    async def crash(self) -> None:
        for n in self._runs.by_n:
            self._streams.forget(n)


class ForgetsWaits(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            self._runs.topics.end(run)


class ForgetsEvents(Durable):
    async def crash(self) -> None:
        self._runs.topics._events.clear()


class ForgetsWhoWaitsForAPlace(Durable):
    async def crash(self) -> None:
        self._runs.limits._waiters.clear()
        self._runs.limits._wanted = defaultdict(set)


class CountsFromTheBeginning(Durable):
    async def crash(self) -> None:
        self._last_n = max(self._runs.by_n, default=0)


class NumbersMessagesAnew(Durable):
    async def crash(self) -> None:
        self._runs._last_i = max((i for r in self._runs.by_n.values() for i in r.inbox), default=0)


class ForgetsKeys(Durable):
    async def crash(self) -> None:
        self._runs._by_idem.clear()


class ForgetsNames(Durable):
    async def crash(self) -> None:
        self._runs.by_name.clear()


class ForgetsWhatIsDeduplicated(Durable):
    async def crash(self) -> None:
        self._runs._by_dedup.clear()


class NeverFreesADedupe(Durable):
    async def crash(self) -> None:
        for run in self._runs.by_n.values():
            run.dedupes.add("child:7")


ALL = "all_that_was_acknowledged_is_there_after_a_crash"
RELEASED = "the_runs_of_who_crashed_are_released_and_taken_over"
HALF = "a_takeover_that_crashed_half_way_is_finished_by_the_next"
WOKEN = "who_waited_before_a_crash_is_woken_after_it"
UNIQUE = "nothing_that_is_unique_is_given_again_after_a_crash"

ZOO: list[tuple[type[Durable], str]] = [
    (SaysGoodbyeForAll, ALL),
    (SaysGoodbyeForAll, RELEASED),
    (ForgetsWorkers, ALL),
    (ForgetsWorkers, RELEASED),
    (ForgetsFences, HALF),
    (ForgetsOwners, RELEASED),
    (ForgetsTakeovers, HALF),
    (ForgetsTheInbox, ALL),
    (ForgetsSnapshots, ALL),
    (ForgetsLastRows, ALL),
    (ForgetsWhenAParkedRunIsDue, ALL),
    (ForgetsLeases, ALL),
    (ForgetsSchedules, ALL),
    (ForgetsPauses, ALL),
    (ForgetsLogs, ALL),
    (ForgetsStreams, ALL),
    (ForgetsWaits, WOKEN),
    (ForgetsEvents, WOKEN),
    (ForgetsWhoWaitsForAPlace, WOKEN),
    (CountsFromTheBeginning, UNIQUE),
    (NumbersMessagesAnew, UNIQUE),
    (ForgetsKeys, UNIQUE),
    (ForgetsKeys, "what_was_acknowledged_is_there_after_reopening"),
    (ForgetsNames, UNIQUE),
    (ForgetsWhatIsDeduplicated, UNIQUE),
    (NeverFreesADedupe, UNIQUE),
]


async def keeps(kind: Callable[[Clock], Durable], law: str) -> None:
    store = kind(VirtualClock())

    async def reopen() -> Durable:
        await store.crash()
        return store

    again: Callable[[], Awaitable[Durable]] = reopen
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")(store, again)


@pytest.mark.parametrize(("broken", "law"), ZOO)
async def test_the_laws_of_crashes_catch(broken: type[Durable], law: str) -> None:
    await keeps(Durable, law)
    with pytest.raises(FAILURES):
        await keeps(broken, law)


def test_every_law_of_crashes_is_broken_by_somebody() -> None:
    laws = {name.removeprefix("test_") for name, _ in getmembers(CrashLaws, isfunction)}

    assert {law for law in laws if not law.startswith("_")} <= {law for _, law in ZOO}
