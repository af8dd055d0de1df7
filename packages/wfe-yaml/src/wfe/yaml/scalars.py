"""Plain scalars as YAML 1.2 reads them, and durations as we do."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

__all__ = ["Plain", "duration_text", "kind_of", "parse_duration", "resolve"]

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
_DURATION: Final = re.compile(
    r"(?:(?P<d>\d{1,9})d)?(?:(?P<h>\d{1,9})h)?(?:(?P<m>\d{1,9})m(?!s))?(?:(?P<s>\d{1,9})s)?"
    r"(?:(?P<ms>\d{1,12})ms)?",
    re.ASCII,
)


def parse_duration(text: str) -> int | None:
    """Return the µs of ``500ms``, ``30s``, ``2h``, ``1h30m`` …; ``None`` for other texts."""
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    return sum(int(found[unit] or 0) * micros for unit, micros in _UNITS.items())


def duration_text(micros: int) -> str:
    """Return *micros* as a duration is written, rounded to milliseconds."""
    parts: list[str] = []
    rest = micros
    for unit, size in _UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
