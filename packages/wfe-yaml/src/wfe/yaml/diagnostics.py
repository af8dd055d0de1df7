"""What is wrong in a file, where, and what to do: as values, text, JSON or annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property, lru_cache
from typing import Final

import attrs

from wfe.core.errors import WfeError
from wfe.core.lean import define, frozen

__all__ = [
    "Diagnostic",
    "Problems",
    "Severity",
    "Source",
    "Span",
    "TooManyProblemsError",
    "WorkflowFileError",
    "nearest",
    "render",
    "render_github",
    "render_json",
]

_WIDEST = 160  # characters of a source line that are shown
_LONGEST = 2000  # characters of a message, and of a hint
_MOST = 500  # errors of one check, and warnings
_FEW = 20  # names that are compared when there are many
_LONGEST_NAME = 200  # characters of a name for which a like one is looked for
_MANY = 200  # names from which on not all of them are compared


class Severity(StrEnum):
    """How bad it is: errors keep a file from running, warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@frozen(slots=False, eq=False)
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


@frozen
class Span:
    """A place in a source: line and column from 1, and how many characters the caret underlines."""

    source: Source
    line: int
    column: int
    width: int = 1


@frozen(kw_only=True)
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


@define(eq=False)
class WorkflowFileError(WfeError):
    """A workflow file is wrong; nothing of it was run.

    Attributes:
        diagnostics: All that is wrong (and warnings), in order of their places.
    """

    diagnostics: tuple[Diagnostic, ...]

    def __str__(self) -> str:
        return render(self.diagnostics)


class TooManyProblemsError(Exception):
    """So much is wrong that no more is looked for; what was found is recorded, and this too."""


@define
class Problems:
    """Collects diagnostics while a file is read.

    Attributes:
        found: In the order in which they were found; 500 errors and as many warnings at most.
    """

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
            message=_bounded(message),
            hint=hint and _bounded(hint),
            source_line=at.source.line(at.line),
            width=at.width,
        )
        # What stands under an anchor is read once per use, and reported once.
        if diagnostic in self._known:
            return
        self._known.add(diagnostic)
        alike = self._counts.get(severity, 0)
        self._counts[severity] = alike + 1
        if alike < _MOST:
            self.found.append(diagnostic)
        elif alike == _MOST:
            message = f"there are more than {_MOST} {severity}s, no more of them are told"
            self.found.append(attrs.evolve(diagnostic, code="WFE002", message=message, hint=None))
        if alike >= _MOST and severity is Severity.ERROR:
            raise TooManyProblemsError

    _known: set[Diagnostic] = attrs.field(factory=set[Diagnostic], init=False, repr=False)
    _counts: dict[Severity, int] = attrs.field(factory=dict[Severity, int], init=False, repr=False)

    @property
    def failed(self) -> bool:
        """Whether there is an error among what was found."""
        return any(diagnostic.severity is Severity.ERROR for diagnostic in self.found)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """Return what was found by file (in order of appearance), line and column."""
        files = {name: i for i, name in enumerate(dict.fromkeys(d.file for d in self.found))}
        return tuple(sorted(self.found, key=lambda d: (files[d.file], d.line, d.column)))


# Words of other systems: without `_` and `-`, and what may be meant, where that is known.
_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "after": ("needs",),
    "allowfailure": ("continue_on_error",),
    "always": ("ensure",),
    "args": ("inputs",),
    "attempts": ("max",),
    "choices": ("options",),
    "command": ("run",),
    "cwd": ("working_dir",),
    "dependencies": ("needs",),
    "dependson": ("needs",),
    "environment": ("env",),
    "finally": ("ensure",),
    "function": ("call",),
    "ignoreerrors": ("continue_on_error",),
    "jobs": ("workflows", "steps"),
    "kind": ("type",),
    "loop": ("for_each",),
    "maxattempts": ("max",),
    "maxparallel": ("limit",),
    "maxretries": ("max", "max_retries"),
    "maxruns": ("limit",),
    "message": ("prompt",),
    "network": ("net",),
    "on": ("triggers",),
    "params": ("inputs",),
    "parameters": ("inputs",),
    "retries": ("max", "retry"),
    "schedule": ("cron", "triggers"),
    "stages": ("steps", "workflows"),
    "steps": ("do", "then"),
    "strategy": ("matrix",),
    "tasks": ("steps",),
    "times": ("max",),
    "tz": ("timezone",),
    "uses": ("type",),
    "variables": ("env",),
    "with": ("config",),
    "workdir": ("working_dir",),
    "workingdirectory": ("working_dir",),
}


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like *name*, ``None`` when none is close."""
    if len(name) > _LONGEST_NAME:
        return None
    candidates = tuple(known)
    if len(candidates) > _MANY:
        return _nearest(name, tuple(_likely(name, candidates)))
    return _nearest(name, candidates)


def _likely(name: str, candidates: Sequence[str]) -> Iterator[str]:
    """Yield the candidates that share the longest beginning or end with *name*, a few of them."""
    low = _plain(name)
    yield from [each for each in candidates if _plain(each) == low]
    for size in range(len(name), 0, -1):
        found = [each for each in candidates if each.startswith(name[:size])]
        if found:
            yield from sorted(found, key=len)[:_FEW]
            break
    for size in range(len(name), 0, -1):
        found = [each for each in candidates if each.endswith(name[-size:])]
        if found:
            yield from sorted(found, key=len)[:_FEW]
            break


@lru_cache(maxsize=256)
def _nearest(name: str, candidates: tuple[str, ...]) -> str | None:
    import difflib  # noqa: PLC0415 - 10 ms, only for messages

    by_form = {_plain(candidate): candidate for candidate in candidates}
    plain = _plain(name)
    if plain in by_form:
        return by_form[plain]
    for same in _ELSEWHERE.get(plain, ()):
        if same in candidates:
            return same
    found = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return found[0] if found else None


def _bounded(text: str) -> str:
    """Return *text* in one line, without its middle if it is very long: a file may be quoted."""
    text = _one_line(text)
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def _one_line(text: str) -> str:
    """Return *text* with line breaks and control characters as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def render(diagnostics: Sequence[Diagnostic]) -> str:
    """Return the diagnostics for people: place, message, the line with a caret, and help."""
    return "\n".join(_render_one(diagnostic) for diagnostic in diagnostics)


def _render_one(found: Diagnostic) -> str:
    place = f"{_one_line(found.file)}:{found.line}:{found.column}"
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
    if len(line) <= _WIDEST:
        return _printable(line), column
    start = max(0, column - 1 - _WIDEST // 2)
    head = "..." if start else ""
    shown = _printable(line[start : start + _WIDEST])
    return f"{head}{shown}...", column - start + len(head)


def _printable(line: str) -> str:
    return "".join(char if char.isprintable() or char == "\t" else "\ufffd" for char in line)


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
