"""What an expression of a definition gives as a time or a pause, in µs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wfe.core.definition import Expr, Value
from wfe.core.models import to_micros

__all__ = ["LATEST", "after", "moment", "pause"]

LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC))
"""The last moment that can be told as a datetime, µs."""

_SECONDS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?s")
"""How CEL writes a duration that stands in untyped data."""


def pause(given: Any, expr: Expr | None, what: str) -> int:
    """Return a pause in µs, at least 0.

    Args:
        given: What *expr* gave: a timedelta or CEL's text of one; µs when it is a constant.
        expr: Where it comes from.
        what: What it is, for errors.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(given, timedelta):
        return max(0, to_micros(given))
    if isinstance(given, str) and _SECONDS.fullmatch(given):
        return max(0, to_micros(timedelta(seconds=float(given[:-1]))))
    if isinstance(expr, Value) and isinstance(given, int):
        return max(0, given)
    raise _unfit(what, "a timedelta", given)


def moment(given: Any, expr: Expr | None, what: str) -> int:
    """Return a time in µs since 1970 (UTC).

    Args:
        given: What *expr* gave: an aware datetime or its ISO text; µs when it is a constant.
        expr: Where it comes from.
        what: What it is, for errors.

    Raises:
        TypeError: It is something else.
        ValueError: It has no time zone, or the text is no time.
    """
    if isinstance(given, datetime):
        return to_micros(given)
    if isinstance(given, str):
        return to_micros(datetime.fromisoformat(given))
    if isinstance(expr, Value) and isinstance(given, int):
        return given
    raise _unfit(what, "an aware datetime", given)


def after(now: int, micros: int, what: str) -> int:
    """Return the time that is *micros* after *now*, both µs.

    Raises:
        ValueError: The calendar ends before it, with the year 9999.
    """
    if now + micros > LATEST:
        days = micros // to_micros(timedelta(days=1))
        problem = f"{what} is {days:,} days long, which goes beyond the year 9999"
        raise ValueError(f"{problem}; use a shorter time, or none to wait without end")
    return now + micros


def _unfit(what: str, wanted: str, given: object) -> TypeError:
    return TypeError(f"{what} must give {wanted}, got {given!r} ({type(given).__name__})")
