"""Hand-made events of a run, for the tests of what the command draws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wfe.core.models import LifecycleEvent

__all__ = ["START", "after", "event"]

START: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    """Return the moment *seconds* after the start."""
    return START + timedelta(seconds=seconds)


def event(
    kind: str,
    step: str | None = None,
    pointer: int | None = None,
    at: float = 0,
    *,
    run: str = "r1",
    attempt: int | None = 0,
    **data: Any,
) -> LifecycleEvent:
    """Return an event of a step, *at* seconds after the start; the rest is its data."""
    return LifecycleEvent(
        kind=kind,
        instance_id=run,
        definition="main",
        at=after(at),
        step=step,
        pointer=pointer,
        attempt=attempt,
        data=data or None,
    )
