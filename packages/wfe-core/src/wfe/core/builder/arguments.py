"""Checks what authors pass to a builder, and turns it into parts of a definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from wfe.core.definition import LIMIT, Call, Cel, Expr, Json, ListOf, Record, Text, Value
from wfe.core.equality import same
from wfe.core.errors import DataTypeError, DefinitionError
from wfe.core.micros import to_micros
from wfe.core.policies import (
    Compensate,
    CompensateThenRetry,
    CompensateThenSuspend,
    Continue,
    ErrorPolicy,
    Fail,
    Retry,
    RetryForever,
    Suspend,
    Terminate,
)

__all__ = [
    "CALL",
    "EXPRS",
    "accepts",
    "cel_text",
    "check_text",
    "computed",
    "condition",
    "expr",
    "got",
    "is_filled_list",
    "is_filled_mapping",
    "is_plain_function",
    "label",
    "literal",
    "mapper",
    "micros",
    "name_of",
    "parameters_of",
    "policy",
    "positive",
    "record",
    "retries",
    "seconds",
    "signature_of",
    "text",
]

EXPRS: Final = (Value, Cel, Call, Text, Record, ListOf)
"""Classes of expressions."""

CALL: Final = Call()

_MOST: Final = 2**31 - 1  # every store can keep it

_DAY: Final = 86_400_000_000  # µs
_LONGEST: Final = 365_000 * _DAY  # a thousand years: the calendar of the machine ends in 9999
"""Stands for a callable that is kept beside the definition."""

_POLICIES: Final = (
    Retry,
    Fail,
    Suspend,
    Terminate,
    Continue,
    Compensate,
    CompensateThenSuspend,
)
_MAKERS: Final = (CompensateThenRetry, RetryForever)


def expr(text: str) -> Cel:
    """Return a CEL expression, where a plain text would be taken as it is.

    Raises:
        DefinitionError: It is empty or no text.
    """
    if not _is_filled_text(text):
        problem = f"expr() takes the text of a CEL expression, got {got(text)}"
        raise DefinitionError(problem, None, 'for example expr("data.amount * 2")')
    return Cel(text)


def _is_filled_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_filled_mapping(value: object) -> bool:
    """Whether *value* is a mapping with something in it."""
    return isinstance(value, Mapping) and bool(value)  # pyright: ignore[reportUnknownArgumentType]


def is_filled_list(value: object) -> bool:
    """Whether *value* is a list or tuple with something in it."""
    return isinstance(value, list | tuple) and bool(value)  # pyright: ignore[reportUnknownArgumentType]


def is_plain_function(value: object) -> bool:
    """Whether *value* can be called at once: no class, no step with ``run``, nothing async."""
    step = isinstance(value, type) or callable(getattr(value, "run", None))
    return callable(value) and not step and not inspect.iscoroutinefunction(value)


def got(value: object) -> str:
    """Return a value and its type for an error message."""
    if isinstance(value, type):
        cls: type = value
        return f"the class {cls.__name__}"
    if inspect.isroutine(value):
        return f"the function {getattr(value, '__name__', value)}"
    if type(value).__repr__ is object.__repr__:
        return f"an object of class {type(value).__name__}"
    shown = repr(value)
    return f"{shown if len(shown) <= 60 else shown[:57] + '...'} ({type(value).__name__})"


def check_text(what: str, value: object, where: str | None = None) -> str:
    """Return *value* if it can be a name: text that a store can index.

    Raises:
        DefinitionError: It is not.
    """
    if not isinstance(value, str):
        raise DefinitionError(f"{what} must be a text, got {got(value)}", where)
    if not value:
        raise DefinitionError(f"{what} must not be empty", where)
    if "\0" in value:
        raise DefinitionError(f"{what} must not contain a NUL character, got {value!r}", where)
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        problem = f"{what} contains a lone surrogate, which is no valid text: {value!r}"
        raise DefinitionError(problem, where) from None
    if size > LIMIT:
        problem = f"{what} is {size} bytes long ({value[:20]!r}...)"
        raise DefinitionError(problem, where, f"use at most {LIMIT} bytes")
    return value


def literal(value: object, what: str, where: str | None = None) -> Value:
    """Return a constant of the definition.

    Raises:
        DefinitionError: It is no plain JSON.
    """
    from wfe.core.codec import encode  # noqa: PLC0415 - as in whole.py

    try:
        stored = encode(value, what)
    except DataTypeError:
        stored = _UNSTORABLE
    if isinstance(value, Enum) and stored is not _UNSTORABLE:
        return Value(stored)
    if not same(stored, value):
        problem = f"{what} must be plain JSON when it is a constant, got {got(value)}"
        raise DefinitionError(problem, where, _COMPUTE)
    return Value(stored)


_UNSTORABLE: Final[Json] = ()  # JSON has no tuples, so this equals no value
_COMPUTE: Final = "compute it in a callable, for example lambda d: ..."


def label(value: object, what: str, where: str | None = None) -> Json:
    """Return the stored form of a value that selects a branch.

    Raises:
        DefinitionError: It cannot be stored.
    """
    from wfe.core.codec import encode  # noqa: PLC0415 - as in whole.py

    try:
        return encode(value, what)
    except DataTypeError as error:
        problem = f"{what} cannot be stored, got {got(value)}"
        raise DefinitionError(problem, where, "use a text, a number or an enum member") from error


def cel_text(value: str, what: str, where: str | None = None) -> Cel:
    """Return a CEL expression.

    Raises:
        DefinitionError: The text is empty.
    """
    if not value.strip():
        raise DefinitionError(f"{what} got an empty CEL text", where)
    return Cel(value)


def condition(value: object, what: str, where: str | None = None) -> tuple[Expr, Any]:
    """Return a condition and its callable, if it has one: CEL text, callable or bool.

    Raises:
        DefinitionError: It is something else.
    """
    if isinstance(value, str):
        return cel_text(value, what, where), None
    if isinstance(value, bool):
        return Value(value), None
    return computed(value, what, "a callable over the data or a CEL text", where)


def computed(value: object, what: str, wanted: str, where: str | None = None) -> tuple[Expr, Any]:
    """Return an expression and its callable, if it has one.

    Raises:
        DefinitionError: It is neither an expression nor a callable of (data) or (data, ctx).
    """
    if isinstance(value, EXPRS):
        return value, None
    if not callable(value):
        raise DefinitionError(f"{what} takes {wanted}, got {got(value)}", where)
    if inspect.iscoroutinefunction(value):
        problem = f"{what} got the async function {name_of(value)}"
        raise DefinitionError(problem, where, "mappings and conditions are plain functions")
    if not _takes_data(value):
        problem = f"{what} got {signature_of(value)}"
        raise DefinitionError(problem, where, "the callable must take (data) or (data, ctx)")
    return CALL, value


def text(value: object, what: str, where: str | None = None) -> tuple[Expr, Any] | None:
    """Return the expression of a key or name and its callable, if it has one; ``None``: neither.

    Raises:
        DefinitionError: It is no text that a store can index, no callable, no expression.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return literal(check_text(what, value, where), what, where), None
    return computed(value, what, 'a callable, a text or expr("...")', where)


