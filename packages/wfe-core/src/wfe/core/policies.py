"""What happens when a step fails: retry policies and what follows when they are exhausted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs
from attrs import validators as v

from wfe.core.lean import frozen
from wfe.core.micros import to_micros

__all__ = [
    "Backoff",
    "Compensate",
    "CompensateThenRetry",
    "CompensateThenSuspend",
    "Continue",
    "ErrorPolicy",
    "Exhausted",
    "Fail",
    "Retry",
    "RetryForever",
    "Suspend",
    "Terminate",
    "exponential",
    "fixed",
    "linear",
    "policy_from_json",
    "policy_to_json",
]


class Growth(StrEnum):
    """How the pause between attempts grows; the values are stored."""

    EXPONENTIAL = "exponential"
    LINEAR = "linear"


@frozen
class Backoff:
    """How the pause before retry *k* (from 0) grows.

    Attributes:
        growth: ``exponential``: interval x factor^k; ``linear``: interval x (1 + factor x k).
        factor: At least 0; exponential with 1 is a fixed pause.
    """

    growth: Growth
    factor: float = attrs.field(validator=v.ge(0))

    def scale(self, k: int) -> float:
        """Return what the interval is multiplied with before retry *k*."""
        if self.growth is Growth.LINEAR:
            return 1 + self.factor * k
        try:
            return self.factor**k
        except OverflowError:
            return float("inf")


fixed: Final[Backoff] = Backoff(Growth.EXPONENTIAL, 1.0)
"""The same pause before each retry."""

linear: Final[Backoff] = Backoff(Growth.LINEAR, 1.0)
"""One interval more before each further retry."""

exponential: Final[Backoff] = Backoff(Growth.EXPONENTIAL, 2.0)
"""Twice the pause before each further retry."""


@frozen
class Fail:
    """The step fails and with it whatever contains it; at the top, the run is FAILED."""


@frozen
class Suspend:
    """The run is SUSPENDED with the error; ``resume`` tries the step again."""


@frozen
class Terminate:
    """The run is TERMINATED."""


@frozen
class Continue:
    """The step is recorded as FAILED and the run goes on after it."""


@frozen
class Compensate:
    """Undo, then go on: after the saga the step stands in, else after the step itself."""


@frozen
class CompensateThenSuspend:
    """Undo, then the run is SUSPENDED with the error; ``resume`` tries again from the start."""


Exhausted: TypeAlias = Fail | Suspend | Terminate | Continue | Compensate


def _backoff(value: float | Backoff) -> Backoff:
    return value if isinstance(value, Backoff) else Backoff(Growth.EXPONENTIAL, value)


def _not_negative(_: object, field: attrs.Attribute[Any], value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):  # pyright: ignore[reportUnnecessaryIsInstance] - users may
        problem = f"{field.name} must be a whole number or None, got {value!r}"
        raise TypeError(problem)
    if value is not None and value < 0:
        problem = f"{field.name} must not be negative, got {value!r}"
        raise ValueError(problem)


def _positive(_: object, field: attrs.Attribute[Any], value: timedelta | None) -> None:
    if value is None and field.default is None:
        return
    if not isinstance(value, timedelta):
        problem = (
            f"{field.name} must be a timedelta, got {value!r}; for seconds: timedelta(seconds=…)"
        )
        raise TypeError(problem)
    if value < timedelta(0):
        problem = f"{field.name} must not be negative, got {value!r}"
        raise ValueError(problem)


def _exhausted(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Exhausted):
        wanted = "Fail(), Suspend(), Terminate(), Continue() or Compensate()"
        shown = value.__name__ if isinstance(value, type) else repr(value)
        problem = f"{field.name} must be {wanted}, got {shown}"
        raise TypeError(problem)


Errors: TypeAlias = "type[BaseException] | str | Iterable[type[BaseException] | str]"


def _names_of(given: Errors) -> tuple[str, ...]:
    """Return the names of error classes: a definition is data and holds no class."""
    many = (given,) if isinstance(given, str | type) else tuple(given)
    return tuple(each if isinstance(each, str) else _name_of(each) for each in many)


_LABELS: Final = frozenset({"timeout", "error"})


def _name_of(cls: type[BaseException]) -> str:
    """Return the name of a class, with its module where it would be taken for a label."""
    name = cls.__name__
    return f"{cls.__module__}.{name}" if name in _LABELS else name  # zlib.error, struct.error …


@frozen
class Retry:
    """Try again: *max_retries* retries are *max_retries* + 1 attempts.

    Attributes:
        max_retries: ``None``: without end.
        interval: Pause before the first retry.
        backoff: Factor of the exponential growth, or a :class:`Backoff`.
        max_interval: Longest pause; ``None``: no bound.
        jitter: 0 to 1; a pause is scaled by 1 ± jitter.
        then: What follows when the retries are used up.
        compensate: Undo what was done before each further attempt, and wait for the undo's end.
        retry_on: Only these errors (classes, or their names) and those derived from them are worth
            another attempt; none: all are.  Also labels: ``timeout``, ``error`` (whatever is no
            time-out) and what an exception has as ``retry_labels``, such as ``exit:3``.
        never_retry_on: These errors and those derived from them are not.
        max_time: No attempt begins later than this after the first one; ``None``: no bound.
    """

    max_retries: int | None = attrs.field(default=3, validator=_not_negative)
    interval: timedelta = attrs.field(default=timedelta(seconds=1), validator=_positive)
    backoff: Backoff = attrs.field(default=fixed, converter=_backoff)
    max_interval: timedelta | None = attrs.field(default=None, validator=_positive)
    jitter: float = attrs.field(default=0.0, validator=[v.ge(0), v.le(1)])
    then: Exhausted = attrs.field(factory=Fail, validator=_exhausted, kw_only=True)
    compensate: bool = attrs.field(default=False, kw_only=True)
    retry_on: tuple[str, ...] = attrs.field(default=(), converter=_names_of, kw_only=True)
    never_retry_on: tuple[str, ...] = attrs.field(default=(), converter=_names_of, kw_only=True)
    max_time: timedelta | None = attrs.field(default=None, validator=_positive, kw_only=True)

    def wants(self, error: BaseException | type[BaseException]) -> bool:
        """Return whether an error, or one of this class, is worth another attempt."""
        cls = error if isinstance(error, type) else type(error)
        names = {_name_of(each) for each in cls.__mro__}
        own: Iterable[str] = () if isinstance(error, type) else getattr(error, "retry_labels", ())
        names.update(own or ("timeout" if "StepTimeoutError" in names else "error",))
        if not names.isdisjoint(self.never_retry_on):
            return False
        return not self.retry_on or not names.isdisjoint(self.retry_on)

    def wants_named(self, error: str, own: Collection[str] = ()) -> bool:
        """Return whether a failure that is no step's own is worth another attempt.

        Args:
            error: The class name of what failed in a container, or of its time-out.  Without any
                label, classes alone say nothing of these: what they are derived from is not known.
            own: The ``retry_labels`` that the exception had.
        """
        if not any(name in _LABELS or ":" in name for name in self.retry_on):
            return True
        named = {error, *(own or ("timeout" if error == "StepTimeoutError" else "error",))}
        return not named.isdisjoint(self.retry_on)

    def delay(self, k: int, spread: float) -> int:
        """Return the pause in µs before retry *k* (from 0).

        Args:
            k: How many retries there were.
            spread: -1 to 1, where in the jitter's range the pause falls.
        """
        longest = to_micros(self.max_interval) if self.max_interval else _LONGEST
        pause = min(to_micros(self.interval) * self.backoff.scale(k), float(longest))
        return int(pause * (1 + self.jitter * spread))


_LONGEST = to_micros(timedelta(days=3650))


def RetryForever(  # noqa: N802 - reads as the policy it makes, as in workflow-core
    interval: timedelta = timedelta(seconds=1),
    backoff: float | Backoff = fixed,
    max_interval: timedelta | None = None,
    jitter: float = 0.0,
    *,
    retry_on: Errors = (),
    never_retry_on: Errors = (),
    max_time: timedelta | None = None,
) -> Retry:
    """Return a :class:`Retry` without an end."""
    return Retry(
        max_retries=None,
        interval=interval,
        backoff=backoff,
        max_interval=max_interval,
        jitter=jitter,
        retry_on=retry_on,
        never_retry_on=never_retry_on,
        max_time=max_time,
    )


def CompensateThenRetry(  # noqa: N802, PLR0913 - reads as the policy it makes
    max_retries: int | None = 3,
    interval: timedelta = timedelta(seconds=1),
    backoff: float | Backoff = fixed,
    max_interval: timedelta | None = None,
    jitter: float = 0.0,
    *,
    then: Exhausted | None = None,
    retry_on: Errors = (),
    never_retry_on: Errors = (),
    max_time: timedelta | None = None,
) -> Retry:
    """Return a :class:`Retry` that undoes before each further attempt."""
    return Retry(
        max_retries=max_retries,
        interval=interval,
        backoff=backoff,
        max_interval=max_interval,
        jitter=jitter,
        then=Fail() if then is None else then,
        compensate=True,
        retry_on=retry_on,
        never_retry_on=never_retry_on,
        max_time=max_time,
    )


ErrorPolicy: TypeAlias = (
    Retry | Fail | Suspend | Terminate | Continue | Compensate | CompensateThenSuspend
)

_ACTIONS: dict[str, Callable[[], Any]] = {
    "fail": Fail,
    "suspend": Suspend,
    "terminate": Terminate,
    "continue": Continue,
    "compensate": Compensate,
    "compensate_then_suspend": CompensateThenSuspend,
}
_NAMES: dict[type, str] = {action: name for name, action in _ACTIONS.items()}  # type: ignore[misc]


def policy_to_json(policy: ErrorPolicy) -> dict[str, Any]:
    """Return the stored form of *policy*; durations are µs."""
    if not isinstance(policy, Retry):
        return {"do": _NAMES[type(policy)]}
    stored = {
        "do": "retry",
        "max_retries": policy.max_retries,
        "interval": to_micros(policy.interval),
        "backoff": [str(policy.backoff.growth), policy.backoff.factor],
        "max_interval": to_micros(policy.max_interval) if policy.max_interval else None,
        "jitter": policy.jitter,
        "then": _NAMES[type(policy.then)],
    }
    optional = {
        "compensate": policy.compensate,
        "retry_on": list(policy.retry_on),
        "never_retry_on": list(policy.never_retry_on),
        "max_time": to_micros(policy.max_time) if policy.max_time else None,
    }
    return {**stored, **{key: value for key, value in optional.items() if value}}


def policy_from_json(stored: Mapping[str, Any]) -> ErrorPolicy:
    """Return the policy that :func:`policy_to_json` stored."""
    if stored["do"] != "retry":
        policy: ErrorPolicy = _ACTIONS[stored["do"]]()
        return policy
    longest = stored["max_interval"]
    return Retry(
        max_retries=stored["max_retries"],
        interval=timedelta(microseconds=stored["interval"]),
        backoff=Backoff(Growth(stored["backoff"][0]), stored["backoff"][1]),
        max_interval=None if longest is None else timedelta(microseconds=longest),
        jitter=stored["jitter"],
        then=_ACTIONS[stored["then"]](),
        compensate=stored.get("compensate", False),
        retry_on=tuple(stored.get("retry_on", ())),
        never_retry_on=tuple(stored.get("never_retry_on", ())),
        max_time=timedelta(microseconds=stored["max_time"]) if stored.get("max_time") else None,
    )
