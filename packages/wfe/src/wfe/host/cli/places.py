"""Holds back that a step waits for a place, until it has really waited: it asks for each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from wfe.core.lean import define, frozen
from wfe.core.models import LifecycleEvent
from wfe.host.cli.model import Change
from wfe.host.cli.visits import State

__all__ = ["Places"]

_PATIENCE: Final = 0.3  # seconds in which a place that is free is given
_Key: TypeAlias = tuple[str, int]


@frozen
class _Asked:
    """A step that asked for places, and when (seconds of the clock)."""

    since: float
    event: LifecycleEvent
    change: Change

    @property
    def waits(self) -> bool:
        """Whether it still has no place; the run itself is taken out of the picture then."""
        run, step, visit = self.change.run, self.change.step, self.change.visit
        if step is None or visit is None or run.steps.get(step.name) is not step:
            return False
        return visit.state is State.WAITING


@define
class Places:
    """Which steps have asked for places.

    Attributes:
        now: A clock that never goes back, in seconds.
    """

    now: Callable[[], float] = time.monotonic
    _asked: dict[_Key, _Asked] = attrs.field(factory=dict[_Key, _Asked], init=False)

    def silent(self, event: LifecycleEvent, change: Change) -> bool:
        """Whether nothing is said of *event*: of asking, and of going on with what was free."""
        if change.visit is None:
            return False
        key = (change.run.id, change.visit.pointer)
        if event.kind == "step_waiting" and "limits" in (event.data or {}):
            self._asked[key] = _Asked(self.now(), event, change)
            return True
        return event.kind == "step_started" and self._asked.pop(key, None) is not None

    def waiting(self, *, at_once: bool = False) -> Iterator[tuple[LifecycleEvent, Change]]:
        """Yield what is to be told now, once: who has waited a while, or (*at_once*) waits."""
        until = self.now() - (0 if at_once else _PATIENCE)
        for key, asked in list(self._asked.items()):
            if asked.since > until:
                continue
            del self._asked[key]
            if asked.waits:
                yield asked.event, asked.change
