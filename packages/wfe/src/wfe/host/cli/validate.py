"""``wfe validate``: check files without running them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal

import click

from wfe.core.errors import WfeError
from wfe.host.cli import settings
from wfe.host.cli.diagnosing import Whole, annotation_of, row_of, text_of
from wfe.host.cli.errors import CommandError, Exit, complain
from wfe.host.cli.sources import Given, load_source, need_yaml, suffix_of

__all__ = ["validate"]

_YAML: Final = frozenset({"yaml", "yml"})
_STDIN: Final = "-"


@click.command(short_help="Check workflow files without running them.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@settings.CONFIG
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="How to tell what is wrong.",
)
@click.option(
    "--wfe-compat", "compat", is_flag=True, help="Only warn of what WFE passes over in silence."
)
def validate(
    files: tuple[str, ...],
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    form: Literal["text", "json", "github"],
    compat: bool,
) -> int:
    """Check workflow files without running them; exit with 2 when one is wrong.

    Everything that is wrong in all the files is told at once; warnings alone do not fail. `-` is
    stdin, a workflow file. `wfe explain WFE034` tells more of a code.
    """
    given = Given(
        assignments=variables, files=vars_files, config=settings.configuration().variables
    )
    names = list(dict.fromkeys(files))
    rows = [row for name in names for row in _wrong(name, given, compat=compat)]
    _tell(rows, form)
    errors = sum(row.severity == "error" for row in rows)
    if form == "text":
        _conclude(names, rows, errors)
    return Exit.USAGE if errors else Exit.COMPLETE


def _wrong(name: str, given: Given, *, compat: bool) -> Sequence[Any]:
    """Return the diagnostics of one file; other kinds of files have one at most."""
    if name == _STDIN:
        return _wrong_text(given, compat=compat)
    if suffix_of(name) in _YAML and os.path.exists(name):  # noqa: PTH110 - pathlib adds nothing
        need_yaml()
        from wfe.yaml.loader import check  # noqa: PLC0415 - the plugin

        return check([name], given.variables(), **_options(compat=compat))
    try:
        load_source(name, given)
    except WfeError as error:
        known = getattr(error, "diagnostics", None)
        return known if known is not None else [Whole(name, error)]
    return ()


def _wrong_text(given: Given, *, compat: bool) -> Sequence[Any]:
    need_yaml()
    from wfe.yaml.loader import check_text  # noqa: PLC0415 - the plugin

    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError("stdin is not UTF-8 text", "save the file as UTF-8") from error
    return check_text(text, "<stdin>", given.variables(), **_options(compat=compat))


def _options(*, compat: bool) -> dict[str, Any]:
    return {"compat": True} if compat else {}


def _tell(rows: Sequence[Any], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([row_of(row) for row in rows], ensure_ascii=False, indent=2))
    elif form == "github":
        for row in rows:
            click.echo(annotation_of(row))
    else:
        between = "\n" if sys.stderr.isatty() else ""
        for number, row in enumerate(rows):
            complain((between if number else "") + text_of(row), styled=True)
        if rows and between:
            complain("")


def _conclude(files: Sequence[str], rows: Sequence[Any], errors: int) -> None:
    what = "1 file" if len(files) == 1 else f"{len(files)} files"
    warnings = len(rows) - errors
    more = f", {_counted(warnings, 'warning')}" if warnings else ""
    if errors:
        complain(f"{what} checked: {_counted(errors, 'error')}{more}{_advice(rows)}")
    else:
        click.echo(f"✔ {what} checked: no errors{more}")


def _advice(rows: Sequence[Any]) -> str:
    """Name the command that explains the first code of an error."""
    codes = [row.code for row in rows if row.severity == "error" and not isinstance(row, Whole)]
    return f"; more about one: wfe explain {codes[0]}" if codes else ""


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
