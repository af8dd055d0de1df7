"""The outbox contract catches outboxes that are broken in one place."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from inspect import getmembers
from typing import Any

import attrs
import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.errors import ProviderError
from wfe.core.memory import MemoryStore
from wfe.core.providers import Done, Event, Header, Item, Outcome, Refused
from wfe.testing.contracts import OutboxContract

FAILURES = (AssertionError, LookupError, ValueError, TypeError, ProviderError, TimeoutError)


class Letter:
    """A connection: what is written on it counts when it is sent."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.notes: list[str] = []
        self.items: list[Item] = []

    def tear(self) -> None:
        self.notes.clear()
        self.items.clear()


class Office(MemoryStore):
    """A store in memory with an outbox of letters; each kind below is wrong in one place."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.archive: list[str] = []
        self.mail: list[Event] = []

    @property
    def features(self) -> frozenset[str]:  # type: ignore[override]
        return super().features | {"outbox"}

    async def enqueue(self, connection: Any, item: Item) -> Outcome:
        letter = self.checked(connection)
        if item.new is None:
            events = [attrs.evolve(each, at=self.time(each)) for each in item.publish]
            return await self.take(letter, attrs.evolve(item, publish=tuple(events)))
        refused = self.refused(letter, item.new)
        if refused is not None:
            return refused
        n = item.n or await self.number()
        return await self.take(letter, attrs.evolve(item, n=n, new=attrs.evolve(item.new, n=n)))

    async def take(self, letter: Letter, item: Item) -> Outcome:
        """Write *item* on the letter."""
        letter.items.append(item)
        now, new = self.clock.now(), item.new
        due = new is not None and new.wake is not None and new.wake <= now
        return Done(now, ((item.n, new.d, None),) if due and new is not None else ())

    async def number(self) -> int:
        return await self.allocate(1)

    def checked(self, connection: Any) -> Letter:
        if not isinstance(connection, Letter) or connection.office is not self:
            raise ProviderError("office", "that is no letter of this office", transient=False)
        return connection

    def time(self, event: Event) -> int | None:
        return self.clock.now() if event.at is None else event.at

    def refused(self, letter: Letter, new: Header) -> Refused | None:
        """Return the refusal if there is already what *new* would be."""
        written = [item.new for item in letter.items if item.new is not None]
        for each in (*written, *(run.new for run in self._runs.by_n.values())):
            if new.idem is not None and (each.definition, each.idem) == (new.definition, new.idem):
                return Refused("idem", each.id)
            if new.dedup is not None and each.dedup == new.dedup:
                return Refused("dedup", each.id)
            if new.name is not None and each.name == new.name:
                return Refused("name", each.id)
        return None

    async def send(self, letter: Letter) -> None:
        """Commit."""
        for item in letter.items:
            if item.new is None:
                self.mail.extend(item.publish)
            else:
                await self.commit(None, [item])
        self.archive.extend(letter.notes)
        letter.tear()

    async def burn(self, letter: Letter) -> None:
        """Roll back."""
        letter.tear()

    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        taken = self.taken(limit)
        done = [await self.commit(None, [Item(publish=(event,))]) for event in taken]
        return [woken for (each,) in done if isinstance(each, Done) for woken in each.woken]

    def taken(self, limit: int) -> Sequence[Event]:
        taken, self.mail = self.mail[:limit], self.mail[limit:]
        return taken


class Clerk:
    """The application."""

    def __init__(self, office: Office) -> None:
        self.office = office

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Letter]:
        yield Letter(self.office)

    async def write(self, connection: Letter, note: str) -> None:
        connection.notes.append(note)

    async def commit(self, connection: Letter) -> None:
        await self.office.send(connection)

    async def roll_back(self, connection: Letter) -> None:
        await self.office.burn(connection)

    async def notes(self) -> Sequence[str]:
        return list(self.office.archive)

    @asynccontextmanager
    async def strangers(self) -> AsyncGenerator[Sequence[Letter]]:
        yield [Letter(Office())]


class Contract(OutboxContract):
    __test__ = False


class TestOffice(OutboxContract):
    """The one that is right keeps the contract."""

    @pytest.fixture
    async def store(self) -> Office:
        office = Office()
        await office.open()
        return office

    @pytest.fixture
    def other(self, store: Office) -> Office:
        return store

    @pytest.fixture
    def application(self, store: Office) -> Clerk:
        return Clerk(store)


# -- the zoo --------------------------------------------------------------------------------------


class SaysNothing(Office):
    @property
    def features(self) -> frozenset[str]:  # type: ignore[override]
        return super().features - {"outbox"}


class StartsAtOnce(Office):
    """The start does not wait for the application's commit."""

    async def take(self, letter: Letter, item: Item) -> Outcome:
        outcome = await super().take(letter, item)
        if item.new is not None:
            letter.items.remove(item)
            await self.commit(None, [item])
        return outcome


