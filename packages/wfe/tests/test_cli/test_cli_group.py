"""The group: help, unknown and foreign sub-commands, errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import click
import pytest

from wfe.core import plugins
from wfe.core.errors import WfeError
from wfe.host.cli.commands import _COMMANDS  # pyright: ignore[reportPrivateUsage]

Wfe: TypeAlias = Callable[..., Any]


def test_without_arguments_there_is_help(wfe: Wfe) -> None:
    ended = wfe()

    assert ended.code == 0
    assert ended.out.startswith("Usage: wfe [OPTIONS] COMMAND") or ended.out.startswith(
        "Usage: wfe "
    )
    assert re.search(r"^  terminate +End a run\.$", ended.out, re.MULTILINE)


def test_every_listed_command_has_help(wfe: Wfe) -> None:
    for name in _COMMANDS:
        assert wfe(name, "--help").out.startswith(f"Usage: wfe {name} ")


def test_an_unknown_command_suggests_the_nearest(wfe: Wfe) -> None:
    ended = wfe("rnu")

    assert ended.code == 2
    assert ended.err.endswith("Error: no such command 'rnu'; did you mean 'run'?\n")


def test_version(wfe: Wfe) -> None:
    assert re.fullmatch(r"wfe \d+\.\d+\.\d+\S*\n", wfe("--version").out)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[str]]:
    """Offer an object as the sub-command ``extra``; the list says when it was loaded."""
    loads: list[str] = []

    def offer(found: Any) -> list[str]:
        def load(_group: str, name: str) -> Any:
            loads.append(name)
            return found

        def installed(group: str) -> tuple[str, ...]:
            return ("extra",) if group == "wfe.cli" else ()

        def described(_group: str) -> list[tuple[str, str, str]]:
            return [("extra", "wfe-extra 1.0", "x:y")]

        monkeypatch.setattr(plugins, "installed", installed)
        monkeypatch.setattr(plugins, "described", described)
        monkeypatch.setattr(plugins, "load", load)
        return loads

    return offer


def test_a_foreign_command_is_listed_without_being_loaded(
    wfe: Wfe, offered: Callable[[Any], list[str]]
) -> None:
    loads = offered(click.Command("extra"))

    assert re.search(r"^  extra +\(from wfe-extra 1\.0\)$", wfe().out, re.MULTILINE)
    assert loads == []


def test_a_foreign_command_runs(wfe: Wfe, offered: Callable[[Any], list[str]]) -> None:
    offered(click.Command("extra", callback=lambda: click.echo("extra runs")))

    assert wfe("extra") == (0, "extra runs\n", "")


def test_a_foreign_object_that_is_no_command_is_named(
    wfe: Wfe, offered: Callable[[Any], list[str]]
) -> None:
    offered(17)

    assert wfe("extra") == (
        2,
        "",
        (
            "error: the plugin 'extra' (group 'wfe.cli') is 17, not a click command\n"
            "  update or remove the distribution that brings it\n"
        ),
    )


def _raises(error: BaseException) -> click.Command:
    def callback() -> None:
        raise error

    return click.Command("extra", callback=callback)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (WfeError("that is wrong"), (2, "", "error: that is wrong\n")),
        (
            PermissionError(13, "Permission denied", "x.db"),
            (2, "", "error: x.db: Permission denied\n"),
        ),
        (
            RuntimeError("oops"),
            (
                1,
                "",
                (
                    "error: RuntimeError: oops\n"
                    "  this is a mistake in wfe or a plugin;"
                    " run again with WFE_DEBUG=1 to see where\n"
                ),
            ),
        ),
        (KeyboardInterrupt(), (130, "", "\n")),
        (click.exceptions.Abort(), (130, "", "")),
    ],
)
def test_no_error_shows_a_traceback(
    wfe: Wfe, offered: Callable[[Any], list[str]], error: BaseException, ended: tuple[int, str, str]
) -> None:
    offered(_raises(error))

    assert wfe("extra") == ended


def test_wfe_debug_shows_the_traceback(
    wfe: Wfe, offered: Callable[[Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(_raises(RuntimeError("oops")))
    monkeypatch.setenv("WFE_DEBUG", "1")

    assert "Traceback (most recent call last)" in wfe("extra").err
