"""Lifecycle events in memory keep the contract; their JSON form keeps what it can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import attrs
import pytest

from wfe.core.lifecycle_provider import LifecyclePublisher, event_from_json, event_to_json
from wfe.core.memory_lifecycle import MemoryLifecycle
from wfe.core.models import LifecycleEvent
from wfe.testing.contracts import LifecycleContract

EVENT = LifecycleEvent(
    kind="step_failed",
    instance_id="i",
    definition="d",
    at=datetime(2025, 1, 1, tzinfo=UTC),
    data={"error": "x" * 100},
)


class TestMemoryLifecycle(LifecycleContract):
    capabilities = frozenset({"bounded"})
    kept = 100

    @pytest.fixture
    async def lifecycle(self) -> AsyncIterator[LifecyclePublisher]:
        lifecycle = MemoryLifecycle(kept=5000)
        yield lifecycle
        await lifecycle.close()

    @pytest.fixture
    def elsewhere(self, lifecycle: LifecyclePublisher) -> LifecyclePublisher:
        return lifecycle

    async def test_what_is_kept_is_bounded(
        self, lifecycle: LifecyclePublisher, elsewhere: LifecyclePublisher
    ) -> None:
        small = MemoryLifecycle(kept=self.kept)
        await super().test_what_is_kept_is_bounded(small, small)


def test_great_data_is_left_out() -> None:
    text = event_to_json(EVENT, largest=99)

    assert event_from_json(text) == attrs.evolve(EVENT, data={"omitted": 112})
    assert event_from_json(event_to_json(EVENT, largest=112)) == EVENT


def test_data_can_stay_at_home() -> None:
    assert event_from_json(event_to_json(EVENT, data=False)) == attrs.evolve(EVENT, data=None)


def test_fields_of_later_versions_are_passed_over() -> None:
    text = event_to_json(EVENT)[:-1] + b',"mood":"good"}'

    assert event_from_json(text) == EVENT


@pytest.mark.parametrize("text", ["[]", "{}", '{"at": "x"}', "nonsense", '{"at": "2025-01-01"}'])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the parser's own among them
        event_from_json(text)
