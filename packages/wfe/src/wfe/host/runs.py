"""A handle on one run."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from wfe.core.errors import StepFailedError, WorkflowTerminatedError
from wfe.core.lean import frozen
from wfe.core.statuses import WorkflowStatus

if TYPE_CHECKING:
    from wfe.core.engine import Engine
    from wfe.core.models import HistoryEntry, WorkflowInstance

__all__ = ["WorkflowRun", "result_of", "seconds"]


def seconds(timeout: object) -> float | None:
    """Return *timeout* in seconds; a number is seconds already, ``None`` stays.

    Raises:
        TypeError: It is none of these.
    """
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if not isinstance(timeout, int | float):
        problem = f"expected a timedelta or a number of seconds, got {timeout!r}"
        raise TypeError(problem)
    return timeout


def result_of(instance: WorkflowInstance[Any]) -> Any:
    """Return the data of a complete run.

    Raises:
        StepFailedError: It failed.
        WorkflowTerminatedError: It was terminated.
    """
    error = instance.error
    if instance.status is WorkflowStatus.TERMINATED:
        raise WorkflowTerminatedError(instance.id, error.message if error else None)
    if instance.status is WorkflowStatus.FAILED:
        if error is None:
            raise StepFailedError(None, "Error", "unknown", instance.id)
        raise StepFailedError(error.step, error.type, error.message, instance.id)
    return instance.data


@frozen
class WorkflowRun:
    """A run that was started (or found by its idempotency key).

    Attributes:
        id: Of the run.
        new: Whether this start made it; ``False``: the idempotency key was known.
    """

    id: str
    new: bool
    _engine: Engine

    async def wait(
        self, timeout: timedelta | float | None = None, *, suspended: bool = False
    ) -> WorkflowInstance[Any]:
        """Return the run once it is final; a failure is a status here, not an exception.

        Args:
            timeout: Longest wait; a number is seconds; ``None``: no limit.
            suspended: Return also when it is suspended.

        Raises:
            TimeoutError: It took longer.
            HostStoppingError: The host was stopped meanwhile.
        """
        if timeout is None:
            return await self._engine.waits.ended(self.id, suspended=suspended)
        import asyncio  # noqa: PLC0415 - what only declares workflows needs none

        async with asyncio.timeout(seconds(timeout)):
            return await self._engine.waits.ended(self.id, suspended=suspended)

    async def result(self, timeout: timedelta | float | None = None) -> Any:
        """Return the final data, or the one field of it that the definition calls its result.

        Raises:
            StepFailedError: The run failed.
            WorkflowTerminatedError: It was terminated.
            TimeoutError: It took longer than *timeout*.
        """
        instance = await self.wait(timeout)
        data = result_of(instance)
        field = self._engine.registry.result_field(instance.definition, instance.version)
        if field is None:
            return data
        return data.get(field) if hasattr(data, "get") else getattr(data, field)

    async def history(self) -> list[HistoryEntry]:
        """Return everything that happened in the run so far, in order."""
        return await self._engine.reads.history(self.id)
