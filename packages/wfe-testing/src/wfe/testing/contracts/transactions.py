"""The transaction contract: what a step changes and its completion are committed together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, cast

import attrs
import pytest

from wfe.core.errors import TransactionError
from wfe.core.providers import (
    Conflict,
    Done,
    Fenced,
    Item,
    Outcome,
    PersistenceProvider,
    Row,
    Transaction,
    TransactionProvider,
)
from wfe.testing.contracts.runs import begin, begin_many, load, one, worker

__all__ = ["Application", "TransactionContract"]

LEASE = 3_000_000  # µs
PATIENCE = 20.0  # seconds
DONE = '["done"]'


class Application(Protocol):
    """The application: its notes are what steps write, in a table or whatever it has."""

    async def write(self, connection: Any, note: str) -> None:
        """Write a note through a connection that was lent for an event loop."""
        ...

    def write_blocking(self, connection: Any, note: str) -> None:
        """Write a note through a connection that was lent with ``blocking``."""
        ...

    async def end(self, connection: Any, how: str) -> None:
        """Try to ``commit``, ``roll back`` or ``close`` by the connection's own methods."""
        ...

    async def notes(self) -> Sequence[str]:
        """Return what is committed, in any order, from outside."""
        ...


@attrs.frozen
class Scene:
    """An open store, a worker of it, and the application."""

    store: PersistenceProvider
    epoch: int
    app: Application

    @property
    def lender(self) -> TransactionProvider:
        return cast("TransactionProvider", self.store)

    def open(self, *, blocking: bool = False) -> Any:
        return self.lender.transaction(self.epoch, LEASE, blocking=blocking)

    async def begin(self) -> int:
        return await begin(self.store, self.epoch)

    async def step(self, n: int, note: str, *, base: int = 0) -> Outcome:
        """Do what a host does for a step with a transaction."""
        async with self.open() as tx:
            await self.app.write(tx.connection, note)
            return await _commit(tx, completion(n, base))

    async def rows(self, n: int) -> list[str]:
        return [row.event for row in await self._tail(n)]

    async def _tail(self, n: int) -> Sequence[Row]:
        return (await load(self.store, n)).tail


def completion(n: int, base: int = 0) -> Item:
    """Return the item that completes a step: a row, of an instance that goes on."""
    return Item(n=n, base=base, rows=(DONE,), alive=True)


async def _commit(tx: Transaction, item: Item) -> Outcome:
    async with asyncio.timeout(PATIENCE):
        return await tx.commit(item)


