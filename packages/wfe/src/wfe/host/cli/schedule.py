"""``wfe schedule``: workflows that start by themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import attrs
import click
import orjson

from wfe.core.codec import encode
from wfe.core.definition import WorkflowDefinition
from wfe.core.schedules import Overlap, Schedule
from wfe.host.cli import store
from wfe.host.cli.completing import completed_by
from wfe.host.cli.control import actor
from wfe.host.cli.errors import CommandError
from wfe.host.cli.inputs import start_data
from wfe.host.cli.schedule_apply import apply
from wfe.host.cli.sources import chosen, is_source, load_source
from wfe.host.cli.stored import stored_definitions
from wfe.host.host import WorkflowHost
from wfe.host.runs import WorkflowRun

__all__ = ["schedule"]

_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_LENGTH: Final = re.compile(r"(\d+)([dhms])")


@click.group(short_help="Let workflows start by themselves.")
def schedule() -> None:
    """Let workflows start by themselves, by cron or at an interval.

    A schedule fires where a host has its workflow registered and runs; this command only stores
    what is to be done.
    """


@schedule.command(short_help="Make a schedule.")
@click.argument("id")
@click.argument("source")
@click.option(
    "--workflow",
    metavar="ID",
    shell_complete=completed_by("workflows_of_file"),
    help="Which workflow of the file or module.",
)
@click.option("--cron", metavar="TEXT", help='For example "0 3 * * MON-FRI"; six: with seconds.')
@click.option("--every", metavar="TIME", help="Instead: an interval, for example 15m or 1h30m.")
@click.option("--timezone", metavar="NAME", default="UTC", show_default=True, help="Of --cron.")
@click.option(
    "--overlap",
    type=click.Choice(get_args(Overlap)),
    default="skip",
    show_default=True,
    help="While the last run is not over: leave out, wait, or end the last run.",
)
@click.option(
    "--catch-up",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many missed fires are made up for.",
)
@click.option("--jitter", metavar="TIME", default="0s", help="Each fire is up to this much later.")
@click.option("--start", metavar="TIME", help="No fire before, for example 2026-01-01T00:00Z.")
@click.option("--end", metavar="TIME", help="No fire from then on.")
@click.option("-i", "--input", "inputs", metavar="KEY=VALUE", multiple=True, help="For the runs.")
@click.option("--input-file", metavar="FILE", help="Inputs from a JSON or YAML file.")
@click.option("--replace", is_flag=True, help="Replace one with the same id.")
@_JSON
@store.DB
def create(  # noqa: PLR0913 - the options of a schedule
    *,
    id: str,
    source: str,
    workflow: str | None,
    cron: str | None,
    every: str | None,
    timezone: str,
    overlap: Overlap,
    catch_up: int,
    jitter: str,
    start: str | None,
    end: str | None,
    inputs: tuple[str, ...],
    input_file: str | None,
    replace: bool,
    as_json: bool,
    db: str,
) -> None:
    """Make the schedule ID of the workflow SOURCE.

    SOURCE is a workflow file, a Python module, or the id of a workflow that is stored already.
    The host that is to run it needs the same file or module.
    """
    definitions = _loaded(source, workflow)

    async def work(host: WorkflowHost) -> Schedule:
        main = definitions[0] if definitions else await _stored(host, source)
        host.register(*definitions)
        return await host.schedules.create(
            id,
            main.id,
            start_data(main, inputs, input_file) or None,
            cron=cron,
            every=None if every is None else _length(every, "--every"),
            timezone=timezone,
            overlap=overlap,
            catch_up=catch_up,
            jitter=_length(jitter, "--jitter"),
            start=None if start is None else _time(start, "--start"),
            end=None if end is None else _time(end, "--end"),
            actor=actor(),
            on_conflict="replace" if replace else "error",
        )

    made = store.on_new_store(db, work) if definitions else store.on_store(db, work)
    _print(made, as_json=as_json)


def _loaded(source: str, workflow: str | None) -> list[WorkflowDefinition]:
    """Return the definitions of a file or module, the wanted one first; none for a stored id."""
    if not is_source(source):
        return []
    loaded = load_source(source)
    main = chosen(loaded, workflow)
    return [main, *(each for each in loaded.definitions if each is not main)]


async def _stored(host: WorkflowHost, id: str) -> WorkflowDefinition:
    rows = [row for row in await stored_definitions(host, id) if row.current]
    if not rows:
        problem = f"{id!r} is neither a file or module nor a workflow that is stored here"
        raise CommandError(problem, "see them with: wfe definitions")
    newest = max(rows, key=lambda row: row.version)
    return WorkflowDefinition.from_json(orjson.loads(newest.body))


@schedule.command("list", short_help="List the schedules.")
@click.option(
    "--definition",
    metavar="ID",
    shell_complete=completed_by("definitions"),
    help="Only those of this workflow.",
)
@_JSON
@store.DB
def list_schedules(definition: str | None, as_json: bool, db: str) -> None:
    """List the schedules, by id."""
    found = store.on_store(db, lambda host: host.schedules.find(definition))
    if as_json:
        _echo([_json(each) for each in found])
    elif found:
        _table(found)
    else:
        click.echo("no schedules")


@schedule.command(short_help="Show one schedule.")
@click.argument("id")
@_JSON
@store.DB
def show(id: str, as_json: bool, db: str) -> None:
    """Show the schedule ID: when it fires, and what has come of it."""
    _print(store.on_store(db, lambda host: host.schedules.get(id)), as_json=as_json)


@schedule.command(short_help="Let a schedule not fire.")
@click.argument("id")
@store.DB
def pause(id: str, db: str) -> None:
    """Let the schedule ID not fire until it is resumed; times that pass meanwhile are lost."""
    store.on_store(db, lambda host: host.schedules.pause(id, actor()))
    click.echo(f"schedule {id} is paused")


@schedule.command(short_help="Let a paused schedule fire again.")
@click.argument("id")
@store.DB
def resume(id: str, db: str) -> None:
    """Let the paused schedule ID fire again, from now on."""
    resumed = store.on_store(db, lambda host: host.schedules.resume(id, actor()))
    click.echo(f"schedule {id} fires next {_local(resumed.next_at)}")


@schedule.command(short_help="Start a run of a schedule now.")
@click.argument("id")
@_JSON
@store.DB
def trigger(id: str, as_json: bool, db: str) -> None:
    """Start a run of the schedule ID now, also when it is paused.

    The run goes on where a host drives it.
    """
    run = store.on_store(db, lambda host: host.schedules.trigger(id, actor()))
    if as_json:
        _echo({"run": run.id})
    else:
        click.echo(f"run {run.id} is started; a host with its workflow drives it")


@schedule.command(short_help="Start the runs that past times lack.")
@click.argument("id")
@click.argument("start")
@click.argument("end")
@_JSON
@store.DB
def backfill(id: str, start: str, end: str, as_json: bool, db: str) -> None:
    """Start a run for each time of the schedule ID from START up to END that has none yet.

    START and END are times such as 2026-01-31, 2026-01-31T03:00 (local) or 2026-01-31T03:00Z.
    """
    first, last = _time(start, "START"), _time(end, "END")

    async def work(host: WorkflowHost) -> list[WorkflowRun]:
        return await host.schedules.backfill(id, first, last)

    runs = store.on_store(db, work)
    if as_json:
        _echo([{"run": run.id, "new": run.new} for run in runs])
        return
    new = sum(run.new for run in runs)
    click.echo(f"{len(runs)} times: {new} runs are started, {len(runs) - new} were there")


@schedule.command(short_help="Delete a schedule; its runs stay.")
@click.argument("id")
@store.DB
def delete(id: str, db: str) -> None:
    """Delete the schedule ID; its runs stay, and go on."""
    store.on_store(db, lambda host: host.schedules.delete(id))
    click.echo(f"schedule {id} is deleted")


# -- reading what was typed, showing what there is


def _length(text: str, option: str) -> timedelta:
    """Return the duration that *text* says: 90s, 15m, 1h30m, 2d."""
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CommandError(f"{option} {text!r} is no duration", "write for example 90s, 15m, 1h30m")
    try:
        return sum(
            (timedelta(**{_UNITS[unit]: int(number)}) for number, unit in parts), timedelta(0)
        )
    except OverflowError:
        raise CommandError(f"{option} {text!r} is too long", "write for example 90s") from None


def _time(text: str, what: str) -> datetime:
    """Return the time that *text* says, in UTC; without a zone it is local time."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "write for example 2026-01-31T03:00 or 2026-01-31T03:00Z"
        raise CommandError(f"{what} {text!r} is no time", hint) from None


