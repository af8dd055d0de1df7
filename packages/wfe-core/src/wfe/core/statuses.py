"""States of runs and of their branches, as users see them and as stores keep them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PointerStatus", "WorkflowStatus"]


class WorkflowStatus(StrEnum):
    """State of a run; the values are stored, so they never change."""

    RUNNABLE = "runnable"
    SUSPENDED = "suspended"
    COMPLETE = "complete"
    FAILED = "failed"
    TERMINATED = "terminated"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen (but ``retry`` and retention)."""
        return self in _FINAL


_FINAL = frozenset({WorkflowStatus.COMPLETE, WorkflowStatus.FAILED, WorkflowStatus.TERMINATED})


class PointerStatus(StrEnum):
    """State of one branch's place in a run; the values are stored, so they never change."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETE = "complete"
    SKIPPED = "skipped"
    SLEEPING = "sleeping"
    WAITING_FOR_EVENT = "waiting_for_event"
    FAILED = "failed"
    COMPENSATED = "compensated"
    CANCELLED = "cancelled"
    PENDING_PREDECESSOR = "pending_predecessor"
