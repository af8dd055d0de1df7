"""Lines of output that mean something to who reads the log: groups, progress, annotations.

They are shown and kept in the log; nothing that a program prints here changes what a run does.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Final

from wfe.core.lean import define

__all__ = ["Annotations", "read_annotation"]

_OWN: Final = re.compile(
    r"##wfe\[(group|endgroup|progress|error|warning|notice)(?:[ \t](.*))?\]\s*"
)
_GITHUB: Final = re.compile(r"[ \t]*::(group|endgroup|error|warning|notice)(?: ([^:]*))?::(.*)")
_ESCAPED: Final = re.compile(r"%(25|0D|0A|3A|2C)", re.IGNORECASE)
_ESCAPES: Final[Mapping[str, str]] = {"25": "%", "0D": "\r", "0A": "\n", "3A": ":", "2C": ","}
_PROGRESS: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%?(?:\s+(.*))?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_NUMBERS: Final[Mapping[str, str]] = {
    "line": "line",
    "endline": "end_line",
    "col": "col",
    "endcolumn": "end_col",
}
_TEXTS: Final = ("file", "title")
_BEGINNINGS: Final = frozenset("#: \t")
_LONGEST: Final = 3000  # characters of a message
_ROW: Final = 16_000  # characters of all of it; the log would cut more, and JSON must stay whole
_SHORT: Final = 500  # characters of a title or file name
_MOST: Final = 1000  # annotations of one attempt


@define
class Annotations:
    """Finds annotations among the lines of one attempt; what comes after the limit is plain text.

    Attributes:
        left: How many more are taken.
    """

    left: int = _MOST

    def read(self, line: str) -> tuple[str, str] | None:
        """Return the log stream and the text for *line*, ``None`` when it is a plain line."""
        if line[:1] not in _BEGINNINGS or not line.lstrip(" \t").startswith(("##wfe[", "::")):
            return None
        found = read_annotation(line)
        if found is not None and found[0] == "annotation":
            if self.left <= 0:
                return None
            self.left -= 1
        return found


def read_annotation(line: str) -> tuple[str, str] | None:
    """Return the log stream and the text for a line, ``None`` for a plain line.

    ``##wfe[warning text]`` and GitHub's ``::warning file=a.py,line=3::text`` are JSON of the stream
    ``annotation``: ``level`` and ``message``, and where they are told ``file``, ``line``,
    ``end_line``, ``col``, ``end_col``, ``title``.  The text of ``group`` is its title, that of
    ``endgroup`` is empty, that of ``progress`` is JSON: ``percent``, ``message``.
    """
    own = _OWN.fullmatch(line)
    if own is not None:
        return _own(own[1], (own[2] or "").strip())
    github = _GITHUB.fullmatch(line)
    if github is None:
        return None
    kind, message = github[1], _unescaped(github[3])
    if kind in {"group", "endgroup"}:
        return kind, _line(message) if kind == "group" else ""
    return _annotation(kind, message, _properties(github[2] or ""))


def _own(kind: str, text: str) -> tuple[str, str] | None:
    match kind:
        case "group":
            return ("group", _line(text)) if text else None
        case "endgroup":
            return ("endgroup", "") if not text else None
        case "progress":
            return _progress(text)
        case _:
            return _annotation(kind, text, {}) if text else None


def _progress(text: str) -> tuple[str, str] | None:
    found = _PROGRESS.fullmatch(text)
    percent = float(found[1]) if found else math.inf
    if found is None or percent > 100:
        return None
    shown = int(percent) if percent.is_integer() else percent
    return "progress", _json({"percent": shown, "message": _line(found[2] or "")})


def _annotation(level: str, message: str, where: Mapping[str, str | int]) -> tuple[str, str]:
    longest = _LONGEST
    while True:
        cut = message if len(message) <= longest else message[:longest] + "…"
        text = _json({"level": level, "message": cut, **where})
        if len(text) <= _ROW:
            return "annotation", text
        longest //= 2  # what is mostly control characters, six characters each in JSON


def _properties(text: str) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        key, value = name.strip().lower(), _unescaped(value)
        if key in _NUMBERS and value.isascii() and value.isdigit() and len(value) < 10:
            found[_NUMBERS[key]] = int(value)
        elif key in _TEXTS and value:
            found[key] = _line(value)
    return found


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES[found[1].upper()], text)


def _line(text: str) -> str:
    """Return *text* as one line that is not long."""
    return _CONTROL.sub(" ", text)[:_SHORT]


def _json(value: Mapping[str, str | int | float]) -> str:
    return json.dumps(value, ensure_ascii=False)
