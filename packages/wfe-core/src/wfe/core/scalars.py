"""Takes decoded texts, numbers, times and enum values as declared types, or says why not."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any, Final, TypeAlias
from uuid import UUID

__all__ = [
    "SCALARS",
    "Hook",
    "MismatchError",
    "enum_hook",
    "expected",
    "literal_hook",
    "scalar_hook",
]

Hook: TypeAlias = "Callable[[Any, Any], Any]"
"""Takes a decoded value and the declared type; the form of hooks in cattrs."""


class MismatchError(ValueError):
    """A value is not of the declared type; *where* is the part of the path below it."""

    def __init__(self, problem: str, where: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.where = where


def expected(what: str, value: object) -> MismatchError:
    """Return the error for a value that is not *what*."""
    shown = repr(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return MismatchError(f"expected {what}, got {shown} ({type(value).__name__})")


def scalar_hook(cls: type, what: str, take: Callable[[Any], Any]) -> Hook:
    """Return the hook of a plain class; *take* gives ``None`` for what it is not."""

    def hook(value: Any, declared: Any) -> Any:
        if declared is not cls and isinstance(declared, type):  # cattrs asks for subclasses, too
            return _of_subclass(declared)(value, declared)
        try:
            taken = take(value)
        except (ValueError, ArithmeticError):
            taken = None
        if taken is None:
            raise expected(what, value)
        return taken

    return hook


@cache
def _of_subclass(declared: Any) -> Hook:
    """Return the hook of an enum with plain members, or of a user's own kind of text or number."""
    if issubclass(declared, Enum):
        return enum_hook(declared)
    what, take = next(SCALARS[base] for base in declared.__mro__ if base in SCALARS)

    def hook(value: Any, _: Any) -> Any:
        plain = take(value)
        if plain is None:
            raise expected(f"{declared.__name__} ({what})", value)
        return declared(plain)

    return hook


def _exactly(cls: type) -> Callable[[Any], Any]:
    return lambda value: value if type(value) is cls else None


def _float(value: Any) -> float | None:
    return float(value) if type(value) is float or type(value) is int else None


def _decimal(value: Any) -> Decimal | None:
    if type(value) not in (Decimal, int, str):
        return None
    number = Decimal(value)
    return number if number.is_finite() else None


def _or_text(cls: type, parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if type(value) is cls:
            return value
        return parse(value) if type(value) is str else None

    return take


SCALARS: Final[Mapping[type, tuple[str, Callable[[Any], Any]]]] = {
    str: ("str", _exactly(str)),
    int: ("int", _exactly(int)),
    bool: ("bool", _exactly(bool)),
    bytes: ("bytes", _exactly(bytes)),
    float: ("float", _float),
    timedelta: ("timedelta", _exactly(timedelta)),
    Decimal: ("Decimal or its text", _decimal),
    datetime: ("datetime or ISO text", _or_text(datetime, datetime.fromisoformat)),
    date: ("date or ISO text", _or_text(date, date.fromisoformat)),
    time: ("time or ISO text", _or_text(time, time.fromisoformat)),
    UUID: ("UUID or its text", _or_text(UUID, UUID)),
}


def enum_hook(declared: type[Enum]) -> Hook:
    """Return the hook of an enum, whose members are stored as their values."""

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, declared):
            return value
        try:
            member = declared(value)
        except ValueError:
            member = None
        if member is None or isinstance(member.value, bool) != isinstance(value, bool):
            values = ", ".join(repr(each.value) for each in declared)
            raise expected(f"{declared.__name__} ({values})", value)
        return member

    return hook


def literal_hook(declared: Any) -> Hook:
    """Return the hook of a ``Literal``; 1 and True are different ones."""
    members = typing.get_args(declared)

    def hook(value: Any, _: Any) -> Any:
        for member in members:
            plain = member.value if isinstance(member, Enum) else member
            if type(plain) is type(value) and plain == value:
                return member
        raise expected("one of " + ", ".join(repr(member) for member in members), value)

    return hook
