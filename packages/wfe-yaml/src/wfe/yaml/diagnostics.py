"""What is wrong in a file, where, and what to do: as values, text, JSON or annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property

import attrs

from wfe.core.errors import WfeError

__all__ = [
    "Diagnostic",
    "Problems",
    "Severity",
    "Source",
    "Span",
    "WorkflowFileError",
    "nearest",
    "render",
    "render_github",
    "render_json",
]

_WIDEST = 160  # characters of a source line that are shown


class Severity(StrEnum):
    """How bad it is: errors keep a file from running, warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@attrs.frozen(slots=False, eq=False)
class Source:
    """A text with the name it is shown under."""

    name: str
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """The lines without their ends, split where the parser splits."""
        text = self.text.replace("\r\n", "\n").replace("\r", "\n")
        return (
            text.replace("\x85", "\n").replace("\u2028", "\n").replace("\u2029", "\n").split("\n")
        )

    def line(self, number: int) -> str:
        """Return line *number* (from 1), or nothing where there is none."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""


@attrs.frozen
class Span:
    """A place in a source: line and column from 1, and how many characters the caret underlines."""

    source: Source
    line: int
    column: int
    width: int = 1


@attrs.frozen(kw_only=True)
class Diagnostic:
    """One thing that is wrong.

    Attributes:
        file: Name of the file as it was given.
        line: From 1.
        column: From 1, in characters.
        code: One of :data:`wfe.yaml.codes.MEANINGS`.
        severity: ``error`` or ``warning``.
        message: What is wrong.
        hint: What to do, ``None`` when the message says it.
        source_line: The line itself.
        width: How many characters are underlined.
    """

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    hint: str | None = None
    source_line: str = attrs.field(default="", repr=False, eq=False)
    width: int = attrs.field(default=1, repr=False, eq=False)


@attrs.define(eq=False)
class WorkflowFileError(WfeError):
    """A workflow file is wrong; nothing of it was run.

    Attributes:
        diagnostics: All that is wrong (and warnings), in order of their places.
    """

    diagnostics: tuple[Diagnostic, ...]

    def __str__(self) -> str:
        return render(self.diagnostics)


@attrs.define
class Problems:
    """Collects diagnostics while a file is read."""

    found: list[Diagnostic] = attrs.field(factory=list[Diagnostic])

    def error(self, code: str, at: Span, message: str, hint: str | None = None) -> None:
        """Record an error at *at*."""
        self._add(code, at, Severity.ERROR, message, hint)

    def warning(self, code: str, at: Span, message: str, hint: str | None = None) -> None:
        """Record a warning at *at*."""
        self._add(code, at, Severity.WARNING, message, hint)

    def _add(self, code: str, at: Span, severity: Severity, message: str, hint: str | None) -> None:
        diagnostic = Diagnostic(
            file=at.source.name,
            line=at.line,
            column=at.column,
            code=code,
            severity=severity,
            message=message,
            hint=hint,
            source_line=at.source.line(at.line),
            width=at.width,
        )
        # What stands under an anchor is read once per use, and reported once.
        if diagnostic not in self._known:
            self._known.add(diagnostic)
            self.found.append(diagnostic)

    _known: set[Diagnostic] = attrs.field(factory=set[Diagnostic], init=False, repr=False)

    @property
    def failed(self) -> bool:
        """Whether there is an error among what was found."""
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self.found)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """Return what was found by file (in order of appearance), line and column."""
        files = {name: i for i, name in enumerate(dict.fromkeys(d.file for d in self.found))}
        return tuple(sorted(self.found, key=lambda d: (files[d.file], d.line, d.column)))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like *name*, ``None`` when none is close."""
    import difflib  # noqa: PLC0415 - 10 ms, only for messages

    candidates = list(known)
    by_case = {candidate.lower(): candidate for candidate in candidates}
    if name.lower() in by_case:
        return by_case[name.lower()]
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return found[0] if found else None


def render(diagnostics: Sequence[Diagnostic]) -> str:
    """Return the diagnostics for people: place, message, the line with a caret, and help."""
    return "\n".join(_render_one(diagnostic) for diagnostic in diagnostics)


def _render_one(found: Diagnostic) -> str:
    place = f"{found.file}:{found.line}:{found.column}"
    lines = [f"{place}: {found.severity}[{found.code}]: {found.message}"]
    if found.source_line.strip():
        shown, column = _window(found.source_line, found.column)
        number = f"{found.line:>5}"
        # Tabs stay tabs, so that the caret stands under its character.
        pad = "".join("\t" if char == "\t" else " " for char in shown[: column - 1])
        width = max(1, min(found.width, len(shown) - column + 1))
        lines += [f"{number} | {shown}".rstrip(), f"{' ' * 5} | {pad}{'^' * width}"]
    if found.hint:
        lines.append(f"{' ' * 5} = help: {found.hint}")
    return "\n".join(lines)


def _window(line: str, column: int) -> tuple[str, int]:
    """Cut a very long line around *column*."""
    shown = "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in line)
    if len(shown) <= _WIDEST:
        return shown, column
    start = max(0, column - 1 - _WIDEST // 2)
    head = "..." if start else ""
    return head + shown[start : start + _WIDEST] + "...", column - start + len(head)


_PUBLIC = ("file", "line", "column", "code", "severity", "message", "hint")


def render_json(diagnostics: Sequence[Diagnostic]) -> str:
    """Return a JSON list of ``{file, line, column, code, severity, message, hint}``."""
    rows = [{key: getattr(found, key) for key in _PUBLIC} for found in diagnostics]
    return json.dumps(rows, ensure_ascii=False, indent=2)


def render_github(diagnostics: Sequence[Diagnostic]) -> str:
    """Return workflow commands that GitHub shows as annotations, one a line."""
    return "\n".join(_github(found) for found in diagnostics)


def _github(found: Diagnostic) -> str:
    text = found.message + (f" ({found.hint})" if found.hint else "")
    place = f"file={_property(found.file)},line={found.line},col={found.column}"
    return f"::{found.severity} {place},title={found.code}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
