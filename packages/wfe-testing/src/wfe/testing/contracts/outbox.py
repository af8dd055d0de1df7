"""The outbox contract: starts and events that belong to a transaction of the application."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import attrs
import pytest

from wfe.core.errors import ProviderError
from wfe.core.providers import (
    Done,
    Header,
    Hold,
    Item,
    OutboxProvider,
    Outcome,
    PersistenceProvider,
    Refused,
    Row,
)
from wfe.testing.contracts.outbox_scenes import (
    MANY,
    PATIENCE,
    ROWS,
    Application,
    Scene,
    event,
    start,
    wait,
)
from wfe.testing.contracts.runs import (
    HOUR,
    begin,
    definition,
    fields,
    final,
    header,
    inbox,
    load,
    one,
    worker,
)

__all__ = ["Application", "OutboxContract"]


class OutboxContract:
    """Subclass as ``TestMyOutbox``; give the class three fixtures.

    ``store`` is a new, empty store that is open; ``other`` one more on the same backend (or the
    same, where there can be only one); ``application`` an :class:`Application`, whose connections
    are to that backend.
    """

    @pytest.fixture
    def scene(
        self, store: PersistenceProvider, other: PersistenceProvider, application: Application
    ) -> Scene:
        return Scene(store, other, application)

    async def test_the_store_says_that_it_has_an_outbox(self, scene: Scene) -> None:
        assert "outbox" in scene.store.features
        assert isinstance(scene.store, OutboxProvider)

    # -- starts -----------------------------------------------------------------------------------

    async def test_a_start_counts_when_the_application_commits(self, scene: Scene) -> None:
        new = await header(scene.store, n=0, id="x")
        async with scene.app.connect() as connection:
            await scene.app.write(connection, "order 1")
            done = await scene.put(connection, start(new))
            assert isinstance(done, Done)
            assert await scene.store.get("x") is None
            assert await scene.all() == []
            await scene.app.commit(connection)

        found = await scene.other.get("x")
        assert found is not None
        assert done.woken == ((found.n, new.d, None),)
        assert await scene.all() == [found.n]
        assert await scene.app.notes() == ["order 1"]

    async def test_a_start_has_its_rows_and_columns(self, scene: Scene) -> None:
        text = "'\"\\ é 😀\n%s {}"
        new = await header(scene.store, n=0, id="x", reference=text, name="a name", priority=5)
        async with scene.app.connect() as connection:
            done = await scene.put(connection, start(new))
            await scene.app.commit(connection)

        assert isinstance(done, Done)
        found = await scene.store.get("x")
        assert found is not None
        loaded = await load(scene.store, found.n)
        assert loaded.tail == tuple(Row(k, done.at, text) for k, text in enumerate(ROWS))
        columns = attrs.asdict(attrs.evolve(new, n=found.n))
        stored = attrs.asdict(loaded.header)
        assert stored == {name: columns.get(name, value) for name, value in stored.items()}
        assert found.created_at == done.at

    async def test_a_start_is_claimed_like_any_other(self, scene: Scene) -> None:
        new = await header(scene.store, n=0, id="x")
        epoch = await worker(scene.store)
        async with scene.app.connect() as connection:
            await scene.put(connection, start(new))
            assert await scene.store.claim(epoch, [new.d], 9) == []
            await scene.app.commit(connection)

        (claimed,) = await scene.store.claim(epoch, [new.d], 9)
        outcome = await one(scene.store, epoch, Item(n=claimed.n, base=1, rows=('["on"]',)))
        assert isinstance(outcome, Done)

    async def test_a_start_of_later_waits(self, scene: Scene) -> None:
        wake = scene.store.clock.now() + 24 * HOUR
        new = await header(scene.store, n=0, id="x", wake=wake)
        async with scene.app.connect() as connection:
            done = await scene.put(connection, start(new))
            await scene.app.commit(connection)

        assert isinstance(done, Done)
        assert done.woken == ()
        assert await scene.store.claim(await worker(scene.store), [new.d], 9) == []
        found = await scene.store.get("x")
        assert found is not None
        assert (await load(scene.store, found.n)).header.wake == wake

    async def test_numbers_within_transactions_are_given_once(self, scene: Scene) -> None:
        news = [await header(scene.store, n=0, id=f"run {k}") for k in range(6)]
        given = await header(scene.store, id="given")
        async with scene.app.connect() as connection:
            for k, new in enumerate(news):
                assert isinstance(await scene.put(connection, start(new)), Done)
                if k % 2:
                    await scene.app.commit(connection)
            assert isinstance(await scene.put(connection, start(given)), Done)
            await scene.app.commit(connection)

        taken = await scene.all()
        assert len(set(taken)) == 7
        found = await scene.store.get("given")
        assert found is not None
        assert found.n == given.n
        later = await scene.store.allocate(5)
        assert not set(range(later, later + 5)) & set(taken)

    async def test_rolled_back_is_never_started(self, scene: Scene) -> None:
        n = await scene.waiting(wait())
        gone = await header(scene.store, n=0, id="gone", idem="key:1", name="name")
        kept = attrs.evolve(gone, id="kept", root_id="kept")
        async with scene.app.connect() as connection:
            await scene.app.write(connection, "gone")
            await scene.put(connection, start(gone))
            await scene.publish(connection, event())
            await scene.app.roll_back(connection)
            assert await scene.drain() == []
            await scene.app.write(connection, "kept")
            assert isinstance(await scene.put(connection, start(kept)), Done)
            await scene.app.commit(connection)

        assert await scene.drain() == []
        assert await scene.got(n) == []
        assert await scene.store.get("gone") is None
        assert await scene.store.get("kept") is not None
        assert await scene.app.notes() == ["kept"]

    @pytest.mark.parametrize("why", ["idem", "dedup", "name"])
    async def test_what_exists_is_not_started_again(self, scene: Scene, why: str) -> None:
        """Whether it was committed by the store, before, or in the same transaction."""
        taken = await header(scene.store, **{why: "key:1"})
        await one(scene.store, None, start(taken))
        first = await header(scene.store, n=0, id="first", **{why: "key:2"})
        cases: list[tuple[Header, Outcome | None]] = [
            (first, None),
            (attrs.evolve(first, id="again"), Refused(cast("Any", why), "first")),
            (attrs.evolve(taken, n=0, id="twice"), Refused(cast("Any", why), taken.id)),
        ]
        async with scene.app.connect() as connection:
            await scene.app.write(connection, "before")
            for new, refused in cases:
                outcome = await scene.put(connection, start(new))
                assert isinstance(outcome, Done) if refused is None else outcome == refused
            await scene.app.write(connection, "behind")
            await scene.app.commit(connection)
            late = await scene.put(connection, start(attrs.evolve(first, id="late")))
            await scene.app.commit(connection)

        assert late == Refused(cast("Any", why), "first")
        assert len(await scene.all()) == 2
        assert sorted(await scene.app.notes()) == ["before", "behind"]
        for gone in ("again", "twice", "late"):
            assert await scene.store.get(gone) is None

    async def test_a_start_keeps_its_key_from_the_store_too(self, scene: Scene) -> None:
        first = await header(scene.store, n=0, id="first", idem="key:1")
        async with scene.app.connect() as connection:
            await scene.put(connection, start(first))
            await scene.app.commit(connection)

        second = await header(scene.other, id="second", idem="key:1")
        assert await one(scene.other, None, start(second)) == Refused("idem", "first")

    # -- places under a limit ---------------------------------------------------------------------

    async def test_a_free_place_is_granted_after_the_commit(self, scene: Scene) -> None:
        hold = Hold(pointer=4, attempt=1, key='a "b"', limit=1)
        new = await header(scene.store, n=0, id="x")
        async with scene.app.connect() as connection:
            await scene.put(connection, start(new, hold=(hold,)))
            await scene.app.commit(connection)
        await scene.drain()

        found = await scene.store.get("x")
        assert found is not None
        _, (granted,) = await inbox(scene.store, found.n)
        payload = fields(granted.payload)
        assert granted.kind == "granted"
        assert (payload["key"], payload["pointer"], payload["attempt"]) == ('a "b"', 4, 1)

    async def test_a_place_that_is_taken_is_waited_for(self, scene: Scene) -> None:
        hold = Hold(pointer=0, attempt=0, key="printer", limit=1)
        epoch = await worker(scene.store)
        holder = await begin(scene.store, epoch)
        await one(scene.store, epoch, Item(n=holder, base=0, rows=("[]",), hold=(hold,)))
        new = await header(scene.store, n=0, id="x")
        async with scene.app.connect() as connection:
            await scene.put(connection, start(new, hold=(hold,)))
            await scene.app.commit(connection)
        found = await scene.store.get("x")
        assert found is not None

        assert await scene.drain() == []
        assert await inbox(scene.store, found.n) == (0, ())
        poke, _ = await inbox(scene.store, holder)
        done = await one(scene.store, epoch, Item(n=holder, base=1, seen=poke, header=final()))

        assert isinstance(done, Done)
        assert [n for n, _, _ in done.woken] == [found.n]
        _, (granted,) = await inbox(scene.store, found.n)
        assert fields(granted.payload)["key"] == "printer"

    # -- events -----------------------------------------------------------------------------------

    async def test_an_event_is_published_after_the_commit(self, scene: Scene) -> None:
        n = await scene.waiting(wait(pointer=7))
        async with scene.app.connect() as connection:
            await scene.app.write(connection, "order 1")
            await scene.publish(connection, event(payload='{"sum":"é\\n"}'))
            assert await scene.drain() == []
            assert await scene.got(n) == []
            await scene.app.commit(connection)

        assert await scene.drain(other=True) == [n]
        (got,) = await scene.got(n)
        assert (got["pointer"], got["id"], got["payload"]) == (7, "event k", {"sum": "é\n"})
        assert await scene.app.notes() == ["order 1"]
        assert await scene.drain() == []
        assert len(await scene.got(n)) == 1

    async def test_who_waits_is_woken_with_its_owner(self, scene: Scene) -> None:
        epoch = await worker(scene.store)
        n = await begin(scene.store, epoch)
        await one(scene.store, epoch, Item(n=n, base=0, rows=("[]",), subscribe=(wait(),)))
        async with scene.app.connect() as connection:
            await scene.publish(connection, event())
            await scene.app.commit(connection)

        woken = await cast("OutboxProvider", scene.store).drain_outbox(MANY)

        assert list(woken) == [(n, await definition(scene.store), epoch)]

    async def test_an_event_is_there_for_who_waits_later(self, scene: Scene) -> None:
        async with scene.app.connect() as connection:
            await scene.publish(connection, event())
            await scene.app.commit(connection)
        assert await scene.drain() == []

        n = await scene.waiting(wait())

        assert [got["id"] for got in await scene.got(n)] == ["event k"]

    async def test_an_event_has_the_time_that_it_is_given(self, scene: Scene) -> None:
        async with scene.app.connect() as connection:
            await scene.publish(connection, event(at=10))
            await scene.app.commit(connection)
        await scene.drain()

        late = await scene.waiting(wait(as_of=11))
        soon = await scene.waiting(wait(as_of=10))

        assert await scene.got(late) == []
        assert [got["at"] for got in await scene.got(soon)] == [10]

    async def test_an_event_that_has_expired_is_for_nobody(self, scene: Scene) -> None:
        now = scene.store.clock.now()
        n = await scene.waiting(wait("old", pointer=1), wait("new", pointer=2))
        async with scene.app.connect() as connection:
            await scene.publish(
                connection,
                event("old", at=now - HOUR, expires=now - 1),
                event("new", at=now - HOUR, expires=now + 24 * HOUR),
            )
            await scene.app.commit(connection)
        await scene.drain()

        assert [got["pointer"] for got in await scene.got(n)] == [2]
        assert await scene.got(await scene.waiting(wait("old"))) == []

    async def test_an_event_without_a_time_has_that_of_its_transaction(self, scene: Scene) -> None:
        before = scene.store.clock.now()
        async with scene.app.connect() as connection:
            await scene.publish(connection, event())
            await scene.app.commit(connection)
        await scene.drain()

        n = await scene.waiting(wait(as_of=before - HOUR))

        (got,) = await scene.got(n)
        assert abs(got["at"] - before) < HOUR

    async def test_events_of_one_transaction_keep_their_order(self, scene: Scene) -> None:
        async with scene.app.connect() as connection:
            await scene.publish(connection, event(id="c", at=5), event(id="a", at=5))
            await scene.publish(connection, event(id="b", at=5))
            await scene.app.commit(connection)
        await scene.drain()

        order: list[str] = []
        after: dict[str, int] = {}
        for _ in range(3):
            (got,) = await scene.got(await scene.waiting(wait("k", **after)))
            order.append(got["id"])
            after = {"after_at": got["at"], "after_e": got["e"]}

        assert order == ["c", "a", "b"]

    async def test_each_event_is_published_once_whoever_drains(self, scene: Scene) -> None:
        n = await scene.waiting(*(wait(str(k), pointer=k) for k in range(40)))
        async with scene.app.connect() as connection:
            for k in range(40):
                await scene.publish(connection, event(str(k)))
                if k % 4 == 3:
                    await scene.app.commit(connection)

        async with asyncio.timeout(PATIENCE):
            drains = [scene.drain(7, other=bool(k % 2)) for k in range(8)]
            woken = [each for part in await asyncio.gather(*drains) for each in part]
            for _ in range(6):  # all of them, should those at the same time have done nothing
                woken += await scene.drain(7)

        assert set(woken) == {n}
        got = await scene.got(n)
        assert sorted(each["pointer"] for each in got) == list(range(40))

    async def test_a_drain_takes_no_more_than_it_may(self, scene: Scene) -> None:
        runs = [await scene.waiting(wait(str(k))) for k in range(5)]
        async with scene.app.connect() as connection:
            await scene.publish(connection, *(event(str(k)) for k in range(5)))
            await scene.app.commit(connection)

        parts = [await scene.drain(2) for _ in range(4)]

        assert [len(part) for part in parts] == [2, 2, 1, 0]
        assert [n for part in parts for n in part] == runs

    async def test_an_empty_outbox_wakes_nobody(self, scene: Scene) -> None:
        await scene.waiting(wait())

        assert await scene.drain() == []
        assert await scene.drain(other=True) == []

    # -- connections ------------------------------------------------------------------------------

    async def test_connections_that_do_not_fit_are_refused(self, scene: Scene) -> None:
        new = await header(scene.store, n=0, id="x")
        async with scene.app.strangers() as strangers:
            assert len(strangers) > 0
            for stranger in (*strangers, object(), None, "postgresql://"):
                for item in (start(new), Item(publish=(event(),))):
                    with pytest.raises(ProviderError) as raised:
                        await scene.put(stranger, item)
                    assert not raised.value.transient, stranger

        assert await scene.all() == []
        n = await scene.waiting(wait())
        assert await scene.drain() == []
        assert await scene.got(n) == []

    async def test_a_connection_serves_for_many_transactions(self, scene: Scene) -> None:
        news = [await header(scene.store, n=0, id=f"run {k}") for k in range(4)]
        async with scene.app.connect() as connection:
            for k, new in enumerate(news):
                await scene.put(connection, start(new))
                await scene.publish(connection, event(str(k)))
                await (scene.app.roll_back if k % 2 else scene.app.commit)(connection)
        await scene.drain()

        n = await scene.waiting(*(wait(str(k), pointer=k) for k in range(4)))
        assert len(await scene.all()) == 3
        assert sorted(got["pointer"] for got in await scene.got(n)) == [0, 2]
