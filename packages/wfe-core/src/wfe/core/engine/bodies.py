"""Calls step bodies: classes, instances and functions, sync and async."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Final, Protocol, TypeAlias

import attrs

from wfe.core.context_names import hint_for, meant_for_context
from wfe.core.engine.secrets import log_exception
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.lean import frozen
from wfe.core.step_settings import settings_of
from wfe.core.steps import StepExecutionContext

__all__ = ["Body", "Pools", "StepFactory", "make_body"]

Context: TypeAlias = StepExecutionContext[Any]
StepFactory: TypeAlias = Callable[[type], Any]
"""Builds the body of a step class, for example from a dependency-injection container."""

_LOG: Final = logging.getLogger("wfe.engine")
_NO_DEFAULT: Final = inspect.Parameter.empty


class Pools(Protocol):
    """Where blocking bodies run."""

    def threads(self) -> Executor:
        """Return the pool for sync bodies."""
        ...

    def processes(self) -> Executor:
        """Return the pool for CPU-bound functions."""
        ...


class Body(Protocol):
    """One way to call a body."""

    async def __call__(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return (what the output mappings look at, what the body returned)."""
        ...


def make_body(target: Any, factory: StepFactory | None, pools: Pools) -> Body:
    """Return how to call *target*: a class with ``run``, an instance of one, or a function.

    Raises:
        DefinitionError: It is none of these.
    """
    if inspect.isclass(target):
        cls: type[Any] = target
        make = functools.partial(factory, cls) if factory else None
        return _ClassBody(cls, make, pools)
    if callable(getattr(target, "run", None)):
        return _ClassBody(target.__class__, functools.partial(copy.copy, target), pools)
    if callable(target):
        return _function(target, pools)
    problem = f"{target!r} is no step: it is neither a function nor has it a method run(ctx)"
    raise DefinitionError(problem)


def _told_apart(call: Callable[[], Any]) -> Any:
    """Call *call*; what ends iterators would get lost between threads: no future takes it."""
    try:
        return call()
    except (StopIteration, GeneratorExit) as error:
        problem = f"the body raised {type(error).__name__}"
        raise RuntimeError(problem) from error


async def _blocking(pool: Executor, call: Callable[[], Any]) -> Any:
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    told = functools.partial(_told_apart, call)
    result = await loop.run_in_executor(pool, context.run, told)
    return await result if inspect.isawaitable(result) else result


