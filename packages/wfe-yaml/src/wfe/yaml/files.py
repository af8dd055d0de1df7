"""Read a file (or a text) as a source."""

from __future__ import annotations

from pathlib import Path

from wfe.yaml.diagnostics import Problems, Source, Span
from wfe.yaml.tree import Limits

__all__ = ["read_source"]


def read_source(
    path: Path, problems: Problems, limits: Limits, name: str | None = None
) -> Source | None:
    """Return the file's text as a source, ``None`` (and a diagnostic) when it cannot be read."""
    shown = name or str(path)
    nowhere = Span(Source(shown, ""), 1, 1)
    try:
        with path.open("rb") as file:
            content = file.read(limits.file + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.error("WFE010", nowhere, f"the file cannot be read: {reason}", "check the path")
        return None
    if len(content) > limits.file:
        message = f"the file has more than {limits.file:,} bytes"
        problems.error("WFE002", nowhere, message, "split it into several files")
        return None
    return _decode(content, shown, problems)


def _decode(content: bytes, shown: str, problems: Problems) -> Source | None:
    try:
        return Source(shown, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        at = Span(Source(shown, before + "\ufffd"), line, column)
        message = f"the file is not UTF-8 text: byte 0x{content[error.start]:02x} does not fit"
        problems.error("WFE010", at, message, "save it as UTF-8")
        return None
