"""Laws of transitions that carry what they answer: a message that never was in an inbox."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from wfe.core.providers import (
    Conflict,
    Done,
    Event,
    Item,
    Message,
    PersistenceProvider,
    Stale,
    Subscription,
)
from wfe.testing.contracts.runs import begin, fields, final, inbox, load, one, parked, worker

__all__ = ["AnswerLaws"]

ROW = ('"answer"',)


def _wait(pointer: int = 1, **rest: Any) -> Subscription:
    return Subscription(pointer=pointer, name="go", key="k", as_of=0, **rest)


def _event(id: str, at: int | None = None) -> Event:
    return Event(id=id, name="go", key="k", payload='"v"', at=at)


async def _publish(store: PersistenceProvider, *events: Event) -> Done:
    outcome = await one(store, None, Item(publish=events))
    assert isinstance(outcome, Done)
    return outcome


async def _waiting(store: PersistenceProvider, epoch: int, wait: Subscription) -> int:
    """Return a run that its owner keeps, and that waits."""
    n = await begin(store, epoch)
    item = Item(n=n, base=0, rows=('"wait"',), subscribe=(wait,))
    assert isinstance(await one(store, epoch, item), Done)
    return n


def _answer(n: int, *events: Event, **rest: Any) -> Item:
    """Return a transition of *n* that has its event with it."""
    item = Item(n=n, base=1, rows=ROW, consumed=(0,), unsubscribe=(1,), publish=events)
    return attrs.evolve(item, **rest)


async def _found(store: PersistenceProvider, epoch: int, wait: Subscription) -> list[str]:
    """Return the ids of the events that a new wait finds at once."""
    n = await _waiting(store, epoch, wait)
    _, rows = await inbox(store, n)
    return [fields(row.payload)["id"] for row in rows]


class AnswerLaws:
    """A run takes an event, or a message, in the commit that would have told it of it."""

    async def test_a_transition_takes_the_event_that_it_publishes(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())

        done = await one(store, epoch, _answer(n, _event("e")))

        assert isinstance(done, Done)
        assert done.woken == ()
        loaded = await load(store, n)
        assert (loaded.header.poke, loaded.inbox) == (0, ())
        assert [row.event for row in loaded.tail][-1] == ROW[0]
        assert (await _publish(store, _event("e-2"))).woken == ()

    async def test_whoever_else_waits_is_woken_by_it(self, store: PersistenceProvider) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        other = await _waiting(store, epoch, _wait())
        item = Item(n=n, base=1, rows=('"again"',), subscribe=(_wait(2),))
        assert isinstance(await one(store, epoch, item), Done)

        done = await one(store, epoch, _answer(n, _event("e"), base=2))

        assert isinstance(done, Done)
        assert sorted(each for each, _, _ in done.woken) == sorted((n, other))
        _, (mine,) = await inbox(store, n)
        _, (theirs,) = await inbox(store, other)
        assert fields(mine.payload)["pointer"] == 2
        assert (fields(theirs.payload)["pointer"], fields(theirs.payload)["id"]) == (1, "e")

    async def test_a_run_may_end_with_the_event_that_it_publishes(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        other = await _waiting(store, epoch, _wait())

        done = await one(store, epoch, _answer(n, _event("e"), header=final()))

        assert isinstance(done, Done)
        assert [each for each, _, _ in done.woken] == [other]
        assert (await load(store, n)).header.completed_at == done.at

    async def test_the_event_is_there_for_whoever_comes_later(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        await one(store, epoch, _answer(n, _event("e")))

        assert await _found(store, epoch, _wait()) == ["e"]

    async def test_an_event_that_came_before_makes_it_stale(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        await _publish(store, _event("first"))

        outcome = await one(store, epoch, _answer(n, _event("second")))

        assert isinstance(outcome, Stale)
        _, (row,) = await inbox(store, n)
        assert fields(row.payload)["id"] == "first"
        assert await _found(store, epoch, _wait(past=("first",))) == []

    async def test_a_message_that_came_before_makes_it_stale(
        self, store: PersistenceProvider
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        await one(store, None, Item(messages=(Message(target=n, kind="suspend"),)))

        mere = Item(n=n, base=1, rows=ROW, consumed=(0,))
        outcomes = [await one(store, epoch, each) for each in (_answer(n, _event("e")), mere)]

        assert [type(outcome) for outcome in outcomes] == [Stale, Stale]
        poke, rows = await inbox(store, n)
        assert [row.kind for row in rows] == ["suspend"]
        seen = attrs.evolve(mere, seen=poke)
        assert isinstance(await one(store, epoch, seen), Done)
        assert [row.kind for row in (await inbox(store, n))[1]] == ["suspend"]

    @pytest.mark.parametrize("how", ["base", "owner"])
    async def test_a_refused_transition_publishes_nothing(
        self, store: PersistenceProvider, how: str
    ) -> None:
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait())
        if how == "owner":
            released = Item(n=n, base=1, rows=ROW, header=parked())
            assert isinstance(await one(store, epoch, released), Done)

        outcome = await one(store, epoch, _answer(n, _event("e"), base=2 if how == "owner" else 0))

        assert isinstance(outcome, Conflict)
        assert await _found(store, epoch, _wait()) == []
        done = await _publish(store, _event("e"))
        assert n in [each for each, _, _ in done.woken]

    # -- waits that are after events of which nobody knows the place ------------------------------

    async def test_a_wait_is_after_the_events_that_it_names(
        self, store: PersistenceProvider
    ) -> None:
        now = store.clock.now()
        await _publish(store, _event("a", now), _event("b", now), _event("c", now + 1))
        epoch = await worker(store)

        waits = [
            _wait(past=("a",)),
            _wait(past=("b", "a")),
            _wait(past=("a",), after_at=now + 1),
            _wait(past=("c", "nobody knows it")),
            _wait(past=("nobody knows it",)),
        ]
        found = [await _found(store, epoch, wait) for wait in waits]

        assert found == [["b"], ["c"], ["c"], [], ["a"]]

    async def test_a_wait_stays_after_them(self, store: PersistenceProvider) -> None:
        now = store.clock.now()
        await _publish(store, _event("a", now))
        epoch = await worker(store)
        n = await _waiting(store, epoch, _wait(past=("a",)))

        before = await _publish(store, _event("before", now - 1))
        same = await _publish(store, _event("same time", now))

        assert (before.woken, [each for each, _, _ in same.woken]) == ((), [n])
