"""``wfe cache`` and ``wfe artifacts``: what steps kept for later."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import click

from wfe.core.artifacts import ArtifactInfo
from wfe.core.cache_explain import CacheExplanation, Difference
from wfe.core.cache_index import CacheEntry
from wfe.core.models import from_micros
from wfe.host.cli import store
from wfe.host.cli.completing import completed_by
from wfe.host.cli.errors import CommandError
from wfe.host.cli.references import found, run_argument
from wfe.host.host import WorkflowHost

__all__ = ["artifacts", "cache"]

_JSON: Final = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_SHOWN: Final = 20  # differences
_WIDE: Final = 60  # characters of a value
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_KIB: Final = 1024


@click.group(short_help="Look at the results that steps keep.")
def cache() -> None:
    """Look at the results that steps with `cache` keep, and why they were used or not."""


@cache.command(short_help="Say why a step's result was or was not taken from the cache.")
@run_argument
@click.argument("step", shell_complete=completed_by("steps_of_run"))
@_JSON
@store.DB
def explain(run: str, step: str, as_json: bool, db: str) -> None:
    """Say whether STEP of RUN came from the cache, and if not, which part of its key differs.

    The key is compared with those of earlier results of the same step, the one that differs least.
    """

    async def work(host: WorkflowHost) -> CacheExplanation:
        instance = await found(host, run)
        return await host.cache.explain(instance.id, step)

    told = store.on_store(db, work)
    if as_json:
        click.echo(json.dumps(attrs.asdict(told), default=str))
        return
    click.echo(f"{_HEADS[told.outcome].format(step)}: {told.why}")
    if told.outcome == "hit":
        click.echo(f"  saved {told.saved:.3g} s")
    if told.key is not None:
        click.echo(f"  key {told.key}")
    if told.outcome == "miss":
        _show_differences(told)


_HEADS: Final = {"hit": "hit      {}", "miss": "miss     {}", "none": "no cache {}"}


def _show_differences(told: CacheExplanation) -> None:
    if told.nearest is None:
        if told.kept:
            click.echo("  there is no earlier result of this step to compare with")
        return
    when = "" if told.nearest_at is None else f" ({told.nearest_at:%Y-%m-%d %H:%M})"
    click.echo(f"  compared with the result of run {told.nearest}{when}:")
    for each in told.differences[:_SHOWN]:
        click.echo(f"    {_line(each)}")
    if len(told.differences) > _SHOWN:
        click.echo(f"    … and {len(told.differences) - _SHOWN} more")
    if not told.differences:
        click.echo("    nothing differs but files that are too many to be listed")


def _line(each: Difference) -> str:
    if each.before is None:
        return f"{each.part}: new, {_value(each.now)}"
    if each.now is None:
        return f"{each.part}: gone, was {_value(each.before)}"
    return f"{each.part}: {_value(each.before)} -> {_value(each.now)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…"


@cache.command("list", short_help="List the kept results.")
@click.option("--definition", metavar="ID", help="Only of this workflow.")
@click.option("--step", metavar="STEP", help="Only of steps of this name.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@_JSON
@store.DB
def list_entries(
    definition: str | None, step: str | None, limit: int, as_json: bool, db: str
) -> None:
    """List the kept results, the newest first."""

    async def work(host: WorkflowHost) -> Sequence[CacheEntry]:
        return await host.cache.find(definition, step, limit)

    entries = store.on_store(db, work)
    if as_json:
        click.echo(json.dumps([_entry(entry) for entry in entries]))
        return
    for entry in entries:
        ends = (
            "" if entry.expires is None else f"  until {from_micros(entry.expires):%Y-%m-%d %H:%M}"
        )
        made = f"{from_micros(entry.created):%Y-%m-%d %H:%M}"
        seconds = f"{entry.duration / 1_000_000:.3g} s"
        click.echo(
            f"{entry.key[:12]}  {made}  {entry.definition}: {entry.step}  {seconds}"
            f"  run {entry.run}{ends}"
        )
    if not entries:
        click.echo("no results are kept")


def _entry(entry: CacheEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "definition": entry.definition,
        "step": entry.step,
        "run": entry.run,
        "created": from_micros(entry.created).isoformat(),
        "expires": None if entry.expires is None else from_micros(entry.expires).isoformat(),
        "seconds": entry.duration / 1_000_000,
        "document": json.loads(entry.document),
    }


@cache.command(short_help="Delete kept results.")
@click.option("--definition", metavar="ID", help="Only of this workflow.")
@click.option("--step", metavar="STEP", help="Only of steps of this name.")
@click.option("--expired", is_flag=True, help="Only those that have expired.")
@click.option("--all", "everything", is_flag=True, help="All results.")
@_JSON
@store.DB
def purge(
    definition: str | None,
    step: str | None,
    expired: bool,
    everything: bool,
    as_json: bool,
    db: str,
) -> None:
    """Delete kept results, so that their steps run again."""
    if not (definition or step or expired or everything):
        problem = "which results? nothing was said, so nothing was deleted"
        raise CommandError(problem, "say for example --expired, --step NAME, or --all")

    async def work(host: WorkflowHost) -> int:
        return await host.cache.purge(definition, step, expired_only=expired)

    count = store.on_store(db, work)
    noun = "result" if count == 1 else "results"
    click.echo(json.dumps({"deleted": count}) if as_json else f"{count} {noun} deleted")


@click.group(short_help="List and get the files that steps keep.")
def artifacts() -> None:
    """List and get the files that steps keep (`artifacts` in a file, ctx.artifacts in code)."""


@artifacts.command("list", short_help="List the artifacts of a run.")
@run_argument
@_JSON
@store.DB
def list_artifacts(run: str, as_json: bool, db: str) -> None:
    """List the artifacts of RUN, of its sub-workflow runs and of the run above it."""

    async def work(host: WorkflowHost) -> Sequence[ArtifactInfo]:
        return await host.artifacts.list((await found(host, run)).id)

    infos = store.on_store(db, work)
    if as_json:
        click.echo(json.dumps([attrs.asdict(info) for info in infos], default=str))
        return
    for info in infos:
        files = f"{info.files} file" + ("" if info.files == 1 else "s")
        click.echo(
            f"{info.name}  {_size(info.size)}  {files}  from {info.step}  {info.digest[:19]}"
        )
    if not infos:
        click.echo("the run has no artifacts")


@artifacts.command(short_help="Get the files of an artifact.")
@run_argument
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put them; default: a directory NAME for each artifact.",
)
@store.DB
def download(run: str, names: tuple[str, ...], output: Path | None, db: str) -> None:
    """Put the files of RUN's artifacts (all, or those named) into directories."""

    async def work(host: WorkflowHost) -> list[tuple[str, Path, int]]:
        instance = await found(host, run)
        wanted = names or tuple(info.name for info in await host.artifacts.list(instance.id))
        got: list[tuple[str, Path, int]] = []
        for name in wanted:
            directory = output or Path(name.replace(":", "-"))
            got.append(
                (name, directory, len(await host.artifacts.download(instance.id, name, directory)))
            )
        return got

    for name, directory, count in store.on_store(db, work):
        click.echo(f"{name}: {count} file{'' if count == 1 else 's'} in {directory}")


