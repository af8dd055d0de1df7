"""Reads times such as ``90m`` from a command line."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from wfe.host.cli.errors import CommandError

__all__ = ["read_span"]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_span(text: str, option: str, *, or_else: str | None = None) -> timedelta:
    """Return the time that *text* says, such as ``30s``, ``90m``, ``12h``, ``30d`` or ``4w``.

    Args:
        text: What was written.
        option: Where, for the error.
        or_else: What else can be written there, for the hint of the error.

    Raises:
        CommandError: It is no time; the error names *option*.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if found is None:
        problem = f"{option} {text!r} is no time"
        hint = "write a number and a unit: 90m, 12h, 30d, 4w"
        raise CommandError(problem, f"{hint}; {or_else}" if or_else else hint)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
