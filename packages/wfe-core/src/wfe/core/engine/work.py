"""Runs the steps that a durable function calls: bodies, attempts, policies."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import random  # noqa: TID251 - the shell draws the jitter; the rules get it
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from wfe.core.codec import decode, encode
from wfe.core.context_names import context_hint, hint_for, surely_context
from wfe.core.conversion import Check, checker
from wfe.core.engine.contexts import call_context
from wfe.core.engine.json_text import dumps
from wfe.core.engine.refusals import RunAgainError
from wfe.core.errors import DataTypeError, DefinitionError, StepTimeoutError
from wfe.core.lean import frozen
from wfe.core.policies import ErrorPolicy
from wfe.core.rules.called import CallDone, CallFailed
from wfe.core.rules.state import Pointer
from wfe.core.step_settings import StepSettings, settings_of
from wfe.core.steps import StepExecutionContext

if TYPE_CHECKING:
    from wfe.core.engine.calls import Calls, Made
    from wfe.core.engine.nodes import StepMiddleware
    from wfe.core.engine.strands import Record

__all__ = ["Shape", "Work", "do", "restorer", "shape_of"]

_RUNNING: Final = "running"
_PLAIN: Final = frozenset({type(None), bool, int, str, float})
_SHORT: Final = 4096  # characters of a text that is small whatever the host's limits
_UNREAD: Final = (Any, None, type(None), object, dict, list, inspect.Parameter.empty)


@frozen(kw_only=True)
class Shape:
    """How a step function is called.

    Attributes:
        ctx: Whether it takes the step's context, as the parameter ``ctx``; *first*: as its first.
        restore: Makes its result from what :func:`decode` gives; ``None``: that is it.
    """

    name: str
    ctx: bool
    first: bool
    waits: bool
    settings: StepSettings
    restore: Check | None


@functools.lru_cache(maxsize=4096)
def shape_of(function: Any) -> Shape:
    """Return how to call *function*.

    Raises:
        DefinitionError: It is not callable, or has a context that is not called ``ctx``.
    """
    if not callable(function):
        problem = f"{function!r} is no step: a durable function's steps are functions"
        raise DefinitionError(problem)
    settings = settings_of(function)
    name = settings.name or getattr(function, "__name__", None) or type(function).__name__
    try:
        parameters: Mapping[str, Any] = inspect.signature(function).parameters
    except (TypeError, ValueError):
        parameters = {}
    misnamed = surely_context(function)
    if misnamed is not None:
        problem = f"the step's parameter {misnamed!r} would not get the context"
        raise DefinitionError(problem, name, hint_for(misnamed))
    call: object = getattr(function, "__call__", None)  # noqa: B004 - asks how it is called
    return Shape(
        name=name,
        ctx="ctx" in parameters,
        first=next(iter(parameters), None) == "ctx"
        and parameters["ctx"].kind is not inspect.Parameter.KEYWORD_ONLY,
        waits=inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call),
        settings=settings,
        restore=restorer(function),
    )


def restorer(function: Callable[..., Any]) -> Check | None:
    """Return what makes a function's result from its decoded form; ``None``: nothing need be done.

    An annotation that cannot be looked up, or that is no storable type, says nothing.
    """
    try:
        declared = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    if declared in _UNREAD:
        return None
    try:
        return checker(declared, strict=False)
    except DefinitionError:
        return None


@frozen(kw_only=True)
class Work:
    """One call of a step function.

    Attributes:
        timeout: Of one attempt, µs; ``None``: none.
        undone: Name of the step that it undoes; *undoes*: the key of that call.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: Shape
    policy: ErrorPolicy
    timeout: int | None
    middleware: Sequence[StepMiddleware]
    undone: str | None = None
    undoes: str | None = None

    def restored(self, stored: Any) -> Any:
        """Return a result from its stored form."""
        value = decode(stored)
        if self.shape.restore is None or value is None:
            return value
        return self.shape.restore(value, "result")


async def do(calls: Calls, made: Made, work: Work) -> Any:
    """Do a call's work, attempt by attempt, or return what it gave before.

    Raises:
        StepFailedError: It failed for good.
    """
    record, last = made.record, None
    if record is not None and record.state == "open":
        last, record = await _paused(calls, made)
    while record is None:
        if not calls.run.runnable or calls.run.draining or calls.run.owner.unsure:
            await calls.may_work()
        try:
            outcome, value, fed = await _attempt(calls, made, work, last)
        except RunAgainError:
            continue
        made.strand.committing = True
        try:
            key = made.key
            answer = await (calls.answer(key) if fed else calls.recorded(outcome, key))
        finally:
            made.strand.committing = False
            calls.moved()
        if isinstance(outcome, CallDone) and answer[0] == "step_completed":
            made.strand.ended(answer[3], answer[4])
            return value
        made.record = calls.record(made, answer)
        record = made.record
        if record.state == "open":
            last, record = await _paused(calls, made)
    ended = calls.ended(made, record)
    return work.restored(ended.info.get("result"))


