"""Tasks: plain functions as steps of a flow, and how their parameters get values."""

from __future__ import annotations

import enum
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload

from wfe.core.builder.arguments import got
from wfe.core.builder.bodies import body_name, check_body
from wfe.core.codec import decode
from wfe.core.conversion import checker
from wfe.core.errors import DefinitionError
from wfe.core.fields import DataField, data_fields
from wfe.core.lean import frozen
from wfe.core.step_settings import step

if TYPE_CHECKING:
    from wfe.core.policies import Retry
    from wfe.core.steps import StepExecutionContext

__all__ = ["Parameter", "Task", "converted", "result_field", "task", "task_of", "values_of"]

F = TypeVar("F", bound=Callable[..., Any])

_UNKNOWN: Final[Any] = object()  # a type that is not declared
_RESULT: Final = "result."  # no parameter's name has a dot, so no input is ever overwritten


@overload
def task(function: F, /) -> F: ...
@overload
def task(
    *,
    name: str | None = None,
    retry: int | Retry | None = None,
    timeout: timedelta | float | None = None,
    process: bool = False,
) -> Callable[[F], F]: ...
def task(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    retry: int | Retry | None = None,
    timeout: timedelta | float | None = None,
    process: bool = False,
) -> F | Callable[[F], F]:
    """Mark a function, sync or async, as a task of flows; called, it is the plain function.

    Args:
        function: The function, when used without parentheses.
        name: Instead of the function's own.
        retry: Number of retries (2 retries are 3 attempts), or a policy.
        timeout: Of one attempt; a number is seconds.
        process: Run the function in a process pool.  It is sync, stands at the top of a module,
            and takes and returns what can be pickled.

    Raises:
        DefinitionError: *retry* or *timeout* is negative, or *process* is not for this function.
    """
    mark = step(name=name, retry=retry, timeout=timeout, process=process)
    return mark if function is None else mark(function)


@frozen(kw_only=True)
class Parameter:
    """One parameter of a task.

    Attributes:
        default: Unknown when it is required.
        type: As declared; unknown without a declaration.
    """

    name: str
    default: Any
    type: Any

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is _UNKNOWN


@frozen(kw_only=True)
class Task:
    """A function with what is known of it.

    Attributes:
        returns: Its declared result; unknown without a declaration.
        keys: Names in its result, when its declared type says them; ``None``: not known.
    """

    function: Callable[..., Any]
    base: str
    parameters: tuple[Parameter, ...]
    returns: Any
    keys: frozenset[str] | None


def task_of(function: object, where: str) -> Task:
    """Return what is known of a function that is to be a task.

    Raises:
        DefinitionError: It is no function.
    """
    if inspect.isclass(function) or callable(getattr(function, "run", None)):
        problem = f"a flow takes functions, got {got(function)}"
        raise DefinitionError(problem, where, "use WorkflowBuilder or Dag for steps with run(ctx)")
    check_body(function, where)
    called = cast("Callable[..., Any]", function)
    hints = _hints(called)
    returns = hints.get("return", _UNKNOWN)
    return Task(
        function=called,
        base=body_name(called, "task"),
        parameters=_parameters(called, hints),
        returns=returns,
        keys=_keys(returns),
    )


def _parameters(function: Callable[..., Any], hints: Mapping[str, Any]) -> tuple[Parameter, ...]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have none
        return ()
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(
        Parameter(
            name=each.name,
            default=_UNKNOWN if each.default is each.empty else each.default,
            type=hints.get(each.name, _UNKNOWN),
        )
        for each in found
        if each.kind not in many and each.name != "ctx"
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # what cannot be looked up is not known
        return {}


def _keys(declared: Any) -> frozenset[str] | None:
    """Return the names that a result of this type has; empty for what is surely no mapping."""
    origin = typing.get_origin(declared) or declared
    if not isinstance(origin, type):
        return None
    fields = _fields(origin)
    if fields is not None:
        return frozenset(field.name for field in fields if not field.transient)
    plain = (str, bytes, int, float, list, tuple, set, frozenset, type(None))
    return frozenset() if issubclass(origin, plain) else None


def _fields(cls: Any) -> tuple[DataField, ...] | None:
    return data_fields(cls)


def converted(value: Any, declared: Any, path: str) -> Any:
    """Return a stored value as its declared type, when that is one that is stored as another.

    Raises:
        DataTypeError: The value does not fit.
    """
    if declared is _UNKNOWN or value is None or not _told(declared):
        return value
    try:
        check = checker(declared, strict=False)
    except DefinitionError:  # a type that nobody can read back: its author gets what was stored
        return value
    return check(value, path)


def _told(declared: Any) -> bool:
    """Whether values of this type come back from the store only with its help."""
    origin: Any = typing.get_origin(declared) or declared
    if typing.is_typeddict(origin):
        return False
    if isinstance(origin, type):
        cls: type = origin
        special = issubclass(cls, tuple | set | frozenset | enum.Enum)
        if special or _fields(cls) is not None:
            return True
    return any(_told(each) for each in typing.get_args(declared))


def result_field(name: str) -> str:
    """Return the data field for the result of the task called *name*."""
    return _RESULT + name


def values_of(ctx: StepExecutionContext[Any]) -> dict[str, Any]:
    """Return the run's inputs, freshly read: a task may change what it is given."""
    return {
        name: decode(stored) for name, stored in ctx.before.items() if not name.startswith(_RESULT)
    }
