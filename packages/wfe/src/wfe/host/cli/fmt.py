"""``wfe fmt``: lay workflow files out anew."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

import click

from wfe.core.durable_files import written_aside
from wfe.host.cli.cleaning import clean, safe
from wfe.host.cli.diagnosing import text_of
from wfe.host.cli.errors import CommandError, Exit, complain, warn

__all__ = ["fmt"]


@click.command(short_help="Lay workflow files out anew.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Change nothing; print what would change.")
def fmt(files: tuple[str, ...], check: bool, diff: bool) -> int:
    """Lay workflow files out anew: indentation, blanks, blank lines, and the order of keys.

    What a file says stays the same: comments and anchors are kept, and scripts are not touched.
    A file that cannot be read as YAML is left alone, and the command exits with 2. `-` is stdin;
    the result goes to stdout.
    """
    codes = [_one(name, write=not (check or diff), diff=diff) for name in files]
    wrong, changed = codes.count(Exit.USAGE), codes.count(Exit.FAILED)
    if files != ("-",):
        _conclude(len(files), changed, wrong, write=not (check or diff))
    if wrong:
        return Exit.USAGE
    return Exit.FAILED if changed and (check or diff) else Exit.COMPLETE


def _one(name: str, *, write: bool, diff: bool) -> Exit:
    """Format one file: FAILED says that it was, or would be, changed."""
    from wfe.host.cli.sources import need_yaml  # noqa: PLC0415 - only names what is missing

    need_yaml()
    from wfe.yaml.formatting import format_text  # noqa: PLC0415 - the plugin

    text = _read(name)
    made = format_text(text, "<stdin>" if name == "-" else name)
    for diagnostic in made.diagnostics:
        complain(text_of(diagnostic), styled=True)
    if made.diagnostics:
        return Exit.USAGE
    if made.left:
        warn(f"{clean(name)} has a form that is left as it is, so the file is not touched")
    if name == "-" and write:
        click.echo(made.text, nl=False)
        return Exit.COMPLETE
    if made.text == text:
        return Exit.COMPLETE
    if diff:
        _show(name, text, made.text)
    elif write:
        _replace(Path(name), made.text)
        click.echo(f"formatted {clean(name)}")
    else:
        click.echo(f"would format {clean(name)}")
    return Exit.FAILED


def _read(name: str) -> str:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandError(
            f"{name!r} cannot be read: {error.strerror}", "check the path"
        ) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"{name!r} is not UTF-8 text: byte 0x{content[error.start]:02x} does not fit"
        raise CommandError(problem, "save it as UTF-8") from error


def _replace(path: Path, text: str) -> None:
    """Put *text* in place of the file in one step, with its mode; a link stays a link."""
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o7777
        with written_aside(target, f".{target.name}.", mode) as file:
            file.write(text.encode())
    except OSError as error:
        problem = f"{str(path)!r} cannot be written: {error.strerror}"
        raise CommandError(problem, "check its permissions") from error


def _show(name: str, before: str, after: str) -> None:
    rows = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name}", f"{name} (formatted)", lineterm=""
    )
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for row in rows:
        click.secho(safe(row), fg=styles.get(row[:1]))


def _conclude(files: int, changed: int, wrong: int, *, write: bool) -> None:
    what = "1 file" if files == 1 else f"{files} files"
    done = "formatted" if write else "to format"
    parts = [f"{changed} {done}", f"{files - changed - wrong} left as they are"]
    if wrong:
        parts.append(f"{wrong} wrong")
    complain(f"{what}: {', '.join(parts)}")
