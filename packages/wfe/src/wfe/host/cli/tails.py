"""The last lines that a step wrote, with groups that fold when they end: pure."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from wfe.core.lean import define, frozen

__all__ = ["Notice", "Progress", "Tail", "notice_of", "progress_of"]

_KEPT: Final = 20  # lines of each execution


@define
class Tail:
    """Lines of one execution; a group that has ended is one line that counts what is in it.

    Attributes:
        lines: The last lines, groups open: what explains a failure.
    """

    lines: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_KEPT))
    _folded: deque[str] = attrs.field(factory=lambda: deque[str](maxlen=_KEPT))
    _group: str | None = None
    _inside: int = 0

    def add(self, line: str) -> None:
        """Take one line of output."""
        self.lines.append(line)
        if self._group is None:
            self._folded.append(line)
        else:
            self._inside += 1

    def open(self, title: str) -> None:
        """Begin a group; an open one ends, as groups do not nest."""
        self.close()
        self.lines.append(f"▾ {title}")
        self._group, self._inside = title, 0

    def close(self) -> None:
        """End the group, if there is one."""
        if self._group is not None:
            self._folded.append(_headed(self._group, self._inside))
        self._group = None

    def shown(self, number: int) -> list[str]:
        """Return at most *number* lines for a live view: closed groups folded, an open one open."""
        if number <= 0:
            return []
        if self._group is None:
            return list(self._folded)[-number:]
        inside = list(self.lines)[-self._inside :] if self._inside else []
        return [f"▾ {self._group}", *inside[-(number - 1) :]][:number]


def _headed(title: str, inside: int) -> str:
    return f"▸ {title} ({inside} line{'' if inside == 1 else 's'})"


@frozen
class Progress:
    """How far a step says it is: *percent* from 0 to 100, ``None``: it did not say."""

    percent: float | None
    message: str = ""

    def __str__(self) -> str:
        known = "" if self.percent is None else f"{self.percent:.0f}%"
        return " ".join(part for part in (known, self.message) if part)


@frozen(kw_only=True)
class Notice:
    """A warning, error or notice that a step gave, with the place that it is about.

    Attributes:
        path: Of the step that gave it.
        level: ``error``, ``warning`` or ``notice``.
        file: ``None``: of no file; then *line* and *column* mean nothing.
    """

    path: str
    level: str
    message: str
    title: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """``file:line:column`` as far as it is known, else nothing."""
        if self.file is None:
            return ""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


def _object(text: str) -> Mapping[str, Any] | None:
    try:
        value: Any = json.loads(text)
    except ValueError:
        return None
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else None


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def notice_of(path: str, text: str) -> Notice:
    """Return what a line of the stream ``annotation`` says; what is no JSON object is a notice."""
    found = _object(text)
    if found is None:
        return Notice(path=path, level="notice", message=text)
    level = found.get("level")
    file, title = found.get("file"), found.get("title")
    return Notice(
        path=path,
        level=level if level in {"error", "warning", "notice"} else "notice",
        message=str(found.get("message", "")),
        title=None if title in {None, ""} else str(title),
        file=None if file in {None, ""} else str(file),
        line=_number(found.get("line")),
        column=_number(found.get("col")),
    )


def progress_of(text: str) -> Progress:
    """Return what a line of the stream ``progress`` says: JSON, or ``40 message``."""
    found = _object(text)
    if found is not None:
        value = found.get("percent")
        known = isinstance(value, int | float) and not isinstance(value, bool)
        return Progress(_bounded(value) if known else None, str(found.get("message") or ""))
    head, _, rest = text.strip().partition(" ")
    try:
        return Progress(_bounded(float(head.removesuffix("%"))), rest.strip())
    except ValueError:
        return Progress(None, text.strip())


def _bounded(value: Any) -> float | None:
    number = float(value)
    return min(max(number, 0.0), 100.0) if number == number else None  # noqa: PLR0124 - no NaN