def mapper(value: object, what: str, where: str | None = None) -> Callable[[Any], Any]:
    """Return a callable over a finished step.

    Raises:
        DefinitionError: It is none, or takes something else.
    """
    if not callable(value):
        problem = f"{what} takes a callable over the step, got {got(value)}"
        raise DefinitionError(problem, where, "for example lambda s: s.result")
    if inspect.iscoroutinefunction(value):
        problem = f"{what} got the async function {name_of(value)}"
        raise DefinitionError(problem, where, "mappings are plain functions")
    if not accepts(value, 1):
        problem = f"{what} got {signature_of(value)}"
        raise DefinitionError(problem, where, "the callable must take the step alone")
    return value


def _takes_data(function: Callable[..., Any]) -> bool:
    # As wfe.core.expressions calls it: with ctx only when two parameters have no default.
    return accepts(function, 1) or accepts(function, 2)


def accepts(function: Callable[..., Any], count: int) -> bool:
    """Whether *function* can be called with *count* positional arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins have none: they show when they are called
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def name_of(function: object) -> str:
    """Return what to call a function in an error message."""
    return str(getattr(function, "__name__", None) or repr(function))


def parameters_of(function: Callable[..., Any]) -> str:
    """Return a function's parameters, without their types."""
    return f"({', '.join(inspect.signature(function).parameters)})"


