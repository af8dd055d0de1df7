"""How the command tells a user that something is wrong: one message, no traceback."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from enum import IntEnum
from typing import Any

from wfe.core.errors import WfeError
from wfe.core.lean import define
from wfe.host.cli.cleaning import clean_block

__all__ = ["CommandError", "Exit", "complain", "describe", "log_to_stderr", "report", "warn"]


class Exit(IntEnum):
    """What the process exits with; the numbers are part of the public interface."""

    COMPLETE = 0
    FAILED = 1
    USAGE = 2
    WAITING = 3
    TERMINATED = 4
    INTERRUPTED = 130


@define(eq=False)
class CommandError(WfeError):
    """The command cannot do what was asked.

    Attributes:
        problem: What is wrong and where, one sentence without a full stop.
        hint: What to do about it, ``None`` when the problem says it.
        code: What the process exits with.
    """

    problem: str
    hint: str | None = None
    code: int = Exit.USAGE

    def __str__(self) -> str:
        return self.problem + (f"\n  {self.hint}" if self.hint else "")


def complain(text: str, *, styled: bool = False) -> None:
    """Write *text* to stderr; a closed stderr is nobody's problem any more.

    Args:
        text: A terminal gets it without control characters.
        styled: It is harmless already, and has colours of our own.
    """
    try:
        shown = text if styled or not sys.stderr.isatty() else clean_block(text)
        sys.stderr.write(f"{shown}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def warn(text: str) -> None:
    """Tell of something that does not stop the command."""
    complain(f"warning: {text}")


def describe(error: BaseException) -> str:
    """Return what to tell a user of *error*."""
    if isinstance(error, WfeError):
        return f"error: {error}"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"error: {place}{error.strerror}"
    text = str(error) or "no message"
    return (
        f"error: {type(error).__name__}: {text}\n"
        "  this is a mistake in wfe or a plugin; run again with WFE_DEBUG=1 to see where"
    )


def report(error: Exception) -> int:
    """Tell the user of *error* and return the exit code."""
    if os.environ.get("WFE_DEBUG"):
        complain("".join(traceback.format_exception(error)).rstrip())
    diagnostics = getattr(error, "diagnostics", None)
    complain(str(error) if diagnostics else describe(error))
    if isinstance(error, CommandError):
        return error.code
    return Exit.USAGE if isinstance(error, WfeError | OSError) else Exit.FAILED


class _Stderr(logging.Handler):
    """Shows what the engine warns of, on today's stderr (a view may have put its own there)."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"{record.levelname.lower()}: {self.format(record)}")


class _OneLine(logging.Formatter):
    """Messages with the error that caused them, without its traceback."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return f"{ei[0].__name__}: {ei[1]}"


def log_to_stderr() -> None:
    """Show warnings of the engine and its plugins; tracebacks only with ``WFE_DEBUG``."""
    logger = logging.getLogger("wfe")
    if logger.handlers:
        return
    handler = _Stderr(logging.WARNING)
    if not os.environ.get("WFE_DEBUG"):
        handler.setFormatter(_OneLine("%(message)s"))
    logger.addHandler(handler)
