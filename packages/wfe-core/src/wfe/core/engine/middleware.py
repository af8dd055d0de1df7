"""What goes around bodies and runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from wfe.core.engine.nodes import CallNext
    from wfe.core.models import WorkflowInstance
    from wfe.core.steps import StepExecutionContext

__all__ = ["StepMiddleware", "WorkflowMiddleware", "tell_ended"]

_LOG: Final = logging.getLogger("wfe.engine")


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


async def tell_ended(
    hooks: Sequence[WorkflowMiddleware], view: Callable[[], WorkflowInstance[Any]]
) -> None:
    """Show a run that is final, as *view* gives it, to *hooks*: the last registered one first."""
    instance = view()
    for hook in reversed(hooks):
        try:
            await hook.post(instance)
        except Exception:  # noqa: BLE001 - a hook is a guest
            # The run is over and stored; a hook's failure can change nothing about it.
            _LOG.exception("a workflow middleware failed after run %s", instance.id)
