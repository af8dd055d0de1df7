"""What authors say of a body where they write it: ``@step``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, overload

from wfe.core.errors import DefinitionError
from wfe.core.lean import frozen
from wfe.core.policies import ErrorPolicy, Retry

__all__ = ["StepSettings", "settings_of", "step"]

_LONGEST = timedelta(days=365_000)
F = TypeVar("F", bound=Callable[..., Any])


@frozen(kw_only=True)
class StepSettings:
    """What ``@step`` says of a body; a builder's own calls win."""

    name: str | None = None
    retry: ErrorPolicy | None = None
    timeout: timedelta | None = None
    process: bool = False


_DEFAULT = StepSettings()


def settings_of(body: object) -> StepSettings:
    """Return what ``@step`` said of *body* (or of its class)."""
    found: StepSettings = getattr(body, "__wfe_step__", _DEFAULT)
    return found


def _retries(given: object, name: str | None) -> Retry | None:
    if given is None or isinstance(given, Retry):
        return given
    if isinstance(given, bool) or not isinstance(given, int):
        problem = "retry must be a number of retries or Retry(...)"
        raise DefinitionError(problem, name, f"got {given!r}")
    if given < 0:
        raise DefinitionError("retry must not be negative", name, f"got {given}")
    return Retry(max_retries=given)


def _duration(given: object, name: str | None) -> timedelta | None:
    if given is None:
        return None
    found: object = given
    if isinstance(given, int | float) and not isinstance(given, bool):
        try:
            found = timedelta(seconds=given)
        except (OverflowError, ValueError):
            found = None
    if not isinstance(found, timedelta):
        problem = "timeout must be a timedelta or a number of seconds"
        raise DefinitionError(problem, name, f"got {given!r}")
    if not timedelta(0) < found <= _LONGEST:
        problem = f"timeout must be positive and at most {_LONGEST.days:,} days"
        raise DefinitionError(problem, name, f"got {given!r}")
    return found


def _check_process(body: Callable[..., Any]) -> None:
    """Refuse what no worker process could be told to call."""
    name = getattr(body, "__qualname__", None)
    code = getattr(inspect.unwrap(body), "__code__", None)
    if inspect.isclass(body) or code is None or inspect.iscoroutinefunction(body):
        problem = f"process=True is for sync functions, {body!r} is none"
        hint = "call such a function in the body's place"
    elif name is None or "<" in name:
        problem = "a worker process cannot import what stands inside of a function, or a lambda"
        hint = "put it at the top of a module"
    elif "ctx" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        problem = "ctx cannot be handed to a worker process"
        hint = "take what the function needs as parameters"
    else:
        return
    raise DefinitionError(problem, name, hint)


@overload
def step(body: F, /) -> F: ...
@overload
def step(
    *,
    name: str | None = None,
    retry: int | Retry | None = None,
    timeout: timedelta | float | None = None,
    process: bool = False,
) -> Callable[[F], F]: ...
def step(
    body: F | None = None,
    /,
    *,
    name: str | None = None,
    retry: int | Retry | None = None,
    timeout: timedelta | float | None = None,
    process: bool = False,
) -> F | Callable[[F], F]:
    """Mark a function or class as a step and say how it runs.

    Args:
        body: The function or class, when used without parentheses.
        name: Instead of the function's or class's own.
        retry: Number of retries (2 retries are 3 attempts), or a policy.
        timeout: Of one attempt; a number is seconds.
        process: Run the function in a process pool.  It is sync, stands at the top of a module,
            and takes and returns what can be pickled: not ``ctx``.

    Raises:
        DefinitionError: *retry* or *timeout* is negative, or *process* is not for this body.
    """
    settings = StepSettings(
        name=name, retry=_retries(retry, name), timeout=_duration(timeout, name), process=process
    )

    def mark(body: F) -> F:
        if process:
            _check_process(body)
        setattr(body, "__wfe_step__", settings)  # noqa: B010 - a plain assignment does not type
        return body

    return mark if body is None else mark(body)
