"""Colours the signs in lines that are read on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from wfe.host.cli.cleaning import clean

__all__ = ["painted"]

_COLOURS: Final[Mapping[str, str]] = {
    "✔": "green",
    "✖": "red",
    "▶": "cyan",
    "↻": "yellow",
    "◷": "blue",
    "⏸": "magenta",
    "↯": "yellow",
    "■": "yellow",
    "!": "yellow",
}
_FAINT: Final = frozenset("○⊘◌")
_GUIDES: Final = frozenset("│├└─ ")


def painted(line: str) -> str:
    """Return *line* for standard output: harmless and with a coloured sign on a terminal."""
    if not sys.stdout.isatty():
        return line
    line = clean(line)
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb":
        return line
    at = next((place for place, char in enumerate(line) if char not in _GUIDES), 0)
    sign = line[at : at + 1]
    if sign in _FAINT:
        return click.style(line, dim=True)
    if sign not in _COLOURS or line[at + 1 : at + 2] != " ":
        return line
    guides = click.style(line[:at], dim=True) if line[:at].strip() else line[:at]
    return guides + click.style(sign, fg=_COLOURS[sign], bold=True) + line[at + 1 :]
