"""``wfe completion``: what a shell needs to complete commands, options, runs and workflows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class, split_arg_string

from wfe.host.connect import DEFAULT_URL

if TYPE_CHECKING:
    from wfe.host.host import WorkflowHost

__all__ = ["completion", "definitions", "runs", "steps_of_run", "workflows_of_file"]

_MOST: Final = 50
_SHELLS: Final = {
    "bash": 'eval "$(wfe completion bash)"  # in ~/.bashrc',
    "zsh": 'eval "$(wfe completion zsh)"  # in ~/.zshrc, after compinit',
    "fish": "wfe completion fish > ~/.config/fish/completions/wfe.fish",
}


@click.command(short_help="Print the completion of a shell.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
def completion(shell: str) -> None:
    r"""Print what SHELL needs to complete `wfe`: commands, options, runs, workflows, steps.

    \b
    bash:  eval "$(wfe completion bash)"     in ~/.bashrc
    zsh:   eval "$(wfe completion zsh)"      in ~/.zshrc, after compinit
    fish:  wfe completion fish > ~/.config/fish/completions/wfe.fish
    """
    from wfe.host.cli.commands import wfe  # noqa: PLC0415 - it imports this module by name

    found = get_completion_class(shell)
    if found is None:  # pragma: no cover - click knows the three
        raise click.UsageError(f"no completion for {shell}")
    click.echo(found(wfe, {}, "wfe", "_WFE_COMPLETE").source())


def _url(ctx: click.Context) -> str:
    from wfe.host.cli.settings import configuration  # noqa: PLC0415 - only for a shell that asks

    return str(ctx.params.get("db") or configuration(ctx).urls.get("db", DEFAULT_URL))


def _asked(ctx: click.Context, ask: Callable[[WorkflowHost], Awaitable[list[Any]]]) -> list[Any]:
    """Ask the store, quickly and quietly: completing a word must never print an error."""
    from wfe.core.errors import WfeError  # noqa: PLC0415 - only for a shell that asks
    from wfe.host.cli import store  # noqa: PLC0415

    async def work() -> list[Any]:
        async with await store.host_on(
            store.existing(_url(ctx)), name="wfe-completion", **store.GUEST
        ) as host:
            return await ask(host)

    try:
        return asyncio.run(work())
    except (WfeError, OSError):
        return []


def _items(rows: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    fitting = [(word, about) for word, about in rows if word.startswith(incomplete)]
    return [CompletionItem(word, help=about) for word, about in fitting]


def runs(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the newest runs by id, those with a name of their own by name, and ``last``."""

    async def ask(host: WorkflowHost) -> list[Any]:
        return list((await host.find(limit=_MOST)).items)

    found = _asked(ctx, ask)
    rows = [("last", "the newest run")] if found else []
    rows += [(each.id, f"{each.name}, {each.status}") for each in found if each.parent_id is None]
    named = (each for each in found if not each.name.startswith(f"{each.definition}-"))
    rows += [(each.name, f"{each.definition}, {each.status}") for each in named]
    return _items(rows, incomplete)


def definitions(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the ids of the stored definitions."""

    async def ask(host: WorkflowHost) -> list[Any]:
        return await host.definitions()

    ids = dict.fromkeys(each.id for each in _asked(ctx, ask))
    return _items(((id_, "") for id_ in ids), incomplete)


def _typed(ctx: click.Context) -> str | None:
    """Return the first word after the command of a line that click cannot read yet.

    An option lacks its word, the one that is asked for, so click gives up before the arguments.
    """
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    if ctx.info_name not in words:
        return None
    after = words[words.index(ctx.info_name) + 1 :]
    return next((word for word in after if not word.startswith("-")), None)


def steps_of_run(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the steps of the run that stands on the command line."""
    reference = ctx.params.get("run") or ctx.params.get("what") or _typed(ctx) or "last"

    async def ask(host: WorkflowHost) -> list[Any]:
        from wfe.host.cli.references import found  # noqa: PLC0415 - it imports this module
        from wfe.host.cli.stored import definition_of  # noqa: PLC0415

        definition = await definition_of(host, (await found(host, reference)).id)
        return [(node.name, node.kind.value) for node in definition.walk()]

    return _items(_asked(ctx, ask), incomplete)


def workflows_of_file(ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Return the ids of the workflows in the file that stands on the command line."""
    from wfe.core.errors import WfeError  # noqa: PLC0415 - only for a shell that asks
    from wfe.host.cli.sources import load_source  # noqa: PLC0415

    file = ctx.params.get("file") or ctx.params.get("what") or _typed(ctx)
    if not isinstance(file, str) or not Path(file).is_file():
        return []
    try:
        loaded = load_source(file)
    except (WfeError, OSError):
        return []
    rows = ((each.id, str(each.meta.get("description", ""))) for each in loaded.definitions)
    return _items(rows, incomplete)
