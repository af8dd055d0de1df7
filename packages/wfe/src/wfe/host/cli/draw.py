"""``wfe graph``: a workflow as a diagram."""

from __future__ import annotations

import click

from wfe.core.definition import WorkflowDefinition
from wfe.host.cli import store
from wfe.host.cli.completing import completed_by
from wfe.host.cli.references import found
from wfe.host.cli.sources import Given, chosen, is_source, load_source
from wfe.host.cli.stored import definition_of, family
from wfe.host.graph import mermaid
from wfe.host.host import WorkflowHost

__all__ = ["graph"]


@click.command(short_help="Draw a workflow as a Mermaid diagram.")
@click.argument("what", metavar="FILE|RUN")
@click.option(
    "--workflow",
    metavar="ID",
    shell_complete=completed_by("workflows_of_file"),
    help="Only this workflow of the file.",
)
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid"]),
    default="mermaid",
    show_default=True,
    help="The language of the diagram.",
)
@store.DB
def graph(
    what: str,
    workflow: str | None,
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    form: str,  # noqa: ARG001 - there is one
    db: str,
) -> None:
    """Draw the workflows of FILE, or the one that RUN follows, as a Mermaid diagram."""
    if is_source(what):
        loaded = load_source(what, Given(assignments=variables, files=vars_files))
        wanted = loaded.definitions if workflow is None else (chosen(loaded, workflow),)
    else:
        wanted = store.on_store(db, lambda host: _of_run(host, what))
    click.echo(mermaid(*wanted), nl=False)


async def _of_run(host: WorkflowHost, reference: str) -> tuple[WorkflowDefinition, ...]:
    instance = await found(host, reference)
    return tuple((await family(host, await definition_of(host, instance.id))).values())
