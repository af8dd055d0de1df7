"""Finds the definitions in what a user registers."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol

from wfe.core.definition import WorkflowDefinition

__all__ = ["Buildable", "definitions_in"]


class Buildable(Protocol):
    """What makes one definition: a durable function, a flow, a DAG."""

    def build(self) -> WorkflowDefinition:
        """Return the definition."""
        ...


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
    from wfe.core.durable.functions import DurableFunction  # noqa: PLC0415 - files of workflows have none

    values = vars(module).values()
    found = [
        value.build() if isinstance(value, DurableFunction) else value  # pyright: ignore[reportUnknownMemberType]
        for value in values
        if isinstance(value, WorkflowDefinition | DurableFunction)
    ]
    if not found:
        problem = f"module {module.__name__!r} holds no WorkflowDefinition at its top level"
        raise TypeError(problem)
    yield from found