def signature_of(function: Callable[..., Any]) -> str:
    """Return a function and its parameters for an error message."""
    return f"a callable that takes {parameters_of(function)} ({name_of(function)})"


def micros(value: object, what: str, where: str | None = None, *, least: int = 0) -> int:
    """Return a duration in µs.

    Raises:
        DefinitionError: It is no timedelta, or shorter than *least*.
    """
    if not isinstance(value, timedelta):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        hint = f"write timedelta(seconds={value!r})" if number else None
        raise DefinitionError(f"{what} must be a timedelta, got {got(value)}", where, hint)
    duration = to_micros(value)
    if duration < least:
        wanted = "be positive" if least else "not be negative"
        problem = f"{what} must {wanted}, got {value.total_seconds():g} s"
        raise DefinitionError(problem, where)
    if duration > _LONGEST:
        problem = f"{what} must be at most {_LONGEST // _DAY:,} days, got {value.days:,} days"
        raise DefinitionError(problem, where, "leave it out to set no bound")
    return duration


def seconds(value: object, what: str, where: str | None = None) -> int:
    """Return a time-out in µs; a number is seconds.

    Raises:
        DefinitionError: It is neither timedelta nor number, or not positive.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            value = timedelta(seconds=value)
        except (OverflowError, ValueError):
            problem = f"{what} must be a duration, got {got(value)}"
            raise DefinitionError(problem, where) from None
    if not isinstance(value, timedelta):
        problem = f"{what} must be a timedelta or a number of seconds, got {got(value)}"
        raise DefinitionError(problem, where)
    return micros(value, what, where, least=1)


def positive(value: object, what: str, where: str | None = None) -> int:
    """Return a whole number from 1.

    Raises:
        DefinitionError: It is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DefinitionError(f"{what} must be a whole number from 1, got {got(value)}", where)
    if value > _MOST:
        raise DefinitionError(f"{what} must be at most {_MOST:,}, got {value:,}", where)
    return value


def policy(value: object, what: str, where: str | None = None) -> ErrorPolicy:
    """Return an error policy.

    Raises:
        DefinitionError: It is none.
    """
    if isinstance(value, _POLICIES):
        return value
    hint = "use Retry(...), Fail(), Suspend(), Terminate(), Continue() or Compensate()"
    if any(value is each for each in (*_POLICIES, *_MAKERS)):
        hint = f"write {name_of(value)}()"
    elif isinstance(value, int) and not isinstance(value, bool):
        hint = f"write Retry(max_retries={value})"
    raise DefinitionError(f"{what} takes an error policy, got {got(value)}", where, hint)


def retries(value: object, what: str, where: str | None = None) -> Retry:
    """Return a retry policy; a number is how many retries.

    Raises:
        DefinitionError: It is neither, or negative.
    """
    if isinstance(value, Retry):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        problem = f"{what} takes a number of retries or a Retry(...), got {got(value)}"
        raise DefinitionError(problem, where)
    if value < 0:
        raise DefinitionError(f"{what} must not be negative, got {value}", where)
    return Retry(max_retries=value)


def record(value: Mapping[Any, object], what: str, where: str | None = None) -> Expr:
    """Return the expression for a mapping whose values may be expressions.

    Raises:
        DefinitionError: A key is no text, or a value is neither plain JSON nor an expression.
    """
    for key in value:
        check_text(f"a field name of {what}", key, where)
    if not any(isinstance(each, EXPRS) for each in value.values()):
        return literal(dict(value), what, where)
    return Record(
        tuple(
            (key, each if isinstance(each, EXPRS) else literal(each, f"{what}.{key}", where))
            for key, each in value.items()
        )
    )