class PublishesAtOnce(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        if item.new is None:
            self.mail.extend(item.publish)
            return Done(self.clock.now())
        return await super().take(letter, item)


class CommitsForTheApplication(Office):
    """Everything on the connection is committed with the start."""

    async def take(self, letter: Letter, item: Item) -> Outcome:
        outcome = await super().take(letter, item)
        await self.send(letter)
        return outcome


class ForgetsStarts(Office):
    async def send(self, letter: Letter) -> None:
        letter.items = [item for item in letter.items if item.new is None]
        await super().send(letter)


class ForgetsEvents(Office):
    async def send(self, letter: Letter) -> None:
        letter.items = [item for item in letter.items if item.new is not None]
        await super().send(letter)


class ForgetsTheApplication(Office):
    """What the application wrote is rolled back when a start is refused."""

    def refused(self, letter: Letter, new: Header) -> Refused | None:
        refused = super().refused(letter, new)
        if refused is not None:
            letter.tear()
        return refused


class ForgetsToRollBack(Office):
    """What was rolled back goes along with the next transaction of the connection."""

    async def burn(self, letter: Letter) -> None:
        letter.notes.clear()


class KeepsKeysOfWhatWasRolledBack(Office):
    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, str] = {}

    def refused(self, letter: Letter, new: Header) -> Refused | None:
        if new.idem is not None and self.keys.setdefault(new.idem, new.id) != new.id:
            return Refused("idem", self.keys[new.idem])
        return super().refused(letter, new)


class LooksOnlyAtWhatIsCommitted(Office):
    """The second start of a transaction with the same key is another run."""

    def refused(self, letter: Letter, new: Header) -> Refused | None:
        return super().refused(Letter(self), new)


class LooksOnlyAtItsOwn(Office):
    def refused(self, letter: Letter, new: Header) -> Refused | None:
        by_n, self._runs.by_n = self._runs.by_n, {}
        try:
            return super().refused(letter, new)
        finally:
            self._runs.by_n = by_n


class IgnoresNames(Office):
    def refused(self, letter: Letter, new: Header) -> Refused | None:
        return super().refused(letter, attrs.evolve(new, name=None))


class NamesNobody(Office):
    """It says that the start exists, but not as which run."""

    def refused(self, letter: Letter, new: Header) -> Refused | None:
        refused = super().refused(letter, new)
        return None if refused is None else attrs.evolve(refused, existing=None)


class CountsByItself(Office):
    """Numbers of starts are not those that the store gives out."""

    count = 0

    async def number(self) -> int:
        self.count += 1
        return self.count


