"""Refuses options of a host that could only fail, or hang, later on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from wfe.core.engine import StepMiddleware, WorkflowMiddleware

__all__ = [
    "checked_caching",
    "checked_fields",
    "checked_labels",
    "checked_middleware",
    "counts",
    "durations",
    "functions",
]


def counts(given: Mapping[str, object]) -> None:
    """Refuse what is no whole number from 1.

    Raises:
        TypeError: One is no whole number.
        ValueError: One is less than 1.
    """
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int):
            problem = f"{name} must be a whole number, got {value!r}"
            raise TypeError(problem)
        if value < 1:
            problem = f"{name} must be at least 1, got {value}"
            raise ValueError(problem)


def durations(given: Mapping[str, object], *, least: timedelta = timedelta(0)) -> None:
    """Refuse what is no duration, or shorter than *least*; ``None`` is none and fits.

    Raises:
        TypeError: One is no timedelta.
        ValueError: One is shorter.
    """
    for name, value in given.items():
        if value is None:
            continue
        if not isinstance(value, timedelta):
            problem = f"{name} must be a timedelta, got {value!r}"
            raise TypeError(problem)
        if value < least:
            problem = f"{name} must be at least {least}, got {value}"
            raise ValueError(problem)


def functions(given: Mapping[str, object]) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: One is neither callable nor ``None``.
    """
    for name, value in given.items():
        if value is not None and not callable(value):
            problem = f"{name} must be callable, got {value!r}"
            raise TypeError(problem)


def checked_caching(given: Any) -> str:
    """Return what steps with a cache do.

    Raises:
        ValueError: It is none of the three.
    """
    if given not in ("on", "refresh", "off"):
        problem = f'caching must be "on", "refresh" or "off", got {given!r}'
        raise ValueError(problem)
    return str(given)


def checked_fields(given: Any) -> dict[str, tuple[str, ...]]:
    """Return which data fields can be searched, by definition.

    Raises:
        TypeError: It is no mapping of collections of texts.
    """
    found: dict[str, tuple[str, ...]] = {}
    for definition, fields in dict(given or {}).items():
        if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
            problem = (
                "search_fields must give each definition a collection of texts such as"
                f' {{"order": ["customer.city"]}}, got {fields!r} for {definition!r}'
            )
            raise TypeError(problem)
        found[definition] = tuple(fields)
    return found


def checked_labels(given: Any) -> frozenset[str]:
    """Return the labels of a host.

    Raises:
        TypeError: They are no collection of texts.
    """
    if isinstance(given, str) or not all(isinstance(label, str) for label in given):
        problem = f'labels must be a collection of texts such as {{"gpu"}}, got {given!r}'
        raise TypeError(problem)
    return frozenset(given)


def checked_middleware(given: Iterable[Any]) -> list[StepMiddleware | WorkflowMiddleware]:
    """Return the middleware of a host.

    Raises:
        TypeError: One is none.
    """
    found = list(given)
    for each in found:
        if not isinstance(each, StepMiddleware | WorkflowMiddleware):
            problem = f"{each!r} is no middleware; give it handle(ctx, call_next), or pre and post"
            raise TypeError(problem)
    return found
