"""``wfe approvals``, ``activities``, ``definitions``, ``pause``, ``unpause``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from wfe.core.models import Approval, OpenActivity, StoredDefinition
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.drawing import duration
from wfe.host.cli.references import found
from wfe.host.cli.result import now_utc, plain, short
from wfe.host.host import WorkflowHost

__all__ = ["activities", "approvals", "definitions", "pause", "unpause"]

_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def _print(rows: Sequence[dict[str, Any]]) -> None:
    click.echo(json.dumps(plain(rows), ensure_ascii=False, indent=2))


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo(safe("  ".join(cells).rstrip()))


def _ago(when: datetime) -> str:
    return f"for {duration((now_utc() - when).total_seconds())}"


@click.command(short_help="List the questions that wait for an answer.")
@click.option(
    "--definition",
    metavar="ID",
    shell_complete=completed_by("definitions"),
    help="Only of runs of this workflow.",
)
@_JSON
@store.DB
def approvals(definition: str | None, as_json: bool, db: str) -> None:
    """List the questions that runs ask, the longest-waiting first."""
    found_ = store.on_store(db, lambda host: host.approvals(definition))
    if as_json:
        _print([_approval_json(each) for each in found_])
    elif found_:
        _table(
            [
                (
                    each.run_name,
                    each.step,
                    _ago(each.since),
                    "|".join(each.options),
                    short(each.prompt),
                )
                for each in found_
            ]
        )
    else:
        click.echo("no approvals")


def _approval_json(each: Approval) -> dict[str, Any]:
    return {
        "run": each.run_id,
        "name": each.run_name,
        "definition": each.definition,
        "step": each.step,
        "pointer": each.pointer,
        "prompt": each.prompt,
        "options": list(each.options),
        "since": each.since,
    }


@click.command(short_help="List the activities that are not done.")
@click.option("--run", metavar="RUN", help="Only of this run.")
@_JSON
@store.DB
def activities(run: str | None, as_json: bool, db: str) -> None:
    """List the activities that external workers have not done yet, oldest first."""

    async def work(host: WorkflowHost) -> list[OpenActivity]:
        return await host.activities.find(None if run is None else (await found(host, run)).id)

    rows = store.on_store(db, work)
    if as_json:
        _print([_activity_json(each) for each in rows])
    elif rows:
        _table([(each.run_name, each.name, _state(each), _details(each)) for each in rows])
    else:
        click.echo("no activities")


def _state(each: OpenActivity) -> str:
    if each.claimed:
        return f"claimed by {each.worker}"
    return "waiting" if each.worker is None else f"given up by {each.worker}"


def _details(each: OpenActivity) -> str:
    if each.claimed and each.progress is not None:
        return short(each.progress)
    return short(each.parameters) if each.parameters is not None else ""


def _activity_json(each: OpenActivity) -> dict[str, Any]:
    return {
        "run": each.run_id,
        "run_name": each.run_name,
        "name": each.name,
        "pointer": each.pointer,
        "attempt": each.attempt,
        "parameters": each.parameters,
        "worker": each.worker,
        "claimed": each.claimed,
        "lease_until": each.lease_until,
        "progress": each.progress,
    }


@click.command(short_help="List the stored definitions.")
@click.argument("definition", required=False, shell_complete=completed_by("definitions"))
@_JSON
@store.DB
def definitions(definition: str | None, as_json: bool, db: str) -> None:
    """List the stored definitions, all or those of one id, and how many runs follow each."""
    rows = store.on_store(db, lambda host: host.definitions(definition))
    if as_json:
        _print([_definition_json(each) for each in rows])
    elif rows:
        _table(
            [
                (
                    f"{each.id}@{each.version}",
                    f"#{each.hash[:12]}",
                    "current" if each.current else "",
                    f"{each.running} running" if each.running else "",
                )
                for each in rows
            ]
        )
    else:
        click.echo("no definitions")


def _definition_json(each: StoredDefinition) -> dict[str, Any]:
    return {
        "id": each.id,
        "version": each.version,
        "hash": each.hash,
        "current": each.current,
        "running": each.running,
    }


@click.command(short_help="Begin no step of any run of a workflow.")
@click.argument("definition", shell_complete=completed_by("definitions"))
@store.DB
def pause(definition: str, db: str) -> None:
    """Begin no step of any run of DEFINITION, on all hosts, until `wfe unpause`."""

    async def work(host: WorkflowHost) -> bool:
        return await host.pause_definition(definition)

    new = store.on_store(db, work)
    click.echo(f"{definition} is paused" if new else f"{definition} was paused already")


@click.command(short_help="Lift the pause of a workflow.")
@click.argument("definition", shell_complete=completed_by("definitions"))
@store.DB
def unpause(definition: str, db: str) -> None:
    """Lift the pause of DEFINITION."""

    async def work(host: WorkflowHost) -> bool:
        return await host.resume_definition(definition)

    changed = store.on_store(db, work)
    click.echo(f"{definition} goes on" if changed else f"{definition} was not paused")
