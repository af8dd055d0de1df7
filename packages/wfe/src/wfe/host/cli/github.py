"""GitHub's workflow commands: groups, annotations, and output that cannot forge them. Pure."""

from __future__ import annotations

from wfe.host.cli.tails import Notice

__all__ = ["annotation", "escaped", "group"]


def escaped(text: str) -> str:
    """Return *text* as the message of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return escaped(text).replace(":", "%3A").replace(",", "%2C")


def annotation(notice: Notice) -> str:
    """Return the command that shows *notice* at its place in the changes."""
    told = {
        "file": notice.file,
        "line": notice.line if notice.file is not None else None,
        "col": notice.column if notice.file is not None else None,
        "title": notice.title or notice.path,
    }
    where = ",".join(f"{key}={_property(str(value))}" for key, value in told.items() if value)
    return f"::{notice.level} {where}::{escaped(notice.message)}"


def group(title: str) -> str:
    """Return the line that begins a group of lines."""
    return f"::group::{escaped(title)}"
