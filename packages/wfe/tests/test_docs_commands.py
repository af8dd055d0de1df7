"""The page on the command line names every command and every option."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from wfe.host.cli.commands import wfe

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text(encoding="utf-8")


def commands(command: click.Command, path: str = "wfe") -> Iterator[tuple[str, click.Command]]:
    """Yield *command* and all below it, each with how it is called."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(below, f"{path} {name}")


ALL = dict(commands(wfe))


@pytest.mark.parametrize("path", ALL)
def test_the_page_names_it_with_its_options(path: str) -> None:
    options = [
        option
        for parameter in ALL[path].params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
        if option.startswith("--")
    ]

    assert f"`{path}" in PAGE
    assert [option for option in options if option not in PAGE] == []


def test_there_are_commands_below_commands() -> None:
    assert {"wfe run", "wfe schedule create", "wfe artifacts gc"} <= set(ALL)