class TransactionContract:
    """Subclass as ``TestMyTransactions``; give the class ``store`` and ``application`` fixtures.

    ``store`` is a new, empty store that is open; ``application`` an :class:`Application` whose
    notes are where the store's transactions can write.
    """

    @pytest.fixture
    async def scene(self, store: PersistenceProvider, application: Application) -> Scene:
        return Scene(store, await worker(store), application)

    async def test_the_store_says_that_it_has_transactions(self, scene: Scene) -> None:
        assert "transaction" in scene.store.features
        assert isinstance(scene.store, TransactionProvider)

    async def test_effect_and_completion_are_committed_together(self, scene: Scene) -> None:
        n = await scene.begin()

        outcome = await scene.step(n, "paid")

        assert isinstance(outcome, Done)
        assert await scene.app.notes() == ["paid"]
        assert await scene.rows(n) == ['["begin"]', DONE]

    async def test_the_completion_has_the_time_of_the_store(self, scene: Scene) -> None:
        n = await scene.begin()

        outcome = await scene.step(n, "paid")

        assert isinstance(outcome, Done)
        row = (await load(scene.store, n)).tail[-1]
        assert row.at == outcome.at

    async def test_nobody_sees_the_effect_before_the_commit(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            assert await scene.app.notes() == []
            assert await scene.rows(n) == ['["begin"]']
            await _commit(tx, completion(n))

        assert await scene.app.notes() == ["paid"]

    async def test_a_block_without_a_commit_leaves_nothing(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")

        assert await scene.app.notes() == []
        assert await scene.rows(n) == ['["begin"]']
        assert isinstance(await scene.step(n, "again"), Done)
        assert await scene.app.notes() == ["again"]

    async def test_a_block_that_raises_leaves_nothing_and_raises(self, scene: Scene) -> None:
        async def fail() -> None:
            async with scene.open() as tx:
                await scene.app.write(tx.connection, "paid")
                message = "no money"
                raise LookupError(message)

        with pytest.raises(LookupError, match="no money"):
            await fail()

        assert await scene.app.notes() == []

    async def test_a_completion_on_another_base_takes_the_effect_along(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            outcome = await _commit(tx, completion(n, base=4))

        assert isinstance(outcome, Conflict)
        assert await scene.app.notes() == []
        assert await scene.rows(n) == ['["begin"]']

    async def test_a_step_is_completed_once(self, scene: Scene) -> None:
        n = await scene.begin()
        await scene.step(n, "paid")

        outcome = await scene.step(n, "paid twice")

        assert isinstance(outcome, Conflict)
        assert await scene.app.notes() == ["paid"]

    async def test_a_run_of_another_worker_is_not_completed(self, scene: Scene) -> None:
        other = await worker(scene.store, "other")
        n = await begin(scene.store, other)

        outcome = await scene.step(n, "paid")

        assert isinstance(outcome, Conflict)
        assert await scene.app.notes() == []

    async def test_a_fenced_worker_commits_nothing(self, scene: Scene) -> None:
        n = await scene.begin()
        await scene.store.fence([scene.epoch], lease=None)

        outcome = await scene.step(n, "paid")

        assert isinstance(outcome, Fenced)
        assert await scene.app.notes() == []
        assert await scene.rows(n) == ['["begin"]']

    async def test_a_worker_fenced_during_the_step_commits_nothing(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            fence = asyncio.create_task(_fence(scene))
            if not scene.lender.exclusive_transactions:  # else the fence waits for the block
                await fence
            outcome = await _commit(tx, completion(n))
        await asyncio.wait_for(fence, PATIENCE)

        committed = scene.lender.exclusive_transactions
        assert isinstance(outcome, Done if committed else Fenced)
        assert await scene.app.notes() == (["paid"] if committed else [])
        assert isinstance(await scene.step(n, "late", base=1 if committed else 0), Fenced)

    async def test_who_was_released_meanwhile_commits_nothing(self, scene: Scene) -> None:
        n = await scene.begin()
        await scene.store.fault(scene.epoch, n, scene.store.clock.now(), "{}", 5)

        outcome = await scene.step(n, "paid")

        assert isinstance(outcome, Conflict)
        assert await scene.app.notes() == []

    async def test_a_completion_is_progress(self, scene: Scene) -> None:
        n = await scene.begin()
        await scene.store.fence([scene.epoch], lease=None)
        await scene.store.orphans(10)
        other = attrs.evolve(scene, epoch=await worker(scene.store, "other"))
        d = (await load(scene.store, n)).header.d
        (claimed,) = await scene.store.claim(other.epoch, [d], 1)
        assert claimed.takeovers == 1

        await other.step(n, "paid")
        await scene.store.fence([other.epoch], lease=None)
        await scene.store.orphans(10)

        third = await worker(scene.store, "third")
        (claimed,) = await scene.store.claim(third, [d], 1)
        assert claimed.takeovers == 1

    @pytest.mark.parametrize("how", ["commit", "roll back", "close"])
    async def test_the_body_cannot_end_it(self, scene: Scene, how: str) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            with pytest.raises(TransactionError):
                await scene.app.end(tx.connection, how)
            assert await scene.app.notes() == []
            outcome = await _commit(tx, completion(n))

        assert isinstance(outcome, Done)
        assert await scene.app.notes() == ["paid"]

    async def test_the_connection_ends_with_its_commit(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            connection = tx.connection
            await scene.app.write(connection, "paid")
            await _commit(tx, completion(n))

        await _refused(scene, connection)
        assert await scene.app.notes() == ["paid"]

    async def test_the_connection_ends_with_its_block(self, scene: Scene) -> None:
        async with scene.open() as tx:
            connection = tx.connection

        await _refused(scene, connection)
        assert await scene.app.notes() == []

    async def test_a_thread_that_goes_on_writes_nothing(self, scene: Scene) -> None:
        async with scene.open(blocking=True) as tx:
            connection = tx.connection
            await asyncio.to_thread(scene.app.write_blocking, connection, "first")

        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the driver says
            await asyncio.to_thread(scene.app.write_blocking, connection, "late")
        assert await scene.app.notes() == []

    async def test_threads_have_transactions_too(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open(blocking=True) as tx:
            await asyncio.to_thread(scene.app.write_blocking, tx.connection, "paid")
            outcome = await _commit(tx, completion(n))

        assert isinstance(outcome, Done)
        assert await scene.app.notes() == ["paid"]

    async def test_a_transaction_is_committed_once(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            await _commit(tx, completion(n))
            with pytest.raises(Exception):  # noqa: B017, PT011 - it may name what it likes
                await _commit(tx, completion(n, base=1))

        assert await scene.rows(n) == ['["begin"]', DONE]

    async def test_nothing_is_wrong_with_one_that_is_open(self, scene: Scene) -> None:
        async with scene.open() as tx:
            assert tx.problem is None

    async def test_what_a_body_raises_by_itself_is_no_interruption(self, scene: Scene) -> None:
        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            for error in (None, LookupError("no money"), ConnectionError("of something else")):
                assert tx.interruption(error) is None

    async def test_others_commit_meanwhile_or_wait(self, scene: Scene) -> None:
        n, m = await scene.begin(), await scene.begin()

        async with scene.open() as tx:
            await scene.app.write(tx.connection, "paid")
            others = asyncio.create_task(one(scene.store, scene.epoch, completion(m)))
            if not scene.lender.exclusive_transactions:
                assert isinstance(await asyncio.wait_for(others, PATIENCE), Done)
            assert isinstance(await _commit(tx, completion(n)), Done)

        assert isinstance(await asyncio.wait_for(others, PATIENCE), Done)
        assert await scene.rows(m) == ['["begin"]', DONE]

    async def test_many_at_a_time(self, scene: Scene) -> None:
        runs = await begin_many(scene.store, 20, scene.epoch)
        plain, paid = runs[:10], runs[10:]
        work: list[Awaitable[Outcome]] = [
            *(one(scene.store, scene.epoch, completion(n)) for n in plain),
            *(scene.step(n, f"paid {n}") for n in paid),
        ]

        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*work)

        assert all(isinstance(outcome, Done) for outcome in outcomes)
        assert sorted(await scene.app.notes()) == sorted(f"paid {n}" for n in paid)
        assert [await scene.rows(n) for n in runs] == [['["begin"]', DONE]] * 20

    async def test_of_two_that_complete_the_same_step_one_wins(self, scene: Scene) -> None:
        n = await scene.begin()

        async with asyncio.timeout(PATIENCE):
            outcomes = await asyncio.gather(*(scene.step(n, f"by {k}") for k in range(4)))

        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 3 + ["Done"]
        assert len(await scene.app.notes()) == 1
        assert await scene.rows(n) == ['["begin"]', DONE]

    async def test_whoever_gives_up_waiting_leaves_nothing(self, scene: Scene) -> None:
        n = await scene.begin()

        async with scene.open() as tx:
            waiting = [asyncio.create_task(scene.step(n, f"by {k}")) for k in range(3)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await scene.app.write(tx.connection, "paid")
            await _commit(tx, completion(n))

        # One of them may have been quicker than its end, but only one.
        assert len(await scene.app.notes()) == 1
        assert await scene.rows(n) == ['["begin"]', DONE]


async def _refused(scene: Scene, connection: Any) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the driver says
        await scene.app.write(connection, "late")


async def _fence(scene: Scene) -> None:
    await scene.store.fence([scene.epoch], lease=None)
