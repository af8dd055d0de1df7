"""The persistence contract: all laws of a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import ClassVar

import pytest

from wfe.core.clocks import VirtualClock
from wfe.core.providers import Clock, PersistenceProvider
from wfe.testing.contracts.activities import ActivityLaws
from wfe.testing.contracts.commits import CommitLaws
from wfe.testing.contracts.events import EventLaws
from wfe.testing.contracts.keeping import KeepingLaws
from wfe.testing.contracts.limits import LimitLaws
from wfe.testing.contracts.machine import run_machine
from wfe.testing.contracts.messages import MessageLaws
from wfe.testing.contracts.owners import OwnerLaws
from wfe.testing.contracts.priorities import PriorityLaws
from wfe.testing.contracts.reading import ReadLaws
from wfe.testing.contracts.schedules import ScheduleLaws
from wfe.testing.contracts.starts import StartLaws

__all__ = ["PersistenceContract"]


class PersistenceContract(
    StartLaws,
    CommitLaws,
    OwnerLaws,
    MessageLaws,
    EventLaws,
    ReadLaws,
    KeepingLaws,
    LimitLaws,
    ActivityLaws,
    PriorityLaws,
    ScheduleLaws,
):
    """Subclass as ``TestMyStore`` and give the class a ``new_store`` fixture.

    ``new_store(clock)`` returns a new, empty store that is not open yet.  With the capability
    ``durable`` there is also a ``reopen`` fixture: an async function that closes ``store`` and
    returns it opened again.

    Attributes:
        capabilities: ``durable``; ``virtual_clock``: the store goes by the clock it is given;
            ``lock``: it is its own lock.
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

    @pytest.mark.needs("virtual_clock")
    def test_random_histories_are_those_of_the_memory_store(
        self, new_store: Callable[[Clock], PersistenceProvider]
    ) -> None:
        run_machine(new_store, examples=self.examples)
