"""Joins the engine and the code of a durable function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from wfe.core.durable.context import WorkflowContext
from wfe.core.durable.data import function_model
from wfe.core.engine.functions import FunctionRunner

if TYPE_CHECKING:
    from wfe.core.definition import Node
    from wfe.core.engine.calls import Calls
    from wfe.core.engine.nodes import StepMiddleware
    from wfe.core.providers import Clock

__all__ = ["runner_of"]


def runner_of(
    function: Callable[..., Awaitable[Any]],
    node: Node,
    clock: Clock,
    middleware: Sequence[StepMiddleware],
) -> FunctionRunner:
    """Return what runs *function*.

    Raises:
        DefinitionError: Its signature does not fit.
    """
    model = function_model(function)

    async def begin(calls: Calls, around: Sequence[StepMiddleware], stored: Any) -> Any:
        args, kwargs = model.arguments(stored)
        return await function(WorkflowContext(calls, around), *args, **kwargs)

    return FunctionRunner(node=node, clock=clock, begin=begin, middleware=middleware)
