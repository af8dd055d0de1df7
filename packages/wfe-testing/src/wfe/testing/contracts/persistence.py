"""The persistence contract: all laws of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import ClassVar, Final

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Clock, PersistenceProvider
from wfe.testing.contracts.activities import ActivityLaws
from wfe.testing.contracts.answers import AnswerLaws
from wfe.testing.contracts.commits import CommitLaws
from wfe.testing.contracts.crashes import CrashLaws
from wfe.testing.contracts.events import EventLaws
from wfe.testing.contracts.keeping import KeepingLaws
from wfe.testing.contracts.limits import LimitLaws
from wfe.testing.contracts.machine import run_machine
from wfe.testing.contracts.meetings import MeetingLaws
from wfe.testing.contracts.messages import MessageLaws
from wfe.testing.contracts.owners import OwnerLaws
from wfe.testing.contracts.priorities import PriorityLaws
from wfe.testing.contracts.races import RaceLaws
from wfe.testing.contracts.reading import ReadLaws
from wfe.testing.contracts.schedules import ScheduleLaws
from wfe.testing.contracts.starts import StartLaws

__all__ = ["PersistenceContract"]

_HOSTS: Final = 4


class PersistenceContract(
    StartLaws,
    CommitLaws,
    OwnerLaws,
    MessageLaws,
    EventLaws,
    AnswerLaws,
    ReadLaws,
    KeepingLaws,
    LimitLaws,
    ActivityLaws,
    PriorityLaws,
    ScheduleLaws,
    CrashLaws,
    RaceLaws,
    MeetingLaws,
):
    """Subclass as ``TestMyStore`` and give the class a ``new_store`` fixture.

    ``new_store(clock)`` returns a new, empty store that is not open yet.  What else it can be
    given stands with the capabilities in :data:`wfe.testing.contracts.CAPABILITIES`.

    Attributes:
        capabilities: Which of ``durable``, ``lock``, ``shared`` and ``virtual_clock`` it claims.
        examples: How many random histories are compared with the memory store.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    examples: ClassVar[int] = 40

    @pytest.fixture
    async def store(
        self, new_store: Callable[[Clock], PersistenceProvider]
    ) -> AsyncIterator[PersistenceProvider]:
        """A store that is open and empty."""
        store = new_store(VirtualClock())
        await store.open()
        yield store
        await store.close()

    @pytest.fixture
    def another_store(self, store: PersistenceProvider) -> Callable[[], PersistenceProvider]:
        """Return *store* itself; with ``shared``, give your own."""
        return lambda: store

    @pytest.fixture
    async def hosts(
        self, store: PersistenceProvider, another_store: Callable[[], PersistenceProvider]
    ) -> AsyncIterator[Sequence[PersistenceProvider]]:
        """Several open stores on one backend, as several processes have them; or the one."""
        others = [another_store() for _ in range(_HOSTS - 1)] if self._shared() else []
        for other in others:
            await other.open()
        yield [store, *others]
        for other in others:
            await other.close()

    def _shared(self) -> bool:
        return "shared" in self.capabilities

    @pytest.mark.needs("virtual_clock")
    def test_random_histories_are_those_of_the_memory_store(
        self, new_store: Callable[[Clock], PersistenceProvider]
    ) -> None:
        run_machine(new_store, examples=self.examples)
