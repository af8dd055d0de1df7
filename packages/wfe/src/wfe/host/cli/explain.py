"""``wfe explain``: why a step ran, was skipped or waits; what a diagnostic's code means."""

from __future__ import annotations

import difflib
import sys

import click

from wfe.host.cli import store
from wfe.host.cli.completing import completed_by
from wfe.host.cli.diagnosing import code_page, is_code
from wfe.host.cli.earlier import remember
from wfe.host.cli.errors import CommandError
from wfe.host.cli.explaining import Case, of_run, of_step
from wfe.host.cli.model import Picture
from wfe.host.cli.painting import painted
from wfe.host.cli.references import found
from wfe.host.cli.result import now_utc
from wfe.host.cli.stored import definition_of, family
from wfe.host.host import WorkflowHost

__all__ = ["explain"]


@click.command(short_help="Tell why a step ran, was skipped, or waits.")
@click.argument("what", metavar="RUN|CODE", shell_complete=completed_by("runs"))
@click.argument("step", required=False, shell_complete=completed_by("steps_of_run"))
@store.DB
def explain(what: str, step: str | None, db: str) -> None:
    """Tell why each step of RUN (or one STEP) ran, was skipped, waits or has not begun.

    Conditions come with the values that they read, waits with what ends them, retries with the
    times of all attempts, past and to come.

    With the CODE of a diagnostic, such as WFE034: what it means and what to do.
    """
    if is_code(what):
        _page(code_page(what))
        return

    async def work(host: WorkflowHost) -> list[str]:
        case = await _case(host, what)
        if step is None:
            return of_run(case)
        return of_step(case, _named(case, step))

    for line in store.on_store(db, work):
        click.echo(painted(line))


async def _case(host: WorkflowHost, reference: str) -> Case:
    instance = await found(host, reference)
    definition = await definition_of(host, instance.id)
    picture = Picture(instance.id, await family(host, definition), definition.id)
    await remember(host, picture)
    return Case(
        instance=instance,
        definition=definition,
        picture=picture,
        history=tuple(await host.history(instance.id)),
        now=now_utc(),
    )


def _named(case: Case, name: str) -> str:
    """Return the step that *name* means: its name, or the key by which expressions read it."""
    names = {node.name: node.name for node in case.definition.walk()}
    keys = {str(node.config.get("key")): node.name for node in case.definition.walk()}
    if name in names or name in keys:
        return names.get(name) or keys[name]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"its steps: {', '.join(names)}"
    raise CommandError(f"workflow {case.definition.id!r} has no step {name!r}", hint)


def _page(text: str) -> None:
    if not sys.stdout.isatty():
        click.echo(text.rstrip())
        return
    from rich.console import Console  # noqa: PLC0415 - only for a terminal
    from rich.markdown import Markdown  # noqa: PLC0415 - likewise

    Console().print(Markdown(text, hyperlinks=False))
