"""Read a file as a source."""

from __future__ import annotations

import stat
from pathlib import Path

from wfe.core.lean import frozen
from wfe.yaml.diagnostics import Problems, Source, Span
from wfe.yaml.tree import Limits

__all__ = ["CannotReadError", "NotText", "decoded", "read_bytes", "read_source"]


class CannotReadError(Exception):
    """A file cannot be read; the text says why, *too_big* that it is over the limit."""

    def __init__(self, reason: str, hint: str, *, too_big: bool = False) -> None:
        super().__init__(reason)
        self.hint = hint
        self.too_big = too_big


@frozen
class NotText:
    """Where bytes are not UTF-8, with the text before."""

    reason: str
    line: int
    column: int
    before: str


def read_bytes(path: Path, limits: Limits, *, ordinary: bool = False) -> bytes:
    """Return the contents of a file.

    Args:
        path: Which.
        limits: How big it may be.
        ordinary: Refuse pipes and devices, at which reading may wait without end.

    Raises:
        CannotReadError: It is not there, not readable, or too big.
    """
    try:
        if ordinary and not stat.S_ISREG(mode := path.stat().st_mode):
            what = "Is a directory" if stat.S_ISDIR(mode) else "Is no ordinary file"
            raise CannotReadError(what, "name a file")
        with path.open("rb") as file:
            content = file.read(limits.file + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "Is no path"
        raise CannotReadError(reason, "check the path") from error
    if len(content) > limits.file:
        reason = f"it has more than {limits.file:,} bytes"
        raise CannotReadError(reason, "split it into several files", too_big=True)
    return content


def decoded(content: bytes) -> tuple[str | None, NotText | None]:
    """Return *content* as text, or where it is none."""
    try:
        return content.decode("utf-8-sig"), None
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        reason = f"byte 0x{content[error.start]:02x} does not fit"
        return None, NotText(reason, line, column, before)


def read_source(
    path: Path, problems: Problems, limits: Limits, name: str | None = None
) -> Source | None:
    """Return the file's text as a source, ``None`` (and a diagnostic) when it cannot be read."""
    shown = name or str(path)
    nowhere = Span(Source(shown, ""), 1, 1)
    try:
        content = read_bytes(path, limits)
    except CannotReadError as error:
        if error.too_big:
            message = f"the file has more than {limits.file:,} bytes"
            problems.error("WFE002", nowhere, message, error.hint)
        else:
            problems.error("WFE010", nowhere, f"the file cannot be read: {error}", error.hint)
        return None
    text, problem = decoded(content)
    if text is not None:
        return Source(shown, text)
    if problem is not None:
        at = Span(Source(shown, problem.before + "\ufffd"), problem.line, problem.column)
        message = f"the file is not UTF-8 text: {problem.reason}"
        problems.error("WFE010", at, message, "save it as UTF-8")
    return None