class LosesRows(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        return await super().take(letter, attrs.evolve(item, rows=item.rows[:1]))


class LosesColumns(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        new = None if item.new is None else attrs.evolve(item.new, reference=None)
        return await super().take(letter, attrs.evolve(item, new=new))


class StartsAllNow(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        new = item.new and attrs.evolve(item.new, wake=self.clock.now())
        return await super().take(letter, attrs.evolve(item, new=new))


class WakesNobodyForAStart(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        await super().take(letter, item)
        return Done(self.clock.now())


class ForgetsPlaces(Office):
    async def take(self, letter: Letter, item: Item) -> Outcome:
        return await super().take(letter, attrs.evolve(item, hold=()))


class GivesAnyPlace(Office):
    """Places are given without a look at who has them."""

    async def take(self, letter: Letter, item: Item) -> Outcome:
        hold = tuple(attrs.evolve(each, limit=each.limit + 1) for each in item.hold)
        return await super().take(letter, attrs.evolve(item, hold=hold))


class PublishesTwice(Office):
    """An event is given another id each time, so that the store cannot know it again."""

    times = 0

    def taken(self, limit: int) -> Sequence[Event]:
        self.times += 1
        found = super().taken(limit)
        self.mail.extend(each for each in found if self.times < 2)
        return [attrs.evolve(each, id=f"{each.id} {self.times}") for each in found]


class PublishesTheLastFirst(Office):
    def taken(self, limit: int) -> Sequence[Event]:
        return list(reversed(super().taken(limit)))


class TakesAll(Office):
    """Whatever the limit."""

    def taken(self, limit: int) -> Sequence[Event]:
        return super().taken(limit + 1_000)


class TakesOnlyTheFirst(Office):
    """The rest of what it took out is lost."""

    def taken(self, limit: int) -> Sequence[Event]:
        return super().taken(limit)[:5]


class DrainsInSilence(Office):
    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        await super().drain_outbox(limit)
        return []


class DrainsWithoutOwners(Office):
    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        return [(n, d, None) for n, d, _ in await super().drain_outbox(limit)]


class WakesWhomItLikes(Office):
    async def drain_outbox(self, limit: int) -> Sequence[tuple[int, int, int | None]]:
        woken = await super().drain_outbox(limit)
        return woken or [(run.new.n, run.new.d, None) for run in self._runs.by_n.values()]


class IgnoresTimes(Office):
    def time(self, event: Event) -> int | None:
        return self.clock.now()


class HasNoTimes(Office):
    """An event without a time is of the beginning of all."""

    def time(self, event: Event) -> int | None:
        return event.at or 0


class NothingExpires(Office):
    def taken(self, limit: int) -> Sequence[Event]:
        return [attrs.evolve(event, expires=None) for event in super().taken(limit)]


class TakesAnyLetter(Office):
    def checked(self, connection: Any) -> Letter:
        return connection if isinstance(connection, Letter) else Letter(self)


class HopesForBetter(Office):
    """A wrong connection is said to be right later."""

    def checked(self, connection: Any) -> Letter:
        try:
            return super().checked(connection)
        except ProviderError as error:
            raise ProviderError("office", error.problem) from error


class ServesOnce(Office):
    """A connection that had its transaction takes no more."""

    async def send(self, letter: Letter) -> None:
        await super().send(letter)
        letter.office = Office()


ZOO = [
    SaysNothing,
    StartsAtOnce,
    PublishesAtOnce,
    CommitsForTheApplication,
    ForgetsStarts,
    ForgetsEvents,
    ForgetsTheApplication,
    ForgetsToRollBack,
    KeepsKeysOfWhatWasRolledBack,
    LooksOnlyAtWhatIsCommitted,
    LooksOnlyAtItsOwn,
    IgnoresNames,
    NamesNobody,
    CountsByItself,
    LosesRows,
    LosesColumns,
    StartsAllNow,
    WakesNobodyForAStart,
    ForgetsPlaces,
    GivesAnyPlace,
    PublishesTwice,
    PublishesTheLastFirst,
    TakesAll,
    TakesOnlyTheFirst,
    DrainsInSilence,
    DrainsWithoutOwners,
    WakesWhomItLikes,
    IgnoresTimes,
    HasNoTimes,
    NothingExpires,
    TakesAnyLetter,
    HopesForBetter,
    ServesOnce,
]


async def _keeps(kind: type[Office], name: str, why: str | None) -> bool:
    office = kind()
    await office.open()
    contract = Contract()
    fixture: Any = OutboxContract.__dict__["scene"]
    body = getattr(fixture, "__wrapped__", None) or fixture.__pytest_wrapped__.obj
    scene = body(contract, office, office, Clerk(office))
    law = getattr(contract, name)
    try:
        await (law(scene) if why is None else law(scene, why))
    except (*FAILURES, pytest.fail.Exception):
        return False
    return True


def _laws() -> list[tuple[str, str | None]]:
    found: list[tuple[str, str | None]] = []
    for name, _ in getmembers(OutboxContract, callable):
        if name == "test_what_exists_is_not_started_again":
            found.extend((name, why) for why in ("idem", "dedup", "name"))
        elif name.startswith("test_"):
            found.append((name, None))
    return found


@pytest.mark.parametrize("kind", ZOO, ids=[kind.__name__ for kind in ZOO])
async def test_a_broken_outbox_is_caught(kind: type[Office]) -> None:
    broken = [name for name, why in _laws() if not await _keeps(kind, name, why)]

    assert broken


async def test_each_law_catches_somebody() -> None:
    needed = {name for name, _ in _laws()}
    for kind in ZOO:
        needed -= {name for name, why in _laws() if not await _keeps(kind, name, why)}

    assert needed == set()
