"""Which store a command works on, and that it exists."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import attrs
import click

from wfe.host.cli.errors import CommandError, log_to_stderr
from wfe.host.cli.settings import beside, configuration
from wfe.host.connect import DEFAULT_URL
from wfe.host.host import WorkflowHost

__all__ = [
    "DB",
    "GUEST",
    "existing",
    "exists",
    "host_on",
    "kept",
    "made",
    "masked",
    "on_new_store",
    "on_store",
    "option",
]

T = TypeVar("T")
_DATABASES: Final = ("postgres", "postgresql")
GUEST: Final[Mapping[str, Any]] = {"own_runs_only": True, "max_live": 0}
"""Options of a host that drives nothing: it is no worker, which others would have to watch."""


def _chosen_db(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
    if value or ctx.resilient_parsing:
        return value
    return configuration(ctx).urls.get("db", DEFAULT_URL)


DB: Final = click.option(
    "--db",
    metavar="URL",
    envvar="WFE_DB",
    callback=_chosen_db,
    show_default=DEFAULT_URL,
    help="The store, for example sqlite:///runs.db or postgresql://host/database.",
)
"""The option ``--db`` of every command."""


async def host_on(url: str, *, aside: Collection[str] = (), **options: Any) -> WorkflowHost:
    """Return a host over the store *url*, with what options and configuration say is beside it.

    Args:
        url: Secrets in it may be references.
        aside: What is left out though the configuration names it: ``search``, ``lifecycle``.
        **options: Of the host; they win over the configuration.

    Raises:
        ConfigError: No provider knows a secret that a URL names.
        PluginNotFoundError: No installed distribution handles a URL's scheme.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return WorkflowHost(url, **options)
    found = configuration(context)
    secrets = options.get("secrets") or list(found.secrets) or None
    urls = {**found.urls, **beside(context), "db": url}
    urls = {key: each for key, each in urls.items() if key not in aside}
    filled = await attrs.evolve(found, urls=urls).options(secrets)
    return WorkflowHost(**{**filled, **options})


def option(url: str) -> str:
    """Return what names the store on a command line, nothing for the default; no password."""
    import shlex  # noqa: PLC0415 - only for messages

    context = click.get_current_context(silent=True)
    usual = DEFAULT_URL if context is None else configuration(context).urls.get("db", DEFAULT_URL)
    return "" if url == usual else f" --db {shlex.quote(masked(url))}"


def masked(text: str) -> str:
    """Return *text* without the passwords of the URLs in it."""
    text = re.sub(r"(?<=://)([^/@:\s]*):[^/\s]*@", r"\1:***@", text)  # to the last @
    return re.sub(r"(?<=[?&])(password|sslpassword)=[^&]*", r"\1=***", text)


def _file(url: str) -> Path | None:
    """Return the file of a SQLite URL, ``None`` for other stores and for one in memory."""
    if not url.startswith("sqlite:"):
        return None
    path = unquote(urlsplit(url).path).removeprefix("/")
    return Path(path) if path not in {"", ":memory:"} else None


def kept(url: str) -> bool:
    """Whether what is stored at *url* outlives the process."""
    scheme = url.partition(":")[0]
    return scheme != "memory" and (scheme != "sqlite" or _file(url) is not None)


def made(url: str) -> str:
    """Make the directory of the default store, and return *url*.

    Raises:
        CommandError: The directory cannot be made.
    """
    file = _file(url)
    if file is None or url != DEFAULT_URL:
        return url
    try:
        file.parent.mkdir(exist_ok=True)
        ignore = file.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
    except OSError as error:
        problem = (
            f"the directory {str(file.parent)!r} for the store cannot be made: {error.strerror}"
        )
        raise CommandError(problem, "name a store elsewhere with --db") from error
    return url


def existing(url: str) -> str:
    """Return what opens the store *url* if it exists; nothing is made.

    Raises:
        CommandError: There is none.
    """
    file = _file(url)
    if file is None:
        if not kept(url):
            problem = f"the store {url} lives in the memory of one process and has no runs"
            raise CommandError(
                problem, "name a store that is kept, for example --db sqlite:///runs.db"
            )
        if url.partition(":")[0] in _DATABASES:  # of servers, which are believed to be there
            return f"{url}{'&' if '?' in url else '?'}create=off"
        return url
    if not file.is_file():
        problem = f"there is no store at {str(file)!r}"
        hint = "run a workflow first, or name another store with --db"
        raise CommandError(problem, hint)
    return url


def exists(url: str) -> bool:
    """Whether there is a store at *url*; servers are believed to be there."""
    file = _file(url)
    return kept(url) if file is None else file.is_file()


def on_store(
    url: str,
    work: Callable[[WorkflowHost], Awaitable[T]],
    *,
    aside: Collection[str] = ("search", "lifecycle"),
) -> T:
    """Run *work* on a host that drives nothing, over a store that exists.

    Args:
        url: Of the store.
        work: Gets the host.
        aside: As of :func:`host_on`: their drivers take long to import.

    Raises:
        CommandError: The store does not exist.
    """

    async def opened() -> T:
        async with await host_on(existing(url), aside=aside, name="wfe-cli", **GUEST) as host:
            return await work(host)

    log_to_stderr()
    return asyncio.run(opened())


def on_new_store(url: str, work: Callable[[WorkflowHost], Awaitable[T]]) -> T:
    """Run *work* on a host that drives nothing, over a store that is made if need be.

    Raises:
        CommandError: The store lives in the memory of this process.
    """
    if not kept(url):
        problem = f"the store {url} lives in the memory of one process: the schedule would be lost"
        raise CommandError(problem, "name a store that is kept, for example --db sqlite:///runs.db")

    async def opened() -> T:
        async with await host_on(made(url), name="wfe-cli", **GUEST) as host:
            return await work(host)

    log_to_stderr()
    return asyncio.run(opened())
