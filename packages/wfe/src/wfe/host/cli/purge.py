"""``wfe purge``: delete finished runs with everything that is stored of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import click

from wfe.core.models import WorkflowStatus, from_micros, to_micros
from wfe.core.providers import PurgeQuery, StoredInstance
from wfe.host.cli import store
from wfe.host.cli.cleaning import safe
from wfe.host.cli.completing import completed_by
from wfe.host.cli.errors import CommandError
from wfe.host.cli.spans import read_span
from wfe.host.host import WorkflowHost

__all__ = ["purge"]

_FINAL: Final = [status.value for status in WorkflowStatus if status.final]
_SHOWN: Final = 20
_MOST: Final = 1_000_000  # found for a dry run


@click.command(short_help="Delete finished runs.")
@click.option(
    "--definition",
    metavar="ID",
    shell_complete=completed_by("definitions"),
    help="Only runs of this workflow.",
)
@click.option("--status", type=click.Choice(_FINAL), help="Only runs that ended so.")
@click.option("--older-than", metavar="TIME", help="Only what ended longer ago: 30d, 12h, 90m.")
@click.option("--all", "everything", is_flag=True, help="All finished runs.")
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@store.DB
def purge(
    definition: str | None,
    status: str | None,
    older_than: str | None,
    everything: bool,
    dry_run: bool,
    as_json: bool,
    db: str,
) -> None:
    """Delete finished runs with their history, logs and streams.

    A run is deleted together with its sub-workflow runs, when all of them have ended. Runs that
    are not finished are never deleted.
    """
    if not (definition or status or older_than or everything):
        problem = "which runs? nothing was said, so nothing was deleted"
        hint = "say for example --older-than 30d, or --all for every finished run"
        raise CommandError(problem, hint)
    age = None if older_than is None else read_span(older_than, "--older-than")

    async def work(host: WorkflowHost) -> int | Sequence[StoredInstance]:
        if dry_run:
            return await _found(host, definition, status, age)
        return await host.purge(definition, status, age)

    result = store.on_store(db, work)
    if isinstance(result, int):
        click.echo(json.dumps({"deleted": result}) if as_json else _counted(result, "deleted"))
    else:
        _show(result, as_json=as_json)


async def _found(
    host: WorkflowHost, definition: str | None, status: str | None, age: timedelta | None
) -> Sequence[StoredInstance]:
    # The command is part of the host's distribution: nobody else may look inside.
    engine = host._engine  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    before = None if age is None else engine.clock.now() - to_micros(age)
    query = PurgeQuery(definition=definition, status=status, completed_before=before, limit=_MOST)
    roots = await engine.store.purgeable(query)
    return [each for root in roots for each in await engine.store.family(root.n)]


def _show(runs: Sequence[StoredInstance], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"would_delete": [_row(run) for run in runs]}))
        return
    for run in runs[:_SHOWN]:
        ended = (
            "" if run.completed_at is None else f"{from_micros(run.completed_at):%Y-%m-%d %H:%M}"
        )
        click.echo(safe(f"{run.id}  {run.definition}  {run.status}  {ended}"))
    if len(runs) > _SHOWN:
        click.echo(f"… and {len(runs) - _SHOWN} more")
    click.echo(_counted(len(runs), "would be deleted"))


def _row(run: StoredInstance) -> dict[str, Any]:
    ended = run.completed_at
    return {
        "id": run.id,
        "definition": run.definition,
        "status": run.status,
        "completed_at": None if ended is None else from_micros(ended).isoformat(),
    }


def _counted(count: int, what: str) -> str:
    return f"{count} {'run' if count == 1 else 'runs'} {what}"
