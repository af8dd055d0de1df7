"""The node of a durable function: runs it as one long body."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from wfe.core.codec import encode
from wfe.core.engine.calls import Calls
from wfe.core.engine.contexts import live_of
from wfe.core.engine.json_text import dumps
from wfe.core.lean import frozen
from wfe.core.rules.inputs import Completed, Input, Writes

if TYPE_CHECKING:
    from wfe.core.definition import Node
    from wfe.core.engine.nodes import StepMiddleware
    from wfe.core.providers import Clock
    from wfe.core.steps import StepExecutionContext

__all__ = ["Begin", "FunctionRunner"]

Begin: TypeAlias = "Callable[[Calls, Sequence[StepMiddleware], Any], Awaitable[Any]]"
"""Calls the function: takes its calls, the middleware around bodies, and its stored input."""


@frozen(kw_only=True)
class FunctionRunner:
    """Runs a durable function from its start, once per claim of its run."""

    node: Node
    clock: Clock
    begin: Begin
    middleware: Sequence[StepMiddleware]

    async def __call__(self, ctx: StepExecutionContext[Any]) -> Input:
        """Run the function to its end; what it raises becomes an input for the rules."""
        run = live_of(ctx)
        pointer = run.state.pointers[ctx.pointer.id]
        calls = Calls(run, pointer)
        run.calls[pointer.id] = calls
        started = self.clock.now()
        try:
            await calls.load()
        except Exception as error:  # noqa: BLE001 - the store failed, not the function
            run.owner.broken(run, error)
            raise asyncio.CancelledError from None
        try:
            stored = ctx.before.get("input")
            result = await calls.drive(lambda: self.begin(calls, self.middleware, stored))
            kept = encode(result, "result")
            run.owner.sizes.check("result", dumps(kept))
        except Exception as error:  # noqa: BLE001 - a function may raise anything: it is recorded
            return calls.failure(error, started)
        finally:
            if run.calls.get(pointer.id) is calls:
                del run.calls[pointer.id]
        writes = Writes({"result": kept}, base=run.state.seq)
        return Completed(pointer.id, pointer.attempt, None, writes, started)
