"""``wfe list``, ``show`` and ``history``: what a store knows of its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from wfe.core.models import ErrorInfo, HistoryEntry, WorkflowInstance, WorkflowStatus
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.drawing import STATUS_GLYPHS, duration, tree
from wfe.host.cli.earlier import remember
from wfe.host.cli.model import Picture
from wfe.host.cli.painting import painted
from wfe.host.cli.references import every_run, found, run_argument
from wfe.host.cli.result import now_utc, outputs, plain, short, to_json
from wfe.host.cli.stored import definition_of, family
from wfe.host.cli.visits import error_text
from wfe.host.host import WorkflowHost

__all__ = ["history", "list_runs", "show", "summary_json", "table"]

_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")


@click.command("list", short_help="List runs, newest first.")
@click.option(
    "--status", type=click.Choice([status.value for status in WorkflowStatus]), help="Only these."
)
@click.option(
    "--definition",
    metavar="ID",
    shell_complete=completed_by("definitions"),
    help="Only runs of this workflow.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most.")
@click.option("--all", "everything", is_flag=True, help="Sub-workflow runs too.")
@_JSON
@store.DB
def list_runs(
    status: str | None,
    definition: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
    db: str,
) -> None:
    """List runs, newest first."""
    wanted = None if status is None else WorkflowStatus(status)

    async def work(host: WorkflowHost) -> list[WorkflowInstance[Any]]:
        runs: list[WorkflowInstance[Any]] = []
        async for run in every_run(host, status=wanted, definition=definition):
            if everything or run.parent_id is None:
                runs.append(run)
            if len(runs) == limit:
                break
        return runs

    runs = store.on_store(db, work)
    if as_json:
        click.echo(json.dumps([summary_json(run) for run in runs], ensure_ascii=False, indent=2))
    elif runs:
        table(runs)
    else:
        click.echo("no runs")


def table(runs: Sequence[WorkflowInstance[Any]]) -> None:
    """Print one line for each run."""
    now = now_utc()
    names = [_called(run) for run in runs]
    width = max(len(name) for name in names)
    for run, name in zip(runs, names, strict=True):
        took = duration(((run.completed_at or now) - run.created_at).total_seconds())
        status = f"{STATUS_GLYPHS[run.status]} {run.status}"
        line = f"{run.id}  {status:<12}  {name:<{width}}  {_local(run.created_at)}  {took}"
        click.echo(safe(line))


def _called(run: WorkflowInstance[Any]) -> str:
    own = run.name.startswith(f"{run.definition}-")
    return run.name if own else f"{run.definition} ({run.name})"


def _local(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S}"


def summary_json(run: WorkflowInstance[Any]) -> dict[str, Any]:
    """Return what a list says of a run."""
    return {
        "id": run.id,
        "name": run.name,
        "definition": run.definition,
        "version": run.version,
        "status": run.status.value,
        "reference": run.reference,
        "created_at": run.created_at.isoformat(),
        "completed_at": None if run.completed_at is None else run.completed_at.isoformat(),
        "parent_id": run.parent_id,
        "root_id": run.root_id,
        "error": _error_json(run.error),
    }


def _error_json(error: ErrorInfo | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"type": error.type, "message": error.message, "step": error.step}


# -- show


@click.command(short_help="Show one run: its steps, its error, its outputs.")
@run_argument
@_JSON
@store.DB
def show(run: str, as_json: bool, db: str) -> None:
    """Show RUN: its steps with their states and durations, its error, its outputs."""

    async def work(host: WorkflowHost) -> list[str]:
        instance = await found(host, run)
        definition = await definition_of(host, instance.id)
        if as_json:
            return [json.dumps(_instance_json(instance, definition), ensure_ascii=False, indent=2)]
        picture = Picture(instance.id, await family(host, definition), definition.id)
        await remember(host, picture)
        steps = [f"  {line}" for line in tree(picture, now_utc())]
        return [*_header(instance), *steps, *_outputs(instance, definition)]

    for line in store.on_store(db, work):
        click.echo(line if as_json else painted(line))


def _header(run: WorkflowInstance[Any]) -> list[str]:
    end = run.completed_at or now_utc()
    took = duration((end - run.created_at).total_seconds())
    rows = [
        ("run", run.id),
        ("name", run.name),
        ("workflow", f"{run.definition} v{run.version}"),
        ("status", f"{STATUS_GLYPHS[run.status]} {run.status}"),
        ("started", f"{_local(run.created_at)}, {'took' if run.completed_at else 'for'} {took}"),
        ("parent", run.parent_id),
        ("error", _error_text(run.error)),
    ]
    return [f"{label:<9} {value}" for label, value in rows if value]


def _error_text(error: ErrorInfo | None) -> str | None:
    if error is None:
        return None
    text = error_text(error.type, error.message)
    return f"{error.step}: {text}" if error.step else text


def _outputs(run: WorkflowInstance[Any], definition: Any) -> list[str]:
    given = outputs(run.data, definition) if run.status is WorkflowStatus.COMPLETE else {}
    width = max((len(name) for name in given), default=0)
    lines = [f"  {name:<{width}}  {short(value)}" for name, value in given.items()]
    return ["outputs", *lines] if lines else []


def _instance_json(run: WorkflowInstance[Any], definition: Any) -> dict[str, Any]:
    complete = run.status is WorkflowStatus.COMPLETE
    return {
        **summary_json(run),
        "data": plain(run.data),
        "outputs": outputs(run.data, definition) if complete else {},
        "pointers": [
            {
                "id": pointer.id,
                "step": pointer.step,
                "status": pointer.status.value,
                "attempt": pointer.attempt,
                "parent": pointer.parent,
                "index": pointer.index,
                "wake_at": None if pointer.wake_at is None else pointer.wake_at.isoformat(),
            }
            for pointer in run.pointers
        ],
    }


# -- history


@click.command(short_help="Print everything that happened in a run.")
@run_argument
@_JSON
@store.DB
def history(run: str, as_json: bool, db: str) -> None:
    """Print everything that happened in RUN, in order."""

    async def work(host: WorkflowHost) -> list[HistoryEntry]:
        return await host.history((await found(host, run)).id)

    entries = store.on_store(db, work)
    if as_json:
        click.echo(
            json.dumps([_entry_json(each) for each in entries], ensure_ascii=False, indent=2)
        )
        return
    kinds = max(len(entry.kind) for entry in entries)
    steps = max(len(entry.step or "") for entry in entries)
    for entry in entries:
        what = f"{entry.kind:<{kinds}}  {entry.step or '':<{steps}}  {_details(entry)}"
        click.echo(safe(f"{entry.seq:>5}  {_precise(entry.at)}  {what}".rstrip()))


def _precise(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _details(entry: HistoryEntry) -> str:
    error = entry.error
    parts = [
        f"attempt {entry.attempt + 1}" if entry.attempt else "",
        error_text(error.type, error.message) if error else "",
        f"by {entry.actor}" if entry.actor else "",
        f"because {entry.reason}" if entry.reason else "",
    ]
    for key, value in (entry.data or {}).items():
        if key not in {"started", "wake"}:
            parts.append(f"{key}={short(to_json(value))}")
    return "  ".join(part for part in parts if part)


def _entry_json(entry: HistoryEntry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "time": entry.at.isoformat(),
        "kind": entry.kind,
        "step": entry.step,
        "pointer": entry.pointer,
        "attempt": entry.attempt,
        "error": _error_json(entry.error),
        "actor": entry.actor,
        "reason": entry.reason,
        "data": plain(entry.data),
    }