@frozen
class _ClassBody:
    cls: type
    make: Callable[[], Any] | None
    pools: Pools
    watched: bool = attrs.field(
        default=attrs.Factory(lambda self: _is_watched(self.cls), takes_self=True), init=False
    )

    async def __call__(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        body = self._body(inputs)
        if self.watched:
            return body, await self._watched(body, ctx)
        return body, await self._run(body.run, ctx)

    async def _run(self, method: Callable[..., Any], *args: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args)
        return await _blocking(self.pools.threads(), functools.partial(method, *args))

    async def _watched(self, body: Any, ctx: Context) -> Any:
        """Run the body, and whatever else its class has for its success or failure."""
        try:
            result = await self._run(body.run, ctx)
        except Exception as error:
            if ctx.joined is not None and ctx.joined.excused:  # it runs again, whatever it raised
                raise
            if hasattr(body, "is_retryable"):
                ctx.retryable = bool(body.is_retryable(error))
            if hasattr(body, "on_failure"):
                await self._told(body.on_failure, ctx, error)
            raise
        if hasattr(body, "on_success"):
            await self._run(body.on_success, ctx)
        return result

    async def _told(self, method: Callable[..., Any], ctx: Context, error: Exception) -> None:
        try:
            await self._run(method, ctx, error)
        except Exception:  # noqa: BLE001 - the error of run() is the one that counts
            log_exception(_LOG, ctx.masks, "on_failure of step %s failed", ctx.pointer.step)

    def _body(self, inputs: Mapping[str, Any]) -> Any:
        if self.make is None:
            return self._made(inputs)
        body = self.make()
        if inputs and _is_frozen(self.cls):
            return attrs.evolve(body, **inputs)  # a frozen body is copied with its inputs
        for name, value in inputs.items():
            setattr(body, name, value)
        return body

    def _made(self, inputs: Mapping[str, Any]) -> Any:
        known = _init_names(self.cls)
        body = self.cls(**{name: value for name, value in inputs.items() if name in known})
        for name, value in inputs.items():
            if name not in known:
                setattr(body, name, value)
        return body


def _is_watched(cls: type) -> bool:
    """Whether a step class has more than ``run``."""
    return any(hasattr(cls, name) for name in ("is_retryable", "on_success", "on_failure"))


def _is_frozen(cls: type) -> bool:
    return attrs.has(cls) and cls.__setattr__ is not object.__setattr__ and _frozen_attrs(cls)


def _frozen_attrs(cls: type) -> bool:
    # attrs marks a frozen class only by the setter it installs; its name has been stable for years.
    return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"


def _init_names(cls: type) -> frozenset[str]:
    """Return the keyword arguments of a data-like class; none for others."""
    if not (attrs.has(cls) or hasattr(cls, "__dataclass_fields__")):
        return frozenset()
    return frozenset(inspect.signature(cls).parameters)


def _function(target: Callable[..., Any], pools: Pools) -> Body:
    parameters = _parameters(target)
    if settings_of(target).process:
        return _ProcessBody(target, parameters, pools)
    if inspect.iscoroutinefunction(target) or inspect.iscoroutinefunction(
        getattr(target, "__call__", None)  # noqa: B004 - asks how it is called, not whether
    ):
        return _AsyncBody(target, parameters)
    return _SyncBody(target, parameters, pools)


def _parameters(target: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    try:
        found = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(parameter for parameter in found if parameter.kind not in kinds)


@frozen
class _AsyncBody:
    target: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]

    async def __call__(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        if not self.parameters:
            result = await self.target()
            return result, result
        args, kwargs = _arguments(self.parameters, ctx, inputs)
        result = await self.target(*args, **kwargs)
        return result, result


@frozen
class _SyncBody:
    target: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]
    pools: Pools

    async def __call__(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        args, kwargs = _arguments(self.parameters, ctx, inputs)
        call = functools.partial(self.target, *args, **kwargs)
        result = await _blocking(self.pools.threads(), call)
        return result, result


@frozen
class _ProcessBody:
    target: Callable[..., Any]
    parameters: tuple[inspect.Parameter, ...]
    pools: Pools

    async def __call__(self, ctx: Context, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        args, kwargs = _arguments(self.parameters, ctx, inputs)
        loop = asyncio.get_running_loop()
        call = functools.partial(self.target, *args, **kwargs)
        result = await loop.run_in_executor(self.pools.processes(), call)
        return result, result


def _arguments(
    parameters: tuple[inspect.Parameter, ...], ctx: Context, inputs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Find each parameter: ``ctx``, then the inputs, then the data, then its default."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for parameter in parameters:
        value = _argument(parameter, ctx, inputs)
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            kwargs[parameter.name] = value
        else:
            args.append(value)
    return args, kwargs


def _argument(parameter: inspect.Parameter, ctx: Context, inputs: Mapping[str, Any]) -> Any:
    name = parameter.name
    if name == "ctx":
        return ctx
    if name in inputs:
        return inputs[name]
    if name in ctx.before:
        data: Any = ctx.loaded_data()
        return data[name] if hasattr(data, "keys") else getattr(data, name)
    if parameter.default is not _NO_DEFAULT:
        return parameter.default
    known = ", ".join([*inputs, *ctx.before]) or "none"
    problem = (
        f"step {ctx.pointer.step!r} needs a value for its parameter {name!r}: there is no input, "
        f"data field or default of that name (known: {known})"
    )
    if meant_for_context(name):
        problem = f"{problem}; {hint_for(name)}"
    raise DataTypeError(name, problem)
