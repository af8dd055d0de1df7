"""Plain scalars as YAML 1.2 reads them, and durations as we do."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

__all__ = [
    "Plain",
    "duration_text",
    "kind_of",
    "meant_duration",
    "parse_duration",
    "resolve",
]

Plain: TypeAlias = bool | int | float | str | None

_WORDS: Final[dict[str, Plain]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": float("nan"),
    ".inf": float("inf"),
    "+.inf": float("inf"),
    "-.inf": float("-inf"),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,400}")
_BASED: Final = re.compile(r"0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


def resolve(text: str) -> Plain:
    """Return what the plain scalar *text* is in the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if not text[:1].isdigit() and text[:1] not in "+-.":
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def kind_of(value: object) -> str:
    """Return what messages call *value*, for example ``a number`` or ``null``."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a map"


_UNITS: Final = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_LONGEST: Final = 999_999_999 * _UNITS["d"]  # what a timedelta holds
_DURATION: Final = re.compile(
    r"(?:(?P<d>\d{1,9})d)?(?:(?P<h>\d{1,9})h)?(?:(?P<m>\d{1,9})m(?!s))?(?:(?P<s>\d{1,14})s)?"
    r"(?:(?P<ms>\d{1,17})ms)?",
    re.ASCII,
)


def parse_duration(text: str) -> int | None:
    """Return the µs of ``500ms``, ``30s``, ``2h``, ``1h30m`` …; ``None`` for other texts."""
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    total = sum(int(found[unit] or 0) * micros for unit, micros in _UNITS.items())
    return total if total <= _LONGEST else None


_MEANT: Final = re.compile(
    r"(\d{1,9}(?:\.\d{1,3})?) ?(ms|milli\w*|s|secs?|seconds?|m|mins?|minutes?|h|hr|hrs|hours?"
    r"|d|days?|w|weeks?)",
    re.ASCII | re.IGNORECASE,
)


def meant_duration(text: str) -> str | None:
    """Return how ``30 days``, ``1.5h`` or ``1h 30m`` is written, ``None`` where that is unclear."""
    if text != text.replace(" ", "") and parse_duration(text.replace(" ", "")) is not None:
        return text.replace(" ", "")
    found = _MEANT.fullmatch(text.strip())
    if found is None:
        return None
    word = found[2].lower()
    unit = "ms" if word.startswith(("ms", "milli")) else word[0]
    size = 7 * _UNITS["d"] if unit == "w" else _UNITS[unit]
    micros = round(float(found[1]) * size)
    return duration_text(micros) if micros and micros % _UNITS["ms"] == 0 else None


def duration_text(micros: int) -> str:
    """Return *micros* as a duration is written, rounded to milliseconds."""
    parts: list[str] = []
    rest = micros
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
