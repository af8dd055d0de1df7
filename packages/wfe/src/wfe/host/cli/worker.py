"""``wfe worker``: drive the runs of a store, until told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Iterable
from typing import Any, Final

import click

from wfe.core.definition import WorkflowDefinition
from wfe.core.errors import DefinitionConflictError
from wfe.core.models import LifecycleEvent
from wfe.host.cli import settings, store
from wfe.host.cli.errors import CommandError, Exit, complain, log_to_stderr
from wfe.host.cli.preflight import secrets_from, with_own_labels
from wfe.host.cli.sources import Given, load_source
from wfe.host.cli.spans import read_span
from wfe.host.host import WorkflowHost

__all__ = ["worker"]

_TOLD: Final = {
    "workflow_started": "▶",
    "workflow_completed": "✔",
    "workflow_failed": "✗",
    "workflow_suspended": "⏸",
    "workflow_terminated": "■",
}


@click.command(short_help="Drive the runs of a store, until told to stop.")
@click.argument("sources", nargs=-1, required=True, metavar="MODULE_OR_FILE...")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@settings.CONFIG
@click.option("--secrets-file", metavar="FILE", help="Secrets as NAME=VALUE lines, or a map.")
@click.option("--name", metavar="NAME", help="Shown to operators; default: wfe-worker.")
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="What this machine can do.")
@click.option("--max-steps", type=click.IntRange(min=1), help="Steps that run at a time.")
@click.option(
    "--grace",
    default="30s",
    show_default=True,
    metavar="TIME",
    help="How long running steps may go on when the worker is told to stop.",
)
@click.option(
    "--supersede",
    is_flag=True,
    help="Let changed definitions under an old version replace it for new runs.",
)
@click.option("--quiet", is_flag=True, help="Print no line for each run.")
@store.DB
@settings.providers
def worker(  # noqa: PLR0913, PLR0917 - the options of the command
    sources: tuple[str, ...],
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    secrets_file: str | None,
    name: str | None,
    labels: tuple[str, ...],
    max_steps: int | None,
    grace: str,
    supersede: bool,
    quiet: bool,
    db: str,
) -> int:
    """Drive every run of the store whose definition stands in MODULE_OR_FILE.

    A worker takes runs that others started, and those of dead workers. Any number of them may work
    on one store. At the first SIGINT or SIGTERM it takes nothing new and lets running steps end
    (--grace); at the second it leaves at once; what it had is taken over by others.

    A definition that differs from the stored one of the same id and version is refused, unless
    --supersede is given.
    """
    told = settings.configuration()
    given = Given(assignments=variables, files=vars_files, config=told.variables)
    definitions = [each for one in sources for each in load_source(one, given).definitions]
    if not definitions:
        raise CommandError(f"there is no workflow in {', '.join(sources)}", "name another file")
    wanted: dict[str, Any] = {"name": name or told.settings.get("name", "wfe-worker")}
    wanted["strict_versions"] = not supersede and told.settings.get("strict_versions", True)
    required = {label for each in definitions for label in each.requires}
    known = (*labels, *told.settings.get("labels", ()))
    wanted["labels"] = with_own_labels(required, known)
    if max_steps is not None:
        wanted["max_steps"] = max_steps
    if secrets_file is not None:
        wanted["secrets"] = secrets_from(secrets_file)
    log_to_stderr()
    if not store.kept(db):
        problem = f"the store {db} lives in the memory of this process: nobody can start runs in it"
        raise CommandError(problem, "name a store that is kept, for example --db sqlite:///runs.db")
    patience = read_span(grace, "--grace").total_seconds()
    return asyncio.run(_work(db, definitions, wanted, patience, quiet=quiet))


async def _work(
    db: str,
    definitions: Iterable[WorkflowDefinition],
    wanted: dict[str, Any],
    grace: float,
    *,
    quiet: bool,
) -> int:
    host = await store.host_on(store.made(db), **wanted)
    host.register(*definitions)
    if not quiet:
        host.subscribe(_tell)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    try:
        await host.start()
    except DefinitionConflictError as error:
        hint = "or let this one replace it for new runs: wfe worker --supersede"
        raise CommandError(str(error), hint) from error
    gc.freeze()  # what starting made stays: no look for garbage goes through it again
    async with host:
        health = await host.health()
        ids = ", ".join(sorted({each.id for each in definitions}))
        shown = health["store"]
        complain(f"{wanted['name']} works on {shown['kind']} {shown['version']}: {ids}")
        await stop.wait()
        stop.clear()
        complain(f"stopping: running steps may end within {grace:g} s; again to leave at once")
        cancelled = await _stopped(host, grace, stop)
    ending = f"; {cancelled} step(s) were cancelled and will run again" if cancelled else ""
    complain(f"{wanted['name']} has stopped{ending}")
    return Exit.COMPLETE


async def _stopped(host: WorkflowHost, grace: float, stop: asyncio.Event) -> int:
    """Stop within *grace* seconds, or at once when told again."""
    again = asyncio.ensure_future(stop.wait())
    stopping = asyncio.ensure_future(host.stop(grace))
    try:
        await asyncio.wait({again, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            stopping.cancel()
            await asyncio.wait({stopping})
            return await host.stop(0)
        return stopping.result()
    finally:
        again.cancel()


def _tell(event: LifecycleEvent) -> None:
    glyph = _TOLD.get(event.kind)
    if glyph is not None:
        what = event.kind.removeprefix("workflow_")
        click.echo(f"{glyph} {what}  {event.definition}  {event.instance_id}")
