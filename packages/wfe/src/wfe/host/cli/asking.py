"""``wfe update`` and ``wfe query``: call the handlers of a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from wfe.core.definition import WorkflowDefinition
from wfe.host.cli import store
from wfe.host.cli.control import actor, parsed
from wfe.host.cli.errors import CommandError, log_to_stderr
from wfe.host.cli.references import found, run_argument
from wfe.host.cli.result import to_json
from wfe.host.cli.sources import load_source
from wfe.host.cli.spans import read_span
from wfe.host.cli.stored import definition_of, family, runnable
from wfe.host.host import WorkflowHost

__all__ = ["query", "update"]

_DATA = click.option("--data", "text", metavar="JSON", help="What the handler gets.")


@click.command(short_help="Have a handler of a run change it.")
@run_argument
@click.argument("name")
@_DATA
@click.option("--timeout", metavar="TIME", help="Longest wait for the answer, such as 30s or 5m.")
@store.DB
def update(run: str, name: str, text: str | None, timeout: str | None, db: str) -> None:
    """Have the update handler NAME of RUN change it, and print what it returns as JSON.

    Whoever drives the run does it; without --timeout the command waits until somebody does. The
    update is stored, and done also when nobody waits any more.
    """
    data = parsed(text)
    longest = None if timeout is None else read_span(timeout, "--timeout")

    async def work(host: WorkflowHost) -> Any:
        id_ = (await found(host, run)).id
        try:
            return await host.update(id_, name, data, timeout=longest, actor=actor())
        except TimeoutError:
            hint = f"it is stored; where no host drives the run: wfe run --resume {id_}"
            problem = f"run {id_} did not answer update {name!r} within {timeout}"
            raise CommandError(problem, hint + store.option(db), 3) from None

    click.echo(to_json(store.on_store(db, work)))


@click.command(short_help="Ask a query handler of a run.")
@run_argument
@click.argument("name")
@click.argument("source", metavar="FILE|MODULE")
@_DATA
@store.DB
def query(run: str, name: str, source: str, text: str | None, db: str) -> None:
    """Ask the query handler NAME of RUN and print its answer as JSON; nothing changes.

    A handler is code: FILE (or package.module:NAME) is where the run's definition comes from.
    """
    data = parsed(text)
    loaded = load_source(source)
    by_id = {each.id: each for each in loaded.definitions}
    origin = loaded.name if Path(loaded.name).exists() else None

    async def stored(host: WorkflowHost) -> tuple[str, list[WorkflowDefinition]]:
        id_ = (await found(host, run)).id
        known = await family(host, await definition_of(host, id_))
        return id_, [runnable(each, by_id.get(key), origin) for key, each in known.items()]

    id_, definitions = store.on_store(db, stored)

    async def work() -> Any:
        host = await store.host_on(store.existing(db), name="wfe-cli", **store.GUEST)
        host.register(*definitions)
        async with host:
            return await host.query(id_, name, data)

    log_to_stderr()
    click.echo(to_json(asyncio.run(work())))
