"""The transaction contract catches stores that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from inspect import getmembers
from typing import Any

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError, TransactionError
from wfe.core.memory import MemoryStore
from wfe.core.providers import Done, Item, Outcome
from wfe.testing.contracts import TransactionContract

FAILURES = (AssertionError, LookupError, ValueError, TransactionError, TimeoutError)


class Paper:
    """A connection: what is written on it counts when it is filed."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.lines: list[str] = []
        self.over = False

    def write(self, line: str) -> None:
        if self.over:
            message = "it is filed, or thrown away"
            raise TransactionError(message)
        self.lines.append(line)

    def end(self, how: str) -> None:
        message = f"{how} is not for the body"
        raise TransactionError(message)


class Desk(MemoryStore):
    """A store in memory with transactions on paper; each kind below is wrong in one place."""

    paper: type[Paper] = Paper
    exclusive_transactions = False

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.filed: list[str] = []

    @property
    def features(self) -> frozenset[str]:  # type: ignore[override]
        return super().features | {"transaction"}

    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Sheet]:
        sheet = Sheet(self, epoch, self.paper(self))
        try:
            yield sheet
        finally:
            self.thrown_away(sheet)

    def thrown_away(self, sheet: Sheet) -> None:
        sheet.connection.over = True

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        return None

    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        paper = sheet.connection
        if paper.over:
            message = "the transaction has ended"
            raise TransactionError(message)
        paper.over = True
        (outcome,) = await self.commit(sheet.epoch, [item])
        if isinstance(outcome, Done):
            self.filed.extend(paper.lines)
        return outcome


@attrs.frozen
class Sheet:
    desk: Desk
    epoch: int
    connection: Paper
    problem: TransactionError | None = None

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        return self.desk.interruption(error)

    async def commit(self, item: Item) -> Outcome:
        return await self.desk.file(self, item)


