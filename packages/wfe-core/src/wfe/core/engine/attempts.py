"""Runs a body of a live run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from wfe.core.definition import Kind
from wfe.core.engine.contexts import make_context
from wfe.core.engine.refusals import RunAgainError
from wfe.core.models import PointerStatus
from wfe.core.rules.inputs import Input, Stopped, completed_of

if TYPE_CHECKING:
    from wfe.core.engine.branches import Branch
    from wfe.core.engine.live import LiveRun
    from wfe.core.rules.state import Pointer
    from wfe.core.steps import StepExecutionContext

__all__ = ["is_function", "work"]

_CANCELLED: Final = PointerStatus.CANCELLED.value


async def work(run: LiveRun, branch: Branch, key: int) -> None:
    """Run the body of the pointer *key*, and hand on how it ended."""
    owner = run.owner
    while True:
        if run.leaving or owner.unsure:
            await _cleared(run)
        try:
            outcome = await _attempt(run, branch, key)
        except RunAgainError:
            continue
        finally:
            owner.at_work.discard(branch)
        break
    if outcome is None or run.closed:
        return
    branch.waits = True
    run.take(outcome)
    owner.finished(run)


async def _cleared(run: LiveRun) -> None:
    """Return when bodies may begin."""
    if run.leaving:  # bodies of a state that is no more are awaited
        await asyncio.wait(run.leaving)
    if run.owner.unsure:
        await run.owner.sure()


async def _attempt(run: LiveRun, branch: Branch, key: int) -> Input | None:
    """Return how a body ended; ``None``: there is nothing to tell of it."""
    pointer = run.state.pointers.get(key)
    if pointer is None:  # cancelled between being handed over and beginning
        if run.branches.get(key) is branch:
            del run.branches[key]
        return None
    if "joined" in pointer.extra:  # done, and committed by a transaction of its own
        return completed_of(pointer.id, pointer.attempt, pointer.extra["joined"])
    try:
        ctx = branch.ctx = make_context(run, pointer)
        return await _ran(run, ctx, pointer)
    except asyncio.CancelledError:
        current = run.state.pointers.get(key)
        if run.closed or current is None or current.status != _CANCELLED:
            raise
        task = asyncio.current_task()
        if task is not None:  # what it goes on with is not cancelled
            task.uncancel()
        return Stopped(key)
    except RunAgainError:
        raise
    except Exception as error:  # noqa: BLE001 - user code is caught inside: this is ours
        run.owner.broken(run, error)
        return None
    finally:
        branch.ctx = None


async def _ran(run: LiveRun, ctx: StepExecutionContext[Any], pointer: Pointer) -> Input:
    """Run a body when there is a place for it; if it has a transaction, end that."""
    slots, runner = run.owner.slots, run.ready.runners[pointer.step]
    try:
        if slots is None or is_function(run, pointer):
            run.owner.report.began(run, pointer)
            outcome = await runner(ctx)
        else:
            async with slots:
                run.owner.report.began(run, pointer)
                outcome = await runner(ctx)
        return outcome if ctx.joined is None else await ctx.joined.end(outcome)
    finally:
        if ctx.joined is not None:
            await ctx.joined.close()


def is_function(run: LiveRun, pointer: Pointer) -> bool:
    """Whether *pointer* is a durable function, whose steps take places, not itself."""
    return run.ready.plan.places[pointer.step].node.kind is Kind.FUNCTION
