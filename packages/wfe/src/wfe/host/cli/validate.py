"""``wfe validate``: check files without running them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Literal

import click

from wfe.core.errors import WfeError
from wfe.host.cli.errors import Exit, complain
from wfe.host.cli.sources import Given, load_source, suffix_of

__all__ = ["validate"]

_YAML = frozenset({"yaml", "yml"})


@click.command(short_help="Check workflow files without running them.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="How to tell what is wrong.",
)
def validate(
    files: tuple[str, ...],
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    form: Literal["text", "json", "github"],
) -> int:
    """Check workflow files without running them; exit with 2 when one is wrong.

    Everything that is wrong in all the files is told at once; warnings alone do not fail.
    """
    given = Given(assignments=variables, files=vars_files)
    rows = [row for name in files for row in _wrong(name, given)]
    _tell(rows, form)
    errors = sum(row.severity == "error" for row in rows)
    if form == "text":
        _conclude(files, errors, len(rows) - errors)
    return Exit.USAGE if errors else Exit.COMPLETE


def _wrong(name: str, given: Given) -> Sequence[Any]:
    """Return the diagnostics of one file; other kinds of files have one at most."""
    if suffix_of(name) in _YAML and os.path.exists(name):  # noqa: PTH110 - pathlib adds nothing
        return _wrong_yaml(name, given)
    try:
        load_source(name, given)
    except WfeError as error:
        known = getattr(error, "diagnostics", None)
        return known if known is not None else [_Whole(name, error)]
    return ()


def _wrong_yaml(name: str, given: Given) -> Sequence[Any]:
    from wfe.core.plugins import load  # noqa: PLC0415 - first, so that a missing plugin is named

    load("wfe.loaders", suffix_of(name))
    from wfe.yaml.loader import check  # noqa: PLC0415 - the plugin
    from wfe.yaml.variables import merge_variables, parse_assignments  # noqa: PLC0415

    variables = merge_variables(
        assignments=parse_assignments(given.assignments), files=given.files, environment=os.environ
    )
    return check([name], variables)


class _Whole:
    """A diagnostic about a whole file, of the form that loaders give."""

    line = 1
    column = 1
    code = "WFE000"
    severity = "error"
    hint = None

    def __init__(self, file: str, error: WfeError) -> None:
        self.file = file
        self.message = str(error)


def _tell(rows: Sequence[Any], form: str) -> None:
    if form == "json":
        click.echo(json.dumps([_row(row) for row in rows], ensure_ascii=False, indent=2))
    elif form == "github":
        for row in rows:
            click.echo(_annotation(row))
    else:
        for row in rows:
            complain(_text(row))


def _row(row: Any) -> dict[str, Any]:
    keys = ("file", "line", "column", "code", "severity", "message", "hint")
    return {key: getattr(row, key) for key in keys}


def _text(row: Any) -> str:
    if isinstance(row, _Whole):
        return f"error: {row.message}"
    from wfe.yaml.diagnostics import render  # noqa: PLC0415 - the plugin

    return render([row])


def _annotation(row: Any) -> str:
    if isinstance(row, _Whole):
        message = row.message.replace("%", "%25").replace("\n", "%0A")
        return f"::error file={row.file},line=1,col=1,title={row.code}::{message}"
    from wfe.yaml.diagnostics import render_github  # noqa: PLC0415 - the plugin

    return render_github([row])


def _conclude(files: Sequence[str], errors: int, warnings: int) -> None:
    what = "1 file" if len(files) == 1 else f"{len(files)} files"
    more = f", {_counted(warnings, 'warning')}" if warnings else ""
    if errors:
        complain(f"{what} checked: {_counted(errors, 'error')}{more}")
    else:
        click.echo(f"✔ {what} checked: no errors{more}")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
