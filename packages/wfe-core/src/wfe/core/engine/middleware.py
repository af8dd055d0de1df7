"""What goes around bodies and runs."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from wfe.core.engine.nodes import CallNext
from wfe.core.models import WorkflowInstance
from wfe.core.steps import StepExecutionContext

__all__ = ["StepMiddleware", "WorkflowMiddleware"]


@runtime_checkable
class StepMiddleware(Protocol):
    """Wraps every call of a body, like an onion: the first registered is outermost."""

    async def handle(self, ctx: StepExecutionContext[Any], call_next: CallNext) -> Any:
        """Call ``await call_next()`` once (or not) and return what the body returned."""
        ...


@runtime_checkable
class WorkflowMiddleware(Protocol):
    """Sees runs begin and end."""

    async def pre(self, instance: WorkflowInstance[Any]) -> None:
        """Look at a run before it is stored; an exception refuses the start."""
        ...

    async def post(self, instance: WorkflowInstance[Any]) -> None:
        """Look at a run once it is final; called in reverse order of registration."""
        ...
