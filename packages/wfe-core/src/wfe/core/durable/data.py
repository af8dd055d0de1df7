"""The data of a durable function's run: what it was given, and its result."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

from wfe.core.codec import decode, encode
from wfe.core.conversion import Check, checker
from wfe.core.data import DataModel
from wfe.core.definition import Json
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.lean import frozen
from wfe.core.nearest import nearest

__all__ = ["FunctionModel", "Parameter", "function_model"]

_NONE: Final = inspect.Parameter.empty
_FREE: Final = (Any, object, _NONE, dict, list)


@frozen(kw_only=True)
class Parameter:
    """A parameter of a function, after its context.

    Attributes:
        default: ``inspect.Parameter.empty`` when it has none.
        strict: Makes its value when a run starts; *lax*: when one goes on, maybe after the type
            got other fields.  ``None``: anything goes.
    """

    name: str
    default: Any
    strict: Check | None
    lax: Check | None

    def first(self, value: object, path: str) -> Json:
        """Return the stored form of a start value.

        Raises:
            DataTypeError: It does not fit.
        """
        stored = encode(value, path)
        return stored if self.strict is None else encode(self.strict(decode(stored), path), path)

    def value(self, stored: Json) -> Any:
        """Return what the function gets."""
        value = decode(stored)
        return value if self.lax is None or value is None else self.lax(value, self.name)


@frozen(kw_only=True, eq=False, slots=False)
class FunctionModel(DataModel):
    """Data with the fields ``input`` and ``result``, and those that the function sets."""

    parameters: tuple[Parameter, ...]
    restore: Check | None

    def start(self, value: object, path: str = "data") -> dict[str, Json]:
        """Return the stored form of what a run is started with.

        Args:
            value: The argument of a function with one parameter; a mapping by name for several.
            path: What to call it in errors.

        Raises:
            DataTypeError: An argument is unknown, missing or of a wrong type.
        """
        if len(self.parameters) == 1:
            (only,) = self.parameters
            if value is None and only.default is not _NONE:
                value = only.default
            return {"input": only.first(value, only.name)}
        given: object = {} if value is None else value
        if not isinstance(given, Mapping):
            names = ", ".join(parameter.name for parameter in self.parameters)
            problem = f"expected a mapping with {names or 'nothing in it'}, got {value!r:.80}"
            raise DataTypeError(path, problem)
        named = typing.cast("Mapping[str, Any]", given)
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in named:
            if name not in known:
                problem = f"the function has no such parameter{nearest(name, known)}"
                raise DataTypeError(f"{path}.{name}", problem)
        stored = {name: _given(each, named, path) for name, each in known.items()}
        return {"input": stored}

    def load(self, stored: Mapping[str, Json]) -> Any:
        """Return the data with arguments and result as their declared types."""
        data = {name: decode(value) for name, value in stored.items()}
        if "input" in stored:
            if len(self.parameters) == 1:
                data["input"] = self.parameters[0].value(stored["input"])
            else:
                data["input"] = self._named(stored["input"])
        if "result" in stored and self.restore is not None and data["result"] is not None:
            data["result"] = self.restore(data["result"], "result")
        return data

    def _named(self, stored: Json) -> dict[str, Any]:
        return {each.name: each.value(stored.get(each.name)) for each in self.parameters}

    def arguments(self, stored: Json) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments that a run was started with."""
        if len(self.parameters) == 1:
            return (self.parameters[0].value(stored),), {}
        return (), self._named(stored or {})


def _given(parameter: Parameter, named: Mapping[str, Any], path: str) -> Json:
    where = f"{path}.{parameter.name}"
    if parameter.name in named:
        return parameter.first(named[parameter.name], where)
    if parameter.default is _NONE:
        raise DataTypeError(where, "is missing; the function needs it")
    return parameter.first(parameter.default, where)


@functools.lru_cache(maxsize=1024)
def function_model(function: Callable[..., Any]) -> FunctionModel:
    """Return the model of a durable function's data.

    Raises:
        DefinitionError: It takes no context, has ``*args`` or ``**kwargs``, or an annotation that
            cannot be looked up or stored.
    """
    name = getattr(function, "__qualname__", repr(function))
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        problem = "a durable function takes the context as its first parameter"
        raise DefinitionError(problem, name, "write async def f(ctx: WorkflowContext, ...)")
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        problem = "a durable function cannot take *args or **kwargs"
        raise DefinitionError(problem, name, "give each parameter a name")
    if any(p.kind is p.POSITIONAL_ONLY for p in parameters[2:]):
        problem = "several parameters of a durable function are given by name"
        raise DefinitionError(problem, name, "leave out the / in its signature")
    hints = _hints(function, name)
    return FunctionModel(
        data_type=None,
        declared=None,
        fresh={},
        parameters=tuple(
            Parameter(
                name=each.name,
                default=each.default,
                strict=_check(hints.get(each.name, Any), name, strict=True),
                lax=_check(hints.get(each.name, Any), name, strict=False),
            )
            for each in parameters[1:]
        ),
        restore=_check(hints.get("return", Any), name, strict=False),
    )


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except NameError as error:
        hint = "import its type at run time, not only under TYPE_CHECKING, at the top of the module"
        raise DefinitionError(f"an annotation cannot be looked up: {error}", name, hint) from None


def _check(declared: Any, name: str, *, strict: bool) -> Check | None:
    if declared in _FREE or declared is type(None):
        return None
    try:
        return checker(declared, strict=strict)
    except DefinitionError as error:
        raise DefinitionError(error.problem, name, error.hint) from error
