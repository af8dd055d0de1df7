"""Finds the definitions in what a user registers."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

from wfe.core.definition import WorkflowDefinition

__all__ = ["definitions_in"]


def definitions_in(source: Any) -> Iterator[WorkflowDefinition]:
    """Yield the definitions that *source* is or holds.

    Raises:
        TypeError: It holds none.
    """
    if isinstance(source, WorkflowDefinition):
        yield source
    elif isinstance(source, ModuleType):
        yield from _of_module(source)
    elif isinstance(source, list | tuple):
        for each in source:  # pyright: ignore[reportUnknownVariableType]
            yield from definitions_in(each)
    elif callable(getattr(source, "build", None)) and not isinstance(source, type):
        yield from definitions_in(source.build())
    else:
        problem = (
            f"cannot register {source!r}: expected a WorkflowDefinition, something with build(), "
            "or a module that holds one"
        )
        raise TypeError(problem)


def _of_module(module: ModuleType) -> Iterator[WorkflowDefinition]:
    found = [value for value in vars(module).values() if isinstance(value, WorkflowDefinition)]
    if not found:
        problem = f"module {module.__name__!r} holds no WorkflowDefinition at its top level"
        raise TypeError(problem)
    yield from found
