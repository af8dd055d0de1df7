"""The laws of transitions that carry what they answer catch stores broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from inspect import getmembers

import attrs
import pytest
from zoo_parts import FAILURES, with_part, with_runs

from wfe.core.clocks import VirtualClock
from wfe.core.memory import MemoryStore
from wfe.core.memory_run import MemoryCommit, MemoryRun
from wfe.core.memory_runs import MemoryRuns
from wfe.core.memory_topics import MemoryTopics
from wfe.core.providers import (
    Clock,
    Conflict,
    Event,
    Item,
    Outcome,
    Stale,
    Subscription,
    located,
)
from wfe.testing.contracts import PersistenceContract
from wfe.testing.contracts.answers import AnswerLaws

HOW: Mapping[str, Sequence[tuple[str, ...]]] = {
    "a_refused_transition_publishes_nothing": [("base",), ("owner",)],
}
"""Law -> the arguments with which it is tried, where it takes some."""

_LATEST = 2**62


def _with_topics(kind: type[MemoryTopics]) -> Callable[[Clock], MemoryStore]:
    def put(runs: MemoryRuns) -> None:
        runs.topics = kind(runs.deliver)

    return with_part(put)


def _takes(item: Item) -> bool:
    return item.consumed == (0,)


# -- what is published with the transition ------------------------------------------------------


class PublishesFirst(MemoryRuns):
    """The event meets the wait that its own item ends."""

    def _apply(self, item: Item, commit: MemoryCommit) -> None:
        for event in item.publish:
            self.topics.publish(event, commit)
        super()._apply(attrs.evolve(item, publish=()), commit)


class KeepsWaits(MemoryRuns):
    """A wait ends with the message that answers it, and there was none."""

    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        kept = attrs.evolve(item, unsubscribe=()) if _takes(item) else item
        super()._change(run, kept, commit)


class LosesTheRowsOfTheTaken(MemoryRuns):
    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        known = all(i in run.inbox for i in item.consumed)
        super()._change(run, item if known else attrs.evolve(item, rows=()), commit)


class TellsNobodyElse(MemoryRuns):
    """Who took the event is thought to have been the only one."""

    def _send(self, item: Item, commit: MemoryCommit) -> None:
        if not _takes(item):
            super()._send(item, commit)
            return
        kept = self.topics._waiting.copy()
        self.topics._waiting.clear()
        super()._send(item, commit)
        self.topics._waiting.update(kept)


class EndsAllWaitsOfTheRun(MemoryRuns):
    """Another branch that waits for the event does not get it."""

    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        super()._change(run, item, commit)
        if _takes(item):
            self.topics.end(run)


class PublishesNothingAtTheEnd(MemoryRuns):
    def _send(self, item: Item, commit: MemoryCommit) -> None:
        over = item.header is not None and item.header.final
        super()._send(attrs.evolve(item, publish=()) if over else item, commit)


class UsesUpWhatIsTaken(MemoryRuns):
    """The event is not kept for whoever waits later."""

    def _send(self, item: Item, commit: MemoryCommit) -> None:
        super()._send(item, commit)
        for event in item.publish if _takes(item) else ():
            topic = self.topics._events[event.name, event.key]
            topic[:] = [stored for stored in topic if stored[2].id != event.id]


# -- what it is refused for ---------------------------------------------------------------------


class TrustsTheTaker(MemoryRuns):
    """Nothing of the inbox is consumed, so nobody looks what is in it."""

    def _owned_problem(self, item: Item, epoch: int | None) -> Outcome | None:
        return super()._owned_problem(
            attrs.evolve(item, consumed=()) if _takes(item) else item, epoch
        )


class SeesOnlyEvents(MemoryRuns):
    """A message of another kind came before, and is read after the event."""

    def _owned_problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._owned_problem(item, epoch)
        if not (isinstance(problem, Stale) and _takes(item)):
            return problem
        came = any(row.kind == "event" for row in self.by_n[item.n].messages())
        return problem if came else None


class LooksOnlyBesideEvents(MemoryRuns):
    """What a transition takes without an event (a signal) needs no empty inbox."""

    def _owned_problem(self, item: Item, epoch: int | None) -> Outcome | None:
        free = _takes(item) and not item.publish
        return super()._owned_problem(attrs.evolve(item, consumed=()) if free else item, epoch)


class TakesTheOldest(MemoryRuns):
    """No message has the number 0, so it takes what comes next."""

    def _change(self, run: MemoryRun, item: Item, commit: MemoryCommit) -> None:
        oldest = tuple(run.inbox)[:1]
        super()._change(run, attrs.evolve(item, consumed=oldest) if _takes(item) else item, commit)


class PublishesAnyway(MemoryRuns):
    """The event is written though the transition that it came with was refused."""

    why: type[Stale | Conflict]

    def commit(self, epoch: int | None, items: Sequence[Item], now: int) -> list[Outcome]:
        outcomes = super().commit(epoch, items, now)
        for item, outcome in zip(items, outcomes, strict=True):
            for event in item.publish if isinstance(outcome, self.why) else ():
                self.topics.publish(event, MemoryCommit(now, epoch))
        return outcomes


class PublishesTheStale(PublishesAnyway):
    why = Stale


class PublishesTheConflicting(PublishesAnyway):
    why = Conflict


class EndsWaitsOfTheRefused(MemoryRuns):
    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        for pointer in () if problem is None else item.unsubscribe:
            self.topics.unsubscribe(self.by_n[item.n], pointer)
        return problem


class RemembersIdsOfTheRefused(MemoryRuns):
    """When the event is published again it is thought to be known."""

    def _problem(self, item: Item, epoch: int | None) -> Outcome | None:
        problem = super()._problem(item, epoch)
        for event in () if problem is None else item.publish:
            self.topics._places.setdefault(event.id, (0, 0))
        return problem


# -- waits that name what they are after --------------------------------------------------------


class Waits(MemoryTopics):
    """Begins another wait than it was told to."""

    def begun(self, wait: Subscription) -> Subscription:
        return wait

    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        super().subscribe(run, self.begun(subscription), commit)

    def places(self, wait: Subscription) -> list[tuple[int, int]]:
        return [self._places[id_] for id_ in wait.past if id_ in self._places]


class IgnoresPast(Waits):
    def begun(self, wait: Subscription) -> Subscription:
        return attrs.evolve(wait, past=())


class IsAfterTheLastNamed(Waits):
    """Which need not be the latest."""

    def begun(self, wait: Subscription) -> Subscription:
        return attrs.evolve(wait, past=wait.past[-1:])


class IsAfterTheirTime(Waits):
    """So it misses the others of the same microsecond."""

    def begun(self, wait: Subscription) -> Subscription:
        after = located(wait, self.places(wait))
        return attrs.evolve(after, past=(), after_e=_LATEST) if self.places(wait) else after


class ForgetsThePlaceBesideNames(Waits):
    def begun(self, wait: Subscription) -> Subscription:
        return attrs.evolve(wait, after_at=0, after_e=0) if wait.past else wait


class WaitsForTheUnknown(Waits):
    """As if a name that no event has were one that is still to come."""

    def begun(self, wait: Subscription) -> Subscription:
        known = len(self.places(wait)) == len(wait.past)
        return wait if known else attrs.evolve(wait, past=(), after_at=_LATEST)


class LooksAtPastOnlyOnce(Waits):
    """What is already there is compared with the named events, what comes later is not."""

    def subscribe(self, run: MemoryRun, subscription: Subscription, commit: MemoryCommit) -> None:
        super().subscribe(run, subscription, commit)
        pointer = subscription.pointer
        if pointer in run.subscriptions:
            run.subscriptions[pointer] = subscription
            topic = self._waiting[subscription.name, subscription.key]
            topic[run.new.n, pointer] = (run, subscription)


class ComparesTimesOnArrival(MemoryTopics):
    """An event of the same microsecond as the named one wakes nobody."""

    def publish(self, event: Event, commit: MemoryCommit) -> None:
        at = commit.now if event.at is None else event.at
        waiting = self._waiting.get((event.name, event.key), {})
        late = {place: wait for place, wait in waiting.items() if wait[1].after_at == at}
        for place in late:
            del waiting[place]
        super().publish(event, commit)
        if late:
            self._waiting[event.name, event.key].update(late)


ZOO: list[tuple[Callable[[Clock], MemoryStore], str]] = [
    (with_runs(PublishesFirst), "a_transition_takes_the_event_that_it_publishes"),
    (with_runs(KeepsWaits), "a_transition_takes_the_event_that_it_publishes"),
    (with_runs(LosesTheRowsOfTheTaken), "a_transition_takes_the_event_that_it_publishes"),
    (with_runs(TellsNobodyElse), "whoever_else_waits_is_woken_by_it"),
    (with_runs(EndsAllWaitsOfTheRun), "whoever_else_waits_is_woken_by_it"),
    (with_runs(PublishesFirst), "a_run_may_end_with_the_event_that_it_publishes"),
    (with_runs(PublishesNothingAtTheEnd), "a_run_may_end_with_the_event_that_it_publishes"),
    (with_runs(UsesUpWhatIsTaken), "the_event_is_there_for_whoever_comes_later"),
    (with_runs(TrustsTheTaker), "an_event_that_came_before_makes_it_stale"),
    (with_runs(PublishesTheStale), "an_event_that_came_before_makes_it_stale"),
    (with_runs(SeesOnlyEvents), "a_message_that_came_before_makes_it_stale"),
    (with_runs(LooksOnlyBesideEvents), "a_message_that_came_before_makes_it_stale"),
    (with_runs(TakesTheOldest), "a_message_that_came_before_makes_it_stale"),
    (with_runs(PublishesTheConflicting), "a_refused_transition_publishes_nothing"),
    (with_runs(EndsWaitsOfTheRefused), "a_refused_transition_publishes_nothing"),
    (with_runs(RemembersIdsOfTheRefused), "a_refused_transition_publishes_nothing"),
    (_with_topics(IgnoresPast), "a_wait_is_after_the_events_that_it_names"),
    (_with_topics(IsAfterTheLastNamed), "a_wait_is_after_the_events_that_it_names"),
    (_with_topics(IsAfterTheirTime), "a_wait_is_after_the_events_that_it_names"),
    (_with_topics(ForgetsThePlaceBesideNames), "a_wait_is_after_the_events_that_it_names"),
    (_with_topics(WaitsForTheUnknown), "a_wait_is_after_the_events_that_it_names"),
    (_with_topics(LooksAtPastOnlyOnce), "a_wait_stays_after_them"),
    (_with_topics(ComparesTimesOnArrival), "a_wait_stays_after_them"),
]

CASES = [(broken, law, how) for broken, law in ZOO for how in HOW.get(law, [()])]


async def _law(new_store: Callable[[Clock], MemoryStore], law: str, how: tuple[str, ...]) -> None:
    store = new_store(VirtualClock())
    async with asyncio.timeout(5):
        await getattr(PersistenceContract(), f"test_{law}")(store, *how)


@pytest.mark.parametrize(
    ("broken", "law", "how"),
    CASES,
    ids=["-".join((str(k), law, *how)) for k, (_, law, how) in enumerate(CASES)],
)
async def test_answers_catch(
    broken: Callable[[Clock], MemoryStore], law: str, how: tuple[str, ...]
) -> None:
    await _law(MemoryStore, law, how)
    with pytest.raises(FAILURES):
        await _law(broken, law, how)


def test_every_law_of_answers_is_broken_by_somebody() -> None:
    laws = {name for name, _ in getmembers(AnswerLaws) if name.startswith("test_")}

    assert {f"test_{law}" for _, law in ZOO} >= laws
