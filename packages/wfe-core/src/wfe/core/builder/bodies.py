"""Checks that what an author passes as a step is one, and how its inputs are called."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from wfe.core.builder.arguments import accepts, got, parameters_of
from wfe.core.context_names import hint_for, surely_context
from wfe.core.errors import DefinitionError
from wfe.core.step_settings import settings_of
from wfe.core.steps import StepExecutionContext

__all__ = ["body_name", "check_body", "inline", "input_names", "needed_values"]

_MARK: Final = "step.<locals>.mark"  # what @step(...) gives before it is applied to a function


def check_body(target: object, what: str) -> None:
    """Refuse what the engine could not run.

    Raises:
        DefinitionError: *target* is neither a class nor an instance with ``run(ctx)`` nor a
            function.
    """
    if inspect.isclass(target):
        _check_class(target, what)
    elif callable(getattr(target, "run", None)):
        _check_run(target.run, 1, type(target).__name__, what)  # type: ignore[attr-defined]
    elif callable(target):
        _check_function(target, what)
    else:
        if inspect.iscoroutine(target):
            target.close()  # it was made for nothing, and would warn about that
            problem = f"{what} got a coroutine of {target.__name__}, which was called already"
            raise DefinitionError(problem, None, f"pass the function itself: {target.__name__}")
        problem = f"{what} got {got(target)}, which is no step"
        raise DefinitionError(problem, None, _WANTED)


_WANTED: Final = "pass a class or an instance with a method run(ctx), or a function"


def _check_class(cls: type, what: str) -> None:
    name = cls.__name__
    if not callable(getattr(cls, "run", None)):
        problem = f"{what} got the class {name}, which has no method run(ctx)"
        raise DefinitionError(problem, None, "add one, or pass a function")
    if getattr(cls, "_is_protocol", False):
        problem = f"{what} got the protocol {name}"
        raise DefinitionError(problem, None, "pass a class that has run(ctx) of its own")
    if inspect.isabstract(cls):
        missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
        problem = f"{what} got the abstract class {name}"
        raise DefinitionError(problem, None, f"it does not implement: {missing}")
    bound = isinstance(inspect.getattr_static(cls, "run"), staticmethod | classmethod)
    _check_run(cls.run, 1 if bound else 2, name, what)  # type: ignore[attr-defined]


def _check_run(run: Callable[..., Any], count: int, name: str, what: str) -> None:
    if not accepts(run, count):
        problem = f"{what} got {name}, whose run() cannot be called with the context alone"
        hint = f"declare it as run(self, ctx), not run{parameters_of(run)}"
        raise DefinitionError(problem, None, hint)
    if inspect.isgeneratorfunction(run) or inspect.isasyncgenfunction(run):
        problem = f"{what} got {name}, whose run() is a generator"
        raise DefinitionError(problem, None, "return the result instead of yielding")


def _check_function(target: Callable[..., Any], what: str) -> None:
    name = getattr(target, "__name__", type(target).__name__)
    if getattr(target, "__qualname__", "") == _MARK:
        problem = f"{what} got @step(...) without the function that it is for"
        raise DefinitionError(problem, None, "write it above the function: @step(...)")
    misnamed = surely_context(target)
    if misnamed is not None:
        problem = f"{what} got {name}, whose parameter {misnamed!r} would not get the context"
        raise DefinitionError(problem, None, hint_for(misnamed))
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        problem = f"{what} got the generator function {name}"
        raise DefinitionError(problem, None, "a step returns its result instead of yielding")


def body_name(target: Any, fallback: str) -> str:
    """Return the name a step has when its author gives it none."""
    named = settings_of(target).name
    if named is not None:
        return named
    while isinstance(target, functools.partial):
        target = target.func
    name = getattr(target, "__name__", None) or type(target).__name__
    return fallback if name == "<lambda>" else str(name)


def inline(function: Any) -> Any:
    """Return a function whose one parameter is called ``ctx``, whatever its author called it.

    Raises:
        DefinitionError: It takes more than the context.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    if not signature.parameters or tuple(signature.parameters) == ("ctx",):
        return function
    try:
        signature.bind(None)
    except TypeError:
        problem = f"then_fn() got a function that takes {parameters_of(function)}"
        hint = "it gets the context alone, as in lambda ctx: ...; use then() for other parameters"
        raise DefinitionError(problem, None, hint) from None
    called = _awaiting(function) if inspect.iscoroutinefunction(function) else _calling(function)
    called.__name__ = getattr(function, "__name__", "then_fn")
    setattr(called, "__wfe_step__", settings_of(function))  # noqa: B010 - a plain assignment does not type
    return called


def _awaiting(function: Callable[[Any], Awaitable[Any]]) -> Callable[..., Any]:
    async def called(ctx: StepExecutionContext[Any]) -> Any:
        return await function(ctx)

    return called


def _calling(function: Callable[[Any], Any]) -> Callable[..., Any]:
    def called(ctx: StepExecutionContext[Any]) -> Any:
        return function(ctx)

    return called


def input_names(target: Any) -> tuple[str, ...] | None:
    """Return what ``.input(...)`` may set on a body; ``None`` when that is not known."""
    cls: Any = target if inspect.isclass(target) else target.__class__
    if callable(getattr(cls, "run", None)):
        if attrs.has(cls):
            return tuple(name for f in attrs.fields(cls) for name in {f.name: 0, f.alias: 0})
        if dataclasses.is_dataclass(cls):
            return tuple(field.name for field in dataclasses.fields(cls))
        return None
    return tuple(parameter.name for parameter in _parameters(target) if parameter.name != "ctx")


def needed_values(target: Any) -> tuple[str, ...]:
    """Return the parameters of a function step that have no default; none for classes."""
    if inspect.isclass(target) or callable(getattr(target, "run", None)):
        return ()
    return tuple(
        parameter.name
        for parameter in _parameters(target)
        if parameter.default is parameter.empty and parameter.name != "ctx"
    )


def _parameters(target: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        found = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [parameter for parameter in found if parameter.kind not in kinds]
