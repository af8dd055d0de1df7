"""Shows diagnostics of files: as text with colours, as JSON, as annotations; explains a code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from wfe.core.errors import WfeError
from wfe.host.cli.cleaning import clean
from wfe.host.cli.errors import CommandError
from wfe.host.cli.sources import need_yaml

__all__ = ["Whole", "annotation_of", "code_page", "is_code", "row_of", "text_of"]

_CODE: Final = re.compile(r"WFE\d{3}", re.IGNORECASE)
_HEAD: Final = re.compile(r"^(.*?: )((?:error|warning)\[WFE\d{3}\])(: .*)$")


class Whole:
    """A diagnostic about a whole file, of the form that loaders give."""

    line = 1
    column = 1
    code = "WFE000"
    severity = "error"
    hint = None

    def __init__(self, file: str, error: WfeError) -> None:
        """Tell of *error*, for which no place in *file* is known."""
        self.file = file
        self.message: str = str(error)


def row_of(found: Any) -> dict[str, Any]:
    """Return a diagnostic as JSON."""
    keys = ("file", "line", "column", "code", "severity", "message", "hint")
    return {key: getattr(found, key) for key in keys}


def text_of(found: Any) -> str:
    """Return a diagnostic for people, in colours when stderr is a terminal that has them."""
    if isinstance(found, Whole):
        return f"error: {clean(found.message)}"
    from wfe.yaml.diagnostics import render  # noqa: PLC0415 - the plugin

    # Tabs stay: the caret below a line stands under its character.
    lines = ["\t".join(map(clean, line.split("\t"))) for line in render([found]).split("\n")]
    return "\n".join(_coloured(lines)) if _colours() else "\n".join(lines)


def _colours() -> bool:
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    return sys.stderr.isatty() and not plain


def _coloured(lines: Sequence[str]) -> list[str]:
    shown: list[str] = []
    colour = "yellow" if "warning[" in lines[0] else "red"
    for number, line in enumerate(lines):
        head = _HEAD.match(line) if number == 0 else None
        if head is not None:
            place, code, message = head.groups()
            text = click.style(place, bold=True) + click.style(code, fg=colour, bold=True)
            shown.append(text + click.style(message, bold=True))
        elif re.match(r"^ +\| *\s*\^+$", line):
            bar, caret = line[: line.index("^")], line[line.index("^") :]
            shown.append(click.style(bar, fg="blue") + click.style(caret, fg=colour, bold=True))
        elif re.match(r"^ *\d+ \| ", line):
            at = line.index("|") + 1
            shown.append(click.style(line[:at], fg="blue") + line[at:])
        elif line.lstrip().startswith("= help:"):
            shown.append(click.style(line, fg="cyan"))
        else:
            shown.append(line)
    return shown


def annotation_of(found: Any) -> str:
    """Return a diagnostic as a workflow command of GitHub."""
    if isinstance(found, Whole):
        message = found.message.replace("%", "%25").replace("\n", "%0A")
        return f"::error file={found.file},line=1,col=1,title={found.code}::{message}"
    from wfe.yaml.diagnostics import render_github  # noqa: PLC0415 - the plugin

    return render_github([found])


def is_code(text: str) -> bool:
    """Whether *text* is the code of a diagnostic, such as ``WFE034``."""
    return _CODE.fullmatch(text) is not None


def code_page(code: str) -> str:
    """Return what a diagnostic's code means, with an example where there is one, as Markdown.

    Raises:
        CommandError: There is no such code.
    """
    need_yaml()
    from importlib.resources import files  # noqa: PLC0415 - only here

    from wfe.yaml.codes import MEANINGS  # noqa: PLC0415 - the plugin

    code = code.upper()
    page = files("wfe.yaml").joinpath("explained", f"{code}.md")
    if page.is_file():
        return page.read_text(encoding="utf-8")
    if code in MEANINGS:
        return f"# {code}: {MEANINGS[code]}\n"
    import difflib  # noqa: PLC0415 - only for a typing error

    near = difflib.get_close_matches(code, list(MEANINGS), n=3, cutoff=0.8)
    hint = f"did you mean {' or '.join(near)}?" if near else "`wfe validate` prints codes"
    raise CommandError(f"there is no diagnostic {code}", hint)