def _local(when: datetime | None) -> str:
    return "never" if when is None else f"{when.astimezone():%Y-%m-%d %H:%M:%S%z}"


def _when(found: Schedule) -> str:
    if found.cron is None:
        return f"every {found.every}"
    return f"{found.cron} ({found.timezone})"


def _table(found: Sequence[Schedule]) -> None:
    rows = [
        (each.id, each.definition, _when(each), "paused" if each.paused else _local(each.next_at))
        for each in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        click.echo("  ".join([*cells, row[3]]))


def _print(found: Schedule, *, as_json: bool) -> None:
    if as_json:
        _echo(_json(found))
        return
    version = "" if found.version is None else f" v{found.version}"
    counts = {"skipped": found.skipped, "missed": found.missed, "failed": found.failed}
    lines = {
        "schedule": found.id,
        "workflow": f"{found.definition}{version}",
        "fires": _when(found),
        "overlap": found.overlap,
        "next": "paused" if found.paused else _local(found.next_at),
        "waiting": ", ".join(map(_local, found.waiting)),
        "last run": "none" if found.last_run_id is None else found.last_run_id,
        "last time": "" if found.last_scheduled_at is None else _local(found.last_scheduled_at),
        "counts": ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        "error": found.error or "",
        "by": found.actor or "",
    }
    for name, text in lines.items():
        if text:
            click.echo(f"{name:<10}{text}")


def _json(found: Schedule) -> dict[str, Any]:
    shown = attrs.asdict(found, value_serializer=_plain)
    return {**shown, "data": encode(found.data)}


def _plain(_owner: object, _field: object, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else value


def _echo(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


schedule.add_command(apply)