@artifacts.command(short_help="Write the names for other OCI tools.")
@store.DB
def export(db: str) -> None:
    """Write index.json, so that skopeo, oras and others find artifacts as RUN/NAME."""

    async def work(host: WorkflowHost) -> int:
        return await host.artifacts.export()

    click.echo(f"{store.on_store(db, work)} names written")


@artifacts.command(short_help="Delete files that nothing names any more.")
@click.option(
    "--older-than",
    metavar="TIME",
    default="1d",
    show_default=True,
    help="Only what was kept longer ago: 1d, 12h, 0s.",
)
@store.DB
def gc(older_than: str, db: str) -> None:
    """Delete the files of purged runs; hosts do it by themselves about once an hour."""
    age = _duration(older_than)

    async def work(host: WorkflowHost) -> int:
        return await host.artifacts.sweep(age)

    click.echo(f"{_size(store.on_store(db, work))} freed")


def _size(size: float) -> str:
    if size < _KIB:
        return f"{size:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= _KIB
        if size < _KIB:
            return f"{size:.1f} {unit}"
    return f"{size / _KIB:.1f} TiB"


def _duration(text: str) -> timedelta:
    parsed = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if parsed is None:
        problem = f"--older-than {text!r} is no time"
        raise CommandError(problem, "write a number and a unit: 90m, 12h, 30d, 4w")
    return timedelta(**{_UNITS[parsed[2]]: int(parsed[1])})
