"""What stands beside a command's store: its options, and the configuration under them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from wfe.host.config import HostConfig, read_config

__all__ = ["CONFIG", "SEARCH", "beside", "configuration", "given", "providers"]

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN: Final = "wfe.given"
_READ: Final = "wfe.configuration"
_BESIDE: Final = {
    "queue": "Who passes hints between hosts, for example valkey://host; default: the store.",
    "lock": "Who knows which hosts live, for example valkey://host; default: the store.",
    "search": "The search index, for example opensearch://host:9200; default: the store.",
    "lifecycle": "Where lifecycle events are published, for example valkey://host.",
}


def _remember(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value


CONFIG: Final = click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_remember,
    help="The configuration; default: wfe.config.yaml in the working directory, if it is there.",
)
"""The option ``--config``; what it says is read by :func:`configuration`."""


def providers(command: F) -> F:
    """Give *command* the options ``--queue --lock --search --lifecycle``; see :func:`beside`."""
    for name in reversed(_BESIDE):
        command = _option(name)(command)
    return command


def _option(name: str) -> Callable[[F], F]:
    return click.option(
        f"--{name}",
        metavar="URL",
        envvar=f"WFE_{name.upper()}",
        expose_value=False,
        callback=_remember,
        help=_BESIDE[name],
    )


SEARCH: Final = _option("search")
"""The option ``--search`` alone; see :func:`beside`."""


def beside(ctx: click.Context) -> dict[str, str]:
    """Return the URLs that the options of :func:`providers` were given, by name."""
    found: dict[str, str] = ctx.meta.get(_GIVEN, {})
    return {name: found[name] for name in _BESIDE if name in found}


def given(ctx: click.Context, name: str) -> Any:
    """Return the value of the option *name*, those of this module too."""
    found: dict[str, str] = ctx.meta.get(_GIVEN, {})
    return found[name] if name in found else ctx.params[name]


def configuration(ctx: click.Context | None = None) -> HostConfig:
    """Return what the configuration file and the environment say, read once a command.

    Raises:
        ConfigError: Something in them is wrong.
    """
    meta = (ctx or click.get_current_context()).meta
    found: HostConfig | None = meta.get(_READ)
    if found is None:
        found = meta[_READ] = read_config(meta.get(_GIVEN, {}).get("config"))
    return found
