"""``wfe init``: the first files of a pipeline, a service or a plugin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from wfe.core.lean import frozen
from wfe.host.cli.errors import CommandError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["init", "made"]

_SUFFIX: Final = ".txt"
"""Ends the name of every file of a template, so that no tool takes it for code of this package."""


@frozen
class _Template:
    about: str
    next: tuple[str, ...]


_TEMPLATES: Final = {
    "ci": _Template(
        "a pipeline that lints, tests and packages",
        ("wfe validate ci.yaml", "wfe run ci.yaml"),
    ),
    "service": _Template(
        "an application with a workflow and a worker",
        ("python app.py", "wfe list --db sqlite:///NAME.db", "python app.py worker"),
    ),
    "plugin": _Template(
        "a distribution with a step type of its own",
        ("pip install -e .", "wfe steps NAME", "wfe run example.yaml"),
    ),
}


@click.command(short_help="Write a first workflow, service or plugin.")
@click.argument("directory", metavar="[DIR]", required=False, default=".")
@click.option(
    "--template",
    type=click.Choice(list(_TEMPLATES)),
    default="ci",
    show_default=True,
    help="; ".join(f"{name}: {each.about}" for name, each in _TEMPLATES.items()) + ".",
)
@click.option("--name", metavar="NAME", help="What it is called; by default as the directory.")
def init(directory: str, template: str, name: str | None) -> None:
    """Write files to begin with into DIR (by default here); files that are there stay as they are.

    What is written works at once; the last lines say what to do next.
    """
    folder = Path(directory)
    called = _name(name if name is not None else folder.resolve().name, given=name is not None)
    written = made(folder, template, called)
    for path in written:
        click.echo(f"wrote {path}")
    click.echo("next:")
    if folder.resolve() != Path.cwd():
        click.echo(f"  cd {directory}")
    for command in _TEMPLATES[template].next:
        click.echo(f"  {command.replace('NAME', called)}")


def _name(text: str, *, given: bool) -> str:
    """Return a name that fits everywhere: in files, packages and entry points."""
    fitting = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    fitting = fitting if fitting[:1].isalpha() else f"my-{fitting}".rstrip("-")
    if given and fitting != text:
        problem = f"--name {text!r} does not fit everywhere"
        raise CommandError(problem, f"use letters, digits and `-`, for example {fitting!r}")
    return fitting


def made(folder: Path, template: str, name: str) -> list[Path]:
    """Write a template into *folder*, which is made when it is missing; return the paths.

    Raises:
        CommandError: A file is there already, or the folder cannot be written; nothing was
            written in the first case.
    """
    package = name.replace("-", "_")
    source = files("wfe.host.cli").joinpath("templates", template)
    contents = {
        folder / path.replace("PACKAGE", package): _filled(text, name, package)
        for path, text in _files(source, "")
    }
    there = [str(path) for path in contents if path.exists() or path.is_symlink()]
    if there:
        problem = f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already"
        raise CommandError(problem, "nothing was written; name another directory: wfe init DIR")
    try:
        for path, text in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        problem = f"{str(error.filename or folder)!r} cannot be written: {error.strerror}"
        raise CommandError(problem, "name another directory: wfe init DIR") from error
    return list(contents)


def _filled(text: str, name: str, package: str) -> str:
    return re.sub(r"\bNAME\b", name, re.sub(r"\bPACKAGE\b", package, text))


def _files(folder: Traversable, before: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a template: the path they get, and what is in them."""
    for each in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if each.is_dir():
            yield from _files(each, f"{before}{each.name}/")
        elif each.name.endswith(_SUFFIX):
            yield before + each.name.removesuffix(_SUFFIX), each.read_text(encoding="utf-8")
