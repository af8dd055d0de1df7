"""Parameters that were meant for a step's context and do not get it, for want of its name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["context_hint", "hint_for", "meant_for_context", "surely_context"]

_NAMES: Final = frozenset({"c", "cx"})
_TYPES: Final = ("StepExecutionContext", "WorkflowContext")


def surely_context(function: Callable[..., Any]) -> str | None:
    """Return the parameter that is annotated as the context and is not called ``ctx``.

    ``None``: there is none, or it has a default, so that the function can be called without.
    """
    for name, parameter in _parameters(function).items():
        if parameter.default is parameter.empty and _annotated(parameter) and name != "ctx":
            return name
    return None


def meant_for_context(name: str) -> bool:
    """Whether a parameter's name says that it is meant for the context, and is not ``ctx``."""
    name = name.lower()
    return name != "ctx" and (name in _NAMES or "ctx" in name or "context" in name)


def context_hint(function: Callable[..., Any]) -> str:
    """Return what to do about a function's first parameter that is meant for the context.

    Empty when none is.
    """
    parameters = _parameters(function)
    if "ctx" in parameters:
        return ""
    return next((hint_for(name) for name in parameters if meant_for_context(name)), "")


def hint_for(name: str) -> str:
    """Return what to do about the parameter called *name*."""
    return f"the context goes to the parameter that is called ctx: is {name!r} meant for it?"


def _annotated(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if not isinstance(annotation, str):
        annotation = getattr(typing.get_origin(annotation) or annotation, "__name__", "")
    return annotation.partition("[")[0].rpartition(".")[2].strip("'\" ") in _TYPES


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have none
        return {}