async def _paused(calls: Calls, made: Made) -> tuple[Pointer | None, Record | None]:
    """Wait for the next attempt of a call; return its pointer, or how it ended otherwise."""
    while True:
        last = calls.lasting(made.key)
        if last is not None and calls.ready(last):
            return last, None
        if made.record is not None and made.record.state != "open":
            return None, made.record
        with calls.waits():
            answer = await calls.answer_or_wake(made.key)
        if answer is not None:
            made.record = calls.record(made, answer)


async def _attempt(
    calls: Calls, made: Made, work: Work, last: Pointer | None
) -> tuple[CallDone | CallFailed, Any, bool]:
    """Run the body once; return what came of it, its result, and whether that is committed."""
    started = calls.engine.clock.now()
    tried = last.attempt if last else 0
    shown = Pointer(calls.pointer, made.name, None, _RUNNING, tried, None, {})
    ctx: StepExecutionContext[Any] | None = None
    if work.shape.ctx or work.middleware:
        ctx = call_context(calls.run, shown, made.key)
    info = made.info(started=started)
    key = None if last is None else last.id
    try:
        with calls.works():
            result = await _body(calls, made, work, shown, ctx, started)
            value = _kept(calls, work, info, result)
            done = CallDone(
                pointer=calls.pointer,
                attempt=calls.attempt,
                name=made.name,
                info=info,
                last=key,
                undone=work.undone,
            )
            if ctx is None or ctx.joined is None:
                return done, value, False
            return done, value, await ctx.joined.end_call(calls, made.key, done)
    except RunAgainError:
        raise
    except Exception as error:  # noqa: BLE001 - a step may raise anything: it is recorded
        joined = None if ctx is None else ctx.joined
        problem = None if joined is None else await joined.judge(error)
        return _failure(calls, made, work, info, key, problem or error), None, False
    finally:
        if ctx is not None and ctx.joined is not None:
            await ctx.joined.close()


def _kept(calls: Calls, work: Work, info: dict[str, Any], result: Any) -> Any:
    """Add the result to *info*; return it as a function that is run again gets it."""
    stored = value = encode(result, "result")
    if result.__class__ not in _PLAIN or (isinstance(result, str) and len(result) > _SHORT):
        calls.engine.sizes.check("result", dumps(stored))
        value = work.restored(stored)
    if stored is not None:
        info["result"] = stored
    if work.undoes is not None:
        info["undoes"] = work.undoes
    return value


def _failure(
    calls: Calls,
    made: Made,
    work: Work,
    info: dict[str, Any],
    last: int | None,
    error: BaseException,
) -> CallFailed:
    kind = getattr(error, "error_type", type(error).__name__)
    message = getattr(error, "message", None) or str(error) or kind
    if kind == "TypeError" and "() missing " in message:
        hint = context_hint(work.function)
        message = f"{message}; {hint}" if hint else message
    return CallFailed(
        pointer=calls.pointer,
        attempt=calls.attempt,
        name=made.name,
        info=info,
        last=last,
        error={"type": kind, "message": message, "step": made.name},
        policy=work.policy,
        retryable=bool(getattr(error, "retryable", True)) and not isinstance(error, DataTypeError),
        spread=random.uniform(-1, 1),  # noqa: S311 - jitter, not a secret
    )


async def _body(
    calls: Calls,
    made: Made,
    work: Work,
    shown: Pointer,
    ctx: StepExecutionContext[Any] | None,
    started: int,
) -> Any:
    run, shape = calls.run, work.shape
    run.owner.report.began(run, shown)
    args, kwargs = work.args, work.kwargs
    if ctx is not None and shape.first:
        args = (ctx, *args)
    elif ctx is not None and shape.ctx:
        kwargs = {"ctx": ctx, **kwargs}

    async def call() -> Any:
        return await _called(calls, work, args, kwargs)

    wrapped: Callable[[], Awaitable[Any]] = call
    if ctx is not None:
        for each in reversed(work.middleware):
            wrapped = functools.partial(each, ctx, wrapped)
    try:
        async with run.owner.slots or contextlib.nullcontext():
            return await _limited(calls, made.name, wrapped, started, work.timeout)
    except BaseException:
        if ctx is not None:
            ctx.cancelled.set()
        raise


async def _called(
    calls: Calls, work: Work, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    if work.shape.settings.process:
        call = functools.partial(work.function, *args, **kwargs)
        pool = calls.engine.pools.processes()
        return await asyncio.get_running_loop().run_in_executor(pool, call)
    if work.shape.waits:
        return await work.function(*args, **kwargs)
    call = functools.partial(work.function, *args, **kwargs)
    context = contextvars.copy_context()
    pool = calls.engine.pools.threads()
    result = await asyncio.get_running_loop().run_in_executor(pool, context.run, call)
    return await result if inspect.isawaitable(result) else result


async def _limited(
    calls: Calls, name: str, call: Callable[[], Awaitable[Any]], started: int, timeout: int | None
) -> Any:
    if timeout is None:
        return await call()
    work = asyncio.ensure_future(call())
    alarm = asyncio.ensure_future(calls.engine.clock.sleep_until(started + timeout))
    try:
        await asyncio.wait({work, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            message = f"took longer than {timeout / 1_000_000:g} s"
            raise StepTimeoutError(name, "StepTimeoutError", message)
        return work.result()
    finally:
        alarm.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        elif not work.cancelled():
            work.exception()  # it failed as this was cancelled: nobody else asks for it
