"""Makes text of steps and names harmless for a terminal, and fit for one without Unicode."""

from __future__ import annotations

import codecs
import os
import re
import sys
from typing import Final, TextIO

__all__ = ["clean", "clean_block", "plain_symbols", "safe"]

_SEQUENCE: Final = re.compile(
    # CSI, strings (OSC, DCS …) up to their end, other escapes; the same in their 8-bit forms;
    # then every other control character and what turns the direction of writing around.
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|[ -/]*[0-~])?"
    r"|\x9b[0-?]*[ -/]*[@-~]?|[\x90\x98\x9d-\x9f][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069\ufeff]"
)
_BREAKS: Final = re.compile(r"[\n\x0b\x0c\x85\u2028\u2029]")

_SYMBOLS: Final = {
    "✔": "+",
    "✖": "x",
    "○": ".",
    "▶": ">",
    "↻": "~",
    "◷": "z",
    "⏸": "=",
    "⊘": "-",
    "◌": "c",
    "↯": "!",
    "■": "#",
    "│": "|",
    "├": "|",
    "└": "`",
    "─": "-",
    "━": "=",
    "╸": "=",
    "╺": "-",
    "…": ".",
    "▸": ">",
    "▾": "v",
    "•": "*",
    "·": "-",
    "⚑": "@",
    "→": ">",
    "±": "~",
    **dict.fromkeys("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "*"),
    **dict.fromkeys("┏┓┗┛┃┡┩┌┐┘┤┬┴┼╭╮╰╯║╔╗╚╝═╞╡", "+"),
}
"""What stands for our own signs where they cannot be shown; one character each: columns count."""

_HANDLER: Final = "wfe-symbols"


def clean(text: str) -> str:
    """Return *text* as one line without what would move a cursor, colour or reorder a terminal.

    Of a line that overwrites itself (carriage returns) what stands there in the end is kept.
    """
    if text.isascii() and text.isprintable():
        return text
    shown = _SEQUENCE.sub("", _BREAKS.sub(" ", _last_written(text)).replace("\t", "    "))
    return shown.encode("utf-8", "replace").decode("utf-8")  # lone surrogates cannot be written


def _last_written(text: str) -> str:
    parts = [part for part in text.split("\r") if part]
    return parts[-1] if parts else ""


def clean_block(text: str) -> str:
    """Return *text* of several lines, each made harmless as by :func:`clean`."""
    return "\n".join(clean(line) for line in text.split("\n"))


def safe(text: str) -> str:
    """Return *text* for standard output: harmless on a terminal, as it is in a pipe or file."""
    return clean(text) if sys.stdout.isatty() else text


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(_SYMBOLS.get(char, "?") for char in wrong), error.end


def plain_symbols(*streams: TextIO) -> None:
    """Let the streams write signs that their encoding lacks as similar ASCII characters.

    With the environment variable ``WFE_ASCII`` they write nothing but ASCII.
    """
    codecs.register_error(_HANDLER, _substitute)
    ascii_only = bool(os.environ.get("WFE_ASCII"))
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is None:  # a test's or an embedder's own object
            continue
        if ascii_only:
            reconfigure(encoding="ascii", errors=_HANDLER)
        elif not (stream.encoding or "").lower().replace("-", "").startswith("utf"):
            reconfigure(errors=_HANDLER)