class Clerk:
    """The application."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def write(self, connection: Paper, note: str) -> None:
        connection.write(note)

    def write_blocking(self, connection: Paper, note: str) -> None:
        connection.write(note)

    async def end(self, connection: Paper, how: str) -> None:
        connection.end(how)

    async def notes(self) -> Sequence[str]:
        return list(self.desk.filed)


class Contract(TransactionContract):
    __test__ = False


class TestDesk(TransactionContract):
    """The one that is right keeps the contract."""

    @pytest.fixture
    async def store(self) -> Desk:
        desk = Desk()
        await desk.open()
        return desk

    @pytest.fixture
    def application(self, store: Desk) -> Clerk:
        return Clerk(store)


# -- the zoo --------------------------------------------------------------------------------------


class WritesAtOnce(Desk):
    """The connection is not in the transaction."""

    class paper(Paper):  # noqa: N801 - the name of what it replaces
        def write(self, line: str) -> None:
            super().write(line)
            self.desk.filed.append(self.lines.pop())


class FilesAtTheEndOfTheBlock(Desk):
    def thrown_away(self, sheet: Sheet) -> None:
        if not sheet.connection.over:
            self.filed.extend(sheet.connection.lines)
        super().thrown_away(sheet)


class FilesWithoutCompletion(Desk):
    """The effect stays when the item is refused."""

    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        outcome = await super().file(sheet, item)
        if not isinstance(outcome, Done):
            self.filed.extend(sheet.connection.lines)
        return outcome


class ForgetsTheEffect(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        sheet.connection.lines.clear()
        return await super().file(sheet, item)


class ForgetsTheCompletion(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        sheet.connection.over = True
        self.filed.extend(sheet.connection.lines)
        return Done(self.clock.now())


class LooksAtTheFenceTooEarly(Desk):
    """What was true when the transaction began is taken for true at its end."""

    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        worker = self._workers[sheet.epoch]
        self._workers[sheet.epoch] = attrs.evolve(worker, fenced=None)
        try:
            return await super().file(sheet, item)
        finally:
            self._workers[sheet.epoch] = worker


class IgnoresTheBase(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        rows = await self.history(item.n, -1, 1000)
        return await super().file(sheet, attrs.evolve(item, base=rows[-1].seq))


class IgnoresTheOwner(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        run = self._runs.by_n[item.n]
        before, run.owner = run.owner, sheet.epoch
        outcome = await super().file(sheet, item)
        run.owner = before
        return outcome


class IsNoProgress(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        return await super().file(sheet, attrs.evolve(item, alive=False))


class LetsTheBodyCommit(Desk):
    class paper(Paper):  # noqa: N801 - as above
        def end(self, how: str) -> None:
            if how != "commit":
                super().end(how)
            self.desk.filed.extend(self.lines)
            self.lines.clear()


class LetsTheBodyRollBack(Desk):
    class paper(Paper):  # noqa: N801 - as above
        def end(self, how: str) -> None:
            if how != "roll back":
                super().end(how)
            self.lines.clear()


class LendsForEver(Desk):
    """Whoever keeps the connection writes on, outside of any transaction."""

    class paper(Paper):  # noqa: N801 - as above
        def write(self, line: str) -> None:
            if self.over:
                self.desk.filed.append(line)
            else:
                super().write(line)


class CommitsTwice(Desk):
    async def file(self, sheet: Sheet, item: Item) -> Outcome:
        outcome = await super().file(sheet, item)
        sheet.connection.over = False
        sheet.connection.lines.clear()
        return outcome


class SwallowsErrors(Desk):
    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Sheet]:
        async with super().transaction(epoch, lease, blocking=blocking) as sheet:
            with suppress(LookupError):
                yield sheet


class SharesOneSheet(Desk):
    """All that is open at a time is written on one paper."""

    _shared: Paper | None = None

    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Sheet]:
        if self._shared is None or self._shared.over:
            self._shared = Paper(self)
        sheet = Sheet(self, epoch, self._shared)
        await asyncio.sleep(0)
        yield sheet
        sheet.connection.over = True


class SaysNothing(Desk):
    @property
    def features(self) -> frozenset[str]:  # type: ignore[override]
        return super().features - {"transaction"}


class LooksBroken(Desk):
    @asynccontextmanager
    async def transaction(
        self, epoch: int, lease: int, *, blocking: bool = False
    ) -> AsyncGenerator[Sheet]:
        async with super().transaction(epoch, lease, blocking=blocking) as sheet:
            yield attrs.evolve(sheet, problem=TransactionError("broken"))


class TakesAllUponItself(Desk):
    """Whatever a body fails of is said to be the store's fault: it would run for ever."""

    def interruption(self, error: BaseException | None) -> ProviderError | None:
        return None if error is None else ProviderError("desk", "the ink is dry")


ZOO = [
    WritesAtOnce,
    FilesAtTheEndOfTheBlock,
    FilesWithoutCompletion,
    ForgetsTheEffect,
    ForgetsTheCompletion,
    LooksAtTheFenceTooEarly,
    IgnoresTheBase,
    IgnoresTheOwner,
    IsNoProgress,
    LetsTheBodyCommit,
    LetsTheBodyRollBack,
    LendsForEver,
    CommitsTwice,
    SwallowsErrors,
    SharesOneSheet,
    SaysNothing,
    LooksBroken,
    TakesAllUponItself,
]


async def _keeps(kind: type[Desk], name: str, how: str | None) -> bool:
    desk = kind()
    await desk.open()
    contract = Contract()
    scene: Any = TransactionContract.__dict__["scene"]
    body = getattr(scene, "__wrapped__", None) or scene.__pytest_wrapped__.obj
    stage = await body(contract, desk, Clerk(desk))
    law = getattr(contract, name)
    try:
        await (law(stage) if how is None else law(stage, how))
    except (*FAILURES, pytest.fail.Exception):
        return False
    return True


def _laws() -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name, _ in getmembers(TransactionContract, callable):
        if name == "test_the_body_cannot_end_it":
            found.extend((name, how) for how in ("commit", "roll back", "close"))
        elif name.startswith("test_"):
            found.append((name, None))
    return found


@pytest.mark.parametrize("kind", ZOO, ids=[kind.__name__ for kind in ZOO])
async def test_a_broken_store_is_caught(kind: type[Desk]) -> None:
    kept = [await _keeps(kind, name, how) for name, how in _laws()]

    assert not all(kept)
