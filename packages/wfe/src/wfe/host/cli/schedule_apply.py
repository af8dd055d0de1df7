"""``wfe schedule apply``: make the schedules that a workflow file declares."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import click

from wfe.core.models import to_micros
from wfe.core.schedules import Overlap, Schedule
from wfe.host.cli import store
from wfe.host.cli.control import actor
from wfe.host.cli.sources import Given, Loaded, load_source
from wfe.host.host import WorkflowHost

if TYPE_CHECKING:
    from wfe.yaml.triggers import CronTrigger

__all__ = ["apply"]

Change: TypeAlias = Literal["created", "changed", "unchanged", "deleted", "left"]

_WORDS: Final = {
    "created": "created",
    "changed": "changed",
    "unchanged": "is so already",
    "deleted": "deleted",
    "left": "is no longer in the file (--prune deletes it)",
}


@click.command(short_help="Make the schedules that a workflow file declares.")
@click.argument("file")
@click.option("-v", "variables", multiple=True, metavar="NAME=VALUE", help="A value for ((NAME)).")
@click.option(
    "--vars-file", "vars_files", multiple=True, metavar="FILE", help="Values for ((NAME))s."
)
@click.option("--prune", is_flag=True, help="Delete schedules that the file no longer has.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store.DB
def apply(
    file: str,
    variables: tuple[str, ...],
    vars_files: tuple[str, ...],
    prune: bool,
    as_json: bool,
    db: str,
) -> None:
    """Make the schedules that the `triggers` of the workflows in FILE declare.

    A schedule is called WORKFLOW.NAME; doing it again changes only what the file changed.  Webhook
    and event triggers are for a server and are not looked at.
    """
    loaded = load_source(file, Given(assignments=variables, files=vars_files))
    wanted = {trigger.id: trigger for trigger in _triggers(loaded)}

    async def work(host: WorkflowHost) -> list[tuple[str, Change]]:
        host.register(*loaded.definitions)
        known = await _known(host, loaded)
        done: list[tuple[str, Change]] = [
            (id, await _applied(host, trigger, known.get(id))) for id, trigger in wanted.items()
        ]
        for id in known:
            if id not in wanted:
                if prune:
                    await host.schedules.delete(id)
                done.append((id, "deleted" if prune else "left"))
        return done

    done = store.on_new_store(db, work)
    if as_json:
        rows = [{"schedule": id, "change": change} for id, change in done]
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    for id, change in done:
        click.echo(f"schedule {id} {_WORDS[change]}")
    if not done:
        click.echo(f"{file} has no cron triggers")


def _triggers(loaded: Loaded) -> list[CronTrigger]:
    from wfe.yaml.triggers import cron_triggers  # noqa: PLC0415 - the plugin

    return [
        trigger
        for definition in loaded.definitions
        if "triggers" in definition.meta
        for trigger in cron_triggers(definition)
    ]


async def _known(host: WorkflowHost, loaded: Loaded) -> dict[str, Schedule]:
    """Return the stored schedules that bear the names of the file's workflows."""
    ids = dict.fromkeys(definition.id for definition in loaded.definitions)
    found = [each for id in ids for each in await host.schedules.find(id)]
    return {each.id: each for each in found if each.id.startswith(f"{each.definition}.")}


async def _applied(host: WorkflowHost, trigger: CronTrigger, known: Schedule | None) -> Change:
    if known is not None and _same(known, trigger):
        return "unchanged"
    await host.schedules.create(
        trigger.id,
        trigger.definition.id,
        trigger.data,
        cron=trigger.cron,
        timezone=trigger.timezone,
        overlap=cast("Overlap", trigger.overlap),
        catch_up=trigger.catch_up,
        jitter=timedelta(microseconds=trigger.jitter),
        actor=actor(),
        on_conflict="replace",
    )
    return "created" if known is None else "changed"


def _same(known: Schedule, trigger: CronTrigger) -> bool:
    stored = (known.cron, known.timezone, known.overlap, known.catch_up, to_micros(known.jitter))
    written = (
        trigger.cron,
        trigger.timezone,
        trigger.overlap,
        trigger.catch_up,
        trigger.jitter,
    )
    return stored == written and known.data == trigger.data
